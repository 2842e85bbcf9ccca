"""Losses of probabilities in a framework's own operations: differentiable in every argument, as often as wanted.

`xp` is the framework's namespace as the reference takes it, with the conversions of its front-end. They are computed in
float64 where there is any, as on NumPy, so that all frameworks agree.
"""

from __future__ import annotations

from typing import Any

from ..kernels import reference
from ..losses.elementwise import bad_label
from ..losses.labels import check_index
from ..losses.probabilities import check_probabilities, clamp_value
from ..losses.weights import finite_weights
from ..options import ElementwiseOptions, SoftmaxOptions
from ..problem import (
    check_class_weight,
    check_logits_dtype,
    check_pos_weight,
    check_same_shape,
    check_sample_weight,
    elementwise_problem,
    elementwise_weight_axes,
    last_axis,
    softmax_axis,
    softmax_problem,
)


def _checked(xp: Any, argument: str, p: Any, dtype: str, validate: bool, log: bool = False) -> None:
    if validate and xp.is_readable(p):
        check_probabilities(argument, xp.numpy_of(p).astype("float64"), dtype, log)


def _weight(xp: Any, argument: str, value: Any, like: Any, dtype: str) -> Any:
    weight = xp.as_array(argument, value, like)
    if xp.is_readable(weight):
        finite_weights(argument, xp.numpy_of(weight))
    return xp.astype(weight, dtype)


def cross_entropy_from_probs(
    xp: Any,
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
    y = xp.as_array("labels", labels, probs)
    shape, name = xp.shape(probs), xp.dtype_name(probs)
    problem = softmax_problem(shape, name, options.axis, xp.shape(y), xp.dtype_name(y), False, "probs")
    dtype = xp.widest(probs, problem.accumulate)
    s = None if sample_weight is None else _weight(xp, "sample_weight", sample_weight, probs, dtype)
    if s is not None:
        check_sample_weight(xp.shape(s), problem.batch_shape)
    ignored = None  # rows that may hold anything
    if problem.target == "index" and options.ignore_index is not None:
        ignored = xp.equal(y, options.ignore_index)
    if s is not None:
        ignored = s == 0 if ignored is None else ignored | (s == 0)
    if ignored is not None:
        probs = xp.where(xp.expand_dims(ignored, problem.axis), xp.ones_like(probs), probs)
    _checked(xp, "probs", probs, name, validate)
    if problem.target == "index":
        if validate and xp.is_readable(y):
            check_index(xp.numpy_of(y), problem, options.ignore_index)
        y = xp.astype(y, "int64")
    else:
        y = xp.astype(y, dtype)
    v = None if class_weight is None else _weight(xp, "class_weight", class_weight, probs, dtype)
    if v is not None:
        check_class_weight(xp.shape(v), problem.classes)
    loss = reference.cross_entropy_of_probs(
        xp,
        problem,
        options,
        xp.astype(probs, dtype),
        y,
        clamp_value(clamp, name),
        class_weight=v,
        sample_weight=s,
        normalizer=None if normalizer is None else xp.divisor(normalizer, options.reduction, dtype),
    )
    return xp.astype(loss, problem.accumulate)


def binary_cross_entropy_from_probs(
    xp: Any,
    probs: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    pos_weight: Any,
    class_weight: Any,
    sample_weight: Any,
    clamp: Any,
    normalizer: Any,
    validate: bool,
) -> Any:
    y = xp.as_array("labels", labels, probs)
    shape, name = xp.shape(probs), xp.dtype_name(probs)
    accumulate = elementwise_problem(shape, name, xp.shape(y), xp.dtype_name(y), "probs").accumulate
    dtype = xp.widest(probs, accumulate)
    t = wide = xp.astype(y, dtype)
    kept = xp.ones_like(wide)
    if options.ignore_index is not None:
        ignored = xp.equal(y, options.ignore_index)
        kept, t = (xp.where(ignored, xp.zeros_like(x), x) for x in (kept, wide))
    if validate and xp.is_readable(y):
        read = xp.numpy_of(t)
        if not ((read >= options.low) & (read <= options.high)).all():
            raise bad_label("labels", xp.numpy_of(y), options)
    a = t
    if pos_weight is not None:
        pos = _weight(xp, "pos_weight", pos_weight, probs, dtype)
        check_pos_weight(xp.shape(pos), shape)
        a = a * pos
    factor, mass = kept, kept
    if class_weight is not None:
        by_class = _weight(xp, "class_weight", class_weight, probs, dtype)
        check_class_weight(xp.shape(by_class), last_axis(shape))
        factor = factor * by_class
    if sample_weight is not None:
        sample = _weight(xp, "sample_weight", sample_weight, probs, dtype)
        if elementwise_weight_axes(xp.shape(sample), shape) == "rows":
            sample = xp.expand_dims(sample, -1)
        factor, mass = factor * sample, mass * sample
    p = xp.where(xp.equal(factor, 0), 0.5 * xp.ones_like(kept), xp.astype(probs, dtype))
    _checked(xp, "probs", p, name, validate)
    loss = reference.binary_of_probs(xp, p, a, 1.0 - t, clamp_value(clamp, name))
    divisor = None if normalizer is None else xp.divisor(normalizer, options.reduction, dtype)
    return xp.astype(reference.reduced(xp, options.reduction, loss * factor, mass, divisor), accumulate)


def kl_divergence(
    xp: Any,
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
    targets = xp.as_array("targets", targets, predictions)
    shape, name, target_name = xp.shape(predictions), xp.dtype_name(predictions), xp.dtype_name(targets)
    axis = softmax_axis(shape, name, options.axis, "predictions")
    softmax_axis(xp.shape(targets), target_name, options.axis, "targets")
    check_same_shape("targets", xp.shape(targets), shape, "predictions")
    accumulate = check_logits_dtype(name)
    dtype = xp.widest(predictions, accumulate)
    q, t = (xp.moveaxis(xp.astype(x, dtype), axis, -1) for x in (predictions, targets))
    s = xp.ones_like(q[..., 0])
    if sample_weight is not None:
        weight = _weight(xp, "sample_weight", sample_weight, predictions, dtype)
        check_sample_weight(xp.shape(weight), shape[:axis] + shape[axis + 1 :])
        s = s * weight
        nothing = xp.expand_dims(xp.equal(s, 0), -1)  # rows without weight may hold anything
        q = xp.where(nothing, xp.zeros_like(q) if log_predictions else xp.ones_like(q), q)
        t = xp.where(nothing, xp.zeros_like(t) if log_targets else xp.ones_like(t), t)
    _checked(xp, "predictions", q, name, validate, log_predictions)
    _checked(xp, "targets", t, target_name, validate, log_targets)
    rows, _ = reference.kl_rows(xp, q, t, clamp_value(clamp, name), log_q=log_predictions, log_t=log_targets)
    loss = s * reference.finite_where(xp, xp.equal(s, 0), rows)
    divisor = None if normalizer is None else xp.divisor(normalizer, options.reduction, dtype)
    return xp.astype(reference.reduced(xp, options.reduction, loss, s, divisor), accumulate)
