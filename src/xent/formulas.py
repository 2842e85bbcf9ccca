"""Losses as coefficients of row statistics: the only place where an option becomes a number that a kernel sees.

Per row, for logits z after softcap and temperature, a kernel gives

    lse = log Σ_k exp z_k,     nll = lse - z_y,     u = Σ_k w_k·(lse - z_k),     w_k = v_k·(α·t_k + β)

with v the class weights, t the soft (dense or top-k) target, and the loss is `b·nll + c·u + ζ·lse²`. Everything here
works on Python numbers and on arrays of any framework alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .options import SoftmaxOptions
from .problem import Target


class Coefficients(NamedTuple):
    """`b`, `c`, `zeta`: a number, or one per row. `alpha`, `beta`: of the target measure, numbers."""

    b: Any
    c: Any
    zeta: Any
    alpha: float
    beta: float


def softmax_coefficients(
    options: SoftmaxOptions, target: Target, classes: int, *, sample_weight: Any = 1.0, label_weight: Any = 1.0
) -> Coefficients:
    """The coefficients of softmax cross-entropy.

    Args:
        sample_weight: s_i, a number or one per row.
        label_weight: the class weight of the row's label; used for index targets only.
    """
    smoothing = options.label_smoothing
    zeta = options.z_loss * sample_weight
    if target == "index":
        b = (1.0 - smoothing) * sample_weight * label_weight
        return Coefficients(b, smoothing * sample_weight, zeta, 0.0, 1.0 / classes)
    return Coefficients(0.0, sample_weight, zeta, 1.0 - smoothing, smoothing / classes)


def uses_measure(options: SoftmaxOptions, target: Target) -> bool:
    """Whether `u` enters the loss at all."""
    return target != "index" or options.label_smoothing != 0.0


def mean_scale(denominator: float) -> float:
    """1 / denominator, and 0 for the mean of nothing."""
    return 1.0 / denominator if denominator != 0.0 else 0.0


# A loss that is a function of the nll of a row's label: (namespace, nll) to (value, slope).
RowFunction = Callable[[Any, Any], tuple[Any, Any]]


def focal(xp: Any, nll: Any, gamma: float) -> tuple[Any, Any]:
    """(1 - p)^γ·nll with p = e^-nll, and its derivative by the nll; both made from 1 - p, which stays accurate."""
    finite = xp.where(xp.isfinite(nll), nll, xp.zeros_like(nll))  # nll·e^-nll vanishes at inf
    wrong = xp.where(xp.isfinite(nll), -xp.expm1(-finite), xp.ones_like(nll))
    safe = xp.where(xp.equal(wrong, 0), xp.ones_like(wrong), wrong)
    factor = safe**gamma if gamma == 0.0 else xp.where(xp.equal(wrong, 0), xp.zeros_like(wrong), safe**gamma)
    return factor * nll, factor * (1.0 + gamma * (finite / safe) * xp.exp(-nll))


def poly(xp: Any, nll: Any, epsilon: float) -> tuple[Any, Any]:
    """nll + ε·(1 - p) with p = e^-nll, and its derivative by the nll."""
    wrong = -xp.expm1(-nll)
    return nll + epsilon * wrong, (1.0 + epsilon) - epsilon * wrong
