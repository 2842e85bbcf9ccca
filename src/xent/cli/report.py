"""`xent report FILE`: a page on what a model's logits are worth."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..advisor.files import EXTENSIONS, FileError, StoredArray, read_arrays
from .refusal import refuse

OUT = Path("report.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `xent report` to a parser."""
    parser.add_argument("file", metavar="FILE", help=f"logits, and labels beside them: {', '.join(EXTENSIONS)}")
    parser.add_argument("-o", "--out", type=Path, default=OUT, metavar="PAGE", help=f"where it goes (default: {OUT})")
    parser.add_argument("--logits", metavar="KEY", help='the array of logits in FILE (default: "logits")')
    parser.add_argument(
        "--labels", metavar="FILE|KEY", help='the array of labels in FILE, or a file of their own (default: "labels")'
    )
    parser.add_argument(
        "--loss",
        choices=("softmax", "sigmoid"),
        default="softmax",
        help="softmax: classes exclude each other (default); sigmoid: they do not",
    )
    parser.add_argument("--class-names", type=Path, metavar="FILE", help="a text file with the name of a class a line")
    parser.add_argument("--ignore-index", type=int, metavar="LABEL", help="a label that does not count")
    parser.add_argument("--title", metavar="TEXT", help="the heading (default: the name of FILE)")


def run(namespace: argparse.Namespace) -> int:
    """Writes the page that the parsed options ask for.

    Args:
        namespace: what a parser with `add_arguments` returned.

    Returns:
        The exit status: 0, or 2 if the files or the options do not fit, and nothing is written.
    """
    try:
        _check_out(namespace.out)
        arrays = read_arrays(namespace.file, {"logits": namespace.logits, "labels": namespace.labels})
        names = None if namespace.class_names is None else _class_names(namespace.class_names)
        page = _page(namespace, arrays, names)
        _write(namespace.out, page)
    except (IndexError, MemoryError, TypeError, ValueError) as error:
        return refuse("report", error)
    print(f"Wrote {namespace.out} ({len(page.encode()) / 1024:,.0f} KiB).")
    return 0


def _page(namespace: argparse.Namespace, arrays: dict[str, StoredArray], names: list[str] | None) -> str:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ..advisor.report import make_report

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, of: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step)
            progress.update(tasks[step], completed=done, total=of)

        options = {role: array[:] for role, array in arrays.items() if role not in ("logits", "labels")}
        return make_report(
            arrays["logits"],
            arrays["labels"],
            loss=namespace.loss,
            ignore_index=namespace.ignore_index,
            class_names=names,
            title=namespace.title or Path(namespace.file).name,
            source=Path(namespace.file).name,
            options=options,
            progress=show,
        )


def _class_names(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(path, "a text file with the name of a class a line", reason, "Name another file.") from error


def _check_out(path: Path) -> None:
    """
    Raises:
        FileError: a page cannot be written there; told before anything is read.
    """
    folder = path.parent
    if path.exists() and not path.is_file():
        got = "a folder" if path.is_dir() else "a device"
    elif not folder.is_dir() or not os.access(folder, os.W_OK):
        got = f"the folder {str(folder)!r}, which is missing or cannot be written to"
    else:
        return
    raise FileError(path, "a file that can be written", got, "Name another with --out.")


def _write(path: Path, page: str) -> None:
    """The whole page or nothing: it is written beside its place, and moved there."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(path, "a file that can be written", reason, "Name another with --out.") from error
    finally:
        part.unlink(missing_ok=True)
