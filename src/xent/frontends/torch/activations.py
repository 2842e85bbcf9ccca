"""softmax, log_softmax and logsumexp of tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...kernels.native import RowCoefficients, SoftmaxRows
from ...problem import softmax_axis
from .arrays import dtype_name, is_readable, memory, output_like


class LogSumExp(torch.autograd.Function):
    """log Σ exp along an axis; its gradient is the softmax."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.axis = axis
        rows = memory(logits, axis)
        out = SoftmaxRows(rows).run(RowCoefficients(l=1.0), rows=True)
        lse = torch.from_numpy(out.loss.reshape(logits.shape[:axis] + logits.shape[axis + 1 :])).to(logits.dtype)
        if lse.isnan().any():  # the kernels make NaN of +inf, whose sum is known here
            lse = torch.where(lse.isnan() & (logits.amax(axis) == math.inf), math.inf, lse)
        return lse

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        return upstream.unsqueeze(ctx.axis) * softmax(logits, ctx.axis), None


class Softmax(torch.autograd.Function):
    """exp z / Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        out, into = output_like(logits, axis)
        SoftmaxRows(memory(logits, axis)).run(RowCoefficients(l=1.0), into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        wide = torch.promote_types(p.dtype, torch.float32)
        w, q = upstream.to(wide), p.to(wide)
        return (q * (w - (q * w).sum(ctx.axis, keepdim=True))).to(p.dtype), None


class LogSoftmax(torch.autograd.Function):
    """z - log Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        out, into = output_like(logits, axis)
        SoftmaxRows(memory(logits, axis)).log_softmax(into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (log_p,) = ctx.saved_tensors
        wide = torch.promote_types(log_p.dtype, torch.float32)
        w, q = upstream.to(wide), softmax(log_p.to(wide), ctx.axis)
        return (w - q * w.sum(ctx.axis, keepdim=True)).to(log_p.dtype), None


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
