"""What the demo on images, tumours and regression prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import xent

from .binary import Detector
from .data import FEATURES, TEST_IMAGES_PER_DIGIT, Digits, Tumours
from .digits import RARE, TEMPERATURE, Trainings
from .regression import NOISE, Fit
from .terminal import Terminal, add_numbers, new_table


class Report(Terminal):
    """The results on images, tumours and regression."""

    def opening(self, digits: Digits, seed: int, epochs: int) -> None:
        """What is going to be trained."""
        if not self.quiet:
            self.console.print(
                f"xent {xent.__version__}: handwritten digits, {len(digits.images)} images to learn from and "
                f"{len(digits.test_images)} to test on; epochs {epochs}, seed {seed}.\n"
            )

    def digits(self, trainings: Trainings) -> None:
        """One line a model."""
        rare = ", ".join(map(str, RARE))
        few = ", ".join(str(n) for n in trainings.images_per_digit[list(RARE)])
        table = new_table(
            f"Digits: test scores on {TEST_IMAGES_PER_DIGIT} images of each",
            f"Soft labels: the first model's probabilities at temperature {TEMPERATURE:g}.\n"
            f"Imbalanced: of the digits {rare} only {few} training images.\n"
            "Calibration error: how far confidence is from accuracy, on average;\n"
            "label smoothing holds confidence down.",
        )
        table.add_column("trained with")
        add_numbers(
            table, "loss\n(nats)", "accuracy\n(%)", f"recall of\n{rare} (%)", "calibration\nerror (%)", "time\n(s)"
        )
        for t in trainings.all():
            shares = (t.scores.accuracy, t.rare_recall, t.scores.calibration_error)
            table.add_row(t.name, f"{t.scores.loss:.3f}", *(f"{100 * s:.1f}" for s in shares), f"{t.seconds:.2f}")
        self.results(table)

    def tumours(self, tumours: Tumours, detectors: Sequence[Detector]) -> None:
        """One line a weight."""
        malignant = int(tumours.test_malignant.sum())
        table = new_table(
            f"Tumours: malignant (positive) or benign, by {' and '.join(FEATURES)}",
            f"{len(tumours.test_malignant)} held-out tumours, {malignant} of them malignant; called malignant above\n"
            "probability 0.5. Recall: how many of the malignant are. Precision: how\n"
            "many of those are. pos_weight above 1 buys recall, below 1 precision.",
        )
        table.add_column("pos_weight", justify="right", vertical="bottom")
        add_numbers(
            table, "called\nmalignant", "recall\n(%)", "precision\n(%)", "accuracy\n(%)", "loss\n(nats)", "time\n(s)"
        )
        for d in detectors:
            shares = (f"{100 * s:.1f}" for s in (d.scores.recall, d.scores.precision, d.scores.accuracy))
            called = np.count_nonzero(d.logits(tumours.test_features) > 0)
            table.add_row(f"{d.pos_weight:g}", str(called), *shares, f"{d.scores.loss:.3f}", f"{d.seconds:.2f}")
        self.results(table)

    def regression(self, fits: Sequence[Fit]) -> None:
        """One line a pair of costs."""
        table = new_table(
            f"Asymmetric cost: y = x1 + x2 + noise within {NOISE}, fitted as w1 x1 + w2 x2",
            "Cost per unit predicted too high (over) or too low (under).",
        )
        table.add_column("cost")
        add_numbers(table, "w1", "w2", "mean cost\non test", "predicted too\nhigh (%)", "time\n(s)")
        for f in fits:
            weights = (f"{w:.4f}" for w in f.weights)
            table.add_row(f.name, *weights, f"{f.test_cost:.4f}", f"{100 * f.share_over:.1f}", f"{f.seconds:.2f}")
        self.results(table)
