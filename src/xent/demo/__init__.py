"""`xent demo`: what the losses do, shown on models that train in seconds on NumPy alone.

Each file is one step: `data` (images of digits, tumours) → `digits` and `binary` (the trainings, with `model` and
`metrics`), `regression` (asymmetric cost), `curves` (the losses as functions) → `report` (progress and tables) and
`plots`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the demo to a parser."""
    parser.add_argument(
        "--seed",
        type=_integer(0),
        default=0,
        metavar="N",
        help="fixes the splits, the first weights and the noise (default: 0)",
    )
    parser.add_argument(
        "--epochs", type=_integer(1), default=15, metavar="N", help="passes over the images (default: 15)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the plots go (default: demo-output)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the results")


def run(options: argparse.Namespace) -> int:
    """Trains, prints the results and writes the plots; returns the exit status."""
    from . import plots
    from .binary import detect_all
    from .data import load_digits, load_tumours
    from .digits import train_all
    from .regression import fit_all
    from .report import Report

    out: Path = options.out
    problem = _unusable(out)
    if problem:
        print(
            "xent demo: " + message("--out", "a folder to write to", f"{out} ({problem})", "Name another."),
            file=sys.stderr,
        )
        return 2

    digits, tumours = load_digits(options.seed), load_tumours(options.seed)
    report = Report(quiet=options.quiet)
    report.opening(digits, options.seed, options.epochs)
    with report.progress() as progress:
        trainings = train_all(digits, options.epochs, options.seed, progress)
        detectors = detect_all(tumours, progress)
        fits = fit_all(options.seed, progress)
    report.digits(trainings)
    report.tumours(tumours, detectors)
    report.regression(fits)
    report.plots(plots.write_all(out, trainings, tumours, detectors, fits))
    return 0


def _integer(least: int) -> Callable[[str], int]:
    """A parser of integers that are not below `least`."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return value

    return integer


def _unusable(folder: Path) -> str | None:
    """Makes the folder; the reason if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror
    return None if os.access(folder, os.W_OK) else "no permission to write"
