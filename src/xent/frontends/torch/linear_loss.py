"""Cross-entropy of a projection, on tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import value_error
from ...heads import LowRank, head_parts
from ...labels import Positives, TopK, refuse
from ...losses.softmax import Stats
from ...losses.weights import check_normalizer
from ...options import ElementwiseOptions, SoftmaxOptions
from ...problem import (
    check_class_weight,
    check_head,
    check_sample_weight,
    softmax_problem,
)
from .arrays import (
    PlainFunction,
    as_tensor,
    by_reference,
    divisor,
    dtype_name,
    is_readable,
    is_saving_by_hooks,
    is_transformed,
    wants_gradient,
)
from .calls import linear_sigmoid_call, linear_softmax_call
from .device import kernels_for
from .elementwise_loss import elementwise_loss
from .linear_calls import all_logits, without_rows
from .linear_operators import sigmoid_operator, softmax_operator
from .linear_products import Tensors
from .softmax_loss import softmax_cross_entropy


class LinearCrossEntropy(PlainFunction):
    """A linear loss, or (loss, lse, entropy, argmax). A scalar loss makes its gradients in the forward pass."""

    @staticmethod
    def forward(ctx: Any, call: Any, *tensors: Any) -> Any:
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *call.others)
        ctx.call = call
        one_pass = call.makes_gradient_ahead(tensors[0].dtype) and not is_saving_by_hooks()
        wanted = tuple(ctx.needs_input_grad[1:]) if one_pass else (False,) * len(tensors)
        results, gradients = call.run(tensors, wanted)
        ctx.gradients = gradients if one_pass else None
        if len(results) == 1:
            return results[0]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(results[3])
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        gradients, ctx.gradients = ctx.gradients, None
        tensors = ctx.saved_tensors[: ctx.count]
        wanted = tuple(ctx.needs_input_grad[1:])
        if is_transformed(upstream):
            return None, *by_reference(ctx.call.reference, tensors, upstream, wanted)
        loss, *others = upstream
        made = None
        if loss is not None and gradients is not None and all(g is None for g in others):
            made = ctx.call.scaled(gradients, loss, tensors[0].dtype)
        if made is None:
            made = ctx.call.vjp(tensors, wanted, upstream)
        return None, *(g if g is None else g.to(t.dtype) for g, t in zip(made, tensors, strict=True))


def _uncounted(inputs: Tensor, labels: Any, ignore_index: Any, sample_weight: Any) -> Any:
    """Which rows count for nothing, whatever they hold: [N]; None where there are none."""
    batch = inputs.shape[:-1]
    found = None
    if ignore_index is not None and isinstance(labels, Tensor) and labels.shape == batch:
        found = labels == ignore_index
    if isinstance(sample_weight, Tensor) and sample_weight.shape == batch:
        found = sample_weight == 0 if found is None else found | (sample_weight == 0)
    if found is None or (is_readable(found) and not found.any()):
        return None
    return found.reshape(-1)


def _checked(inputs: Tensor, weight: Any, bias: Any, uncounted: Tensor | None) -> Tensors:
    """What makes the logits, checked, x as a matrix; in autocast's dtype if it is on."""
    parts, scale = head_parts(inputs, weight, bias)
    given = {name: as_tensor(name, value, inputs) for name, value in parts.items()}
    device = inputs.device.type
    for name, tensor in given.items():
        if tensor.device != inputs.device:
            remedy = "Move one of them."
            raise value_error(name, f"a tensor on the device of inputs, {inputs.device}", str(tensor.device), remedy)
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        wide = (torch.float32, torch.float16, torch.bfloat16)
        given = {name: t.to(dtype) if t.dtype in wide else t for name, t in given.items()}
    check_head({name: (tuple(t.shape), dtype_name(t)) for name, t in given.items()})
    x, w, b = given["inputs"].reshape(-1, inputs.shape[-1]), given["weight"], given.get("bias")
    if uncounted is not None:
        x = without_rows(x, uncounted)
    if "weight.down" not in given:
        return x, w, b
    return x, w, x @ (given["weight.down"].t() * scale), given["weight.up"], b


def linear_softmax_cross_entropy(
    inputs: Tensor,
    weight: Any,
    labels: Any,
    options: SoftmaxOptions,
    *,
    bias: Any,
    memory_budget: int | None,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to linear_sigmoid_cross_entropy.")
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        out = linear_softmax_cross_entropy(
            inputs,
            weight,
            labels,
            replace(options, reduction="sum"),
            bias=bias,
            memory_budget=memory_budget,
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=None,
            return_stats=return_stats,
            validate=validate,
        )
        return (out[0] / normalizer, out[1]) if return_stats else out / normalizer
    uncounted = _uncounted(inputs, labels, options.ignore_index, None if return_stats else sample_weight)
    tensors = _checked(inputs, weight, bias, uncounted if isinstance(weight, LowRank) else None)
    target: Any = labels
    if isinstance(labels, TopK):
        target = TopK(
            as_tensor("labels.indices", labels.indices, inputs), as_tensor("labels.values", labels.values, inputs)
        )
        described = target.indices
    else:
        described = target = as_tensor("labels", labels, inputs)
    x, w = tensors[0], tensors[1]
    shape = (*inputs.shape[:-1], w.shape[0])
    topk = target is not described
    problem = softmax_problem(
        shape, dtype_name(x), -1, described.shape, dtype_name(described), topk, "inputs @ weight.T"
    )
    if class_weight is not None:
        class_weight = as_tensor("class_weight", class_weight, inputs)
        check_class_weight(tuple(class_weight.shape), problem.classes)
    if sample_weight is not None:
        sample_weight = as_tensor("sample_weight", sample_weight, inputs)
        check_sample_weight(tuple(sample_weight.shape), problem.batch_shape)
    others = [t for t in (target.values if topk else target, described, class_weight, sample_weight) if t is not None]
    traced = torch.compiler.is_compiling()
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in others)
    memory = None if differentiated else kernels_for(t for t in (*tensors, *others) if t is not None)
    if memory is None:
        return softmax_cross_entropy(
            all_logits(tensors, uncounted).view(shape),
            target,
            options,
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=normalizer,
            return_stats=return_stats,
            validate=validate,
        )
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced or (memory == "triton" and not validate))
    arguments = target, class_weight, sample_weight, normalizer
    call = linear_softmax_call(memory)(problem, options, arguments, memory_budget)
    call.return_stats, call.uncounted = return_stats, uncounted
    if traced:
        loss, *stats = softmax_operator(call, tensors, validate)
        return (loss, Stats(*stats)) if return_stats else loss
    call.prepare(x, validate)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        results = LinearCrossEntropy.apply(call, *tensors)
        results = results if return_stats else (results,)
    else:
        results = call.run(tensors, (False,) * len(tensors))[0]
    return (results[0], Stats(*results[1:])) if return_stats else results[0]


def linear_sigmoid_cross_entropy(
    inputs: Tensor,
    weight: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    bias: Any,
    memory_budget: int | None,
    pos_weight: Any,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    validate: bool | None,
) -> Any:
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        total = linear_sigmoid_cross_entropy(
            inputs,
            weight,
            labels,
            replace(options, reduction="sum"),
            bias=bias,
            memory_budget=memory_budget,
            pos_weight=pos_weight,
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=None,
            validate=validate,
        )
        return total / normalizer
    tensors = _checked(inputs, weight, bias, _uncounted(inputs, None, None, sample_weight))
    shape = torch.Size((*inputs.shape[:-1], tensors[1].shape[0]))
    weights = [
        None if w is None else as_tensor(name, w, inputs)
        for name, w in (("pos_weight", pos_weight), ("class_weight", class_weight), ("sample_weight", sample_weight))
    ]
    target = labels if isinstance(labels, Positives) else as_tensor("labels", labels, inputs)
    lists = [target.classes, target.starts] if isinstance(target, Positives) else [target]
    others = [t for t in (*lists, *weights) if isinstance(t, Tensor)]
    traced = torch.compiler.is_compiling()
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in others)
    memory = None if differentiated else kernels_for(t for t in (*tensors, *others) if t is not None)
    if memory is None:
        return elementwise_loss(
            all_logits(tensors).view(shape),
            target,
            options,
            pos_weight=weights[0],
            class_weight=weights[1],
            sample_weight=weights[2],
            normalizer=normalizer,
            validate=validate,
        )
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced or (memory == "triton" and not validate))
    call = linear_sigmoid_call(memory)(shape, options, (target, *weights, normalizer), memory_budget)
    if traced:
        return sigmoid_operator(call, tensors, validate)
    call.prepare(tensors[0], validate)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return LinearCrossEntropy.apply(call, *tensors)
    return call.run(tensors, (False,) * len(tensors))[0][0]
