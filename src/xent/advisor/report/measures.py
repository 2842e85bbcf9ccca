"""What a report says in numbers, whichever loss it is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Reliability, equal_width, fit_temperature

MOST_SHOWN = 12  # classes in a confusion matrix
MOST_PAIRS = 15
Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ByClass:
    """One number for each class, NaN where nothing was counted.

    Attributes:
        counts: rows of the class; with sigmoid, rows that have it.
        loss: the mean loss of these rows; with sigmoid, of all decisions on the class.
        accuracy: the share of these rows (decisions) that are right.
        recall: of the rows of the class, how many are found.
        precision: of the rows that are found, how many are of the class.
    """

    counts: Array
    loss: Array
    accuracy: Array
    recall: Array
    precision: Array

    @property
    def worst_first(self) -> Array:
        """The classes by descending loss; those without one last."""
        return np.argsort(-np.nan_to_num(self.loss, nan=-1.0), kind="stable")


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which.

    Attributes:
        shown: the classes of the matrix.
        matrix: how often the class of the line was taken for that of the column; right on the diagonal.
        others: for each line, how often for a class that is not shown.
        pairs: (class, taken for, times), the most frequent first.
    """

    shown: Array
    matrix: Array
    others: Array
    pairs: list[tuple[int, int, int]]


@dataclass(frozen=True)
class Calibrated:
    """Loss and reliability at a temperature."""

    loss: float
    reliability: Reliability


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, with loss and reliability before and after on the rows it was fitted on.

    Attributes:
        value: None where no temperature in the range is best.
        rows: how many it was fitted on.
    """

    value: float | None
    rows: int
    before: Calibrated
    after: Calibrated | None


@dataclass(frozen=True)
class Measures:
    """The numbers of a report.

    Attributes:
        rows, classes: how many there are.
        counted: rows (decisions) that count; the others are
        ignored: by their label, or
        broken: without a finite loss.
        loss, accuracy: means over those that count.
        floor: with soft labels, the entropy of the labels, which the loss cannot undercut.
        all_right: with sigmoid, the share of rows without any wrong decision.
        probabilities, outcomes: predictions in [0, 1], and whether they came true, or with soft labels the share: what
            calibration is judged by.
        right: whether each of these predictions is right.
    """

    rows: int
    classes: int
    counted: int
    ignored: int
    broken: int
    loss: float
    accuracy: float
    floor: float | None
    all_right: float | None
    by_class: ByClass
    confusion: Confusion
    probabilities: Array
    outcomes: Array
    right: Array
    temperature: Temperature


def temperature_of(
    slope: Callable[[float], float], at: Callable[[float], tuple[Array, Array, Array]], rows: int
) -> Temperature:
    """Fits a temperature.

    Args:
        slope: of the mean loss in the inverse temperature, at a temperature.
        at: losses, probabilities and outcomes at a temperature.
        rows: how many they are of.
    """

    def calibrated(temperature: float) -> Calibrated:
        losses, probabilities, outcomes = at(temperature)
        return Calibrated(float(losses.mean(dtype=np.float64)), equal_width(probabilities, outcomes))

    value = fit_temperature(slope)
    return Temperature(value, rows, calibrated(1.0), None if value is None else calibrated(value))


def shares(part: Array, whole: Array) -> Floats:
    """part / whole, NaN where there is nothing of the whole."""
    out: Floats = np.full(len(whole), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
