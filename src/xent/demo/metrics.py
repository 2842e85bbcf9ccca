"""How good a classifier is, from its logits on a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

Array = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """Loss in nats; the others are shares in [0, 1], `recall` one per class."""

    loss: float
    accuracy: float
    recall: Array
    calibration_error: float


@dataclass(frozen=True)
class BinaryScores:
    """Loss in nats, without weights; the others are shares in [0, 1].

    `recall` is the share of the positives that are found, `precision` the share of the found that are positive (NaN
    if nothing is found).
    """

    loss: float
    accuracy: float
    recall: float
    precision: float


def score(logits: Array, labels: Array) -> Scores:
    """Scores of logits [N, C] against labels [N]."""
    right = logits.argmax(1) == labels
    return Scores(
        loss=float(xent.softmax_cross_entropy(logits, labels)),
        accuracy=float(right.mean()),
        recall=np.array([right[labels == k].mean() for k in range(logits.shape[1])]),
        calibration_error=calibration_error(xent.softmax(logits).max(1), right),
    )


def binary_score(logits: Array, labels: Array) -> BinaryScores:
    """Scores of logits [N] against labels [N], 0 or 1; a probability above 0.5, a logit above 0, counts as found."""
    positive, found = labels.astype(bool), logits > 0
    hits = np.count_nonzero(positive & found)
    count = np.count_nonzero(found)
    return BinaryScores(
        loss=float(xent.sigmoid_cross_entropy(logits, labels)),
        accuracy=float((positive == found).mean()),
        recall=float(hits / np.count_nonzero(positive)),
        precision=float(hits / count) if count else float("nan"),
    )


def calibration_error(confidence: Array, right: Array, bins: int = 10) -> float:
    """Expected calibration error: |share right - mean confidence|, averaged over predictions binned by confidence.

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    excess = np.bincount(bin_of, weights=right - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(excess).sum() / len(right))
