"""One file from its bytes to its findings, and back with their fixes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from .checker import SourceError, check_syntax, lint_source
from .documents import Document, PythonFile
from .located import LintFinding, TextEdit
from .notebooks import Notebook
from .rule import Rule

PASSES = 10  # a fix may bring the next one into reach
D = TypeVar("D", bound=Document)


@dataclass(frozen=True)
class Outcome:
    """What became of one file: findings that are left, lines about what could not be read, and how many were mended."""

    findings: tuple[LintFinding, ...] = ()
    errors: tuple[str, ...] = ()
    mended: int = 0


def lint_file(path: str, rules: Sequence[Rule], fix: bool = False) -> Outcome:
    """Lints a file, and mends it where that is asked for."""
    try:
        data = Path(path).read_bytes()
        document: Document = Notebook.decoded(data) if path.endswith(".ipynb") else PythonFile.decoded(data)
        findings, mended = lint_document(document, path, rules), 0
        if fix and any(found.mends for found in findings):
            document, findings, mended = mend(document, path, rules)
            if mended:
                _write(path, document.encoded())
    except SourceError as error:
        return Outcome(errors=(f"{path}:{error}",))
    except OSError as error:
        return Outcome(errors=(f"{path}: {error.strerror or error}",))
    placed = []
    for found in findings:
        cell, line = document.place(found.line)
        placed.append(replace(found, cell=cell, line=line))
    return Outcome(tuple(placed), tuple(f"{path}:{error}" for error in document.errors), mended)


def lint_document(document: Document, path: str, rules: Sequence[Rule]) -> list[LintFinding]:
    """The findings in a document, with lines of its text."""
    return lint_source(document.text, path, rules=rules)


def mend(document: D, path: str, rules: Sequence[Rule]) -> tuple[D, list[LintFinding], int]:
    """A document after all fixes, what is found in it then, and how many findings were mended.

    A fix after which the document does not parse is not made.
    """
    mended = 0
    for _ in range(PASSES):
        findings = lint_document(document, path, rules)
        chosen = _apart([found.edits for found in findings if found.mends])
        if not chosen:
            break
        better = document.edited([edit for edits in chosen for edit in edits])
        try:
            check_syntax(better.text)
        except SourceError:
            break
        document, mended = better, mended + len(chosen)
    return document, lint_document(document, path, rules), mended


def _apart(groups: list[tuple[TextEdit, ...]]) -> list[tuple[TextEdit, ...]]:
    """Groups of edits of which none overlaps another's; those left out come in the next pass."""
    chosen: list[tuple[TextEdit, ...]] = []
    for group in groups:
        taken = [edit for edits in chosen for edit in edits]
        if all(edit.end <= other.start or other.end <= edit.start for edit in group for other in taken):
            chosen.append(group)
    return chosen


def _write(path: str, data: bytes) -> None:
    """Replaces a file's content at once, so that it is never half written."""
    target = Path(path).resolve()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".xent-lint-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, target.stat().st_mode)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
