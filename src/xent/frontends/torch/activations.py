"""softmax, log_softmax and logsumexp of tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...caching import Prepared
from ...kernels.native import POOLED_BYTES, Memory, PreparedActivation, RowCoefficients, SoftmaxRows
from ...problem import row_layout, softmax_axis
from .arrays import CODES, PlainFunction, dtype_name, is_readable, is_transformed, memory, output_like

_prepared = Prepared()


def _ready(logits: Tensor, axis: int) -> PreparedActivation | None:
    """What is prepared for small logits of a layout, which only brings addresses; None for others."""
    return _prepared.get(  # type: ignore[no-any-return]
        (logits.shape, logits.stride(), logits.dtype, axis), None, lambda: _prepare(logits, axis)
    )


def _prepare(logits: Tensor, axis: int) -> PreparedActivation | None:
    at, out = (row_layout(logits.shape, t.stride(), axis) for t in (logits, torch.empty_like(logits)))
    if at is None or out is None or not 0 < logits.numel() * logits.itemsize < POOLED_BYTES:
        return None
    return SoftmaxRows(Memory(0, CODES[logits.dtype], at, None)).prepared_activation(out)


class LogSumExp(PlainFunction):
    """log Σ exp along an axis; its gradient is the softmax."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.axis = axis
        lse, ctx.infinite = _logsumexp(logits, axis)
        return lse

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        if is_transformed((upstream,)):
            return upstream.unsqueeze(ctx.axis) * softmax(logits, ctx.axis), None
        p = _softmax(logits, ctx.axis)
        if ctx.infinite:  # as e^(z - lse) is: 0, and NaN where both are infinite
            infinite = logits == math.inf
            p = p.masked_fill(infinite.any(ctx.axis, keepdim=True), 0.0).masked_fill(infinite, math.nan)
        return p.mul_(upstream.unsqueeze(ctx.axis)), None


def _logsumexp(logits: Tensor, axis: int) -> tuple[Tensor, bool]:
    """The result, and whether any of it is +inf."""
    batch = logits.shape[:axis] + logits.shape[axis + 1 :]
    ready = _ready(logits, axis)
    if ready is not None:
        lse = logits.new_empty(batch, dtype=torch.promote_types(logits.dtype, torch.float32))
        infinite = ready.logsumexp(logits.data_ptr(), lse.data_ptr())
        return lse.to(logits.dtype), infinite
    out = SoftmaxRows(memory(logits, axis)).run(RowCoefficients(l=1.0), rows=True)
    lse = torch.from_numpy(out.loss.reshape(batch)).to(logits.dtype)
    if lse.isnan().any():  # the kernels make NaN of +inf, whose sum is known here
        lse = torch.where(lse.isnan() & (logits.amax(axis) == math.inf), math.inf, lse)
    return lse, bool((lse == math.inf).any())


def _softmax(logits: Tensor, axis: int) -> Tensor:
    ready = _ready(logits, axis)
    if ready is not None:
        out = torch.empty_like(logits)
        ready.softmax(logits.data_ptr(), out.data_ptr())
        return out
    out, into = output_like(logits, axis)
    SoftmaxRows(memory(logits, axis)).run(RowCoefficients(l=1.0), into)
    return out


class Softmax(PlainFunction):
    """exp z / Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        out = _softmax(logits, axis)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        return torch._softmax_backward_data(upstream, p, ctx.axis, p.dtype), None


class LogSoftmax(PlainFunction):
    """z - log Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        ready = _ready(logits, axis)
        if ready is not None:
            out = torch.empty_like(logits)
            ready.log_softmax(logits.data_ptr(), out.data_ptr())
        else:
            out, into = output_like(logits, axis)
            SoftmaxRows(memory(logits, axis)).log_softmax(into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (log_p,) = ctx.saved_tensors
        return torch._log_softmax_backward_data(upstream, log_p, ctx.axis, log_p.dtype), None


def _along_axis(function: Any, fallback: Any, logits: Tensor, axis: int) -> Tensor:
    at = softmax_axis(tuple(logits.shape), dtype_name(logits), axis)
    if is_readable(logits):
        return function.apply(logits, at)  # type: ignore[no-any-return]
    return fallback(logits, at)  # type: ignore[no-any-return]


def softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(Softmax, torch.softmax, logits, axis)


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSoftmax, torch.log_softmax, logits, axis)


def logsumexp(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSumExp, torch.logsumexp, logits, axis)
