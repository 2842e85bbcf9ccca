"""Softmax cross-entropy on tensors."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...formulas import RowFunction
from ...labels import Positives, TopK, refuse
from ...losses.labels import check_index
from ...losses.softmax import Stats
from ...losses.weights import check_normalizer
from ...options import SoftmaxOptions
from ...plan import loss_plan
from ...problem import softmax_problem
from .arrays import (
    as_tensor,
    divisor,
    dtype_name,
    is_number_or_none,
    readable_integers,
    wanted_gradients,
    wants_gradient,
)
from .calls import kernels_of_operator, softmax_call
from .device import kernels_for
from .loss_function import LossFunction
from .operators import differentiable_operator
from .small_softmax import small_softmax
from .softmax_call import SoftmaxCall


def _from_operator(
    logits: Tensor,
    labels: Tensor,
    values: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    *rest: Any,
) -> tuple[SoftmaxCall, bool]:
    """The call that an operator's arguments stand for, and whether labels are checked."""
    *options, normalizer, return_stats, validate = rest
    target = labels if values is None else TopK(labels, values)
    problem = softmax_problem(
        logits.shape, dtype_name(logits), options[0], labels.shape, dtype_name(labels), values is not None
    )
    kind = softmax_call(kernels_of_operator(logits))
    call = kind(problem, SoftmaxOptions(*options), (target, class_weight, sample_weight, normalizer))
    call.return_stats = return_stats
    return call, validate


@torch.no_grad()
def _forward(logits: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, validate = _from_operator(logits, *arguments)
    try:
        call.prepare(logits, validate)
    except IndexError as error:  # a graph holds no call of torch's own that could say it in torch's words
        label = re.search(r"label (-?\d+)", str(error))
        raise IndexError(f"{error} (Target {label[1] if label else ''} is out of bounds.)") from error
    results = call.run(logits, gradient=False)[1]
    return results if call.return_stats else (*results, *(logits.new_empty(0) for _ in range(3)))


@torch.no_grad()
def _backward(arguments: tuple[Any, ...], upstream: tuple[Tensor | None, ...], wanted: list[bool]) -> list[Tensor]:
    logits = arguments[0]
    call, validate = _from_operator(*arguments)
    call.prepare(logits, validate)
    return [call.vjp(logits, upstream[:3] if call.return_stats else upstream[:1], None)]


def _shapes(logits: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, _ = _from_operator(logits, *arguments)
    batch = call.problem.batch_shape
    loss = logits.new_empty(batch if call.options.reduction == "none" else (), dtype=call.dtype)
    if not call.return_stats:
        return (loss, *(logits.new_empty(0) for _ in range(3)))
    each = [logits.new_empty(batch, dtype=dtype) for dtype in (call.dtype, call.dtype, torch.int64)]
    return (loss, *each)


_softmax_operator = differentiable_operator(
    "softmax_cross_entropy",
    "Tensor logits, Tensor labels, Tensor? values, Tensor? class_weight, Tensor? sample_weight, int axis, "
    "float label_smoothing, int? ignore_index, float temperature, float? softcap, float z_loss, str reduction, "
    "float? normalizer, bool return_stats, bool validate",
    results=4,
    forward=_forward,
    backward=_backward,
    shapes=_shapes,
)


def _operator(call: SoftmaxCall, logits: Tensor, validate: bool) -> tuple[Tensor, ...]:
    """The same through torch's dispatcher, for graphs. A normalizer that is a tensor divides afterwards."""
    labels, class_weight, sample_weight, normalizer = call.arguments
    indices, values = (labels.indices, labels.values) if isinstance(labels, TopK) else (labels, None)
    o, later = call.options, isinstance(normalizer, Tensor)
    loss, *stats = _softmax_operator(
        *(logits, indices, values, class_weight, sample_weight),
        *(o.axis, o.label_smoothing, o.ignore_index, o.temperature, o.softcap, o.z_loss),
        *("sum" if later else o.reduction, None if later else normalizer, call.return_stats, validate),
    )
    return (loss / normalizer if later else loss, *stats)


def softmax_cross_entropy(
    logits: Tensor,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
    function: RowFunction | None = None,
) -> Any:
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        out = softmax_cross_entropy(
            logits,
            labels,
            replace(options, reduction="sum"),
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=None,
            return_stats=return_stats,
            validate=validate,
            function=function,
        )
        return (out[0] / normalizer, out[1]) if return_stats else out / normalizer
    if sample_weight is None and not return_stats and function is None and is_number_or_none(normalizer):
        small = small_softmax.loss(logits, (labels, class_weight), options, normalizer, validate)
        if small is not None:
            return small
    refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    if isinstance(labels, TopK):
        target: Any = TopK(
            as_tensor("labels.indices", labels.indices, logits), as_tensor("labels.values", labels.values, logits)
        )
        described, tensors = target.indices, [("labels", target.values)]
    else:
        described = target = as_tensor("labels", labels, logits)
        tensors = [("labels", target)]
    problem = softmax_problem(
        logits.shape, dtype_name(logits), options.axis, described.shape, dtype_name(described), target is not described
    )
    if class_weight is not None:
        class_weight = as_tensor("class_weight", class_weight, logits)
        tensors.append(("class_weight", class_weight))
    if sample_weight is not None:
        sample_weight = as_tensor("sample_weight", sample_weight, logits)
        tensors.append(("sample_weight", sample_weight))
    wants = wanted_gradients(logits, tensors)
    memory = kernels_for([logits, described, *(t for _, t in tensors if t is not described)])
    traced = torch.compiler.is_compiling()
    plan = loss_plan(memory, wants, options.reduction != "none", traced, function is None)
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced or (memory == "triton" and not validate))
    call = softmax_call(plan.kernel)(problem, options, (target, class_weight, sample_weight, normalizer))
    call.return_stats, call.function = return_stats, function
    call.one_pass = plan.gradient_in_forward
    if memory is None or traced:
        call.check_without_memory()
    else:
        call.prepare(logits, validate)
    if plan.kernel == "reference":
        if validate and memory is None and problem.target == "index":
            given = readable_integers(described)
            if given is not None:
                check_index(given, problem, options.ignore_index)
        loss, *stats = call.reference(logits)
    elif plan.kernel == "operator":
        loss, *stats = _operator(call, logits, validate)
    else:
        if wants:
            results = LossFunction.apply(logits, call)
        else:
            results = call.run(logits, gradient=False)[1]
            if not return_stats:
                return results[0]
        if not return_stats:
            return results
        loss, *stats = results
    return (loss, Stats(*stats)) if return_stats else loss
