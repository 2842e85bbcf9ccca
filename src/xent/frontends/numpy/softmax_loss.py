"""Softmax cross-entropy on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...formulas import RowFunction
from ...kernels.native import IndexLabels, Memory, address
from ...labels import Positives, TopK, refuse
from ...losses.labels import TopKArrays, int64_labels, topk_arrays
from ...losses.softmax import SoftmaxLoss, Stats
from ...options import SoftmaxOptions
from ...problem import SoftmaxProblem, softmax_problem
from . import gradients
from .arrays import Array, as_array, memory, output_like


class SoftmaxCall:
    """One call of softmax cross-entropy on NumPy arrays: checked, and ready to run.

    Front-ends whose arrays are memory of the CPU run it on views of them, so that all give the same bits.
    """

    def __init__(
        self,
        logits: Array,
        labels: Any,
        options: SoftmaxOptions,
        *,
        class_weight: Any = None,
        sample_weight: Any = None,
        normalizer: Any = None,
        validate: bool = True,
        function: RowFunction | None = None,
    ) -> None:
        refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
        target = softmax_labels(labels)
        described = target.indices if isinstance(target, TopK) else target
        self.logits, self.options = logits, options
        self.problem = softmax_problem(
            logits.shape,
            logits.dtype.name,
            options.axis,
            described.shape,
            described.dtype.name,
            isinstance(target, TopK),
        )
        self._loss = SoftmaxLoss(
            self.problem,
            options,
            memory(logits, self.problem.axis),
            flat_labels(target, self.problem, validate),
            class_weight=None if class_weight is None else as_array("class_weight", class_weight),
            sample_weight=None if sample_weight is None else as_array("sample_weight", sample_weight),
            normalizer=normalizer,
            validate=validate,
            function=function,
        )

    def run(self, *, gradient: bool = False, statistics: bool = False) -> tuple[Any, Stats | None, Array | None]:
        """The loss, the statistics and the gradient of the sum of what is returned, the last two if asked for."""
        slope, into = output_like(self.logits, self.problem.axis) if gradient else (None, None)
        out = self._loss.run(into, statistics=statistics)
        if self.options.reduction != "none":
            value = np.dtype(self.problem.accumulate).type(out.total)
        else:
            value = self._per_row(out.loss)
        stats = None
        if statistics:
            argmax = out.argmax.reshape(self.problem.batch_shape)
            stats = Stats(self._per_row(out.lse), self._per_row(out.entropy), argmax)
        return value, stats, slope

    def vjp(self, loss: Any, lse: Any = None, entropy: Any = None) -> Array:
        """The gradient for cotangents of the loss, and of lse and entropy: a number for a scalar, or one a row."""
        slope, into = output_like(self.logits, self.problem.axis)
        of_loss, of_lse, of_entropy = (None if g is None else cotangent(g) for g in (loss, lse, entropy))
        self._loss.gradient(into, 0.0 if of_loss is None else of_loss, lse=of_lse, entropy=of_entropy)
        return slope

    def _per_row(self, values: Array) -> Array:
        return values.astype(self.problem.accumulate).reshape(self.problem.batch_shape)


def cotangent(upstream: Any) -> Any:
    """An upstream gradient as a number, or flat float64."""
    wide = np.asarray(upstream, np.float64)
    return np.ascontiguousarray(wide).reshape(-1) if wide.ndim else float(wide)


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    options: SoftmaxOptions,
    *,
    return_stats: bool,
    **rest: Any,
) -> Any:
    call = SoftmaxCall(as_array("logits", logits), labels, options, **rest)
    recorder = gradients.active.get()
    recorded = recorder is not None and options.reduction != "none"
    value, stats, gradient = call.run(gradient=recorded, statistics=return_stats)
    if recorder is not None:
        recorder.add(value, logits, gradient)
    return (value, stats) if return_stats else value


def softmax_labels(labels: Any) -> Array | TopK:
    """Labels as arrays."""
    if isinstance(labels, TopK):
        return TopK(as_array("labels.indices", labels.indices), as_array("labels.values", labels.values))
    if isinstance(labels, list) and not labels:
        return np.empty(0, np.int64)  # an empty list has no dtype of its own
    return as_array("labels", labels)


def flat_labels(target: Array | TopK, problem: SoftmaxProblem, validate: bool) -> IndexLabels | TopKArrays | Memory:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(target, TopK):
        return topk_arrays(target.indices, target.values, problem.classes, validate)
    if problem.target == "dense":
        return memory(target, problem.axis)
    flat = int64_labels(target)
    return IndexLabels(address(flat), flat, target)
