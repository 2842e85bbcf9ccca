"""Losses on memory of the CPU: arguments checked, coefficients made, kernel ready; the front-ends only convert.

A loss object is what a front-end calls for the value and, as often as it likes, for gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import label_error, value_error
from .formulas import mean_scale, softmax_coefficients, uses_measure
from .kernels.native import IndexLabels, Memory, PerRow, RowCoefficients, RowResults, SoftmaxRows, resolve_labels
from .options import SoftmaxOptions
from .problem import SoftmaxProblem, check_class_weight, check_logits_dtype, check_sample_weight


class Stats(NamedTuple):
    """Statistics of each row of logits, from the same pass as the loss. Shape: that of the per-row loss.

    Ignored rows hold 0 (and -1 in `argmax`).
    """

    lse: Any
    """log Σ_k exp z_k"""
    entropy: Any
    """of softmax(z), in nats"""
    argmax: Any
    """the class of the largest logit (the first of several), int64"""


class TopKArrays(NamedTuple):
    """Top-k targets as contiguous arrays [rows, k]."""

    indices: NDArray[np.int64]
    values: NDArray[np.float64]


def int64_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Class indices as contiguous int64, in one axis; what does not fit stays out of range."""
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.uint64(2**63 - 1))
    return np.ascontiguousarray(labels, np.int64).reshape(-1)


def topk_arrays(indices: NDArray[Any], values: NDArray[Any], classes: int, validate: bool) -> TopKArrays:
    """Top-k targets as the kernels take them: classes in range, none twice in a row.

    Without `validate` a row with a class out of range gets masses of NaN.
    """
    check_logits_dtype(values.dtype.name, "labels.values")
    if indices.shape != values.shape:
        raise value_error(
            "labels.values",
            f"the shape of labels.indices, {indices.shape}",
            f"shape {values.shape}",
            "Pass one mass per class index.",
        )
    k = indices.shape[-1]
    target = TopKArrays(int64_labels(indices).reshape(-1, k), np.ascontiguousarray(values, np.float64).reshape(-1, k))
    if validate:
        _check_topk(target, classes)
        return target
    outside = (target.indices < 0) | (target.indices >= classes)
    return TopKArrays(
        np.where(outside, 0, target.indices), np.where(outside.any(axis=1, keepdims=True), np.nan, target.values)
    )


def _check_topk(target: TopKArrays, classes: int) -> None:
    indices = target.indices
    bad = (indices < 0) | (indices >= classes)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        column = int(np.argmax(bad[row]))
        raise label_error("labels.indices", row, int(indices[row, column]), classes)
    ordered = np.sort(indices, axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    if repeated.any():
        row = int(np.argmax(repeated.any(axis=1)))
        label = int(ordered[row, int(np.argmax(repeated[row]))])
        raise value_error(
            "labels.indices",
            "classes of a row that differ",
            f"class {label} more than once in row {row}",
            "Add up the values of a repeated class.",
        )


def check_normalizer(normalizer: Any, reduction: str) -> float:
    """The normalizer as a number."""
    if reduction != "mean":
        raise value_error(
            "normalizer",
            f"None with reduction={reduction!r}",
            repr(normalizer),
            "It replaces the denominator of the mean.",
        )
    try:
        number = float(normalizer)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0.0 < number < float("inf"):
        raise value_error("normalizer", "a positive finite number", repr(normalizer), "Pass the global number of rows.")
    return number


def flat_class_weight(weight: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Class weights as contiguous float64."""
    check_class_weight(weight.shape, classes)
    return _finite("class_weight", weight)


def flat_sample_weight(weight: NDArray[Any], problem: SoftmaxProblem) -> NDArray[np.float64]:
    """Sample weights as contiguous float64, one a row."""
    check_sample_weight(weight.shape, problem.batch_shape)
    return _finite("sample_weight", np.broadcast_to(weight, problem.batch_shape)).reshape(-1)


def _finite(argument: str, weight: NDArray[Any]) -> NDArray[np.float64]:
    if weight.dtype.kind not in "fiub" and weight.dtype.name != "bfloat16":
        raise value_error(argument, "real numbers", f"dtype {weight.dtype}", "Convert the weights to a float dtype.")
    flat = np.ascontiguousarray(weight, np.float64)
    if not np.isfinite(flat).all():
        raise value_error(argument, "finite numbers", "inf or NaN", "Use weight 0 for what does not count.")
    return flat


class SoftmaxLoss:
    """Softmax cross-entropy of one batch: checked, its coefficients made, ready to run."""

    def __init__(
        self,
        problem: SoftmaxProblem,
        options: SoftmaxOptions,
        logits: Memory,
        labels: IndexLabels | TopKArrays | Memory,
        *,
        class_weight: NDArray[Any] | None = None,
        sample_weight: NDArray[Any] | None = None,
        normalizer: Any = None,
        validate: bool = True,
    ) -> None:
        """`labels`: class indices, top-k arrays, or soft targets."""
        self.problem, self.options = problem, options
        divisor = None if normalizer is None else check_normalizer(normalizer, options.reduction)
        v = None if class_weight is None else flat_class_weight(class_weight, problem.classes)
        s: PerRow = 1.0 if sample_weight is None else flat_sample_weight(sample_weight, problem)
        # m_i of the mean's denominator Σ s_i·m_i, and the weight of the label
        mass: PerRow = 1.0
        label_weight: PerRow = 1.0
        count = problem.rows
        index = None
        if isinstance(labels, IndexLabels):
            index, changed, count, bad = resolve_labels(labels, count, problem.classes, options.ignore_index)
            if bad >= 0 and validate:
                raise label_error("labels", bad, int(labels.owner.reshape(-1)[bad]), problem.classes)
            if v is not None:
                label_weight = mass = v[np.maximum(np.asarray(index.owner).reshape(-1), 0)]
            if changed is not None:
                mass = mass * (changed != -1)
        rows = SoftmaxRows(logits, index, temperature=options.temperature, softcap=options.softcap or 0.0)
        self._rows = rows
        if isinstance(labels, TopKArrays):
            rows.topk(labels.indices, labels.values)
        elif isinstance(labels, Memory):
            rows.dense(labels)
        k = softmax_coefficients(options, problem.target, problem.classes, sample_weight=s, label_weight=label_weight)
        measured = uses_measure(options, problem.target)
        if measured:
            rows.measure(v, k.alpha, k.beta)
        self.denominator = 1.0
        if divisor is not None:
            self.denominator = divisor
        elif options.reduction == "mean":
            if isinstance(labels, TopKArrays):
                mass = (labels.values * (1.0 if v is None else v[labels.indices])).sum(axis=1)
            elif isinstance(labels, Memory):
                mass = rows.target_mass()
            weight = s * mass
            self.denominator = float(np.sum(weight)) if isinstance(weight, np.ndarray) else count * weight
        self._coefficients = RowCoefficients(
            k.b,
            k.c if measured else 0.0,
            0.0,
            k.zeta if options.z_loss else 0.0,
            0.0,
            mean_scale(self.denominator),
        )

    def run(self, gradient: Memory | None = None, *, statistics: bool = False) -> RowResults:
        """Loss (`total` is reduced), statistics, and in the same pass the gradient of the reduced loss."""
        per_row = self.options.reduction == "none"
        return self._rows.run(self._coefficients, gradient, rows=per_row, statistics=statistics)

    def gradient(
        self, into: Memory, upstream: PerRow, *, lse: PerRow | None = None, entropy: PerRow | None = None
    ) -> None:
        """The vector-Jacobian product: cotangents of the loss, and of lse and entropy where those were returned."""
        k = self._coefficients
        if isinstance(upstream, float) and lse is None and entropy is None:
            # by the arithmetic of `run`, so that a repeated backward gives the same bits
            self._rows.run(k._replace(scale=k.scale * upstream), into)
            return
        g = upstream * k.scale
        of_lse, of_entropy = (0.0 if x is None else x for x in (lse, entropy))
        self._rows.run(RowCoefficients(k.b * g, k.c * g, of_lse, k.zeta * g, of_entropy), into)
