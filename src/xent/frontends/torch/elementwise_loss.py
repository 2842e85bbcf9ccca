"""Losses of single numbers on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...formulas import pinball
from ...options import PinballOptions
from ...problem import check_logits_dtype, check_same_shape, check_sample_weight
from .arrays import TORCH_DTYPES, as_tensor, dtype_name


def pinball_loss(pred: Tensor, target: Any, options: PinballOptions, *, sample_weight: Any) -> Any:
    dtype = TORCH_DTYPES[check_logits_dtype(dtype_name(pred), "pred")]
    target = as_tensor("target", target, pred)
    check_same_shape("target", tuple(target.shape), tuple(pred.shape), "pred")
    loss, _ = pinball(torch, pred.to(dtype) - target, options.over, options.under)
    weight = (
        torch.ones((), dtype=dtype, device=pred.device)
        if sample_weight is None
        else as_tensor("sample_weight", sample_weight, pred)
    )
    if sample_weight is not None:
        check_sample_weight(tuple(weight.shape), tuple(pred.shape))
    weight = weight.to(dtype).expand(pred.shape)
    loss = loss * weight
    if options.reduction == "none":
        return loss
    total = loss.sum()
    if options.reduction == "sum":
        return total
    mass = weight.sum()
    return torch.where(mass == 0, total * 0.0, total / torch.where(mass == 0, 1.0, mass))
