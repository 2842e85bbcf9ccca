"""`xent demo`: what the losses do, shown on models that train in seconds on NumPy alone.

Each file is one step: `data` (images of digits, tumours) → `digits` and `binary` (the trainings, with `model` and
`metrics`), `regression` (asymmetric cost), `curves` (the losses as functions) → `report` and `plots`.
With `--text`: `corpus` (source code as numbers) → `text` (the trainings, with `language`, the model) → `text_report`
and `text_plots`. With `--embeddings`: `corpus` → `words` (pairs of words near each other) → `embeddings` (the
trainings, with `skip_gram`, the model) → `embeddings_report` and `embeddings_plots`. All print by `terminal` and draw
by `figures`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .corpus import read_corpus, standard_library
from .usage import UsageError

EPOCHS = 15
STEPS = 80
SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the demo to a parser."""
    parser.add_argument(
        "--seed",
        type=_integer(0),
        default=0,
        metavar="N",
        help="fixes the splits, the first weights and the noise (default: 0)",
    )
    parser.add_argument("--epochs", type=_integer(1), metavar="N", help=f"passes over the images (default: {EPOCHS})")
    corpora = parser.add_mutually_exclusive_group()
    corpora.add_argument(
        "--text",
        type=Path,
        nargs="?",
        const=standard_library(),
        metavar="FOLDER",
        help="instead: a language model on the Python files below a folder (default: Python's own library), "
        "with the loss apart from the projection and fused with it",
    )
    corpora.add_argument(
        "--embeddings",
        type=Path,
        nargs="?",
        const=standard_library(),
        metavar="FOLDER",
        help="instead: word vectors from the Python files below a folder (default: Python's own library), with the "
        "softmax over all words, and with sampled softmax, NCE and negative sampling",
    )
    parser.add_argument(
        "--steps", type=_integer(1), metavar="N", help=f"updates of the language model (default: {STEPS})"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help=f"how long the word vectors train with each loss (default: {SECONDS:g})",
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
    try:
        _check(options)
        if options.embeddings is not None:
            return _embeddings(options)
        return _images(options) if options.text is None else _text(options)
    except UsageError as error:
        print(f"xent demo: {error}", file=sys.stderr)
        return 2


def _check(options: argparse.Namespace) -> None:
    """
    Raises:
        UsageError: how long to train is said in the measure of another training.
    """
    text, embeddings = options.text is not None, options.embeddings is not None
    right = "--steps" if text else "--seconds" if embeddings else "--epochs"
    if options.steps is not None and not text:
        got = "--embeddings" if embeddings else "it alone"
        raise UsageError("--steps", "to go with --text", got, f"Add --text, or use {right}.")
    if options.seconds is not None and not embeddings:
        got = "--text" if text else "it alone"
        raise UsageError("--seconds", "to go with --embeddings", got, f"Add --embeddings, or use {right}.")
    if options.epochs is not None and (text or embeddings):
        raise UsageError("--epochs", f"to go without --{'text' if text else 'embeddings'}", "both", f"Use {right}.")


def _images(options: argparse.Namespace) -> int:
    """The small models on images, tumours and numbers."""
    from . import plots
    from .binary import detect_all
    from .data import load_digits, load_tumours
    from .digits import train_all
    from .regression import fit_all
    from .report import Report

    epochs = EPOCHS if options.epochs is None else options.epochs
    _make(options.out)
    digits, tumours = load_digits(options.seed), load_tumours(options.seed)
    report = Report(quiet=options.quiet)
    report.opening(digits, options.seed, epochs)
    with report.progress() as progress:
        trainings = train_all(digits, epochs, options.seed, progress)
        detectors = detect_all(tumours, progress)
        fits = fit_all(options.seed, progress)
    report.digits(trainings)
    report.tumours(tumours, detectors)
    report.regression(fits)
    report.plots(plots.write_all(options.out, trainings, tumours, detectors, fits))
    return 0


def _text(options: argparse.Namespace) -> int:
    """The language model, with two forms of the loss."""
    from .text import compare, continuations
    from .text_plots import write_all
    from .text_report import TextReport

    steps = STEPS if options.steps is None else options.steps
    corpus = read_corpus(options.text, options.seed)
    _make(options.out)
    report = TextReport(quiet=options.quiet)
    report.corpus(corpus, steps, options.seed)
    with report.progress() as progress:
        found = compare(corpus, steps, options.seed, progress)
    report.comparison(found)
    report.continuations(continuations(found.fused.model, corpus.vocabulary))
    report.plots(write_all(options.out, found))
    return 0


def _embeddings(options: argparse.Namespace) -> int:
    """Word vectors, with four losses."""
    from .embeddings import train_all
    from .embeddings_plots import write_all
    from .embeddings_report import EmbeddingsReport
    from .words import words_of

    seconds = SECONDS if options.seconds is None else options.seconds
    corpus = read_corpus(options.embeddings, options.seed, option="--embeddings")
    words = words_of(corpus, options.seed)
    _make(options.out)
    report = EmbeddingsReport(quiet=options.quiet)
    report.opening(corpus, words, seconds, options.seed)
    with report.progress() as progress:
        learners = train_all(words, seconds, options.seed, progress)
    report.comparison(learners)
    report.neighbours(learners, words)
    report.plots(write_all(options.out, learners))
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


def _seconds(text: str) -> float:
    """A parser of times that are positive."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def _make(folder: Path) -> None:
    """Makes the folder that the plots go to.

    Raises:
        UsageError: it cannot be written to.
    """
    problem = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror
    if problem is None and not os.access(folder, os.W_OK):
        problem = "no permission to write"
    if problem is not None:
        raise UsageError("--out", "a folder to write to", f"{folder} ({problem})", "Name another.")
