"""Whether probabilities can be taken at their word: reliability, expected calibration error, and a fitted temperature.

Sums are of float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import value_error

BINS = 15
TEMPERATURES = (0.01, 100.0)
PRECISION = 1e-6  # relative, of a fitted temperature

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins by their probability.

    Attributes:
        edges: of the bins, ascending, one more than there are bins.
        counts: predictions in each bin.
        predicted, observed: the mean probability, and the share of predictions that came true, in each bin; NaN where
            there are none.
    """

    edges: Floats
    counts: NDArray[np.int64]
    predicted: Floats
    observed: Floats

    @property
    def error(self) -> float:
        """The expected calibration error, `Σ_b n_b/N·|observed_b - predicted_b|`; NaN without predictions."""
        filled = self.counts > 0
        gaps = np.abs(self.observed[filled] - self.predicted[filled])
        return float(np.average(gaps, weights=self.counts[filled])) if filled.any() else math.nan


def equal_width(probabilities: Array, outcomes: Array, bins: int = BINS) -> Reliability:
    """Predictions in bins (0, 1/B], (1/B, 2/B], …, of which the first holds 0, too.

    Args:
        probabilities: [N], what was predicted, in [0, 1].
        outcomes: [N], whether it came true: booleans, or shares in [0, 1].
        bins: B, how many.

    Returns:
        The bins, some of which may be empty.

    Raises:
        ValueError: probabilities outside [0, 1], or of another shape than the outcomes.

    Example:
        >>> import numpy as np
        >>> from xent.advisor.calibration import equal_width
        >>> round(equal_width(np.array([0.9, 0.9, 0.6]), np.array([True, False, True])).error, 6)
        0.4

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; Guo et al. 2017
    (arXiv:1706.04599), who use 15 bins.
    """
    _check(probabilities, outcomes)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return _reliability(np.clip(np.searchsorted(edges, probabilities) - 1, 0, bins - 1), edges, probabilities, outcomes)


def equal_mass(probabilities: Array, outcomes: Array, bins: int = BINS) -> Reliability:
    """Predictions in bins of as nearly equal numbers as can be, in ascending order of probability.

    Equal probabilities may lie on both sides of an edge: they are then split in the order in which they came.

    Args:
        probabilities, outcomes, bins: as in `equal_width`.

    Returns:
        The bins; where there are fewer predictions than bins, as many bins as predictions.

    Raises:
        ValueError: as `equal_width`.

    Example:
        >>> import numpy as np
        >>> from xent.advisor.calibration import equal_mass
        >>> equal_mass(np.array([0.9, 0.6, 0.8, 0.7]), np.array([True, False, True, True]), bins=2).observed
        array([0.5, 1. ])

    Source: Nixon et al. 2019, "Measuring calibration in deep learning" (arXiv:1904.01685).
    """
    _check(probabilities, outcomes)
    count = len(probabilities)
    bins = max(1, min(bins, count))
    order = np.argsort(probabilities, kind="stable")
    bin_of = np.empty(count, np.int64)
    bin_of[order] = np.arange(count) * bins // max(1, count)
    last = np.searchsorted(bin_of[order], np.arange(bins), side="right") - 1
    edges = np.append(0.0, probabilities[order][last]) if count else np.array([0.0, 1.0])
    return _reliability(bin_of, edges.astype(np.float64), probabilities, outcomes)


def fit_temperature(slope: Callable[[float], float]) -> float | None:
    """The temperature T that minimises the mean negative log-likelihood of logits divided by T.

    With β = 1/T the loss is convex in β, and of one sign is its slope below the minimum and above it. For softmax and
    a target t of mass m the slope is `(nll - m·entropy)/β`: at the best temperature loss and entropy agree.

    Args:
        slope: for a temperature the slope of the mean loss in β.

    Returns:
        T to about six digits, or None where the best one lies outside [0.01, 100]: where every prediction is right, or
        the logits tell nothing.

    Raises:
        ValueError: the slope is not a number.

    Example:
        >>> from xent.advisor.calibration import fit_temperature
        >>> round(fit_temperature(lambda temperature: 1 / temperature - 0.5), 5)
        2.0

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599).
    """

    def at(log: float) -> float:
        found = slope(math.exp(log))
        if math.isnan(found):
            raise value_error("slope", "a number", f"NaN at temperature {math.exp(log):g}", "Leave such rows out.")
        return found

    low, high = map(math.log, TEMPERATURES)
    at_low, at_high = at(low), at(high)
    if not at_low > 0 > at_high:  # too sharp below the best temperature, too flat above it
        return None
    middle, side = low, 0
    while True:  # regula falsi as modified at Illinois: the end that stays put twice counts half
        before, middle = middle, (low * at_high - high * at_low) / (at_high - at_low)
        value = at(middle)
        if value == 0 or abs(middle - before) < PRECISION:
            return math.exp(middle)
        if value > 0:
            low, at_low = middle, value
            at_high /= 2 if side > 0 else 1
        else:
            high, at_high = middle, value
            at_low /= 2 if side < 0 else 1
        side = 1 if value > 0 else -1


def _check(probabilities: Array, outcomes: Array) -> None:
    if probabilities.shape != outcomes.shape or probabilities.ndim != 1:
        got = f"shapes {probabilities.shape} and {outcomes.shape}"
        raise value_error("outcomes", "one for each of a row of probabilities", got, "Flatten both alike.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise value_error("probabilities", "numbers in [0, 1]", "others", "Pass the softmax or sigmoid of the logits.")


def _reliability(bin_of: NDArray[np.int64], edges: Floats, probabilities: Array, outcomes: Array) -> Reliability:
    bins = len(edges) - 1
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(bin_of, weights=probabilities, minlength=bins) / counts
        observed = np.bincount(bin_of, weights=outcomes, minlength=bins) / counts
    return Reliability(edges, counts, predicted, observed)
