"""Linear losses on tensors of a device: torch makes the products, and kernels the gradient of each block of logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels.triton.launch import PerRow, Results, RowCoefficients, Saved, SoftmaxRows, scale_unless_one
from ...losses.linear import slices
from ...options import SoftmaxOptions
from ...plan import DEVICE_BUDGET, Blocks, DeviceBlocks, device_blocks
from ...problem import RowLayout, SoftmaxProblem
from .arrays import INTERPRETED
from .device import on_device_of, processors
from .device_softmax import DeviceSoftmaxCall, partials, run_rows, saved_of
from .linear_calls import LinearSoftmaxCall, without_rows
from .linear_products import Products, Tensors, block


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
        elif not total.is_cuda:
            total.addmm_(a.to(total.dtype), b.to(total.dtype), beta=0 if first else 1)
        elif first:
            torch.mm(a, b, out_dtype=total.dtype, out=total)
        else:
            torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


class DeviceLinearSoftmaxCall(LinearSoftmaxCall):
    """One call of a linear loss on a device, where nothing waits for it."""

    dense: DeviceSoftmaxCall

    def __init__(
        self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        super().__init__(problem, options, arguments, budget)
        self.dense = DeviceSoftmaxCall(problem, options, arguments)
        self._saved: Saved | None = None

    def prepare(self, inputs: Tensor, validate: bool) -> None:
        labels = self.dense.arguments[0]
        self.soft = labels.detach().reshape(-1, self.problem.classes) if self.problem.target == "dense" else None
        self.dense.return_stats = self.return_stats
        self.dense.prepare(inputs, validate, presume=False)
        self._device_blocks((inputs, None), (False, False))  # refuses what the backward pass would

    def makes_gradient_ahead(self, dtype: torch.dtype) -> bool:
        # float16 loses what is below its range before the upstream gradient scales it up
        return self.options.reduction != "none" and dtype is not torch.float16

    def scaled(self, gradients: list[Any], upstream: Tensor, dtype: torch.dtype) -> list[Any]:
        with on_device_of(upstream):
            for g in gradients:
                if g is not None:
                    scale_unless_one(g, upstream, processors(g.device))
        return gradients

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        with on_device_of(tensors[0]):
            results = self.dense.results(tensors[0].device, self.return_stats)
            gradients = self._sweep(tensors, wanted, self.dense.coefficients, results, None)
            self._saved = saved_of(results)
            return self.dense.outputs(results), gradients

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        with on_device_of(tensors[0]):
            k = self.dense.upstream_coefficients(self.dense.coefficients, upstream)
            results = self.dense.results(tensors[0].device, self.return_stats)
            return self._sweep(tensors, wanted, k, results, self._saved)

    def _sweep(
        self, tensors: Tensors, wanted: tuple[bool, ...], k: RowCoefficients, results: Results, saved: Saved | None
    ) -> list[Any]:
        """The gradients that are wanted, and results where nothing was saved of these rows."""
        blocks = self._device_blocks(tensors, wanted)
        # the entries of top-k targets are made after those of all classes
        products = DeviceProducts(tensors, wanted, blocks, any(wanted) and self.dense.target.topk_index is not None)
        if any(wanted):
            products.silence_where(self._nothing())
        for rows in slices(self.problem.rows, blocks.rows):
            some = _some(k, rows), Results(*_sliced(results, rows))
            if blocks.classes >= self.problem.classes:
                self._by_rows(products, rows, *some, any(wanted))
            else:
                known = None if saved is None else Saved(*_sliced(saved, rows))
                self._by_classes(products, blocks.classes, rows, *some, known, any(wanted))
        pairs = zip(products.finished(), tensors, strict=True)
        return [g if g is None else g.to(t.dtype) for g, t in pairs]

    def _by_rows(
        self, products: DeviceProducts, rows: slice, k: RowCoefficients, results: Results, gradient: bool
    ) -> None:
        """Each row's logits are all there at once: loss and gradient in one pass."""
        everything = slice(0, self.problem.classes)
        part, layout = self._part(products.made(rows, everything), rows, everything)
        if not gradient:
            run_rows(part, k, results, None, None)
            return
        run_rows(part, k, results, products.gradient_of(rows, everything), layout)
        products.add(rows, everything)

    def _by_classes(
        self,
        products: DeviceProducts,
        size: int,
        rows: slice,
        k: RowCoefficients,
        results: Results,
        saved: Saved | None,
        gradient: bool,
    ) -> None:
        """The logits are made twice, but for those that are kept: for the statistics, and for the gradient."""
        statistics = results.argmax is not None
        every_block = list(slices(self.problem.classes, size))
        if saved is None:
            number, partial, best = 0, None, None
            for classes in every_block:
                part, _ = self._part(products.made(rows, classes, keep=gradient), rows, classes)
                if partial is None:
                    partial, best = partials(len(every_block) * part.shape(statistics).parts, results)
                number = part.collect(partial, best, number, statistics)
            part.conclude(partial, best, number, k, results)
            saved = saved_of(results)
        for classes in every_block if gradient else ():
            part, layout = self._part(products.made(rows, classes), rows, classes)
            part.gradient(k, saved, products.gradient_of(rows, classes), layout)
            products.add(rows, classes)

    def _part(self, logits: Tensor, rows: slice, classes: slice) -> tuple[SoftmaxRows, RowLayout]:
        """A block with its targets, and how its logits lie in memory."""
        target = self.dense.target
        index, topk_index, topk_value = _sliced((target.index, target.topk_index, target.topk_value), rows)
        target = target._replace(index=index, topk_index=topk_index, topk_value=topk_value)
        if self.soft is not None:
            soft = self.soft[rows, classes]
            target = target._replace(dense=soft, dense_layout=_layout(soft))
        layout = _layout(logits)
        part = SoftmaxRows(
            logits,
            layout,
            target,
            number_bytes=self.dense.dtype.itemsize,
            processors=processors(logits.device),
            temperature=self.options.temperature,
            softcap=self.options.softcap or 0.0,
            first=classes.start,
        )
        return part, layout

    def _nothing(self) -> Tensor | None:
        """Rows that add nothing to any gradient, whatever they hold."""
        found = None
        if self.options.ignore_index is not None and self.dense.target.index is not None:
            found = self.dense.target.index == -1
        if self.dense.sample_weight is not None:
            weightless = self.dense.sample_weight == 0
            found = weightless if found is None else found | weightless
        return found

    def _device_blocks(self, tensors: Tensors, wanted: tuple[bool, ...]) -> DeviceBlocks:
        inputs, half = tensors[0], tensors[0].itemsize < 4
        sums = [0, 0]  # in float32, of the gradients to inputs and weights
        for at, (tensor, want) in enumerate(zip(tensors[:-1], wanted, strict=False)):
            if want and half:
                sums[at % 2] += 4 * tensor.numel()
        buffers = 1 + (any(wanted) and self.dense.target.topk_index is not None)
        return device_blocks(
            self.problem.rows,
            self.problem.classes,
            inputs.itemsize * buffers,
            _budget(self.budget, inputs.device),
            sums[1],
            sums[0],
            inputs.shape[-1] if any(wanted) and wanted[1] else 0,
        )


def _budget(asked: int | None, device: torch.device) -> int:
    """Bytes: as many as the user allows, or half of what is free up to the usual ones."""
    if asked is not None or INTERPRETED:
        return DEVICE_BUDGET if asked is None else asked
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(DEVICE_BUDGET, free // 2)


def _layout(matrix: Tensor) -> RowLayout:
    (rows, classes), (outer, step) = matrix.shape, matrix.stride()
    return RowLayout(rows, classes, 1, outer, step, 0)


def _sliced(tensors: Any, rows: slice) -> list[Any]:
    return [None if t is None else t[rows] for t in tensors]


def _some(k: RowCoefficients, rows: slice) -> RowCoefficients:
    """The coefficients of some rows."""
    b, c, zeta = (x if x.rows is None else PerRow(x.value, x.rows[rows]) for x in (k.b, k.c, k.zeta))
    of_lse, of_entropy = _sliced((k.l, k.h), rows)
    return RowCoefficients(b, c, of_lse, zeta, of_entropy, k.scale)
