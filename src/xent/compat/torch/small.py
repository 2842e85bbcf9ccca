"""Ordinary calls on small batches, straight to the kernel: what would decide about them takes longer than they do.

A function returns None for a call that is not one of them, or that something is wrong with.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...frontends.torch import activations
from ...frontends.torch.arrays import PlainFunction
from ...frontends.torch.small import Others, SmallCalls, is_small
from ...frontends.torch.small_elementwise import ReadyElementwise, SmallElementwise, ready_elementwise
from ...frontends.torch.small_softmax import ReadySoftmax, SmallSoftmax, ready_softmax
from ...options import sigmoid_options, softmax_options
from . import ordinary

# Half precision leaves in another dtype than that of the kernels' results.
_DTYPES = (torch.float32, torch.float64)


def small_cross_entropy(
    input: Tensor, target: Any, weight: Any, ignore_index: Any, reduction: Any, label_smoothing: Any
) -> Tensor | None:
    if type(ignore_index) is not int:  # True is 1 where numbers are looked up
        return None
    try:
        return _cross_entropy.loss(input, (target, weight), None, ignore_index, reduction, label_smoothing)
    except (IndexError, TypeError, ValueError):
        return None


def _prepare_cross_entropy(
    input: Tensor, others: Others, options: None, ignore_index: int, reduction: Any, label_smoothing: Any
) -> ReadySoftmax | None:
    target, weight = others
    epsilon = ordinary.smoothing(label_smoothing)
    axis = 0 if input.ndim == 1 else 1
    if not (is_small(input) and input.ndim and input.dtype in _DTYPES and epsilon is not None):
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
        return _binary_cross_entropy.loss(input, (target, pos_weight, None, weight), None, reduction)
    except (IndexError, TypeError, ValueError):
        return None


def _prepare_binary_cross_entropy(
    input: Tensor, others: Others, options: None, reduction: Any
) -> ReadyElementwise | None:
    target, pos_weight, _, weight = others
    if not (input.dtype in _DTYPES and input.is_contiguous() and ordinary.is_like(target, input)):
        return None
    if not ordinary.is_spread(pos_weight, input) or (weight is not None and not ordinary.is_like(weight, input)):
        return None
    count = input.numel() if reduction == "mean" and weight is not None else None
    numbers = sigmoid_options(reduction=reduction)
    return ready_elementwise(input, others, numbers, ("logits", "labels"), count, False)


def small_activation(function: type[PlainFunction], input: Tensor, dim: Any) -> Tensor | None:
    try:
        return activations.small_activation(function, input, dim) if type(dim) is int else None
    except (IndexError, TypeError, ValueError):
        return None


_cross_entropy = SmallCalls(SmallSoftmax, _prepare_cross_entropy)
_binary_cross_entropy = SmallCalls(SmallElementwise, _prepare_binary_cross_entropy)
