"""Sums on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.triton import launch


def total(
    numbers: Tensor, factors: Tensor | None = None, *, scale: Tensor | None = None, inverse: bool = False
) -> Tensor:
    """Σ numbers·factors in a fixed order, times `scale`; or its reciprocal, 0 of 0. A float64 scalar on the device."""
    out = torch.empty((), dtype=torch.float64, device=numbers.device)
    count = numbers.numel()
    chunks = torch.empty(count // 1024, dtype=torch.float64, device=numbers.device) if count > launch.CHUNK else None
    launch.ordered_sum(numbers.contiguous(), out, factors=factors, scale=scale, inverse=inverse, chunks=chunks)
    return out
