"""Ordinary calls on small batches, straight to the kernel: what would decide about them takes longer than they do.

A function returns None for a call that is not one of them, or that something is wrong with.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ...frontends.torch.small import Others, SmallCalls, is_small
from ...frontends.torch.small_elementwise import ReadyElementwise, SmallElementwise, ready_elementwise
from ...frontends.torch.small_softmax import ReadySoftmax, SmallSoftmax, ready_softmax
from ...options import sigmoid_options, softmax_options
from . import ordinary


def small_cross_entropy(
    input: Tensor, target: Any, weight: Any, ignore_index: Any, reduction: Any, label_smoothing: Any
) -> Tensor | None:
    # 1 is found where True and 1.0 are looked up, and NaN never
    numbers = type(ignore_index) is int and type(label_smoothing) in (int, float) and label_smoothing == label_smoothing
    if not numbers:
        return None
    try:
        loss = _cross_entropy.loss(input, (target, weight), None, ignore_index, reduction, label_smoothing)
    except (IndexError, TypeError, ValueError):
        return None
    return loss if loss is None or loss.dtype is input.dtype else ordinary.in_dtype_of(loss, input)


def _prepare_cross_entropy(
    input: Tensor, others: Others, options: None, ignore_index: int, reduction: Any, label_smoothing: Any
) -> ReadySoftmax | None:
    target, weight = others
    epsilon = ordinary.smoothing(label_smoothing)
    if not ordinary.is_label(ignore_index):
        return None
    axis = 0 if input.ndim == 1 else 1
    if not (is_small(input) and input.ndim and epsilon is not None):
        return None
    if weight is not None and not (weight.dtype == input.dtype and weight.shape == input.shape[axis : axis + 1]):
        return None
    indices = ordinary.is_index(target, input)
    if not indices and not (ignore_index < 0 and ordinary.is_like(target, input)):
        return None
    numbers = softmax_options(
        axis=axis, label_smoothing=epsilon, ignore_index=ignore_index if indices else None, reduction=reduction
    )
    rows = None if indices or reduction != "mean" else input.numel() // input.shape[axis]
    return ready_softmax(input, others, numbers, rows, True, math.nan)


def small_binary_cross_entropy(
    input: Tensor, target: Any, weight: Any, reduction: Any, pos_weight: Any
) -> Tensor | None:
    try:
        loss = _binary_cross_entropy.loss(input, (target, pos_weight, None, weight), None, reduction)
    except (IndexError, TypeError, ValueError):
        return None
    return loss if loss is None or loss.dtype is input.dtype else ordinary.in_dtype_of(loss, input)


def _prepare_binary_cross_entropy(
    input: Tensor, others: Others, options: None, reduction: Any
) -> ReadyElementwise | None:
    target, pos_weight, _, weight = others
    if not (input.is_contiguous() and ordinary.is_like(target, input)):
        return None
    if not ordinary.is_spread(pos_weight, input) or (weight is not None and not ordinary.is_like(weight, input)):
        return None
    count = input.numel() if reduction == "mean" and weight is not None else None
    numbers = sigmoid_options(reduction=reduction)
    return ready_elementwise(input, others, numbers, ("logits", "labels"), count, False)


_cross_entropy = SmallCalls(SmallSoftmax, _prepare_cross_entropy)
_binary_cross_entropy = SmallCalls(SmallElementwise, _prepare_binary_cross_entropy)
