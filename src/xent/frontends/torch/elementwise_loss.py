"""Losses of single numbers on tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...caching import Prepared
from ...kernels.native import BAD_WEIGHT, LABEL_CODES, POOLED_BYTES, Memory, PreparedElementwise
from ...labels import Positives
from ...losses.elementwise import (
    WeightNumbers,
    activation,
    bad_label,
    prepared_loss,
)
from ...losses.weights import check_normalizer
from ...options import ElementwiseOptions
from ...plan import loss_plan
from ...problem import (
    check_logits_dtype,
    shared_layouts,
)
from .arrays import (
    DTYPE_NAMES,
    PlainFunction,
    are_constants,
    divisor,
    dtype_name,
    empty_like,
    is_memory,
    is_readable,
    numpy_of,
    wanted_gradients,
    wants_gradient,
)
from .calls import elementwise_call, kernels_of_operator
from .device import kernels_for
from .elementwise_call import ElementwiseCall, ElementwiseCrossEntropy, memory_of, walked_together
from .operators import differentiable_operator


class _Ready(NamedTuple):
    """What is prepared for small batches of one layout."""

    options: ElementwiseOptions
    names: tuple[str, str]
    scalar: bool
    dtype: torch.dtype  # of the loss
    loss: PreparedElementwise


class _SmallCall:
    """A call of a small batch: around it the arithmetic is a fraction of the time, so all that can be is prepared."""

    __slots__ = ("arguments", "labels", "layout", "logits", "ready", "weights")

    def __init__(self, logits: Tensor, arguments: tuple[Any, ...], layout: tuple[Any, ...], ready: _Ready) -> None:
        self.logits, self.arguments, self.layout, self.ready = logits, arguments, layout, ready
        self.labels, self.weights = arguments[0], arguments[1:4]

    @property
    def one_pass(self) -> bool:
        return self.ready.scalar

    @property
    def tensors(self) -> list[Tensor]:
        return [self.labels, *(w for w in self.weights if w is not None)]

    def release(self, logits: Tensor) -> None:
        pass  # it is small

    def whole(self, logits: Tensor) -> ElementwiseCall:
        """The same call, with nothing prepared."""
        labels, pos_weight, class_weight, sample_weight, normalizer = self.arguments
        call = ElementwiseCall(
            logits, labels, self.ready.options, self.ready.names, pos_weight, class_weight, sample_weight
        )
        call.normalizer = normalizer
        return call

    def reference(self, logits: Tensor) -> Tensor:
        return self.whole(logits).reference(logits)

    def _run(
        self, logits: Tensor, gradient: Tensor | None, loss: Tensor | None, upstream: float, each: Tensor | None
    ) -> None:
        pos_weight, class_weight, sample_weight = self.weights
        first, second = (sample_weight, None) if class_weight is None else (class_weight, sample_weight)
        bad = self.ready.loss.run(
            logits.data_ptr(),
            self.labels.data_ptr(),
            0 if pos_weight is None else pos_weight.data_ptr(),
            0 if first is None else first.data_ptr(),
            0 if second is None else second.data_ptr(),
            0 if gradient is None else gradient.data_ptr(),
            0 if loss is None else loss.data_ptr(),
            upstream,
            0 if each is None else each.data_ptr(),
        )
        if bad == BAD_WEIGHT:
            self.whole(logits).check_weights()
        if bad >= 0:
            raise bad_label(self.ready.names[1], numpy_of(self.labels), self.ready.options)

    def run(self, gradient: bool) -> tuple[Tensor | None, Tensor]:
        out = torch.empty_like(self.logits) if gradient else None
        if self.ready.scalar:
            loss = self.logits.new_empty((), dtype=self.ready.dtype)
        else:
            loss = torch.empty_like(self.logits, dtype=self.ready.dtype)
        self._run(self.logits, out, loss, 1.0, None)
        return out, loss

    def is_made_for(self, upstream: Tensor) -> bool:
        return float(upstream) == 1.0

    def vjp(self, logits: Tensor, upstream: Tensor, out: Tensor | None) -> Tensor:
        changed = self.layout != _layout(logits, self.arguments, self.layout[-1])  # by way of `.data`
        if changed or not is_memory(upstream) or upstream._is_zerotensor():
            return self.whole(logits).vjp(logits, upstream, None)
        out = torch.empty_like(logits) if out is None else out
        if self.ready.scalar:
            self._run(logits, out, None, float(upstream), None)
        else:
            each = upstream
            if each.stride() != out.stride() or each.dtype is not self.ready.dtype:
                each = torch.empty_like(logits, dtype=self.ready.dtype).copy_(upstream)  # laid out like them
            self._run(logits, out, None, 1.0, each)
        return out


_prepared = Prepared()


def _layout(logits: Tensor, arguments: tuple[Any, ...], validate: bool | None) -> tuple[Any, ...]:
    labels, pos_weight, class_weight, sample_weight, normalizer = arguments
    return (
        *(logits.shape, logits.stride(), logits.dtype, labels.shape, labels.stride(), labels.dtype),
        None if pos_weight is None else (pos_weight.shape, pos_weight.stride(), pos_weight.dtype),
        None if class_weight is None else (class_weight.shape, class_weight.stride(), class_weight.dtype),
        None if sample_weight is None else (sample_weight.shape, sample_weight.stride(), sample_weight.dtype),
        normalizer,
        validate,
    )


def _numbers(weight: Tensor) -> WeightNumbers | None:
    """The numbers of a weight, if they are contiguous but for axes along which it is expanded."""
    count = 1
    for size, stride in zip(reversed(weight.shape), reversed(weight.stride()), strict=True):
        if size != 1 and stride != 0:
            if stride != count:
                return None
            count *= size
    if weight.dtype not in (torch.float32, torch.float64):
        return None
    return WeightNumbers(count, weight.dtype is torch.float64)


def _prepare(
    logits: Tensor, options: ElementwiseOptions, names: tuple[str, str], arguments: tuple[Any, ...], validate: bool
) -> _Ready | None:
    labels, *weights, normalizer = arguments
    if not 0 < logits.numel() * logits.itemsize < POOLED_BYTES:
        return None
    call = ElementwiseCall(logits, labels, options, names, *weights)  # checks the shapes
    denominator, mean_over = 1.0, None
    if normalizer is not None:
        denominator = check_normalizer(normalizer, options.reduction)
    elif options.reduction == "mean":
        if options.ignore_index is not None:
            return None
        denominator = float(logits.numel())
        if call.sample is not None:
            mean_over = len(call.weights) - 1, denominator / call.sample.numel()
    tensors = [logits, *call.tensors]
    strides = tuple(t.expand(logits.shape).stride() for t in tensors)
    layouts = shared_layouts(tuple(logits.shape), (*strides, torch.empty_like(logits).stride()), False)
    numbers = [n for n in map(_numbers, tensors[2:]) if n is not None]
    if layouts is None or len(numbers) < len(tensors) - 2:
        return None
    if mean_over is not None and numbers[-1].size != call.weights[-1].numel():
        return None  # expanded: not all of its numbers are there to be summed up
    at_x, at_y, *placed = (
        Memory(0, LABEL_CODES[DTYPE_NAMES[t.dtype]], place, None) for t, place in zip(tensors, layouts, strict=False)
    )
    weighed = list(zip(placed, numbers, strict=True))
    loss = prepared_loss(
        options,
        at_x,
        at_y,
        layouts[-1],
        pos_weight=None if call.pos_weight is None else weighed.pop(0),
        weights=weighed,
        mean_over=mean_over,
        denominator=denominator,
        validate=validate,
    )
    return _Ready(options, names, call.scalar, call.dtype, loss)


def _small_call(
    logits: Tensor,
    labels: Any,
    options: ElementwiseOptions,
    names: tuple[str, str],
    weights: tuple[Any, ...],
    normalizer: Any,
    validate: bool | None,
) -> _SmallCall | None:
    if not are_constants(logits, labels, weights):
        return None
    if normalizer is not None and type(normalizer) is not int and type(normalizer) is not float:
        return None
    arguments = (labels, *weights, normalizer)
    layout = _layout(logits, arguments, validate)
    ready = _prepared.get(layout, options, lambda: _prepare(logits, options, names, arguments, bool(validate)))
    return None if ready is None else _SmallCall(logits, arguments, layout, ready)


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
    small = _small_call(logits, labels, options, names, weights, normalizer, validate)
    if small is not None:
        if logits.requires_grad and torch.is_grad_enabled():
            return ElementwiseCrossEntropy.apply(logits, small)
        return small.run(False)[1]
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
            call.run(False)  # for its check of the labels
        return call.reference(logits)
    call.one_pass = plan.gradient_in_forward
    if wants:
        return ElementwiseCrossEntropy.apply(logits, call)
    return call.run(False)[1]


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
    return _readied(*arguments).run(False)[1]


@torch.no_grad()
def _backward(arguments: tuple[Any, ...], upstream: tuple[Tensor, ...], wanted: list[bool]) -> list[Tensor]:
    return [_readied(*arguments).vjp(arguments[0], upstream[0], None)]


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
