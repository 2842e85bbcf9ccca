"""softmax, log_softmax and logsumexp of tensors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...caching import Prepared
from ...kernels.native import Memory, PreparedActivation, RowCoefficients, SoftmaxRows
from ...problem import row_layout, softmax_axis
from .arrays import CODES, PlainFunction, check_memory, dtype_name, is_readable, is_transformed, memory, output_like
from .loss_function import layout_of
from .small import are_constants, is_small

_prepared = Prepared()


class _Ready(NamedTuple):
    """What is prepared for small logits of a layout, of which a call brings the addresses, and the axis."""

    rows: PreparedActivation
    axis: int


def _ready(logits: Tensor, axis: int) -> _Ready | None:
    """None for logits that are large, or have to be copied."""
    layout = layout_of(logits, ())
    found = _prepared.get((layout, axis)) or _prepared.add((layout, axis), None, _prepare(logits, axis))
    return found[1]  # type: ignore[no-any-return]


def _prepare(logits: Tensor, axis: int) -> _Ready | None:
    try:
        axis = softmax_axis(tuple(logits.shape), dtype_name(logits), axis)
    except (IndexError, TypeError, ValueError):
        return None  # what is wrong is said where large logits go
    at, out = (row_layout(logits.shape, t.stride(), axis) for t in (logits, torch.empty_like(logits)))
    if at is None or out is None or not is_small(logits):
        return None
    return _Ready(SoftmaxRows(Memory(0, CODES[logits.dtype], at, None)).prepared_activation(out), axis)


class LogSumExp(PlainFunction):
    """log Σ exp along an axis; its gradient is the softmax."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int, ready: _Ready | None) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.axis = axis
        lse, ctx.infinite = _logsumexp(logits, axis, ready)
        return lse

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        if is_transformed((upstream,)):
            return upstream.unsqueeze(ctx.axis) * softmax(logits, ctx.axis), None, None
        check_memory([logits])
        p = _softmax(logits, ctx.axis, _ready(logits, ctx.axis))
        if ctx.infinite:  # as e^(z - lse) is: 0, and NaN where both are infinite
            infinite = logits == math.inf
            p = p.masked_fill(infinite.any(ctx.axis, keepdim=True), 0.0).masked_fill(infinite, math.nan)
        return p.mul_(upstream.unsqueeze(ctx.axis)), None, None


def _logsumexp(logits: Tensor, axis: int, ready: _Ready | None) -> tuple[Tensor, bool]:
    """The result, and whether any of it is +inf."""
    batch = logits.shape[:axis] + logits.shape[axis + 1 :]
    if ready is not None:
        lse = logits.new_empty(batch, dtype=torch.promote_types(logits.dtype, torch.float32))
        infinite = ready.rows.logsumexp(logits.data_ptr(), lse.data_ptr())
        return lse.to(logits.dtype), infinite
    out = SoftmaxRows(memory(logits, axis)).run(RowCoefficients(l=1.0), rows=True)
    lse = torch.from_numpy(out.loss.reshape(batch)).to(logits.dtype)
    if lse.isnan().any():  # the kernels make NaN of +inf, whose sum is known here
        lse = torch.where(lse.isnan() & (logits.amax(axis) == math.inf), math.inf, lse)
    return lse, bool((lse == math.inf).any())


def _softmax(logits: Tensor, axis: int, ready: _Ready | None) -> Tensor:
    if ready is not None:
        out = torch.empty_like(logits)
        ready.rows.softmax(logits.data_ptr(), out.data_ptr())
        return out
    out, into = output_like(logits, axis)
    SoftmaxRows(memory(logits, axis)).run(RowCoefficients(l=1.0), into)
    return out


class Softmax(PlainFunction):
    """exp z / Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int, ready: _Ready | None) -> Tensor:
        out = _softmax(logits, axis, ready)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        return torch._softmax_backward_data(upstream, p, ctx.axis, p.dtype), None, None


class LogSoftmax(PlainFunction):
    """z - log Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int, ready: _Ready | None) -> Tensor:
        if ready is not None:
            out = torch.empty_like(logits)
            ready.rows.log_softmax(logits.data_ptr(), out.data_ptr())
        else:
            out, into = output_like(logits, axis)
            SoftmaxRows(memory(logits, axis)).log_softmax(into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (log_p,) = ctx.saved_tensors
        return torch._log_softmax_backward_data(upstream, log_p, ctx.axis, log_p.dtype), None, None


def small_activation(function: type[PlainFunction], logits: Tensor, axis: Any) -> Tensor | None:
    """One of these functions of small plain logits; None of others."""
    if type(axis) is not int or not are_constants(logits, ()):  # True is 1 where numbers are looked up
        return None
    ready = _ready(logits, axis)
    return None if ready is None else function.apply(logits, ready.axis, ready)


def _along_axis(function: type[PlainFunction], fallback: Any, logits: Tensor, axis: int) -> Tensor:
    small = small_activation(function, logits, axis)
    if small is not None:
        return small
    at = softmax_axis(tuple(logits.shape), dtype_name(logits), axis)
    if is_readable(logits):
        return function.apply(logits, at, None)  # type: ignore[no-any-return]
    return fallback(logits, at)  # type: ignore[no-any-return]


def softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(Softmax, torch.softmax, logits, axis)


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSoftmax, torch.log_softmax, logits, axis)


def logsumexp(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSumExp, torch.logsumexp, logits, axis)
