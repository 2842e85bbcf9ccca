"""From source code to findings."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

import libcst as cst

from ..findings import Finding
from .located import LintFinding, TextEdit
from .rule import Problem, Rule
from .rules import RULES
from .source import Source

NOQA = re.compile(r"#\s*noqa(?!\w)(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
WORD = re.compile(r"[^\W\d]\w*")
NEWLINE = re.compile(r"\r\n|\r|\n")
TOO_DEEP = "nested too deeply to be read"


class SourceError(ValueError):
    """Source code that cannot be read; the message is one line that begins with the line number, if there is one."""


def lint_source(text: str, filename: str = "<string>", *, rules: Sequence[Rule] = RULES) -> list[LintFinding]:
    """What the rules find in the source code of one module.

    Args:
        text: the source code, in the grammar of the running Python.
        filename: what to call it.
        rules: the rules to apply.

    Returns:
        The findings in the order of the lines, without those on lines marked `# noqa` or, say, `# noqa: L01`.

    Raises:
        SourceError: the source does not parse, or is nested too deeply.

    Example:
        >>> from xent.advisor.lint import lint_source
        >>> code = "import torch.nn.functional as F\\nloss = F.cross_entropy(F.softmax(z, 1), y)\\n"
        >>> [(found.line, found.column, found.finding.rule) for found in lint_source(code)]
        [(2, 24, 'L01')]

    Source: the syntax tree is LibCST's, https://libcst.readthedocs.io/.
    """
    tree = check_syntax(text)
    # Most modules have no name that any rule looks for, and libcst is slow: the words of the text say so cheaply for
    # most of them, the names in the code for nearly all.
    words = set(WORD.findall(text))
    relevant = [rule for rule in rules if rule.may_find_in(words)]
    if relevant:
        names = _names_in(tree)
        relevant = [rule for rule in relevant if rule.may_find(names)]
    if not relevant:
        return []
    try:
        source = Source(text)
        problems = [(rule, problem) for rule in relevant for problem in rule.check(source)]
        found = [_located(source, filename, rule, problem) for rule, problem in problems]
    except RecursionError:
        raise SourceError(TOO_DEEP) from None
    except cst.ParserSyntaxError as error:
        raise SourceError(f"{error.raw_line}:{error.raw_column}: {error.message.splitlines()[0]}") from None
    distinct = {(f.line, f.column, f.finding.rule): f for f in found if f is not None}
    return [distinct[key] for key in sorted(distinct)]


def check_syntax(text: str) -> ast.Module:
    """The module as Python parses it.

    Raises:
        SourceError: it does not parse, or is deeper than libcst's parser can go.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise SourceError(f"{error.lineno or 1}:{error.offset or 1}: {error.msg}") from None
    except ValueError as error:  # null bytes
        raise SourceError(str(error)) from None
    except (RecursionError, MemoryError):
        raise SourceError(TOO_DEEP) from None


def _names_in(tree: ast.Module) -> set[str]:
    """The names and strings in a module, and calls, factors, keywords and sums as `Rule.words` writes them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                names.add(name)
            case ast.alias(name=name):
                parts = name.split(".")
                # it may be called by another name
                names.update(parts, (f"{part}()" for part in parts), (f"*{part}()" for part in parts))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                names.add(f"{name}()")
            case ast.BinOp(op=ast.Mult(), left=left, right=right):
                names.update(f"*{called}" for side in (left, right) if (called := _called(side)))
            case ast.AugAssign(op=ast.Add(), target=ast.Name()):
                names.add("+=")
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.Add(), left=ast.Name(id=same))):
                if name == same:
                    names.add("+=")
            case ast.keyword(arg=str(name)):
                names.add(f"{name}=")
            case ast.ImportFrom(module=str(name)):
                names.update(name.split("."))
    return names


def _called(node: ast.expr) -> str:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return f"{name}()"
    return ""


def _located(source: Source, filename: str, rule: Rule, problem: Problem) -> LintFinding | None:
    place = source.positions[problem.node]
    if any(_is_silenced(c, rule.number) for c in _comments(source, place.start.line, place.end.line + 1)):
        return None
    return LintFinding(
        finding=Finding(rule.number, problem.severity, problem.message, problem.fix),
        path=filename,
        line=place.start.line,
        column=place.start.column + 1,
        edits=_text_edits(source, problem),
    )


def _text_edits(source: Source, problem: Problem) -> tuple[TextEdit, ...]:
    """The edits by place; none at all where one would take a comment away."""
    edits = []
    for edit in problem.edits:
        place = source.positions[edit.node]
        start, end = (place.start.line, place.start.column), (place.end.line, place.end.column)
        if any(_comments(source, start[0], end[0])):
            return ()
        edits.append(TextEdit(start, end, edit.text))
    return tuple(edits)


def _comments(source: Source, first: int, end: int) -> list[str]:
    return [source.comments[line] for line in range(first, end) if line in source.comments]


def _is_silenced(comment: str, number: str) -> bool:
    return any(_names(noqa["codes"], number) for noqa in NOQA.finditer(comment))


def _names(codes: str | None, number: str) -> bool:
    return codes is None or number in WORD.findall(codes.upper())
