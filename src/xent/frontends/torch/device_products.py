"""The matrix products of a linear loss on a device, and what its calls have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...caching import remember
from ...kernels.triton.launch import scale_unless_one
from ...plan import DEVICE_BUDGET, LINEAR_BUDGET, Blocks, DeviceBlocks
from ...problem import RowLayout
from .arrays import INTERPRETED
from .device import on_device_of, processors
from .linear_calls import LinearCall, without_rows
from .linear_products import Products, Tensors, block


class DeviceLinearCall(LinearCall):
    """A call whose gradients, made ahead, are scaled where they lie."""

    def makes_gradient_ahead(self, dtype: torch.dtype) -> bool:
        # float16 loses what is below its range before the upstream gradient scales it up
        return self.options.reduction != "none" and dtype is not torch.float16

    def scaled(self, gradients: list[Any], upstream: Tensor, dtype: torch.dtype) -> list[Any]:
        with on_device_of(upstream):
            for g in gradients:
                if g is not None:
                    scale_unless_one(g, upstream, processors(g.device))
        return gradients


def device_budget(asked: int | None, device: torch.device) -> int:
    """Bytes: as many as the user allows, or half of what is free up to the usual ones."""
    if asked is not None or INTERPRETED:
        return DEVICE_BUDGET if asked is None else asked
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(min(DEVICE_BUDGET, free // 2), LINEAR_BUDGET)


def matrix_layout(matrix: Tensor) -> RowLayout:
    """How the rows of a matrix lie in memory."""
    (rows, classes), (outer, step) = matrix.shape, matrix.stride()
    return RowLayout(rows, classes, 1, outer, step, 0)


@remember
def _adds_wide(device: torch.device) -> bool:
    """Whether torch adds products of half precision to float32, which depends on its version and the device."""
    narrow, wide = (torch.zeros(1, 1, dtype=dtype, device=device) for dtype in (torch.bfloat16, torch.float32))
    try:
        torch.addmm(wide, narrow, narrow, out_dtype=wide.dtype, out=wide)
    except (RuntimeError, TypeError):
        return False
    return True


class DeviceProducts(Products):
    """The products on a device, and the logits that are kept there."""

    def __init__(self, tensors: Tensors, wanted: tuple[bool, ...], blocks: DeviceBlocks, apart: bool) -> None:
        super().__init__(tensors, wanted, Blocks(blocks.rows, blocks.classes), apart)
        self._apart, self._sizes = apart, blocks
        self._kept: dict[tuple[int, int], Tensor] = {}

    def buffer(self, blocks: Blocks, like: Tensor) -> Tensor:
        return torch.empty(blocks.rows * blocks.classes, dtype=like.dtype, device=like.device)

    def empty_sum(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.empty(like.shape, dtype=dtype, device=like.device)

    def made(self, rows: slice, classes: slice, keep: bool = False) -> Tensor:
        """The logits of a block; `keep`: until their gradient has been added, as long as there is room."""
        at = rows.start, classes.start
        if at in self._kept:
            return self._kept[at]
        out = block(self._logits, rows, classes)
        if keep and len(self._kept) < self._sizes.lent + self._sizes.kept:
            out = self._kept[at] = self._lent(out) if len(self._kept) < self._sizes.lent else torch.empty_like(out)
        return self.multiply(rows, classes, out)

    def _lent(self, like: Tensor) -> Tensor:
        """Room for the next block that is kept in the weight's gradient, which is not made yet."""
        if self.gradients[1] is None:
            self.gradients[1] = self.empty_sum(self._weights[0], like.dtype)
        gradient: Tensor = self.gradients[1].view(-1)
        start = gradient.numel() - (self._sizes.lent - len(self._kept)) * like.numel()
        return gradient[start : start + like.numel()].view(like.shape)

    def gradient_of(self, rows: slice, classes: slice) -> Tensor:
        kept = None if self._apart else self._kept.get((rows.start, classes.start))
        return super().gradient_of(rows, classes) if kept is None else kept

    def silence_where(self, rows: Tensor | None) -> None:
        """These rows of x add nothing to any gradient, whatever they hold."""
        if rows is not None:
            self._quiet = [without_rows(x, rows) for x in self._inputs]

    def add(self, rows: slice, classes: slice) -> None:
        super().add(rows, classes)
        self._kept.pop((rows.start, classes.start), None)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
        if total.dtype is a.dtype:
            torch.mm(a, b, out=total) if first else total.addmm_(a, b)
        elif _adds_wide(total.device):
            torch.addmm(total, a, b, out_dtype=total.dtype, beta=0 if first else 1, out=total)
        else:
            self.add_converted(total, a, b, first)
