"""The oracle: softmax cross-entropy and its analytic gradients in extended precision, written from the formula alone.

Nothing of the library is used here. Everything is an `np.longdouble`, straightforward and slow. The leading class is
left out of the sum, so that a row that is right with a margin of 60 keeps its digits here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Real = np.longdouble

# Significant bits and the exponent of the smallest subnormal number.
_FORMATS = {"float64": (53, -1074), "float32": (24, -149), "bfloat16": (8, -133), "float16": (11, -24)}
_SMALLEST_NORMAL = {"float64": -1022, "float32": -126, "bfloat16": -126, "float16": -14}


def extended(array: Any) -> np.ndarray:
    """The same numbers in extended precision; every dtype of the library fits without rounding."""
    array = np.asarray(array)
    return array.astype(np.float64).astype(Real) if array.dtype.name in ("bfloat16", "float16") else array.astype(Real)


def ulp(x: Any, dtype: str) -> np.ndarray:
    """The distance of neighbouring numbers of `dtype` at |x|."""
    bits, least = _FORMATS[dtype]
    x = extended(x)
    exponent = np.where(x == 0, least, np.frexp(x)[1].astype(np.int64) - bits)
    return np.ldexp(Real(1), np.maximum(exponent, least).astype(np.int32))


def is_normal(x: Any, dtype: str) -> np.ndarray:
    """Whether x is a normal number of `dtype`."""
    return np.abs(extended(x)) >= np.ldexp(Real(1), _SMALLEST_NORMAL[dtype])


def ulps(result: Any, truth: Any, dtype: str) -> np.ndarray:
    """How far `result` is from `truth`, in units of the last place of `truth`. Equal infinities and NaNs: 0 apart."""
    result, truth = extended(result), extended(truth)
    same = (result == truth) | (np.isnan(result) & np.isnan(truth))
    with np.errstate(invalid="ignore"):
        distance = np.abs(result - truth) / ulp(np.where(np.isfinite(truth), truth, 1), dtype)
    return np.where(same, Real(0), np.where(np.isnan(distance), Real(np.inf), distance))


@dataclass
class Statistics:
    """Of rows of logits z [rows, C]."""

    top: np.ndarray
    lead: np.ndarray  # the class that leads
    rest: np.ndarray  # Σ_{k ≠ lead} e^(z_k - top)
    log_sum: np.ndarray  # log Σ_k e^(z_k - top)
    lse: np.ndarray
    surprise: np.ndarray  # lse - z_k, [rows, C]
    p: np.ndarray
    entropy: np.ndarray


def statistics(z: np.ndarray) -> Statistics:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lead = z.argmax(axis=-1)
        top = np.take_along_axis(z, lead[:, None], -1)
        gap = top - z
        e = np.exp(-gap)
        others = e.copy()
        np.put_along_axis(others, lead[:, None], 0, -1)
        rest = others.sum(axis=-1)
        log_sum = np.log1p(rest)
        p = e / (1 + rest)[:, None]
        surprise = gap + log_sum[:, None]
        entropy = np.where(p == 0, 0, p * surprise).sum(axis=-1)
    return Statistics(top[:, 0], lead, rest, log_sum, top[:, 0] + log_sum, surprise, p, entropy)


@dataclass
class Truth:
    """Loss, statistics per row and gradients; arrays in the shapes of the arguments."""

    loss: Any
    rows: np.ndarray
    lse: np.ndarray
    entropy: np.ndarray
    argmax: np.ndarray
    denominator: Any
    logits_grad: np.ndarray
    logits_grad_terms: np.ndarray  # Σ of the magnitudes whose differences the gradient is
    target_grad: np.ndarray | None  # of soft labels, or of TopK's values
    class_weight_grad: np.ndarray
    sample_weight_grad: np.ndarray


def times(factor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """factor·x with 0·inf = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(factor == 0, Real(0), factor * x)


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = 1.0,
) -> Truth:
    """`labels`: class indices, soft targets of the logits' shape, or a pair (indices, values) of top-k targets.

    Gradients are of Σ upstream·loss.
    """
    x = np.moveaxis(extended(logits), axis, -1)
    batch, classes = x.shape[:-1], x.shape[-1]
    x = x.reshape(-1, classes)
    n = len(x)
    v = np.ones(classes, Real) if class_weight is None else extended(class_weight)
    s = np.ones(n, Real) if sample_weight is None else extended(np.broadcast_to(sample_weight, batch)).reshape(n)
    eps, zeta, row = Real(label_smoothing), Real(z_loss), np.arange(n)

    # the target: b on the class y, and a measure v·t with c in front of it
    indices = None
    if isinstance(labels, tuple):
        k = labels[0].shape[-1]
        indices, values = labels[0].reshape(n, k), extended(labels[1]).reshape(n, k)
        soft = np.zeros((n, classes), Real)
        for column in range(indices.shape[1]):
            soft[row, indices[:, column]] += values[:, column]
    elif np.asarray(labels).dtype.kind in "iu":
        soft = None
    else:
        soft = np.moveaxis(extended(labels), axis, -1).reshape(n, classes)
    dropped = s == 0
    if soft is None:
        y = np.asarray(labels).reshape(n)
        if ignore_index is not None:
            dropped = dropped | (y == ignore_index)
        y = np.where(dropped, 0, y).astype(np.int64)
        hot = np.zeros((n, classes), Real)
        hot[row, y] = 1
        uniform = np.broadcast_to(v / classes, (n, classes))
        b, c, w, mass = (1 - eps) * v[y], eps * np.ones(n, Real), uniform, v[y]
    else:
        y, hot = np.zeros(n, np.int64), np.zeros((n, classes), Real)
        b, c, w, mass = (
            np.zeros(n, Real),
            np.ones(n, Real),
            v * ((1 - eps) * soft + eps / classes),
            (v * soft).sum(axis=-1),
        )

    x = np.where(dropped[:, None], Real(0), x)
    z, slope = x, np.ones_like(x)
    if softcap is not None:
        z = softcap * np.tanh(x / Real(softcap))
        with np.errstate(over="ignore"):
            slope = 1 / np.cosh(x / Real(softcap)) ** 2
    z, slope = z / Real(temperature), slope / Real(temperature)
    a = statistics(z)

    kept = np.where(dropped, Real(0), Real(1))
    nll = a.surprise[row, y]
    unweighted = times(b, nll) + times(c, times(w, a.surprise).sum(axis=-1)) + (times(zeta, a.lse**2) if z_loss else 0)
    per_row = kept * s * unweighted
    denominator = Real(1)
    if reduction == "mean":
        denominator = (kept * s * mass).sum() if normalizer is None else Real(normalizer)
    share = Real(0) if denominator == 0 else 1 / denominator
    if reduction == "none":
        g, loss = kept * extended(np.broadcast_to(upstream, batch)).reshape(n), per_row.reshape(batch)
    else:
        g, loss = kept * Real(upstream) * share, per_row.sum() * share

    # dz_k = A·p_k - b·[k = y] - c·w_k, and for the leading class the same with p = 1 - q, so that nothing cancels
    two_zeta_lse = 2 * zeta * a.lse if z_loss else np.zeros(n, Real)
    total = b + c * w.sum(axis=-1) + two_zeta_lse
    dz = total[:, None] * a.p - b[:, None] * hot - c[:, None] * w
    others = w.copy()
    others[row, a.lead] = 0
    q = a.rest / (1 + a.rest)
    dz[row, a.lead] = (b - b * hot[row, a.lead]) + c * others.sum(axis=-1) + two_zeta_lse - total * q
    dx = (g * s)[:, None] * dz * slope
    dx = np.where((g * s)[:, None] == 0, Real(0), dx)
    terms = np.abs(total)[:, None] * a.p + np.abs(b)[:, None] * hot + np.abs(c[:, None] * w)
    terms = times(np.abs(g * s)[:, None] * slope, terms)

    # soft targets and weights, the mean's own denominator included
    through_mean = Real(upstream) * loss * share if reduction == "mean" and normalizer is None else Real(0)
    target_grad = None
    if soft is not None:
        full = times((g * s)[:, None] * (1 - eps) * v, a.surprise) - through_mean * (kept * s)[:, None] * v
        if indices is None:
            target_grad = np.moveaxis(full.reshape(*batch, classes), -1, axis)
        else:
            target_grad = full[row[:, None], indices].reshape(labels[1].shape)
    unsmoothed = hot if soft is None else soft
    share_of_class = (1 - eps) * unsmoothed + eps / classes
    class_weight_grad = (
        times((g * s)[:, None] * share_of_class, a.surprise) - through_mean * (kept * s)[:, None] * unsmoothed
    )
    sample_weight_grad = g * unweighted - through_mean * kept * mass
    return Truth(
        loss=loss,
        rows=per_row.reshape(batch),
        lse=a.lse.reshape(batch),
        entropy=a.entropy.reshape(batch),
        argmax=a.lead.reshape(batch),
        denominator=denominator,
        logits_grad=np.moveaxis(dx.reshape(*batch, classes), -1, axis),
        logits_grad_terms=np.moveaxis(terms.reshape(*batch, classes), -1, axis),
        target_grad=target_grad,
        class_weight_grad=class_weight_grad.sum(axis=0),
        sample_weight_grad=sample_weight_grad.reshape(batch),
    )


def softmax(logits: Any, axis: int = -1) -> np.ndarray:
    x = np.moveaxis(extended(logits), axis, -1)
    p = statistics(x.reshape(-1, x.shape[-1])).p
    return np.moveaxis(p.reshape(x.shape), -1, axis)


def log_softmax(logits: Any, axis: int = -1) -> np.ndarray:
    x = np.moveaxis(extended(logits), axis, -1)
    surprise = statistics(x.reshape(-1, x.shape[-1])).surprise
    return np.moveaxis(-surprise.reshape(x.shape), -1, axis)


def logsumexp(logits: Any, axis: int = -1) -> np.ndarray:
    x = np.moveaxis(extended(logits), axis, -1)
    return statistics(x.reshape(-1, x.shape[-1])).lse.reshape(x.shape[:-1])
