"""What the demo prints: its progress and its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

import xent

from .binary import Detector
from .data import FEATURES, TEST_IMAGES_PER_DIGIT, Digits, Tumours
from .digits import RARE, TEMPERATURE, Trainings
from .model import Progress
from .regression import NOISE, Fit


class Report:
    """Prints to standard output; `quiet` leaves out all but the results."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(highlight=False)
        self.quiet = quiet

    def opening(self, digits: Digits, seed: int, epochs: int) -> None:
        """What is going to be trained."""
        if not self.quiet:
            self.console.print(
                f"xent {xent.__version__}: handwritten digits, {len(digits.images)} images to learn from and "
                f"{len(digits.test_images)} to test on; epochs {epochs}, seed {seed}.\n"
            )

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar for each training; on a terminal they grow, elsewhere they are printed when all is done."""
        bars = Bars(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4}/{task.total:<4} loss {task.fields[loss]:.3f}"),
            console=self.console,
            disable=self.quiet,
        )
        tasks = {}

        def update(name: str, done: int, total: int, loss: float) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, loss=loss)
            bars.update(tasks[name], completed=done, loss=loss)

        with bars:
            yield update
        if not self.quiet:
            self.console.print()

    def digits(self, trainings: Trainings) -> None:
        """One line a model."""
        rare = ", ".join(map(str, RARE))
        few = ", ".join(str(n) for n in trainings.images_per_digit[list(RARE)])
        table = _table(
            f"Digits: test scores on {TEST_IMAGES_PER_DIGIT} images of each",
            f"Soft labels: the first model's probabilities at temperature {TEMPERATURE:g}.\n"
            f"Imbalanced: of the digits {rare} only {few} training images.\n"
            "Calibration error: how far confidence is from accuracy, on average;\n"
            "label smoothing holds confidence down.",
        )
        table.add_column("trained with")
        _numbers(
            table, "loss\n(nats)", "accuracy\n(%)", f"recall of\n{rare} (%)", "calibration\nerror (%)", "time\n(s)"
        )
        for t in trainings.all():
            shares = (t.scores.accuracy, t.rare_recall, t.scores.calibration_error)
            table.add_row(t.name, f"{t.scores.loss:.3f}", *(f"{100 * s:.1f}" for s in shares), f"{t.seconds:.2f}")
        self._results(table)

    def tumours(self, tumours: Tumours, detectors: Sequence[Detector]) -> None:
        """One line a weight."""
        malignant = int(tumours.test_malignant.sum())
        table = _table(
            f"Tumours: malignant (positive) or benign, by {' and '.join(FEATURES)}",
            f"{len(tumours.test_malignant)} held-out tumours, {malignant} of them malignant; called malignant above\n"
            "probability 0.5. Recall: how many of the malignant are. Precision: how\n"
            "many of those are. pos_weight above 1 buys recall, below 1 precision.",
        )
        table.add_column("pos_weight", justify="right", vertical="bottom")
        _numbers(
            table, "called\nmalignant", "recall\n(%)", "precision\n(%)", "accuracy\n(%)", "loss\n(nats)", "time\n(s)"
        )
        for d in detectors:
            shares = (f"{100 * s:.1f}" for s in (d.scores.recall, d.scores.precision, d.scores.accuracy))
            called = np.count_nonzero(d.logits(tumours.test_features) > 0)
            table.add_row(f"{d.pos_weight:g}", str(called), *shares, f"{d.scores.loss:.3f}", f"{d.seconds:.2f}")
        self._results(table)

    def regression(self, fits: Sequence[Fit]) -> None:
        """One line a pair of costs."""
        table = _table(
            f"Asymmetric cost: y = x1 + x2 + noise within {NOISE}, fitted as w1 x1 + w2 x2",
            "Cost per unit predicted too high (over) or too low (under).",
        )
        table.add_column("cost")
        _numbers(table, "w1", "w2", "mean cost\non test", "predicted too\nhigh (%)", "time\n(s)")
        for f in fits:
            weights = (f"{w:.4f}" for w in f.weights)
            table.add_row(f.name, *weights, f"{f.test_cost:.4f}", f"{100 * f.share_over:.1f}", f"{f.seconds:.2f}")
        self._results(table)

    def plots(self, paths: Sequence[Path]) -> None:
        """Where the plots are, one path a line, never broken over lines."""
        self.console.print("Plots:")
        for path in paths:
            self.console.print(f"  {path}", soft_wrap=True, markup=False)

    def _results(self, table: Table) -> None:
        self.console.print(table)
        self.console.print()


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )


def _numbers(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", vertical="bottom")
