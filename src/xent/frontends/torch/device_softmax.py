"""Softmax cross-entropy on tensors of a device. Nothing waits for it, unless what arrays hold is to be validated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...formulas import softmax_coefficients, uses_measure
from ...kernels import reference
from ...kernels.triton import launch
from ...kernels.triton.launch import PerRow, Results, RowCoefficients, Saved, SoftmaxRows, Target
from ...labels import TopK
from ...losses.labels import check_index, topk_arrays
from ...losses.softmax import check_function
from ...problem import RowLayout
from .arrays import NAMESPACE, numpy_of
from .device import (
    check_device,
    number_on,
    on_device_of,
    output_like,
    placed,
    processors,
    reciprocal,
    weights_of,
)
from .device_sums import total
from .softmax_call import SoftmaxCall


class DeviceSoftmaxCall(SoftmaxCall):
    """One call on a device, where coefficients and denominator are made from labels and weights, too."""

    __slots__ = ("coefficients", "presumed", "sample_weight", "saved", "shaped", "target")

    coefficients: RowCoefficients
    presumed: bool  # soft targets are taken for distributions, until they have been seen
    sample_weight: Tensor | None
    saved: Any  # `Saved`, once the logits have been seen
    shaped: list[Tensor]  # the results of each row that the user gets
    target: Target

    def prepare(self, logits: Tensor, validate: bool, presume: bool = True) -> None:
        """Readies the kernels; what arrays hold is looked at only with `validate`, which waits for the device.

        `presume`: the gradient can be mended where soft targets are no distributions.
        """
        check_function(self.function, self.problem)
        self.check_without_memory()
        self.saved = None
        labels, class_weight, sample_weight, _ = self.arguments
        named = {"labels": labels}
        if isinstance(labels, TopK):
            named = {"labels.indices": labels.indices, "labels.values": labels.values}
        check_device(logits, named | {"class_weight": class_weight, "sample_weight": sample_weight})
        with on_device_of(logits):
            v = weights_of("class_weight", class_weight, self.dtype, validate)
            s = weights_of("sample_weight", sample_weight, self.dtype, validate)
            if s is not None:
                s = s.expand(self.problem.batch_shape).reshape(-1).contiguous()  # kernels read it as it lies
            self._prepare_target(logits, v, s, validate, presume)

    def _prepare_target(
        self, logits: Tensor, v: Tensor | None, s: Tensor | None, validate: bool, presume: bool
    ) -> None:
        problem, options, labels = self.problem, self.options, self.arguments[0]
        measured = uses_measure(options, problem.target)
        target = Target(class_weight=v, measured=measured)
        label_weight = mass = count = None  # mass: the class-weighted one of each row's unsmoothed target
        if problem.target == "index":
            index, count = self._resolved(labels.detach().reshape(-1).contiguous(), validate)
            target = target._replace(index=index)
            if v is not None:
                label_weight = v[index.clamp(min=0)]
            if v is not None or s is not None:
                mass = (index != -1) * (1.0 if label_weight is None else label_weight)
        elif problem.target == "topk":
            classes, values = self._topk(labels, validate)
            target = target._replace(topk_index=classes, topk_value=values)
            mass = (values if v is None else values * v[classes]).sum(1)
        else:
            dense, layout = placed(labels, problem.axis)
            target = target._replace(dense=dense, dense_layout=layout)
        self.presumed = problem.target == "dense" and options.reduction == "mean" and self.arguments[3] is None
        seen = presume and v is None and not options.label_smoothing and problem.accumulate == "float32"
        if self.presumed and not seen:
            self.presumed = False
            rows = labels.detach().movedim(problem.axis, -1).to(self.dtype)
            mass = (rows.sum(-1) if v is None else rows @ v).reshape(-1)
        k = softmax_coefficients(
            options,
            problem.target,
            problem.classes,
            sample_weight=1.0 if s is None else s,
            label_weight=1.0 if label_weight is None else label_weight,
        )
        self.target = target._replace(alpha=k.alpha, beta=k.beta)
        self.sample_weight = s
        scale = None if options.reduction == "none" else self._scale(logits.device, mass, s, count)
        c = _per_row(k.c) if measured else PerRow(0.0)
        self.coefficients = RowCoefficients(_per_row(k.b), c, None, _per_row(k.zeta), None, scale)

    def _resolved(self, labels: Tensor, validate: bool) -> tuple[Tensor, Tensor]:
        """Class indices as kernels take them, and how many rows of each block are not ignored."""
        if validate:
            check_index(labels.cpu().numpy(), self.problem, self.options.ignore_index)
        rows, device = self.problem.rows, labels.device
        index = torch.empty(rows, dtype=torch.int64, device=device)
        kept = torch.empty(-(-rows // launch.LABELS), dtype=torch.float64, device=device)
        launch.resolve_labels(labels, self.problem.classes, self.options.ignore_index, index, kept)
        return index, kept

    def _topk(self, labels: TopK, validate: bool) -> tuple[Tensor, Tensor]:
        """Classes in range, and their masses: NaN in a row with a class out of range, or twice."""
        k, classes = labels.indices.shape[-1], self.problem.classes
        indices, values = labels.indices.detach().long().reshape(-1, k), labels.values.detach().to(self.dtype)
        if validate:
            topk_arrays(indices.cpu().numpy(), numpy_of(values.reshape(-1, k).cpu()), classes, True)
        else:
            values = reference.topk_or_nan(NAMESPACE, indices, values.reshape(-1, k), classes)
        return indices.clamp(0, classes - 1).contiguous(), values.reshape(-1, k).contiguous()

    def _scale(self, device: torch.device, mass: Tensor | None, s: Tensor | None, count: Tensor | None) -> Tensor:
        """What the sum of the losses is multiplied by."""
        normalizer = self.arguments[3]
        if self.options.reduction == "sum":
            return number_on(device, 1.0)
        if normalizer is not None:
            return reciprocal(normalizer, device)
        if mass is not None:
            return total(mass, s, inverse=True)
        if s is not None:
            return total(s, inverse=True)
        return number_on(device, 1.0 / self.problem.rows) if count is None else total(count, inverse=True)

    def _rows(self, logits: Tensor) -> SoftmaxRows:
        return self.rows_on(*placed(logits, self.problem.axis), self.target)

    def rows_on(self, x: Tensor, layout: RowLayout, target: Target, first: int = 0) -> SoftmaxRows:
        """Logits with their target; `first`: the number of class 0 of these."""
        return SoftmaxRows(
            x,
            layout,
            target,
            number_bytes=self.dtype.itemsize,
            processors=processors(x.device),
            temperature=self.options.temperature,
            softcap=self.options.softcap or 0.0,
            first=first,
        )

    def results(self, device: torch.device, statistics: bool) -> Results:
        """Room for the results of each row, and for what a later gradient needs."""
        batch, rows = self.problem.batch_shape, self.problem.rows
        dtypes = [self.dtype] * 3 + [torch.int64] if statistics else [self.dtype]
        # what the user gets is a view of nothing, which could not be changed in place
        self.shaped = [torch.empty(batch, dtype=dtype, device=device) for dtype in dtypes]
        loss, lse, entropy, argmax = [*(t.view(-1) for t in self.shaped), None, None, None][:4]
        top, rest, mass = (torch.empty(rows, dtype=self.dtype, device=device) for _ in range(3))
        return Results(loss, top, rest, mass if self.target.measured else None, lse, entropy, argmax)

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        with on_device_of(logits):
            out, layout = output_like(logits, self.problem.axis) if gradient else (None, None)
            rows = self._rows(logits)
            if self.function is not None:
                return out, (self._of_nll(rows, out, layout),)
            results = self.results(logits.device, self.return_stats)
            self._run(rows, self.coefficients, results, out, layout)
            if self.presumed:
                made = self.coefficients.scale
                scale = total(results.mass, self.sample_weight, inverse=True)
                self.presumed, self.coefficients = False, self.coefficients._replace(scale=scale)
                if layout is not None:
                    rows.gradient(self.coefficients, self.saved, out, layout, made)
            return out, self.outputs(results)

    def outputs(self, results: Results) -> tuple[Tensor, ...]:
        """(loss,) or (loss, lse, entropy, argmax) as the user gets them."""
        loss, *stats = self.shaped
        if self.options.reduction != "none":
            loss = total(results.loss, scale=self.coefficients.scale).to(self.dtype)
        return loss, *stats

    def _run(
        self, rows: SoftmaxRows, k: RowCoefficients, results: Results, out: Tensor | None, layout: RowLayout | None
    ) -> None:
        run_rows(rows, k, results, out, layout)
        self.saved = kept_of(results)

    def _of_nll(self, rows: SoftmaxRows, out: Tensor | None, layout: RowLayout | None) -> Tensor:
        """The loss where it is a function of the nll, and its gradient."""
        loss, slope = self._value_and_slope(rows)
        if layout is not None:
            k = RowCoefficients(b=PerRow(1.0, slope), scale=self.coefficients.scale)
            rows.gradient(k, self.saved, out, layout)
        if self.options.reduction == "none":
            return self.shaped[0].copy_(loss.view(self.problem.batch_shape))
        return total(loss, scale=self.coefficients.scale).to(self.dtype)

    def _value_and_slope(self, rows: SoftmaxRows) -> tuple[Tensor, Tensor]:
        """The loss of each row and its derivative by the nll."""
        results = self.results(self.target.index.device, False)
        self._run(rows, RowCoefficients(b=PerRow(1.0)), results, None, None)
        number, weights = self.coefficients.b
        weight = (number if weights is None else number * weights) * (self.target.index != -1)
        parts = self.function(NAMESPACE, results.loss) if self.function else (results.loss, results.loss)
        loss, slope = (torch.where(weight == 0, 0.0, weight * part) for part in parts)
        return loss, slope

    def is_made_for(self, upstream: Tensor) -> bool:
        return False  # the kernel itself sees whether there is anything to do

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        with on_device_of(logits):
            rows = self._rows(logits)
            if self.saved is None:
                self.run(logits, False)
            k = self.coefficients
            if self.function is not None:
                k = RowCoefficients(b=PerRow(1.0, self._value_and_slope(rows)[1]), scale=k.scale)
            k = self.upstream_coefficients(k, upstream)
            axis = self.problem.axis
            gradient, layout = output_like(logits, axis) if out is None else placed(out, axis)
            made = None if out is None or k.scale is None else self.coefficients.scale
            rows.gradient(k, self.saved, gradient, layout, made)
        return gradient

    def upstream_coefficients(self, k: RowCoefficients, upstream: tuple[Tensor | None, ...]) -> RowCoefficients:
        """The coefficients times the upstream gradients: in the scale if that is but one, else in those of each row."""
        # torch has zeros without memory
        loss, lse, entropy = (None if g is None or g._is_zerotensor() else g for g in (*upstream, None, None)[:3])
        if loss is not None and lse is None and entropy is None and self.options.reduction != "none":
            return k._replace(scale=k.scale * loss)
        flat = [None if g is None else g.detach().to(self.dtype).contiguous().view(-1) for g in (lse, entropy)]
        if loss is None:
            return RowCoefficients(l=flat[0], h=flat[1])
        g = loss.detach().to(self.dtype)
        if k.scale is not None:
            g = (g * k.scale).to(self.dtype)
        g = g.expand(self.problem.batch_shape).contiguous().view(-1)
        b, c, zeta = (PerRow(x.value, g if x.rows is None else g * x.rows) for x in (k.b, k.c, k.zeta))
        return RowCoefficients(b, c, flat[0], zeta, flat[1])


def saved_of(results: Results) -> Saved:
    """What a gradient needs."""
    return Saved(results.top, results.rest, results.mass, results.entropy)


def kept_of(results: Results) -> Saved:
    """The same for a later gradient: the entropy is the user's to change."""
    return saved_of(results if results.entropy is None else results._replace(entropy=results.entropy.clone()))


def run_rows(
    rows: SoftmaxRows, k: RowCoefficients, results: Results, out: Tensor | None, layout: RowLayout | None
) -> None:
    """Loss, statistics and gradient, in as many steps as the shape of the rows asks for."""
    statistics = results.argmax is not None
    parts = rows.shape(statistics).parts
    if parts == 1:
        rows.run(k, results, out, layout)
        return
    partial, best = partials(parts, results)
    rows.conclude(partial, best, rows.collect(partial, best, 0, statistics), k, results)
    if layout is not None:
        rows.gradient(k, saved_of(results), out, layout)


def partials(parts: int, results: Results) -> tuple[Tensor, Tensor | None]:
    """Room for the statistics of parts of the classes."""
    count, device = len(results.top), results.top.device
    partial = torch.empty(parts, 6, count, dtype=results.top.dtype, device=device)
    wanted = results.argmax is not None
    return partial, torch.empty(parts, count, dtype=torch.int64, device=device) if wanted else None


def _per_row(coefficient: Any) -> PerRow:
    return PerRow(1.0, coefficient) if isinstance(coefficient, Tensor) else PerRow(float(coefficient))
