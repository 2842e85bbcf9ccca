"""The matrix products of a linear loss, on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels.native import LABEL_CODES, Memory, pooled
from ...plan import Blocks
from ...problem import RowLayout
from .arrays import dtype_name, empty_like

Tensors = tuple[Any, ...]  # x and W of each product that makes the logits, and last the bias or None


class Products:
    """The matrix products of logits `Σ xᵢ·Wᵢᵀ + b` and of their gradients.

    Sums over several blocks are made in float32 at least, those of one block by the product itself, which rounds once.
    """

    def __init__(self, tensors: Tensors, wanted: tuple[bool, ...], blocks: Blocks, apart: bool) -> None:
        """`tensors`: x and W of each pair, and last the bias. `apart`: gradients do not go over the logits."""
        *pairs, self._bias = tensors
        self._inputs, self._weights = pairs[::2], pairs[1::2]
        self._quiet = self._inputs
        self._wanted, self._tensors, self._blocks = wanted, tensors, blocks
        self._rows: Any = None
        self._logits = self.buffer(blocks, tensors[0])
        self._gradient = self.buffer(blocks, tensors[0]) if apart else self._logits
        self.gradients: list[Any] = [None] * len(tensors)

    def buffer(self, blocks: Blocks, like: Tensor) -> Tensor:
        """Uninitialised numbers for a block, many of them from the pool."""
        return torch.from_numpy(pooled(blocks.rows * blocks.classes * like.itemsize)).view(like.dtype)

    def empty_sum(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Where a gradient is added up."""
        return empty_like(like, dtype)

    def select(self, rows: Any) -> None:
        self._rows = torch.from_numpy(rows)
        self._inputs = self._quiet = [x.index_select(0, self._rows) for x in self._inputs]

    def silence(self, rows: Any) -> None:
        self._quiet = [x.index_fill(0, torch.from_numpy(rows), 0.0) for x in self._inputs]

    def logits(self, rows: slice, classes: slice) -> Memory:
        return self.place(self.multiply(rows, classes, block(self._logits, rows, classes)))

    def multiply(self, rows: slice, classes: slice, out: Tensor) -> Tensor:
        """The logits of a block."""
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            some, head = x[rows], w[classes].t()
            if at:
                out.addmm_(some, head)
            elif self._bias is None:
                torch.mm(some, head, out=out)
            else:
                torch.addmm(self._bias[classes], some, head, out=out)
        return out

    def gradient(self, rows: slice, classes: slice) -> Memory:
        return self.place(self.gradient_of(rows, classes))

    def gradient_of(self, rows: slice, classes: slice) -> Tensor:
        """The gradient by the logits of a block."""
        return block(self._gradient, rows, classes)

    def place(self, matrix: Tensor, dense: bool = False) -> Memory:
        if dense and matrix.stride(1) != 1:
            matrix = matrix.contiguous()
        (rows, classes), (outer, step) = matrix.shape, matrix.stride()
        layout = RowLayout(rows, classes, 1, outer, step, 0)
        return Memory(matrix.data_ptr(), LABEL_CODES[dtype_name(matrix)], layout, matrix)

    def add(self, rows: slice, classes: slice) -> None:
        g = self.gradient_of(rows, classes)
        for at, (x, w) in enumerate(zip(self._quiet, self._weights, strict=True)):
            if self._wanted[2 * at]:
                total = self._total(2 * at, x, classes.stop - classes.start == len(w))[rows]
                self.add_product(total, g, w[classes], classes.start == 0)
            if self._wanted[2 * at + 1]:
                total = self._total(2 * at + 1, w, rows.stop - rows.start == len(x))[classes]
                self.add_product(total, g.t(), x[rows], rows.start == 0)
        if self._wanted[-1]:
            total = self._total(-1, self._bias, False)[classes]
            part = g.sum(0, dtype=total.dtype)
            total.copy_(part) if rows.start == 0 else total.add_(part)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
        """total + a·b, or the first product."""
        if a.dtype is torch.bfloat16 and total.dtype is not a.dtype:
            # What a product of bfloat16 has rounded off is another such product, exact inside: both are faster than one
            # of float32 where processors have bfloat16 in matrices, and hold 16 bits.
            rounded = torch.mm(a, b)
            rest = torch.addmm(rounded, a, b, beta=-1)
            total.copy_(rounded) if first else total.add_(rounded)
            total.add_(rest)
        else:
            self.add_converted(total, a, b, first)

    @staticmethod
    def add_converted(total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
        """The same by converting a few lines of a after the other."""
        b = b.to(total.dtype)
        step = len(total) if a.dtype is total.dtype else _CONVERTED
        for start in range(0, len(total), step):
            some = slice(start, start + step)
            total[some].addmm_(a[some].to(total.dtype), b, beta=0 if first else 1)

    def _total(self, at: int, like: Tensor, in_one: bool) -> Tensor:
        """What a gradient is summed up in."""
        if self.gradients[at] is None:
            self.gradients[at] = self.empty_sum(like, like.dtype if in_one else _wide(like.dtype))
        return self.gradients[at]  # type: ignore[no-any-return]

    def finished(self) -> list[Any]:
        """The gradients that are wanted; in float32 where those of half precision were summed up."""
        out: list[Any] = []
        for tensor, want, found in zip(self._tensors, self._wanted, self.gradients, strict=True):
            if not want:
                out.append(None)
            elif found is None:
                out.append(torch.zeros_like(tensor))
            elif found.shape != tensor.shape:  # of the rows that count
                out.append(torch.zeros_like(tensor).index_copy_(0, self._rows, found.to(tensor.dtype)))
            else:
                out.append(found)
        return out


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


# Lines of a product that half precision is converted to float32 for at a time.
_CONVERTED = 2048


def block(buffer: Tensor, rows: slice, classes: slice) -> Tensor:
    """The part of a buffer that holds a block."""
    count, width = rows.stop - rows.start, classes.stop - classes.start
    return buffer[: count * width].view(count, width)
