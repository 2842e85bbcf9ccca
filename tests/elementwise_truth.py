"""The oracle of the losses of single numbers, from the formulas alone, in extended precision.

Nothing of the library is used here. Losses and gradients are written by probabilities, p and 1 - p each computed where
it is small, so that a loss of e^-88 and a gradient of e^-700 keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from truth import Real, extended, times


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), also where it is small."""
    with np.errstate(over="ignore", under="ignore"):
        e = np.exp(-np.abs(x))
        return np.where(x > 0, 1, e) / (1 + e)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x)."""
    with np.errstate(over="ignore", under="ignore"):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def power(base: np.ndarray, exponent: Real) -> np.ndarray:
    return np.ones_like(base) if exponent == 0 else base**exponent


@dataclass
class Parts:
    """Of each element: the loss of a positive and of a negative label, and their slopes."""

    positive: np.ndarray
    negative: np.ndarray
    positive_slope: np.ndarray
    negative_slope: np.ndarray


def logistic(x: np.ndarray) -> Parts:
    return Parts(softplus(-x), softplus(x), -sigmoid(-x), sigmoid(x))


def modulated(x: np.ndarray, gamma_pos: Any, gamma_neg: Any, clip: Any) -> Parts:
    """(1 - p)^γ₊·(-log p), and q^γ₋·(-log(1 - q)) with q = max(p - clip, 0)."""
    g, h, c = Real(gamma_pos), Real(gamma_neg), Real(clip)
    p, wrong = sigmoid(x), sigmoid(-x)
    of_wrong = power(wrong, g)
    positive = times(of_wrong, softplus(-x))
    positive_slope = -of_wrong * (g * times(p, softplus(-x)) + wrong)
    if c == 0:
        of_p = power(p, h)
        return Parts(positive, times(of_p, softplus(x)), positive_slope, of_p * (h * times(wrong, softplus(x)) + p))
    live = ~(p <= c)
    q = np.where(live, p - c, Real(1) / 2)
    surprise = np.where(q < 0.5, -np.log1p(-q), -np.log(wrong + c))
    negative = np.where(live, power(q, h) * surprise, 0)
    slope = (power(q, h) / (wrong + c) + h * power(q, h) / q * surprise) * p * wrong
    return Parts(positive, negative, positive_slope, np.where(live, slope, 0))


@dataclass
class Truth:
    """Loss, loss of each element, and gradients of Σ upstream·loss in the shapes of the arguments."""

    loss: Any
    each: np.ndarray
    denominator: Any
    logits_grad: np.ndarray
    logits_grad_terms: np.ndarray  # Σ of the magnitudes whose differences the gradient is
    labels_grad: np.ndarray
    pos_weight_grad: np.ndarray | None
    class_weight_grad: np.ndarray | None
    sample_weight_grad: np.ndarray | None


def reduced_to(shape: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    """The sum of x over what was broadcast from `shape`."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    kept = tuple(i for i, size in enumerate(shape) if size == 1 and x.shape[i] != 1)
    return x.sum(axis=kept, keepdims=True)


def elementwise(
    kind: str,
    logits: Any,
    labels: Any,
    *,
    alpha: float | None = None,
    gamma_pos: float = 0.0,
    gamma_neg: float = 0.0,
    clip: float = 0.0,
    over: float = 1.0,
    under: float = 1.0,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = 1.0,
) -> Truth:
    """`kind`: "sigmoid", "modulated", "signed" (labels in {-1, 1}) or "pinball"."""
    x, y = extended(logits), extended(labels)
    ignored = np.zeros(x.shape, bool) if ignore_index is None else y == ignore_index
    s = np.ones((), Real) if sample_weight is None else extended(sample_weight)
    given = s.shape
    if sample_weight is not None and s.ndim != x.ndim:
        s = s[..., None]
    v = np.ones((), Real) if class_weight is None else extended(class_weight)
    pos = np.ones((), Real) if pos_weight is None else extended(pos_weight)
    s, v, pos_full = (np.broadcast_to(a, x.shape) for a in (s, v, pos))
    dropped = ignored | ((s * v == 0) & ~np.isfinite(x))
    kept = np.where(ignored, Real(0), Real(1))
    x, y = np.where(dropped, Real(0), x), np.where(ignored, Real(0), y)

    with np.errstate(invalid="ignore"):
        if kind == "pinball":
            d = x - y
            slope = np.where(d > 0, Real(over), np.where(d < 0, -Real(under), np.where(d == 0, Real(0), d)))
            unweighted, dx, terms = times(slope, d), slope, np.abs(slope)
            of_label, of_pos = -slope, np.zeros_like(x)
        else:
            share = Real(1) if alpha is None else Real(alpha)
            against = Real(1) if alpha is None else 1 - Real(alpha)
            eps = Real(label_smoothing)
            t = (1 + y) / 2 if kind == "signed" else (1 - eps) * y + eps / 2
            # not 1 - t, which cancels
            rest = (1 - y) / 2 if kind == "signed" else (1 - eps) * (1 - y) + eps / 2
            part = modulated(x, gamma_pos, gamma_neg, clip) if kind == "modulated" else logistic(x)
            a, b = share * pos_full * t, against * rest
            unweighted = times(a, part.positive) + times(b, part.negative)
            dx = times(a, part.positive_slope) + times(b, part.negative_slope)
            terms = np.abs(times(a, part.positive_slope)) + np.abs(times(b, part.negative_slope))
            scale = Real(1) / 2 if kind == "signed" else 1 - eps
            of_label = scale * (times(share * pos_full, part.positive) - times(against * kept, part.negative))
            of_pos = times(share * t, part.positive)

    w = kept * s * v
    each = times(w, unweighted)
    denominator = Real(1)
    if reduction == "mean":
        denominator = (kept * s).sum() if normalizer is None else Real(normalizer)
    part_of_all = Real(0) if denominator == 0 else 1 / denominator
    if reduction == "none":
        g, loss = np.broadcast_to(extended(upstream), x.shape), each
    else:
        g, loss = np.broadcast_to(Real(upstream) * part_of_all, x.shape), each.sum() * part_of_all
    through_mean = Real(upstream) * loss * part_of_all if reduction == "mean" and normalizer is None else Real(0)
    of_sample = g * times(kept * v, unweighted) - through_mean * kept
    return Truth(
        loss=loss,
        each=each,
        denominator=denominator,
        logits_grad=times(w, g * dx),
        logits_grad_terms=np.abs(times(w, g * terms)),
        labels_grad=times(w, g * of_label),
        pos_weight_grad=None if pos_weight is None else reduced_to(pos.shape, times(w, g * of_pos)),
        class_weight_grad=None if class_weight is None else reduced_to(v.shape[-1:], g * times(kept * s, unweighted)),
        sample_weight_grad=None
        if sample_weight is None
        else reduced_to(given if len(given) == x.ndim else (*given, 1), of_sample).reshape(given),
    )


def from_probabilities(
    probs: Any,
    labels: Any,
    *,
    clamp: float,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = 1.0,
) -> tuple[Any, np.ndarray, np.ndarray]:
    """(loss, loss of each, gradient to the probabilities) of binary cross-entropy, logarithms of max(p, clamp)."""
    p, y = extended(probs), extended(labels)
    ignored = np.zeros(p.shape, bool) if ignore_index is None else y == ignore_index
    y, p = np.where(ignored, Real(0), y), np.where(ignored, Real(1) / 2, p)
    pos = Real(1) if pos_weight is None else extended(pos_weight)
    w = np.where(ignored, Real(0), Real(1))
    s = np.ones((), Real) if sample_weight is None else extended(sample_weight)
    if s.ndim and s.ndim != p.ndim:
        s = s[..., None]
    mass = np.broadcast_to(w * s, p.shape)
    w = mass if class_weight is None else mass * extended(class_weight)
    high, low = np.maximum(p, Real(clamp)), np.maximum(1 - p, Real(clamp))
    log_low = np.where(p < 0.5, np.log1p(-np.minimum(p, Real(1) / 2)), np.log(low))
    each = times(w, times(pos * y, -np.log(high)) + times(1 - y, -log_low))
    dp = times(w, -times(pos * y, 1 / high) + times(1 - y, 1 / low))
    return (
        *reduce(each, mass.sum(), reduction, normalizer),
        gradient_of(each, mass, dp, reduction, normalizer, upstream),
    )


def reduce(each: np.ndarray, mass: Any, reduction: str, normalizer: Any) -> tuple[Any, np.ndarray]:
    if reduction == "none":
        return each, each
    divisor = Real(1) if reduction == "sum" else Real(normalizer or mass)
    return each.sum() * (1 / divisor if divisor else Real(0)), each


def gradient_of(each: Any, mass: Any, dp: Any, reduction: str, normalizer: Any, upstream: Any) -> np.ndarray:
    if reduction == "none":
        return dp * extended(upstream)
    divisor = Real(1) if reduction == "sum" else Real(normalizer or mass.sum())
    return dp * Real(upstream) * (1 / divisor if divisor else Real(0))


def divergence(
    predictions: Any,
    targets: Any,
    *,
    clamp: float,
    log_predictions: bool = False,
    log_targets: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(divergence of each row, its gradient to the predictions), classes along the last axis."""
    q, t = extended(predictions), extended(targets)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_t = t if log_targets else np.log(t)
        t = np.exp(t) if log_targets else t
        log_q = q if log_predictions else np.log(np.maximum(q, Real(clamp)))
        rows = times(t, np.where(t == 0, 0, log_t) - log_q).sum(axis=-1)
        slope = -t if log_predictions else -t / np.maximum(q, Real(clamp))
    return rows, slope


def row_function(kind: str, nll: np.ndarray, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """Focal and poly loss of a row as a function of the nll of its label, and the slope by the nll."""
    p, wrong = np.exp(-nll), -np.expm1(-nll)
    if kind == "poly":
        return nll + Real(amount) * wrong, (1 + Real(amount)) - Real(amount) * wrong
    g = Real(amount)
    if g == 0:
        return nll, np.ones_like(nll)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = wrong**g + g * wrong ** (g - 1) * times(p, nll)
    return times(wrong**g, nll), np.where(wrong == 0, 0, slope)
