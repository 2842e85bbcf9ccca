"""Losses of single numbers on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...formulas import mean_scale, pinball
from ...options import PinballOptions
from ...problem import check_logits_dtype, check_same_shape, check_sample_weight
from . import gradients
from .arrays import as_array


def pinball_loss(pred: Any, target: Any, options: PinballOptions, *, sample_weight: Any) -> Any:
    x, t = as_array("pred", pred), as_array("target", target)
    dtype = np.dtype(check_logits_dtype(x.dtype.name, "pred"))
    check_same_shape("target", t.shape, x.shape, "pred")
    loss, slope = pinball(np, x.astype(np.float64) - t, options.over, options.under)
    weight: Any = 1.0
    if sample_weight is not None:
        weight = as_array("sample_weight", sample_weight)
        check_sample_weight(weight.shape, x.shape)
        weight = np.broadcast_to(weight, x.shape).astype(np.float64)
    scale = 1.0
    if options.reduction == "mean":
        scale = mean_scale(float(np.sum(weight)) if sample_weight is not None else float(x.size))
    value: Any = (loss * weight).astype(dtype)
    if options.reduction != "none":
        value = dtype.type(np.sum(loss * weight) * scale)
    recorder = gradients.active.get()
    if recorder is not None:
        recorder.add(value, pred, (slope * (weight * scale)).astype(x.dtype))
    return value
