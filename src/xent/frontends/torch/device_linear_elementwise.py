"""Losses of single numbers of a projection on a device. Their blocks need nothing of each other."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor

from ...kernels.triton.elementwise_launch import Into
from ...losses.linear import slices
from ...plan import DeviceBlocks, linear_blocks
from .device import on_device_of
from .device_elementwise import DeviceElementwiseCall
from .device_products import DeviceLinearCall, DeviceProducts, device_budget, matrix_layout
from .linear_calls import NAMES, LinearSigmoidCall
from .linear_products import Tensors


class DeviceLinearSigmoidCall(DeviceLinearCall, LinearSigmoidCall):
    """One call of such a loss on a device."""

    def prepare(self, inputs: Tensor, validate: bool | None) -> None:
        labels, *weights, normalizer = self.arguments
        nowhere = self.nowhere(inputs)
        call = self._whole = DeviceElementwiseCall(nowhere, labels, self.options, NAMES, *weights)
        call.normalizer, call.bad_is_nan = normalizer, validate is None
        call.prepare(nowhere, bool(validate))
        self.dtype = call.dtype
        self.others = [t for _, t in call.named]
        self.labels = None if call.lists is not None else call.labels.detach().reshape(self.matrix)
        self.pos_weight = None if call.pos_weight is None else self.matrix_of(call.pos_weight)
        self.weights = [self.matrix_of(weight) for weight in call.weights]

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        with on_device_of(tensors[0]):
            whole, device = self._whole, tensors[0].device
            if whole.scale is None:
                each = torch.empty(self.matrix, dtype=self.dtype, device=device)
                return (each.view(self.shape),), self._sweep(tensors, wanted, None, each=each)
            sums: list[Tensor] = []
            gradients = self._sweep(tensors, wanted, whole.scale, sums=sums)
            return (whole.reduced(torch.cat(sums, 1)),), gradients

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        g: Any = upstream[0]
        with on_device_of(tensors[0]):
            if g is None or g._is_zerotensor():  # without memory
                return [torch.zeros_like(t) if want else None for t, want in zip(tensors, wanted, strict=True)]
            if self._whole.scale is not None:
                return self._sweep(tensors, wanted, self._whole.scale * g)
            return self._sweep(tensors, wanted, None, upstream=g.detach().to(self.dtype).reshape(self.matrix))

    def _sweep(
        self,
        tensors: Tensors,
        wanted: tuple[bool, ...],
        scale: Tensor | None,
        *,
        sums: list[Tensor] | None = None,
        each: Tensor | None = None,
        upstream: Tensor | None = None,
    ) -> list[Any]:
        """The gradients that are wanted; and partial sums of the losses, or each of them, if there is room for them."""
        apart = any(wanted) and self._whole.lists is not None  # positives read the logits once more
        blocks = self._device_blocks(tensors, wanted, apart)
        products = DeviceProducts(tensors, wanted, blocks, apart)
        for classes in slices(self.matrix[1], blocks.classes):
            for rows in slices(self.matrix[0], blocks.rows):
                logits = products.made(rows, classes)
                call = self._block(logits, rows, classes)
                some = None if upstream is None else upstream[rows, classes]
                tiles, of_each, _, layout = call.tiles(logits, some)
                if sums is not None:
                    sums.append(torch.zeros(2, tiles.sums, dtype=torch.float64, device=tensors[0].device))
                if each is not None:
                    part = each[rows, classes]
                    tiles.run(Into(matrix_layout(part), loss=part))
                if sums is not None or any(wanted):
                    summed, infinite = (None, None) if sums is None else sums[-1].unbind()
                    out = products.gradient_of(rows, classes) if any(wanted) else None
                    tiles.run(Into(layout, summed, infinite, gradient=out, scale=scale), None, of_each)
                if any(wanted):
                    products.add(rows, classes)
        return [None if g is None else g.to(t.dtype) for g, t in zip(products.finished(), tensors, strict=True)]

    def _block(self, logits: Tensor, rows: slice, classes: slice) -> DeviceElementwiseCall:
        """The call on a block."""
        call = copy(self._whole)
        if self.labels is not None:
            call.labels = self.labels[rows, classes]
        call.pos_weight = None if self.pos_weight is None else self.pos_weight[rows, classes]
        call.weights = [weight[rows, classes] for weight in self.weights]
        if call.elements is not None:
            row, k = call.elements // self.matrix[1] - rows.start, call.elements % self.matrix[1] - classes.start
            count, width = logits.shape
            here = (call.elements >= 0) & (row >= 0) & (row < count) & (k >= 0) & (k < width)
            call.elements = torch.where(here, row * width + k, -1)
        call.marks = None if call.marks is None else call.marks[rows]
        return call

    def _device_blocks(self, tensors: Tensors, wanted: tuple[bool, ...], apart: bool) -> DeviceBlocks:
        x = tensors[0]
        sums = 4 * sum(t.numel() for t, want in zip(tensors[:-1:2], wanted[::2], strict=False) if want)
        budget = device_budget(self.budget, x.device)
        if x.itemsize < 4:  # where gradients to inputs are summed up over the blocks
            budget = max(budget - sums, budget // 2)
        rows, classes = linear_blocks(*self.matrix, x.itemsize * (1 + apart), budget, False)
        return DeviceBlocks(rows, classes)
