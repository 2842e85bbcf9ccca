"""The plots of images, tumours and regression, one function a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import xent

from .binary import Detector
from .curves import binary_curves
from .data import FEATURES, Tumours
from .digits import RARE, Trainings
from .figures import BLACK, BLUE, GREEN, ORANGE, VERMILION, label_axes, new_figure, write
from .regression import Fit


def write_all(
    folder: Path, trainings: Trainings, tumours: Tumours, detectors: Sequence[Detector], fits: Sequence[Fit]
) -> list[Path]:
    """Draws every plot into the folder; the paths of the files."""
    return write(
        folder,
        {
            "loss-curves.png": lambda: loss_curves(trainings, fits),
            "binary-loss.png": binary_loss,
            "class-weights.png": lambda: class_weights(trainings),
            "positive-weight.png": lambda: positive_weight(tumours, detectors),
            "asymmetric-cost.png": lambda: asymmetric_cost(fits),
        },
    )


def loss_curves(trainings: Trainings, fits: Sequence[Fit]) -> Figure:
    """Training and test loss of every classifier, and the cost of every regression."""
    figure, (left, middle, right) = new_figure(13, 4.4, columns=3)
    styles = ((BLACK, "-"), (GREEN, "-"), (BLUE, "-"), (VERMILION, "--"), (ORANGE, "--"))
    for training, (colour, dash) in zip(trainings.all(), styles, strict=True):
        epochs = np.arange(1, len(training.train_losses) + 1)
        left.plot(epochs, training.train_losses, color=colour, linestyle=dash, marker=".")
        middle.plot(epochs, training.test_losses, color=colour, linestyle=dash, marker=".", label=training.name)
        if training.floor > 0:
            left.axhline(training.floor, color=colour, linestyle=":", linewidth=1.2)
    left.set_title("Training loss: no model gets below the\nentropy of soft targets (dotted)")
    label_axes(left, "epoch", "training loss (nats)")
    few, weighted = trainings.imbalanced.scores.loss, trainings.weighted.scores.loss
    middle.set_title(f"Test loss after imbalanced training: {few:.2f} nats,\nwith class weights {weighted:.2f}")
    label_axes(middle, "epoch", "test loss (nats)")
    middle.legend()
    for axes in (left, middle):
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)

    for fit, colour in zip(fits, (BLUE, ORANGE), strict=True):
        right.plot(np.arange(1, len(fit.losses) + 1), fit.losses, color=colour, label=fit.name)
    right.set_yscale("log")
    right.set_title("Regression: the mean cost settles at\n" + " and ".join(f"{f.losses[-1]:.3f}" for f in fits))
    label_axes(right, "step", "mean cost (log scale)")
    right.legend(title="cost per unit")
    return figure


def binary_loss() -> Figure:
    """The loss of one prediction for either label, against its probability and against its score."""
    curves = binary_curves()
    figure, (left, right) = new_figure(10, 4.4, columns=2)
    for loss, colour, dash, label, sign in (
        (curves.positive_loss, BLUE, "-", "y = 1", "y = +1"),
        (curves.negative_loss, VERMILION, "--", "y = 0", "y = -1"),
    ):
        left.plot(curves.probabilities, loss, color=colour, linestyle=dash, label=label)
        right.plot(curves.scores, loss, color=colour, linestyle=dash, label=sign)
    for axes, undecided in ((left, 0.5), (right, 0.0)):
        axes.plot([undecided], [np.log(2)], "o", color=BLACK, markersize=5)
        axes.annotate(
            "even odds:\nlog 2 nats",
            (undecided, np.log(2)),
            (0, 85),
            textcoords="offset points",
            ha="center",
            arrowprops={"arrowstyle": "-", "shrinkB": 4},
        )
        axes.set_ylim(0, 5)
        axes.legend(loc="upper center")
    left.set_title("The surer the wrong answer,\nthe faster the loss grows")
    label_axes(left, "predicted probability of the positive class", "loss (nats)")
    right.set_title("log(1 + exp(-y·s)): a wrong score costs in\nproportion, a right one next to nothing")
    label_axes(right, "score s (nats)", "loss (nats)")
    return figure


def class_weights(trainings: Trainings) -> Figure:
    """Recall of each digit after imbalanced training, without and with class weights."""
    figure, (axes,) = new_figure(9, 4.4, columns=1)
    without, with_weights = trainings.imbalanced, trainings.weighted
    digits, width = np.arange(len(trainings.images_per_digit)), 0.4
    axes.bar(
        digits - width / 2,
        100 * without.scores.recall,
        width,
        color=VERMILION,
        edgecolor="white",
        label="without class weights",
    )
    axes.bar(
        digits + width / 2,
        100 * with_weights.scores.recall,
        width,
        color=BLUE,
        edgecolor="white",
        label="with class weights",
    )
    axes.set_xticks(digits, [f"{d}\n{n}" for d, n in enumerate(trainings.images_per_digit)])
    for d in RARE:
        axes.get_xticklabels()[d].set_fontweight("bold")
    axes.set_title(
        f"Mean recall of the rare digits {', '.join(map(str, RARE))}: "
        f"{without.rare_recall:.0%} without class weights, {with_weights.rare_recall:.0%} with",
        pad=28,
    )
    label_axes(axes, "digit, and its number of training images", "recall on the test images (%)")
    axes.set_ylim(0, 104)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return figure


def positive_weight(tumours: Tumours, detectors: Sequence[Detector]) -> Figure:
    """Recall and precision against the weight of the positive class, and the boundaries that three weights draw."""
    figure, (left, right) = new_figure(12, 4.8, columns=2)
    weights = [d.pos_weight for d in detectors]
    left.plot(weights, [100 * d.scores.recall for d in detectors], "o-", color=BLUE, label="recall")
    left.plot(weights, [100 * d.scores.precision for d in detectors], "^--", color=VERMILION, label="precision")
    left.axvline(1, color=BLACK, linestyle=":", linewidth=1.2)
    left.set_xscale("log")
    left.set_xticks(weights, [f"{w:g}" for w in weights])
    left.minorticks_off()
    left.set_title("pos_weight above 1 finds more of the malignant tumours,\nbelow 1 raises fewer false alarms")
    label_axes(left, "pos_weight (log scale)", "held-out tumours, at threshold 0.5 (%)")
    left.legend(loc="lower left")

    lightest, plain, heaviest = detectors[0], next(d for d in detectors if d.pos_weight == 1), detectors[-1]
    measured = tumours.test_features * tumours.scale + tumours.mean
    for kind, colour, marker, label in (
        (~tumours.test_malignant, GREEN, "o", "benign"),
        (tumours.test_malignant, ORANGE, "^", "malignant"),
    ):
        right.plot(*measured[kind].T, marker, color=colour, markersize=4, alpha=0.7, label=label)
    y = np.array([measured[:, 1].min() - 1, measured[:, 1].max() + 1])
    for detector, dash in ((heaviest, "--"), (plain, "-"), (lightest, ":")):
        # The line on which x·w + b = 0: the probability is 0.5.
        w1, w2 = detector.weights
        x1 = -(w2 * (y - tumours.mean[1]) / tumours.scale[1] + detector.bias) / w1
        right.plot(
            x1 * tumours.scale[0] + tumours.mean[0],
            y,
            color=BLACK,
            linestyle=dash,
            label=f"pos_weight {detector.pos_weight:g}",
        )
    right.set_xlim(measured[:, 0].min() - 1, measured[:, 0].max() + 1)
    right.set_ylim(*y)
    right.set_title("because it moves the line of probability 0.5;\nto its right a tumour counts as malignant")
    label_axes(right, *FEATURES)
    right.legend(loc="lower right")
    return figure


def asymmetric_cost(fits: Sequence[Fit]) -> Figure:
    """The two costs, and the errors of the models fitted under them."""
    figure, (left, right) = new_figure(11, 4.4, columns=2)
    errors = np.linspace(-0.15, 0.15, 301)
    for fit, colour, marker in zip(fits, (BLUE, ORANGE), ("o", "^"), strict=True):
        cost = xent.pinball_loss(errors, np.zeros_like(errors), over=fit.over, under=fit.under, reduction="none")
        left.plot(errors, cost, color=colour, label=fit.name)
        w1, w2 = fit.weights
        label = f"{fit.name}: w = ({w1:.3f}, {w2:.3f})"
        right.plot(fit.targets, fit.errors, marker, color=colour, markersize=3, alpha=0.6, label=label)
    ratio = max(fits[0].over, fits[0].under) / min(fits[0].over, fits[0].under)
    left.set_title(f"An error on one side costs {ratio:g} times\nas much as one on the other,")
    label_axes(left, "prediction - target", "cost")
    left.legend(title="cost per unit", loc="upper center")
    right.axhline(0, color=BLACK, linewidth=1)
    high = " and ".join(f"{f.share_over:.0%}" for f in fits)
    right.set_title(f"so the fits keep to the cheap side:\n{high} of the predictions are too high")
    right.set_ylim(-0.16, 0.16)
    label_axes(right, "target", "prediction - target")
    right.legend(markerscale=2, loc="upper left")
    return figure
