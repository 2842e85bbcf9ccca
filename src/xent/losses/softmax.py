"""Softmax cross-entropy on memory of the CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import label_error, value_error
from ..formulas import RowFunction, mean_scale, softmax_coefficients, uses_measure
from ..kernels.native import (
    DTYPE_CODES,
    IndexLabels,
    Memory,
    PerRow,
    PreparedSoftmax,
    RowCoefficients,
    RowResults,
    SoftmaxRows,
    ordered_sum,
    resolve_labels,
)
from ..options import SoftmaxOptions
from ..problem import RowLayout, SoftmaxProblem
from .labels import TopKArrays
from .weights import LARGEST, SMALLEST, check_normalizer, flat_class_weight, flat_sample_weight


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


def prepared_loss(
    problem: SoftmaxProblem,
    options: SoftmaxOptions,
    logits: Memory,
    labels: Memory | None,
    gradient: RowLayout,
    *,
    wide_weights: bool,
    normalizer: float | None,
    validate: bool,
    nothing: float = 0.0,
) -> PreparedSoftmax:
    """The loss without sample weights, ready for any memory of these layouts; the addresses here are 0.

    Args:
        labels: soft targets, with a normalizer if the loss is a mean; None for class indices, contiguous int64.
        wide_weights: class weights, if any, are float64, not float32.
        nothing: the mean over no rows, or none with a weight; its gradient is 0.
    """
    rows = SoftmaxRows(logits, temperature=options.temperature, softcap=options.softcap or 0.0)
    if labels is not None:
        rows.dense(labels)
    k = softmax_coefficients(options, problem.target, problem.classes)
    measured = uses_measure(options, problem.target)
    if measured:
        rows.measure(None, k.alpha, k.beta)
    loss = rows.prepared(gradient)
    loss.b, loss.c, loss.zeta = k.b, k.c if measured else 0.0, k.zeta
    loss.dense = labels is not None
    loss.per_row = options.reduction == "none"
    loss.mean = options.reduction == "mean" and normalizer is None
    loss.scale = 1.0 if normalizer is None else mean_scale(check_normalizer(normalizer, options.reduction))
    if options.ignore_index is not None:
        loss.ignore = options.ignore_index
    loss.nothing = nothing
    loss.validate = bool(validate)
    loss.wide_weights = wide_weights
    loss.bound_weights(SMALLEST, LARGEST)
    return loss


# Denominators that differ by less give the same gradient, but for an eighth of an ulp of float32.
_SAME = 2.0**-27


class RowTargets:
    """Labels and weights of a batch as a kernel takes them: checked, targets and coefficients of each row.

    `kept`: 0 for rows that are ignored. `presumed`: sample weights, where a mass of 1 a row was presumed.
    """

    def __init__(
        self,
        problem: SoftmaxProblem,
        options: SoftmaxOptions,
        labels: IndexLabels | TopKArrays | Memory,
        *,
        class_weight: NDArray[Any] | None = None,
        sample_weight: NDArray[Any] | None = None,
        normalizer: Any = None,
        validate: bool = True,
        presume: bool = False,
    ) -> None:
        """`presume`: soft targets are distributions, until they are seen; else their mass is summed up before."""
        self.options, self.labels = options, labels
        self.kept: PerRow = 1.0
        self.presumed: PerRow | None = None
        divisor = None if normalizer is None else check_normalizer(normalizer, options.reduction)
        v = self.class_weight = None if class_weight is None else flat_class_weight(class_weight, problem.classes)
        s: PerRow = 1.0 if sample_weight is None else flat_sample_weight(sample_weight, problem.batch_shape)
        self.sample_weight = s
        # m_i of the mean's denominator Σ s_i·m_i, and the weight of the label
        mass: PerRow = 1.0
        label_weight: PerRow = 1.0
        count = problem.rows
        self.index = None
        if isinstance(labels, IndexLabels):
            self.index, changed, count, bad = resolve_labels(labels, count, problem.classes, options.ignore_index)
            if bad >= 0 and validate:
                raise label_error("labels", bad, int(np.asarray(labels.given).reshape(-1)[bad]), problem.classes)
            if v is not None:
                label_weight = mass = v[np.maximum(np.asarray(self.index.owner).reshape(-1), 0)]
            if changed is not None:
                self.kept = (changed != -1).astype(np.float64)
                mass = mass * self.kept
        k = softmax_coefficients(options, problem.target, problem.classes, sample_weight=s, label_weight=label_weight)
        measured = uses_measure(options, problem.target)
        self.measure = (k.alpha, k.beta) if measured else None
        denominator = 1.0
        if divisor is not None:
            denominator = divisor
        elif options.reduction == "mean":
            if isinstance(labels, TopKArrays):
                mass = (labels.values * (1.0 if v is None else v[labels.indices])).sum(axis=1)
            elif isinstance(labels, Memory) and presume:
                self.presumed = s  # their mass is seen in the same pass, and hardly ever differs from 1
            elif isinstance(labels, Memory):
                wide = labels._replace(address=0, dtype=DTYPE_CODES[problem.accumulate])  # in which they are summed up
                mass = self.rows(wide).target_mass()
            weight = s * mass
            if isinstance(s, np.ndarray) and isinstance(weight, np.ndarray):
                weight[s == 0] = 0.0  # whatever the target's mass is
            denominator = ordered_sum(weight) if isinstance(weight, np.ndarray) else count * weight
        self.coefficients = RowCoefficients(
            k.b,
            k.c if measured else 0.0,
            0.0,
            k.zeta if options.z_loss else 0.0,
            0.0,
            mean_scale(denominator),
        )

    def rows(self, logits: Memory) -> SoftmaxRows:
        """All rows with their targets, on logits."""
        return self._attached(logits, self.index, self.labels)

    def part(self, logits: Memory, labels: IndexLabels | TopKArrays | Memory, classes: slice) -> SoftmaxRows:
        """Some rows and classes on their logits, with their part of the (resolved) labels."""
        return self._attached(logits, labels if isinstance(labels, IndexLabels) else None, labels, classes)

    def _attached(
        self,
        logits: Memory,
        index: IndexLabels | None,
        labels: IndexLabels | TopKArrays | Memory,
        classes: slice = slice(None),
    ) -> SoftmaxRows:
        rows = SoftmaxRows(logits, index, temperature=self.options.temperature, softcap=self.options.softcap or 0.0)
        if isinstance(labels, TopKArrays):
            rows.topk(labels.indices, labels.values)
        elif isinstance(labels, Memory):
            rows.dense(labels)
        if self.measure is not None:
            rows.measure(None if self.class_weight is None else self.class_weight[classes], *self.measure)
        return rows


def vjp_coefficients(
    k: RowCoefficients, upstream: PerRow, lse: PerRow | None = None, entropy: PerRow | None = None
) -> RowCoefficients:
    """The coefficients with which the kernel makes the vector-Jacobian product, and not the gradient."""
    if isinstance(upstream, float) and lse is None and entropy is None:
        # by the arithmetic of the loss, so that a repeated backward gives the same bits
        return k._replace(scale=k.scale * upstream)
    g = upstream * k.scale
    of_lse, of_entropy = (0.0 if x is None else x for x in (lse, entropy))
    return RowCoefficients(k.b * g, k.c * g, of_lse, k.zeta * g, of_entropy)


def check_function(function: RowFunction | None, problem: SoftmaxProblem) -> None:
    """A loss that is a function of the nll of one class has one class a row."""
    if function is not None and problem.target != "index":
        remedy = "This loss is made of one class's probability."
        raise value_error("labels", "class indices", "soft targets", remedy)


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
        function: RowFunction | None = None,
    ) -> None:
        """`labels`: class indices, top-k arrays, or soft targets. `function`: of each row's nll, the loss if any."""
        check_function(function, problem)
        self.problem, self.options, self.function = problem, options, function
        targets = RowTargets(
            problem,
            options,
            labels,
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=normalizer,
            validate=validate,
            presume=class_weight is None and not options.label_smoothing and problem.accumulate == "float32",
        )
        self._kept, self._presumed, self._coefficients = targets.kept, targets.presumed, targets.coefficients
        self._rows = targets.rows(logits)

    def run(self, gradient: Memory | None = None, *, statistics: bool = False) -> RowResults:
        """Loss (`total` is reduced), statistics, and in the same pass the gradient of the reduced loss."""
        per_row = self.options.reduction == "none"
        k = self._coefficients
        if self._presumed is not None:
            out = self._rows.run(k, gradient, statistics=statistics, mass=True)
            presumed = self._presumed
            self._presumed = None
            denominator = ordered_sum(presumed * out.mass)
            k = k._replace(scale=mean_scale(denominator))
            if abs(k.scale - self._coefficients.scale) <= _SAME * k.scale:  # by less than the gradient's own rounding
                total = out.total * (k.scale / self._coefficients.scale) if k.scale else 0.0
                self._coefficients = k
                return out._replace(total=total)
            self._coefficients = k
        if self.function is None:
            return self._rows.run(k, gradient, rows=per_row, statistics=statistics)
        loss, slope = self._of_nll()
        if gradient is not None:
            self._rows.run(RowCoefficients(b=slope, scale=k.scale), gradient)
        return RowResults(float(np.sum(loss)) * k.scale, loss if per_row else None, None, None, None)

    def _of_nll(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The loss of each row and its derivative by the nll, where the loss is a function of that."""
        nll = self._rows.run(RowCoefficients(b=1.0), rows=True).loss
        weight = self._coefficients.b * self._kept * np.ones_like(nll)
        parts = self.function(np, nll) if self.function else (nll, np.ones_like(nll))
        with np.errstate(invalid="ignore"):  # 0·inf is 0
            loss, slope = (np.where(weight == 0, 0.0, weight * part) for part in parts)
        return loss, slope

    def gradient(
        self, into: Memory, upstream: PerRow, *, lse: PerRow | None = None, entropy: PerRow | None = None
    ) -> None:
        """The vector-Jacobian product: cotangents of the loss, and of lse and entropy where those were returned."""
        k = self._coefficients
        if self.function is not None:
            _, slope = self._of_nll()
            self._rows.run(RowCoefficients(b=slope * upstream, scale=k.scale), into)
            return
        self._rows.run(vjp_coefficients(k, upstream, lse, entropy), into)
