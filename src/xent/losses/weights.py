"""Weights and normalizers as numbers that a kernel can use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import value_error
from ..kernels.native import ordered_sum
from ..problem import Shape, check_class_weight, check_sample_weight

# Products of three such weights are normal numbers of float32.
SMALLEST, LARGEST = 1e-12, 1e12


def check_normalizer(normalizer: Any, reduction: str) -> float:
    """The normalizer as a number."""
    if reduction != "mean":
        raise value_error(
            "normalizer",
            f"None with reduction={reduction!r}",
            repr(normalizer),
            "It replaces the denominator of the mean.",
        )
    try:
        number = float("nan") if isinstance(normalizer, str) else float(normalizer)
    except (OverflowError, TypeError, ValueError):
        number = float("nan")
    if not SMALLEST <= number < float("inf"):
        expected = f"a number of at least {SMALLEST:g}" if 0.0 < number < 1.0 else "a positive finite number"
        raise value_error("normalizer", expected, repr(normalizer), "Pass the global number of rows.")
    return number


def flat_class_weight(weight: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Class weights as contiguous float64."""
    check_class_weight(weight.shape, classes)
    return finite_weights("class_weight", weight)


def flat_sample_weight(weight: NDArray[Any], batch: Shape) -> NDArray[np.float64]:
    """Sample weights as contiguous float64, one a row."""
    check_sample_weight(weight.shape, batch)
    return finite_weights("sample_weight", np.broadcast_to(weight, batch)).reshape(-1)


def finite_weights(argument: str, weight: NDArray[Any]) -> NDArray[np.float64]:
    """Weights as float64 in the plain order: 0, or of a size that products of three keep in float32's range."""
    if weight.dtype.kind not in "fiub" and weight.dtype.name != "bfloat16":
        raise value_error(argument, "real numbers", f"dtype {weight.dtype}", "Convert the weights to a float dtype.")
    flat = np.asarray(weight, np.float64, order="C")
    size = flat[flat != 0]
    if not ((size >= SMALLEST) & (size <= LARGEST)).all():
        if not np.isfinite(flat).all():
            raise value_error(argument, "finite numbers", "inf or NaN", "Use weight 0 for what does not count.")
        worst = size[(size < SMALLEST) | (size > LARGEST)][0]
        expected = f"numbers of at least 0: 0, or from {SMALLEST:g} to {LARGEST:g}"
        raise value_error(argument, expected, f"{worst:g}", "Scale the weights.")
    return flat


def usable_or_nan(xp: Any, weight: Any) -> Any:
    """Weights that are known only when compiled code runs: NaN where they would be refused."""
    usable = xp.equal(weight, 0) | ((weight >= SMALLEST) & (weight <= LARGEST))
    return xp.where(usable, weight, xp.nan * xp.ones_like(weight))


def kept_mass(
    shape: Shape, labels: NDArray[Any] | None, sample_weight: NDArray[Any] | None, ignore: float | None
) -> float:
    """Σ s over the elements whose label is not `ignore`; the denominator of an elementwise mean."""
    if ignore is not None and labels is not None:
        kept = labels != ignore
        if sample_weight is None:
            return float(np.count_nonzero(kept))
        return ordered_sum(np.ascontiguousarray(kept * np.asarray(sample_weight, np.float64)))
    size = math.prod(shape)
    if sample_weight is None:
        return float(size)
    return ordered_sum(np.ascontiguousarray(sample_weight, np.float64)) * (size / max(sample_weight.size, 1))
