"""Losses of single numbers on tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...labels import Positives
from ...losses.elementwise import activation
from ...losses.weights import check_normalizer
from ...options import ElementwiseOptions
from ...plan import loss_plan
from ...problem import check_logits_dtype
from .arrays import (
    PlainFunction,
    divisor,
    dtype_name,
    empty_like,
    is_number_or_none,
    is_readable,
    wanted_gradients,
    wants_gradient,
)
from .calls import elementwise_call, kernels_of_operator
from .device import kernels_for
from .elementwise_call import ElementwiseCall, memory_of, walked_together
from .loss_function import LossFunction
from .operators import differentiable_operator
from .small_elementwise import small_elementwise


def elementwise_loss(
    logits: Tensor,
    labels: Any,
    options: ElementwiseOptions,
    *,
    names: tuple[str, str] = ("logits", "labels"),
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
    validate: bool | None = True,
) -> Any:
    """`validate`: None where labels cannot be looked at, so that bad ones are NaN; False takes them as they are."""
    weights = (pos_weight, class_weight, sample_weight)
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        named = dict(zip(("pos_weight", "class_weight", "sample_weight"), weights, strict=True))
        total = replace(options, reduction="sum")
        return elementwise_loss(logits, labels, total, names=names, validate=validate, **named) / normalizer
    if is_number_or_none(normalizer):
        small = small_elementwise.loss(logits, (labels, *weights), options, names, normalizer, validate)
        if small is not None:
            return small
    traced = torch.compiler.is_compiling()
    memory = kernels_for([logits, *(t for t in (labels, *weights) if isinstance(t, Tensor))])
    kind = elementwise_call(None if traced else memory)
    call = kind(logits, labels, options, names, pos_weight, class_weight, sample_weight)
    call.bad_is_nan = validate is None
    later = traced or (memory == "triton" and not validate)
    call.normalizer = None if normalizer is None else divisor(normalizer, options.reduction, later)
    wants = wanted_gradients(logits, call.named)
    plan = loss_plan(memory, wants, call.scalar, traced)
    if plan.kernel == "operator":
        return _operator(call, logits, validate)
    if memory is None and call.lists is not None and not traced and not isinstance(labels.classes, Tensor):
        call.read_lists(logits)
    if memory is not None and not traced:
        call.prepare(logits, bool(validate))
    if plan.kernel == "reference":
        if memory == "native" and not traced and validate and call.lists is None:
            call.run(logits, False)  # for its check of the labels
        return call.reference(logits)[0]
    call.one_pass = plan.gradient_in_forward
    if wants:
        return LossFunction.apply(logits, call)
    return call.run(logits, False)[1][0]


def _operator(call: ElementwiseCall, logits: Tensor, validate: bool | None) -> Any:
    """The same through torch's dispatcher, for graphs. A normalizer that is a tensor divides afterwards."""
    lists = call.lists is not None
    labels, starts = call.list_tensors(logits) if lists else (call.labels, None)
    later = isinstance(call.normalizer, Tensor)
    o = replace(call.options, reduction="sum") if later else call.options
    loss = _elementwise_operator(
        *(logits, labels, starts, *call.given, lists, call.labels_name, o.kind),
        *(o.alpha, o.beta, o.rest, o.low, o.high, o.ends_only, o.ignore_index, o.positive, o.negative),
        *(o.gamma_pos, o.gamma_neg, o.clip, o.reduction, None if later else call.normalizer, validate),
    )
    return loss / call.normalizer if later else loss


def _from_operator(
    logits: Tensor,
    labels: Tensor,
    starts: Tensor | None,
    pos_weight: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    lists: bool,
    name: str,
    *rest: Any,
) -> tuple[ElementwiseCall, bool]:
    """The call that an operator's arguments stand for, and whether labels are checked."""
    *options, normalizer, validate = rest
    given = Positives(labels, starts) if lists else labels
    names = ("logits", name)
    kind = elementwise_call(kernels_of_operator(logits))
    call = kind(logits, given, ElementwiseOptions(*options), names, pos_weight, class_weight, sample_weight)
    call.normalizer, call.bad_is_nan = normalizer, validate is None
    return call, bool(validate)


def _readied(logits: Tensor, *arguments: Any) -> ElementwiseCall:
    call, validate = _from_operator(logits, *arguments)
    call.prepare(logits, validate)
    return call


@torch.no_grad()
def _forward(*arguments: Any) -> Tensor:
    return _readied(*arguments).run(arguments[0], False)[1][0]


@torch.no_grad()
def _backward(arguments: tuple[Any, ...], upstream: tuple[Tensor, ...], wanted: list[bool]) -> list[Tensor]:
    return [_readied(*arguments).vjp(arguments[0], upstream, None)]


def _shapes(logits: Tensor, *arguments: Any) -> Tensor:
    call, _ = _from_operator(logits, *arguments)
    return logits.new_empty(() if call.scalar else logits.shape, dtype=call.dtype)


_elementwise_operator = differentiable_operator(
    "elementwise",
    "Tensor logits, Tensor labels, Tensor? starts, Tensor? pos_weight, Tensor? class_weight, Tensor? sample_weight, "
    "bool lists, str labels_name, str kind, float alpha, float beta, float rest, float low, float high, "
    "bool ends_only, float? ignore_index, float positive, float negative, float gamma_pos, float gamma_neg, "
    "float clip, str reduction, float? normalizer, bool? validate",
    results=1,
    forward=_forward,
    backward=_backward,
    shapes=_shapes,
)


def _activation(logits: Tensor, log: bool) -> Tensor:
    first, (at_x,), layout = walked_together([logits], tuple(logits.shape))
    out = empty_like(first)
    activation(at_x, memory_of(out, layout), log)
    return out


class Sigmoid(PlainFunction):
    """1 / (1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return _activation(logits, log=False)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors  # from a rounded p near 1 its complement could not be made
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (upstream * sigmoid(x) * sigmoid(-x)).to(logits.dtype)


class LogSigmoid(PlainFunction):
    """-log(1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return _activation(logits, log=True)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        return upstream * sigmoid(-logits)


def sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_readable(logits):
        return Sigmoid.apply(logits)
    # whose slope is made from the rounded result
    return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32))).to(logits.dtype)


def log_sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_readable(logits):
        return LogSigmoid.apply(logits)
    return torch.nn.functional.logsigmoid(logits)
