"""`xent check FILE`: what is wrong with a loss, from its logits and labels in a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from ..advisor.check import check
from ..advisor.check.case import LIBRARIES, LOSSES
from ..advisor.files import EXTENSIONS, read_arrays
from ..advisor.findings import Report
from ..labels import Positives
from .refusal import refuse

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=f"logits and labels: {', '.join(EXTENSIONS)}")
    where = parser.add_argument_group("where the arrays are")
    where.add_argument("--logits", metavar="NAME", help="their name in the file (default: logits)")
    for role in ("labels", "sample-weight", "class-weight", "pos-weight"):
        text = "their name in the file, or another file" + (" (default: labels)" if role == "labels" else "")
        where.add_argument(f"--{role}", metavar="NAME|FILE", help=text)
    loss = parser.add_argument_group("the loss")
    loss.add_argument("--loss", choices=LOSSES, default="softmax", help="which one (default: softmax)")
    loss.add_argument("--axis", type=int, metavar="N", help="the class axis (default: the last, of torch 1)")
    loss.add_argument("--ignore-index", type=int, metavar="N", help="a label to skip")
    loss.add_argument("--label-smoothing", type=float, default=0.0, metavar="E")
    loss.add_argument("--temperature", type=float, default=1.0, metavar="T")
    loss.add_argument("--softcap", type=float, metavar="S")
    loss.add_argument("--z-loss", type=float, default=0.0, metavar="Z")
    loss.add_argument("--reduction", choices=("mean", "sum", "none"), default="mean")
    loss.add_argument("--log-target", action="store_true", help="the labels of kl are logarithms")
    loss.add_argument("--loss-scale", type=float, default=1.0, metavar="S", help="what the loss is multiplied by")
    loss.add_argument("--framework", choices=LIBRARIES, help="whose loss it is, if not xent's")
    loss.add_argument("--value", type=float, metavar="L", help="the loss as you got it")
    loss.add_argument("--step", type=int, metavar="N", help="the training step; 0 is before the first")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; 0 without errors, 1 with some, 2 where the file cannot be used."""
    roles = ("logits", "labels", "sample_weight", "class_weight", "pos_weight")
    sources = {role: name for role in roles if (name := getattr(arguments, role)) is not None}
    options = ("loss", "axis", "ignore_index", "label_smoothing", "temperature", "softcap", "z_loss", "reduction")
    given: dict[str, Any] = {
        name: getattr(arguments, name) for name in (*options, "log_target", "loss_scale", "framework", "value", "step")
    }
    try:
        arrays = read_arrays(arguments.file, sources)
        weights: dict[str, Any] = {name: np.asarray(arrays[name]) for name in roles[2:] if name in arrays}
        labels: Any = arrays["labels"]
        if labels.padded and arguments.loss == "sigmoid":
            labels = Positives(np.asarray(labels))
        with _progress() as told:
            report = check(arrays["logits"], labels, progress=told, **weights, **given)
    except (ValueError, TypeError, IndexError, MemoryError) as error:
        return refuse("check", error)
    if arguments.json:
        print(report.to_json())
    else:
        _print(report)
    return int(any(finding.severity == "error" for finding in report.findings))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, for arrays of several blocks."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Reading", visible=False)
        yield lambda done, blocks: bar.update(task, completed=done, total=blocks, visible=blocks > 1)


def _print(report: Report) -> None:
    console = Console(highlight=False)

    def show(text: str, style: str = "", styled: int = 0, indent: str = "") -> None:
        # wrapped here, since rich leaves blanks at the ends of lines
        lines = Text(fill(text, console.width, initial_indent=indent, subsequent_indent=indent))
        lines.stylize(style, 0, styled)
        console.print(lines, soft_wrap=True)

    show(str(report).splitlines()[0])
    for finding in report.findings:
        head = f"{finding.rule} {finding.severity}"
        show("")
        show(f"{head} {finding.message}", STYLES[finding.severity], len(head))
        show(finding.fix, indent="    ")
