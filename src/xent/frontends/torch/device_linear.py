"""Softmax cross-entropy of a projection on a device: of each block of logits the kernels make the gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...kernels.triton.launch import PerRow, Results, RowCoefficients, Saved, SoftmaxRows
from ...losses.linear import slices
from ...plan import DeviceBlocks, device_blocks
from ...problem import RowLayout
from .device import on_device_of
from .device_products import DeviceLinearCall, DeviceProducts, device_budget, matrix_layout
from .device_softmax import DeviceSoftmaxCall, kept_of, partials, run_rows, saved_of
from .linear_calls import LinearSoftmaxCall
from .linear_products import Tensors


class DeviceLinearSoftmaxCall(DeviceLinearCall, LinearSoftmaxCall):
    """One call of a linear loss on a device, where nothing waits for it."""

    dense_call = DeviceSoftmaxCall
    dense: DeviceSoftmaxCall
    _saved: Saved | None = None

    def prepare(self, inputs: Tensor, validate: bool) -> None:
        labels = self.dense.arguments[0]
        self.soft = labels.detach().reshape(-1, self.problem.classes) if self.problem.target == "dense" else None
        self.dense.return_stats = self.return_stats
        self.dense.prepare(inputs, validate, presume=False)
        self._device_blocks((inputs, None), (False, False))  # refuses what the backward pass would

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        with on_device_of(tensors[0]):
            results = self.dense.results(tensors[0].device, self.return_stats)
            gradients = self._sweep(tensors, wanted, self.dense.coefficients, results, None)
            self._saved = kept_of(results)
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
            products.silence_where(self._nothing(k))
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
            target = target._replace(dense=soft, dense_layout=matrix_layout(soft))
        layout = matrix_layout(logits)
        return self.dense.rows_on(logits, layout, target, classes.start), layout

    def _nothing(self, k: RowCoefficients) -> Tensor | None:
        """Rows that add nothing to any gradient, whatever they hold; those without weight may by their statistics."""
        found = None
        if self.options.ignore_index is not None and self.dense.target.index is not None:
            found = self.dense.target.index == -1
        if self.dense.sample_weight is not None and k.l is None and k.h is None:
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
            device_budget(self.budget, inputs.device),
            sums[1],
            sums[0],
            inputs.shape[-1] if any(wanted) and wanted[1] else 0,
        )


def _sliced(tensors: Any, rows: slice) -> list[Any]:
    return [None if t is None else t[rows] for t in tensors]


def _some(k: RowCoefficients, rows: slice) -> RowCoefficients:
    """The coefficients of some rows."""
    b, c, zeta = (x if x.rows is None else PerRow(x.value, x.rows[rows]) for x in (k.b, k.c, k.zeta))
    of_lse, of_entropy = _sliced((k.l, k.h), rows)
    return RowCoefficients(b, c, of_lse, zeta, of_entropy, k.scale)
