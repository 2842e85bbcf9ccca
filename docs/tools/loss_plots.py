"""Curves of the losses, every point computed by xent."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from pictures import BLUE, GREEN, GREY, ORANGE, PAGE, VERMILION, figure, label

import xent

PROBABILITIES = np.linspace(0.002, 0.998, 499)
LOGITS = np.log(PROBABILITIES) - np.log1p(-PROBABILITIES)
SCORES = np.linspace(-6.0, 6.0, 241)


@figure
def loss_of_probability(axes: Axes) -> None:
    """The loss of a prediction p: -log p where the label is 1, -log(1 - p) where it is 0."""
    for label_, colour in ((1, BLUE), (0, VERMILION)):
        loss = xent.sigmoid_cross_entropy(LOGITS, np.full(LOGITS.shape, label_), reduction="none")
        axes.plot(PROBABILITIES, loss, color=colour, label=f"label {label_}")
    label(axes, "predicted probability p of class 1", "loss, nats")


@figure
def loss_of_score(axes: Axes) -> None:
    """The logistic loss log(1 + e^(-y·s)) of a score s, beside the mistakes that it stands in for."""
    for sign, colour in ((1, BLUE), (-1, VERMILION)):
        loss = xent.logistic_loss(SCORES, np.full(SCORES.shape, sign), reduction="none")
        axes.plot(SCORES, loss, color=colour, label=f"label {sign:+d}")
    axes.step([-6, 0, 6], [1, 1, 0], where="pre", color=GREY, linestyle=":", label="mistakes, label +1")
    label(axes, "score s", "loss, nats")


@figure
def gradient_of_logit(axes: Axes) -> None:
    """The gradient is the predicted probability less the label: never more than 1, and 0 only where both agree."""
    slope = xent.value_and_grad(xent.sigmoid_cross_entropy)
    for target, colour in ((1.0, BLUE), (0.7, GREEN), (0.0, VERMILION)):
        _, gradient = slope(SCORES, np.full(SCORES.shape, target), reduction="sum")
        axes.plot(SCORES, gradient, color=colour, label=f"label {target:g}")
    axes.axhline(0, color=GREY, linewidth=0.8)
    label(axes, "logit", "gradient of the loss")


@figure
def label_smoothing(axes: Axes) -> None:
    """Softmax cross-entropy over ten classes while the true class leads the others by a margin: with smoothing there is
    a best margin, and what is beyond it costs again."""
    margins = np.linspace(-2.0, 14.0, 161)
    logits = np.zeros((margins.size, 10))
    logits[:, 0] = margins
    for smoothing, colour in ((0.0, PAGE), (0.1, BLUE), (0.3, VERMILION)):
        loss = xent.softmax_cross_entropy(
            logits, np.zeros(margins.size, int), label_smoothing=smoothing, reduction="none"
        )
        axes.plot(margins, loss, color=colour, label=f"ε = {smoothing:g}")
        axes.plot(margins[loss.argmin()], loss.min(), "o", color=colour)
    label(axes, "margin of the true class", "loss, nats")


@figure
def focal_loss(axes: Axes) -> None:
    """Focal loss: the larger γ, the less a row counts that is right already."""
    logits = np.stack([np.zeros_like(LOGITS), LOGITS], axis=1)
    labels = np.ones(LOGITS.size, int)
    for gamma, colour in ((0.0, PAGE), (0.5, GREEN), (2.0, BLUE), (5.0, VERMILION)):
        loss = xent.focal_cross_entropy(logits, labels, gamma=gamma, reduction="none")
        axes.plot(PROBABILITIES, loss, color=colour, label=f"γ = {gamma:g}")
    axes.set_ylim(0, 4)
    label(axes, "probability p of the true class", "loss, nats")


@figure
def cancellation(axes: Axes) -> None:
    """Relative error of the loss of a right prediction, in float32 against float64, two classes. log(clip(p)) and
    lse - z lose all digits where the loss becomes small; xent's error stays within rounding."""
    margins = np.arange(1.0, 31.0, 0.25, dtype=np.float32)
    logits = np.stack([margins, np.zeros_like(margins)], axis=1)
    truth = np.log1p(np.exp(-margins.astype(np.float64)))
    labels = np.zeros(margins.size, int)
    with np.errstate(over="ignore"):
        powers = np.exp(logits)
        clipped = -np.log(np.clip(powers[:, 0] / powers.sum(1), np.float32(1e-10), np.float32(1)))
    difference = xent.logsumexp(logits) - margins
    ours = xent.softmax_cross_entropy(logits, labels, reduction="none")
    for loss, name, colour, style in (
        (clipped, "-log(clip(softmax(z)))", VERMILION, "-"),
        (difference, "logsumexp(z) - z_y", ORANGE, "--"),
        (ours, "xent", BLUE, "-"),
    ):
        error = np.abs(loss - truth) / truth
        axes.semilogy(margins, np.maximum(error, 1e-10), style, color=colour, label=name)
    axes.set_ylim(1e-9, 10)
    label(axes, "margin of the true class", "relative error")


@figure
def clipping(axes: Axes) -> None:
    """The loss of a score for label 1, float32. Clipped at 1e-7, it is flat from a score of -16.1 on: the gradient is 0
    where the prediction is most wrong."""
    scores = np.linspace(-30.0, 5.0, 281, dtype=np.float32)
    labels = np.ones(scores.size)
    clipped = -np.log(np.clip(xent.sigmoid(scores), np.float32(1e-7), np.float32(1)))
    axes.plot(scores, clipped, color=VERMILION, label="-log(clip(sigmoid(s), 1e-7, 1))")
    axes.plot(scores, xent.sigmoid_cross_entropy(scores, labels, reduction="none"), color=BLUE, label="from logits")
    label(axes, "score s", "loss, nats")
