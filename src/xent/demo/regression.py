"""Regression where a prediction too low costs ten times as much as one too high, and the other way round."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from .model import Adam, Progress

Array = NDArray[Any]

TRAIN_POINTS = 128
TEST_POINTS = 1000
NOISE = 0.05
STEPS = 600
LEARNING_RATE = 0.01
COSTS = ((1.0, 10.0), (10.0, 1.0))  # (over, under): per unit predicted too high, per unit too low


@dataclass(frozen=True)
class Fit:
    """y ≈ w₁·x₁ + w₂·x₂ fitted under two costs; `errors` [TEST_POINTS] are prediction - target on new points."""

    over: float
    under: float
    weights: Array
    losses: list[float]
    targets: Array
    errors: Array
    test_cost: float
    seconds: float

    @property
    def name(self) -> str:
        return f"over={self.over:g}, under={self.under:g}"

    @property
    def share_over(self) -> float:
        """Share of the predictions that are too high."""
        return float((self.errors > 0).mean())


def fit_all(seed: int, progress: Progress) -> list[Fit]:
    """One fit for each pair of costs, all to the same points."""
    rng = np.random.default_rng(seed)
    train, test = sample(TRAIN_POINTS, rng), sample(TEST_POINTS, rng)
    return [fit(train, test, over, under, progress) for over, under in COSTS]


def sample(points: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """x [points, 2] uniform in [0, 1)², and y = x₁ + x₂ + noise, uniform in ±NOISE."""
    x = rng.random((points, 2))
    return x, x.sum(1) + rng.uniform(-NOISE, NOISE, points)


def fit(train: tuple[Array, Array], test: tuple[Array, Array], over: float, under: float, progress: Progress) -> Fit:
    """Minimises the mean cost over the training points."""
    loss_and_grad = xent.value_and_grad(xent.pinball_loss)
    started = time.perf_counter()
    x, y = train
    weights = np.zeros(2)
    adam = Adam([weights], LEARNING_RATE)
    losses = []
    for step in range(STEPS):
        loss, d_prediction = loss_and_grad(x @ weights, y, over=over, under=under)
        # The cost has a kink at 0: only steps that shrink to nothing settle in its minimum.
        adam.step([x.T @ d_prediction], slowdown=1 - step / STEPS)
        losses.append(float(loss))
        progress(f"regression {over:g}:{under:g}", step + 1, STEPS, losses[-1])
    predictions, targets = test[0] @ weights, test[1]
    test_cost = float(xent.pinball_loss(predictions, targets, over=over, under=under))
    return Fit(over, under, weights, losses, targets, predictions - targets, test_cost, time.perf_counter() - started)
