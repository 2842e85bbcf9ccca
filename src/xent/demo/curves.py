"""The loss of one prediction as a function: against the probability, and against the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

Array = NDArray[Any]


@dataclass(frozen=True)
class Curves:
    """At each score s, the probability of the positive class and the loss in nats for either label, all [N]."""

    scores: Array
    probabilities: Array
    positive_loss: Array
    negative_loss: Array


def binary_curves(largest_score: float = 6.0, points: int = 241) -> Curves:
    """The loss of a score s is log(1 + e^-s) for the positive label and log(1 + e^s) for the other."""
    scores = np.linspace(-largest_score, largest_score, points)

    def loss(sign: int) -> Array:
        losses: Array = xent.logistic_loss(scores, np.full(points, sign), reduction="none")
        return losses

    return Curves(scores, xent.sigmoid(scores), positive_loss=loss(1), negative_loss=loss(-1))
