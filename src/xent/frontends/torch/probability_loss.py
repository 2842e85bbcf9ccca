"""Losses of probabilities on tensors, in torch operations: differentiable in every argument, as often as wanted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels import reference
from ...losses.elementwise import bad_label
from ...losses.labels import check_index
from ...losses.probabilities import check_probabilities, clamp_value
from ...losses.weights import finite_weights
from ...options import ElementwiseOptions, SoftmaxOptions
from ...problem import (
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
from .arrays import NAMESPACE, TORCH_DTYPES, as_tensor, divisor, dtype_name, is_readable, numpy_of


def _checked(argument: str, p: Tensor, validate: bool, log: bool = False) -> None:
    if validate and is_readable(p):
        check_probabilities(argument, p.detach().double().numpy(), dtype_name(p), log)


def _weight(argument: str, value: Any, like: Tensor, dtype: torch.dtype) -> Tensor:
    weight = as_tensor(argument, value, like)
    if is_readable(weight):
        finite_weights(argument, numpy_of(weight))
    return weight.to(dtype)


def cross_entropy_from_probs(
    probs: Tensor,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    clamp: Any,
    normalizer: Any,
    validate: bool,
) -> Any:
    y = as_tensor("labels", labels, probs)
    problem = softmax_problem(probs.shape, dtype_name(probs), options.axis, y.shape, dtype_name(y), False, "probs")
    dtype = TORCH_DTYPES[problem.accumulate]
    s = None if sample_weight is None else _weight("sample_weight", sample_weight, probs, dtype)
    if s is not None:
        check_sample_weight(tuple(s.shape), problem.batch_shape)
    dead = torch.zeros(problem.batch_shape, dtype=torch.bool, device=probs.device)  # rows that may hold anything
    if s is not None:
        dead = dead | (s == 0)
    if problem.target == "index" and options.ignore_index is not None:
        dead = dead | (y == options.ignore_index)
    probs = torch.where(dead.unsqueeze(problem.axis), torch.ones_like(probs), probs)
    _checked("probs", probs, validate)
    if problem.target == "index":
        if validate and is_readable(y):
            check_index(numpy_of(y), problem, options.ignore_index)
        y = y.long()
    else:
        y = y.to(dtype)
    v = None if class_weight is None else _weight("class_weight", class_weight, probs, dtype)
    if v is not None:
        check_class_weight(tuple(v.shape), problem.classes)
    return reference.cross_entropy_of_probs(
        NAMESPACE,
        problem,
        options,
        probs.to(dtype),
        y,
        clamp_value(clamp, dtype_name(probs)),
        class_weight=v,
        sample_weight=s,
        normalizer=None
        if normalizer is None
        else divisor(normalizer, options.reduction, torch.compiler.is_compiling()),
    )


def binary_cross_entropy_from_probs(
    probs: Tensor,
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
    y = as_tensor("labels", labels, probs)
    problem = elementwise_problem(probs.shape, dtype_name(probs), y.shape, dtype_name(y), "probs")
    dtype = TORCH_DTYPES[problem.accumulate]
    kept = torch.ones_like(probs, dtype=dtype)
    if options.ignore_index is not None:
        kept = (y.detach() != options.ignore_index).to(dtype)
    t = torch.where(kept == 0, torch.zeros_like(kept), y.to(dtype))
    if validate and is_readable(t):
        _check_labels(y, t, options)
    a = t
    if pos_weight is not None:
        pos = _weight("pos_weight", pos_weight, probs, dtype)
        check_pos_weight(pos.shape, probs.shape)
        a = a * pos
    factor, mass = kept, kept
    if class_weight is not None:
        by_class = _weight("class_weight", class_weight, probs, dtype)
        check_class_weight(tuple(by_class.shape), last_axis(tuple(probs.shape)))
        factor = factor * by_class
    if sample_weight is not None:
        sample = _weight("sample_weight", sample_weight, probs, dtype)
        if elementwise_weight_axes(sample.shape, probs.shape) == "rows":
            sample = sample.unsqueeze(-1)
        factor, mass = factor * sample, mass * sample
    floor = clamp_value(clamp, dtype_name(probs))
    p = torch.where(factor == 0, 0.5 * torch.ones_like(kept), probs.to(dtype))
    _checked("probs", p.to(probs.dtype), validate)
    loss = reference.binary_of_probs(NAMESPACE, p, a, 1.0 - t, floor)
    return reference.reduced(
        NAMESPACE,
        options.reduction,
        loss * factor,
        mass,
        None if normalizer is None else divisor(normalizer, options.reduction, torch.compiler.is_compiling()),
    )


def _check_labels(y: Tensor, t: Tensor, options: ElementwiseOptions) -> None:
    if not bool(((t >= options.low) & (t <= options.high)).all()):
        raise bad_label("labels", numpy_of(y), options)


def kl_divergence(
    predictions: Tensor,
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
    targets = as_tensor("targets", targets, predictions)
    axis = softmax_axis(tuple(predictions.shape), dtype_name(predictions), options.axis, "predictions")
    softmax_axis(tuple(targets.shape), dtype_name(targets), options.axis, "targets")
    check_same_shape("targets", tuple(targets.shape), tuple(predictions.shape), "predictions")
    dtype = TORCH_DTYPES[check_logits_dtype(dtype_name(predictions))]
    q, t = (x.to(dtype).movedim(axis, -1) for x in (predictions, targets))
    floor = clamp_value(clamp, dtype_name(predictions))
    s = torch.ones(q.shape[:-1], dtype=dtype, device=q.device)
    if sample_weight is not None:
        weight = _weight("sample_weight", sample_weight, predictions, dtype)
        check_sample_weight(tuple(weight.shape), tuple(s.shape))
        s = weight.expand(s.shape)
        dead = (s == 0).unsqueeze(-1)  # rows without weight may hold anything
        q = torch.where(dead, torch.full_like(q, 0.0 if log_predictions else 1.0), q)
        t = torch.where(dead, torch.full_like(t, 0.0 if log_targets else 1.0), t)
    _checked("predictions", q.to(predictions.dtype), validate, log_predictions)
    _checked("targets", t.to(targets.dtype), validate, log_targets)
    rows, _ = reference.kl_rows(NAMESPACE, q, t, floor, log_q=log_predictions, log_t=log_targets)
    loss = s * reference.finite_where(NAMESPACE, s == 0, rows)
    return reference.reduced(
        NAMESPACE,
        options.reduction,
        loss,
        s,
        None if normalizer is None else divisor(normalizer, options.reduction, torch.compiler.is_compiling()),
    )
