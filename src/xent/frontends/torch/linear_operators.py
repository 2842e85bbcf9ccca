"""The linear losses as operators of torch's dispatcher, for graphs: what they trace holds no logits either.

The backward pass makes the logits again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...labels import Positives, TopK
from ...options import ElementwiseOptions, SoftmaxOptions
from ...problem import softmax_problem
from .arrays import dtype_name
from .calls import kernels_of_operator, linear_sigmoid_call, linear_softmax_call
from .linear_calls import LinearSigmoidCall, LinearSoftmaxCall
from .linear_products import Tensors
from .operators import differentiable_operator

_SOURCES = 5  # x and W, x and W of an update of low rank, bias
_HEAD = "Tensor x, Tensor w, Tensor? low_x, Tensor? low_w, Tensor? bias, "


def _sources(tensors: Tensors) -> Tensors:
    """The tensors that make the logits, None in the places of those that are not there."""
    *pairs, bias = tensors
    return (*pairs, *[None] * (_SOURCES - 1 - len(pairs)), bias)


def _there(given: tuple[Any, ...]) -> tuple[Tensors, list[int]]:
    """The tensors that make the logits without what is missing but the bias, and their places."""
    places = [at for at in range(_SOURCES) if at == _SOURCES - 1 or given[at] is not None]
    return tuple(given[at] for at in places), places


def _vjp(call: Any, given: tuple[Any, ...], upstream: tuple[Tensor | None, ...], wanted: list[bool]) -> list[Tensor]:
    tensors, places = _there(given)
    found = call.vjp(tensors, tuple(wanted[at] for at in places), upstream)
    return [g.to(t.dtype) for g, t in zip(found, tensors, strict=True) if g is not None]


def softmax_operator(call: LinearSoftmaxCall, tensors: Tensors, validate: bool) -> tuple[Tensor, ...]:
    """The loss and, if asked for, lse, entropy and argmax. A normalizer that is a tensor divides afterwards."""
    labels, class_weight, sample_weight, normalizer = call.dense.arguments
    indices, values = (labels.indices, labels.values) if isinstance(labels, TopK) else (labels, None)
    o, later = call.options, isinstance(normalizer, Tensor)
    loss, *stats = _softmax(
        *_sources(tensors),
        *(indices, values, class_weight, sample_weight, list(call.problem.shape)),
        *(o.label_smoothing, o.ignore_index, o.temperature, o.softcap, o.z_loss),
        *("sum" if later else o.reduction, None if later else normalizer),
        *(call.budget, call.return_stats, validate),
    )
    return (loss / normalizer if later else loss, *stats)


def _softmax_call(*given: Any) -> tuple[LinearSoftmaxCall, bool]:
    """The call that an operator's arguments stand for, and whether labels are checked."""
    labels, values, class_weight, sample_weight, shape, *options, normalizer, budget, stats, validate = given[_SOURCES:]
    target = labels if values is None else TopK(labels, values)
    problem = softmax_problem(
        tuple(shape), dtype_name(given[0]), -1, labels.shape, dtype_name(labels), values is not None
    )
    arguments = (target, class_weight, sample_weight, normalizer)
    kind = linear_softmax_call(kernels_of_operator(given[0]))
    call = kind(problem, SoftmaxOptions(-1, *options), arguments, budget)
    call.return_stats = stats
    return call, validate


@torch.no_grad()
def _softmax_forward(*given: Any) -> tuple[Tensor, ...]:
    call, validate = _softmax_call(*given)
    call.prepare(given[0], validate)
    tensors, _ = _there(given)
    results = call.run(tensors, (False,) * len(tensors))[0]
    return results if call.return_stats else (*results, *(given[0].new_empty(0) for _ in range(3)))


@torch.no_grad()
def _softmax_backward(given: tuple[Any, ...], upstream: tuple[Tensor | None, ...], wanted: list[bool]) -> list[Tensor]:
    call, validate = _softmax_call(*given)
    call.prepare(given[0], validate)
    return _vjp(call, given, upstream[:3] if call.return_stats else upstream[:1], wanted)


def _softmax_shapes(*given: Any) -> tuple[Tensor, ...]:
    call, _ = _softmax_call(*given)
    x, dtype, batch = given[0], call.dense.dtype, call.problem.batch_shape
    loss = x.new_empty(batch if call.options.reduction == "none" else (), dtype=dtype)
    sizes = batch if call.return_stats else (0,)
    kinds = (dtype, dtype, torch.int64) if call.return_stats else (x.dtype,) * 3
    return (loss, *(x.new_empty(sizes, dtype=kind) for kind in kinds))


_softmax = differentiable_operator(
    "linear_softmax_cross_entropy",
    f"{_HEAD}Tensor labels, Tensor? values, Tensor? class_weight, Tensor? sample_weight, SymInt[] shape, "
    "float label_smoothing, int? ignore_index, float temperature, float? softcap, float z_loss, str reduction, "
    "float? normalizer, int? memory_budget, bool return_stats, bool validate",
    results=4,
    forward=_softmax_forward,
    backward=_softmax_backward,
    shapes=_softmax_shapes,
    differentiable=_SOURCES,
)


def sigmoid_operator(call: LinearSigmoidCall, tensors: Tensors, validate: bool | None) -> Any:
    """The loss. A normalizer that is a tensor divides afterwards."""
    labels, *weights, normalizer = call.arguments
    lists, later = isinstance(labels, Positives), isinstance(normalizer, Tensor)
    classes, starts = (labels.classes, labels.starts) if lists else (labels, None)
    o = replace(call.options, reduction="sum") if later else call.options
    loss = _sigmoid(
        *_sources(tensors),
        *(classes, starts, *weights, list(call.shape), lists, o.kind),
        *(o.alpha, o.beta, o.rest, o.low, o.high, o.ends_only, o.ignore_index, o.positive, o.negative),
        *(o.gamma_pos, o.gamma_neg, o.clip, o.reduction, None if later else normalizer, call.budget, validate),
    )
    return loss / normalizer if later else loss


def _sigmoid_call(*given: Any) -> tuple[LinearSigmoidCall, bool | None]:
    labels, starts, *rest = given[_SOURCES:]
    weights, (shape, lists, *options) = rest[:3], rest[3:]
    *options, normalizer, budget, validate = options
    target = Positives(labels, starts) if lists else labels
    arguments = (target, *weights, normalizer)
    kind = linear_sigmoid_call(kernels_of_operator(given[0]))
    return kind(torch.Size(shape), ElementwiseOptions(*options), arguments, budget), validate


@torch.no_grad()
def _sigmoid_forward(*given: Any) -> Tensor:
    call, validate = _sigmoid_call(*given)
    call.prepare(given[0], validate)
    tensors, _ = _there(given)
    loss: Tensor = call.run(tensors, (False,) * len(tensors))[0][0]
    return loss


@torch.no_grad()
def _sigmoid_backward(given: tuple[Any, ...], upstream: tuple[Tensor | None, ...], wanted: list[bool]) -> list[Tensor]:
    call, validate = _sigmoid_call(*given)
    call.prepare(given[0], validate)
    return _vjp(call, given, upstream, wanted)


def _sigmoid_shapes(*given: Any) -> Any:
    call, _ = _sigmoid_call(*given)
    dtype = torch.promote_types(given[0].dtype, torch.float32)
    shape = call.shape if call.options.reduction == "none" else ()
    return given[0].new_empty(shape, dtype=dtype)


_sigmoid = differentiable_operator(
    "linear_elementwise",
    f"{_HEAD}Tensor labels, Tensor? starts, Tensor? pos_weight, Tensor? class_weight, Tensor? sample_weight, "
    "SymInt[] shape, bool lists, str kind, float alpha, float beta, float rest, float low, float high, "
    "bool ends_only, float? ignore_index, float positive, float negative, float gamma_pos, float gamma_neg, "
    "float clip, str reduction, float? normalizer, int? memory_budget, bool? validate",
    results=1,
    forward=_sigmoid_forward,
    backward=_sigmoid_backward,
    shapes=_sigmoid_shapes,
    differentiable=_SOURCES,
)
