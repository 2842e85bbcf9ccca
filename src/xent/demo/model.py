"""A classifier with one hidden layer and the Adam optimiser, in NumPy: everything but the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Progress = Callable[[str, int, int, float], None]  # called with name, steps done, steps in all, loss


class Classifier:
    """logits = relu(x·W₁ + b₁)·W₂ + b₂, for x [N, D], with H hidden units and C classes."""

    def __init__(self, inputs: int, hidden: int, classes: int, rng: np.random.Generator) -> None:
        self.w1 = rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)).astype(np.float32)
        self.b1 = np.zeros(hidden, np.float32)
        self.w2 = rng.normal(0, np.sqrt(1 / hidden), (hidden, classes)).astype(np.float32)
        self.b2 = np.zeros(classes, np.float32)

    @property
    def parameters(self) -> list[Array]:
        return [self.w1, self.b1, self.w2, self.b2]

    def hidden(self, x: Array) -> Array:
        """[N, H], never negative."""
        units: Array = np.maximum(x @ self.w1 + self.b1, 0)
        return units

    def logits(self, x: Array) -> Array:
        """[N, C]"""
        return self.logits_from(self.hidden(x))

    def logits_from(self, hidden: Array) -> Array:
        """[N, C] from the hidden units [N, H]."""
        logits: Array = hidden @ self.w2 + self.b2
        return logits

    def gradients(self, x: Array, hidden: Array, d_logits: Array) -> list[Array]:
        """The gradient to each of `parameters`, from the loss's gradient to the logits [N, C]."""
        d_hidden = (d_logits @ self.w2.T) * (hidden > 0)
        return [x.T @ d_hidden, d_hidden.sum(0), hidden.T @ d_logits, d_logits.sum(0)]


class Adam:
    """Kingma and Ba 2014 (arXiv:1412.6980). Updates the parameters where they lie."""

    def __init__(self, parameters: list[Array], rate: float) -> None:
        self.parameters = parameters
        self.rate = rate
        self.mean = [np.zeros_like(p) for p in parameters]
        self.square = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, gradients: list[Array], slowdown: float = 1.0) -> None:
        """One update; `slowdown` in [0, 1] scales the learning rate."""
        self.steps += 1
        # The running means start at zero; dividing by these makes them unbiased.
        unbias_mean, unbias_square = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.mean, self.square, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            change = (mean / unbias_mean) / (np.sqrt(square / unbias_square) + 1e-8)
            parameter -= slowdown * self.rate * change
