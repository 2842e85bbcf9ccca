"""Tumours, malignant or benign: what a weight of the positive class does to recall and to precision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from .data import Tumours
from .metrics import BinaryScores, binary_score
from .model import Adam, Progress

Array = NDArray[Any]

POS_WEIGHTS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STEPS = 300
LEARNING_RATE = 0.3


@dataclass(frozen=True)
class Detector:
    """Logistic regression, logit = x·w + b, fitted with one `pos_weight`; `scores` are those of the held-out tumours.

    `losses` are the weighted training losses in nats, step by step, each taken before its step.
    """

    pos_weight: float
    weights: Array
    bias: float
    losses: list[float]
    scores: BinaryScores
    seconds: float

    def logits(self, x: Array) -> Array:
        """[N] from the features [N, D]; above 0, where the probability is above 0.5, it says malignant."""
        logits: Array = x @ self.weights + self.bias
        return logits


def detect_all(tumours: Tumours, progress: Progress, pos_weights: Sequence[float] = POS_WEIGHTS) -> list[Detector]:
    """Fits one detector for each weight, all from zero and to the same tumours."""
    return [detect(tumours, pos_weight, progress) for pos_weight in pos_weights]


def detect(tumours: Tumours, pos_weight: float, progress: Progress) -> Detector:
    """Minimises the mean loss of the training tumours, in which each malignant one counts `pos_weight` times."""
    loss_and_grad = xent.value_and_grad(xent.sigmoid_cross_entropy)
    started = time.perf_counter()
    x, labels = tumours.features, tumours.malignant
    weights, bias = np.zeros(x.shape[1]), np.zeros(1)
    adam = Adam([weights, bias], LEARNING_RATE)
    losses = []
    for step in range(STEPS):
        loss, d_logits = loss_and_grad(x @ weights + bias, labels, pos_weight=pos_weight)
        adam.step([x.T @ d_logits, d_logits.sum(keepdims=True)], slowdown=1 - step / STEPS)
        losses.append(float(loss))
        progress(f"pos_weight {pos_weight:g}", step + 1, STEPS, losses[-1])
    scores = binary_score(tumours.test_features @ weights + bias, tumours.test_malignant)
    return Detector(pos_weight, weights, float(bias[0]), losses, scores, time.perf_counter() - started)
