"""`xent lint`: the rules for source code over files and folders."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .refusal import refuse

EPILOG = (
    "Folders are searched for .py, .pyw and .ipynb files, without hidden folders, virtual environments, site-packages, "
    "node_modules and __pycache__; name a folder to have it searched all the same. A line with the comment '# noqa' or "
    "'# noqa: L03' is left alone. Exit status: 0 nothing found, 1 something found, 2 something could not be read or "
    "written."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `xent lint` to a parser.

    Example:
        >>> import argparse
        >>> from xent.cli import lint
        >>> parser = argparse.ArgumentParser()
        >>> lint.add_arguments(parser)
        >>> sorted(parser.parse_args(["src", "--select", "L01,L02"]).select)
        ['L01', 'L02']
    """
    parser.epilog = EPILOG
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a Python file, a notebook or a folder of them")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended, in the files")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON list")
    parser.add_argument("--select", type=_numbers, metavar="RULES", help="these rules only, such as L01,L04")
    parser.add_argument("--ignore", type=_numbers, metavar="RULES", default=frozenset(), help="all but these rules")
    parser.add_argument(
        "--exclude", action="append", metavar="PATTERN", default=[], help="leave out files and folders; may be repeated"
    )
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="processes to use (default: one for each core)")
    parser.add_argument("--explain", type=_explained, metavar="RULE", help="explain a rule, or all, and stop")


def run(namespace: argparse.Namespace) -> int:
    """Lints what the parsed options name.

    Args:
        namespace: what a parser with `add_arguments` returned.

    Returns:
        The exit status: 0 nothing found, 1 something found, 2 something could not be read.
    """
    return _explain(namespace.explain) if namespace.explain else _lint(namespace)


def _explain(number: str) -> int:
    from ..advisor.lint.page import all_explanations, explanation
    from ..advisor.lint.rules import RULES

    print(all_explanations() if number == "all" else explanation(next(r for r in RULES if r.number == number)), end="")
    return 0


def _lint(namespace: argparse.Namespace) -> int:
    from ..advisor.lint.files import files_below
    from ..advisor.lint.parallel import lint_files

    if not namespace.paths:
        return refuse("lint", "expected a file or a folder, got none. Run: xent lint PATH")
    for path in namespace.paths:
        if not os.path.isfile(path) and not os.path.isdir(path):
            problem = "is neither a file nor a folder" if os.path.exists(path) else "does not exist"
            return refuse("lint", f"{path} {problem}. Name a Python file, a notebook or a folder.")
    errors: list[str] = []
    paths = files_below(namespace.paths, namespace.exclude, errors)
    numbers = (namespace.select or _all_numbers()) - namespace.ignore
    with _progress(len(paths)) as done:
        jobs = namespace.jobs or os.cpu_count() or 1
        outcomes = lint_files(paths, numbers, fix=namespace.fix, jobs=jobs, done=done)
    findings = [found for outcome in outcomes.values() for found in outcome.findings]
    errors += [error for outcome in outcomes.values() for error in outcome.errors]
    for error in errors:
        print(f"xent lint: {error}", file=sys.stderr)
    if namespace.json:
        print(json.dumps([found.to_dict() for found in findings], indent=2))
    else:
        for found in findings:
            print(found)
    sys.stdout.flush()
    mended = sum(outcome.mended for outcome in outcomes.values())
    print(_summary(len(findings), sum(found.mends for found in findings), mended, len(paths)), file=sys.stderr)
    return 2 if errors else 1 if findings else 0


def _summary(findings: int, mendable: int, mended: int, files: int) -> str:
    parts = [f"{findings} {'finding' if findings == 1 else 'findings'} in {files} {'file' if files == 1 else 'files'}"]
    if mended:
        parts.append(f"{mended} mended")
    if mendable:
        parts.append(f"--fix mends {mendable}")
    return ", ".join(parts)


@contextmanager
def _progress(files: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Linting", total=files)
        yield lambda: progress.advance(task)


def _all_numbers() -> frozenset[str]:
    from ..advisor.lint.rules import RULES

    return frozenset(rule.number for rule in RULES)


def _numbers(text: str) -> frozenset[str]:
    numbers = frozenset(word.strip().upper() for word in text.split(",") if word.strip())
    known = _all_numbers()
    if numbers and numbers <= known:
        return numbers
    wrong = ", ".join(sorted(numbers - known)) or "none"
    raise argparse.ArgumentTypeError(
        f"expected rules from {min(known)} to {max(known)}, got {wrong}. Write, say, L01,L04"
    )


def _explained(text: str) -> str:
    return "all" if text.lower() == "all" else _one(_numbers(text))


def _one(numbers: frozenset[str]) -> str:
    if len(numbers) != 1:
        raise argparse.ArgumentTypeError("expected one rule or all. Write, say, --explain L03")
    return next(iter(numbers))


def _jobs(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer in [1, 1024], got {text!r}. Pass the cores to use")
