"""Losses of probabilities on NumPy arrays, computed in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels import reference
from ...losses.labels import check_index
from ...losses.probabilities import check_probabilities, clamp_value
from ...losses.weights import check_normalizer, flat_class_weight, flat_sample_weight
from ...options import ElementwiseOptions, SoftmaxOptions
from ...problem import SoftmaxProblem, check_logits_dtype, check_same_shape, softmax_axis, softmax_problem
from . import gradients
from .arrays import Array, as_array
from .elementwise_loss import elementwise_operands


def cross_entropy_from_probs(
    probs: Any,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    clamp: Any,
    normalizer: Any,
    validate: bool,
) -> Any:
    x, y = as_array("probs", probs), as_array("labels", labels)
    problem = softmax_problem(x.shape, x.dtype.name, options.axis, y.shape, y.dtype.name, False, "probs")
    floor = clamp_value(clamp, x.dtype.name)
    weights = _row_weights(problem, class_weight, sample_weight)
    alive = np.ones(problem.batch_shape, bool)  # rows that count; the others may hold anything
    if weights["sample_weight"] is not None:
        alive &= weights["sample_weight"] != 0
    if problem.target == "index" and options.ignore_index is not None:
        alive &= y != options.ignore_index
    wide = np.where(np.expand_dims(alive, problem.axis), x.astype(np.float64), 1.0)
    if validate:
        check_probabilities("probs", wide, x.dtype.name, log=False)
        check_index(y, problem, options.ignore_index)
    target = y if problem.target == "index" else y.astype(np.float64)
    scale = None if normalizer is None else check_normalizer(normalizer, options.reduction)

    total = reference.cross_entropy_of_probs(np, problem, options, wide, target, floor, **weights, normalizer=scale)
    value = _typed(total, problem.accumulate)
    p = np.maximum(wide, floor)
    gradients.record(value, probs, lambda: _slope_of_logs(problem, options, target, weights, scale, p, x.dtype))
    return value


def _slope_of_logs(
    problem: SoftmaxProblem,
    options: SoftmaxOptions,
    target: Array,
    weights: dict[str, Any],
    scale: float | None,
    p: Array,
    dtype: np.dtype[Any],
) -> Array:
    """-w·t / p, w being what the reduction makes of a row."""
    v = 1.0 if weights["class_weight"] is None else weights["class_weight"]
    s = 1.0 if weights["sample_weight"] is None else weights["sample_weight"][..., None]
    if problem.target == "index":  # an ignored label may be a class
        kept = target[..., None] != (-1 if options.ignore_index is None else options.ignore_index)
        soft = ((target[..., None] == np.arange(problem.classes)) & kept) * v
        outside = (target < 0) | (target >= problem.classes)
        soft = np.where(outside[..., None] & kept, np.nan, soft)
    else:
        soft = np.moveaxis(target, problem.axis, -1) * v
    soft = soft * s
    factor = 1.0
    if options.reduction == "mean":
        mass = float(np.sum(soft)) if scale is None else scale
        factor = 1.0 / mass if mass else 0.0
    return _slope(np.moveaxis(soft * -factor, -1, problem.axis), p, dtype)


def _slope(share: Array, p: Array, dtype: np.dtype[Any]) -> Array:
    """share / p, exactly 0 where the share is; a slope beyond half precision is infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(share == 0, 0.0, share / p).astype(dtype)


def _row_weights(problem: SoftmaxProblem, class_weight: Any, sample_weight: Any) -> dict[str, Any]:
    v = None if class_weight is None else flat_class_weight(as_array("class_weight", class_weight), problem.classes)
    s = None
    if sample_weight is not None:
        s = flat_sample_weight(as_array("sample_weight", sample_weight), problem.batch_shape).reshape(
            problem.batch_shape
        )
    return {"class_weight": v, "sample_weight": s}


def _typed(value: Any, dtype: str) -> Any:
    return np.asarray(value, dtype)[()]


def binary_cross_entropy_from_probs(
    probs: Any, labels: Any, options: ElementwiseOptions, *, clamp: Any, validate: bool, normalizer: Any, **weights: Any
) -> Any:
    x = as_array("probs", probs)
    check_logits_dtype(x.dtype.name, "probs")
    scale = 1.0
    if normalizer is not None:
        normalizer = check_normalizer(normalizer, options.reduction)
    floor = clamp_value(clamp, x.dtype.name)
    y, pos, factor, mass, accumulate = elementwise_operands(x, labels, options, validate, weights)
    wide = np.where(factor == 0, 0.5, x.astype(np.float64))  # what does not count may hold anything
    if validate:
        check_probabilities("probs", wide, x.dtype.name, log=False)
    p, q = np.maximum(wide, floor), np.maximum(1.0 - wide, floor)
    a, b = pos * y * factor, (1.0 - y) * factor
    rows = reference.binary_of_probs(np, wide, a, b, floor)
    if options.reduction == "mean":
        total = float(np.sum(mass)) if normalizer is None else normalizer
        scale = 1.0 / total if total else 0.0
    value = _typed(rows if options.reduction == "none" else np.sum(rows) * scale, accumulate)
    dtype = x.dtype
    gradients.record(value, probs, lambda: _slope(b * scale, q, dtype) - _slope(a * scale, p, dtype))
    return value


def kl_divergence(
    predictions: Any,
    targets: Any,
    options: SoftmaxOptions,
    *,
    log_predictions: bool,
    log_targets: bool,
    sample_weight: Any,
    clamp: Any,
    normalizer: Any,
    validate: bool,
) -> Any:
    x, y = as_array("predictions", predictions), as_array("targets", targets)
    axis = softmax_axis(x.shape, x.dtype.name, options.axis, "predictions")
    softmax_axis(y.shape, y.dtype.name, options.axis, "targets")
    check_same_shape("targets", y.shape, x.shape, "predictions")
    q, t = (np.moveaxis(a.astype(np.float64), axis, -1) for a in (x, y))
    batch = x.shape[:axis] + x.shape[axis + 1 :]
    s: Any = 1.0
    if sample_weight is not None:
        s = flat_sample_weight(as_array("sample_weight", sample_weight), batch).reshape(batch)
        # rows without weight may hold anything
        q, t = (
            np.where(s[..., None] == 0, 0.0 if log else 1.0, a) for a, log in ((q, log_predictions), (t, log_targets))
        )
    if validate:
        check_probabilities("predictions", q, x.dtype.name, log_predictions)
        check_probabilities("targets", t, y.dtype.name, log_targets)
    floor = clamp_value(clamp, x.dtype.name)
    with np.errstate(invalid="ignore"):  # 0·inf is 0
        rows, t = reference.kl_rows(np, q, t, floor, log_q=log_predictions, log_t=log_targets)
    rows = np.where(s == 0, 0.0, s * rows)
    scale = 1.0
    if normalizer is not None:
        normalizer = check_normalizer(normalizer, options.reduction)
    if options.reduction == "mean":
        divisor = float(np.sum(s * np.ones(batch))) if normalizer is None else normalizer
        scale = 1.0 / divisor if divisor else 0.0
    accumulate = "float64" if x.dtype == np.float64 else "float32"
    value = _typed(rows if options.reduction == "none" else np.sum(rows) * scale, accumulate)

    def slope() -> Any:
        down = -t * (np.asarray(s)[..., None] * scale)
        return np.moveaxis(_slope(down, np.ones(()) if log_predictions else np.maximum(q, floor), x.dtype), -1, axis)

    gradients.record(value, predictions, slope)
    return value
