"""Losses of a projection `z = x·Wᵀ + b` whose logits never exist at once: they are made in blocks, and dropped.

A front-end brings the matrix products; everything between two of them is here. A block's logits go through the kernels
of the dense losses, which write the gradient over them, and leave as what they add to the gradients of x, W and b.
`plan.linear_blocks` says how large a block is: some rows with all classes, or all rows with some classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..kernels.native import (
    ELSEWHERE,
    IndexLabels,
    Memory,
    PartialRows,
    PerRow,
    RowCoefficients,
    RowResults,
    SoftmaxRows,
    address,
    ordered_sum,
)
from ..options import ElementwiseOptions
from ..plan import Blocks
from ..problem import Shape, SoftmaxProblem
from .elementwise import ElementwiseLoss, PositiveLists, some_positives
from .labels import TopKArrays
from .softmax import RowTargets, vjp_coefficients


class Products(Protocol):
    """The matrix products of one call, on the rows that count, and its arrays as memory."""

    def select(self, rows: NDArray[np.int64]) -> None:
        """From now on only these rows of x are there."""

    def silence(self, rows: NDArray[np.int64]) -> None:
        """These rows of x add nothing to any gradient, whatever they hold."""

    def logits(self, rows: slice, classes: slice) -> Memory:
        """The logits of a block, in a buffer that serves all of them."""

    def gradient(self, rows: slice, classes: slice) -> Memory:
        """Where the gradient by these logits goes: over them, unless they are still needed while it is written."""

    def add(self, rows: slice, classes: slice) -> None:
        """Adds what a block contributes to the gradients that are wanted. The first one of a row or class sets them."""

    def place(self, matrix: Any, dense: bool = False) -> Memory:
        """A matrix of the front-end, labels or weights; `dense`: copied if its classes do not lie side by side."""


def slices(count: int, size: int) -> Iterator[slice]:
    """[0, count) in pieces of a size."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _some(k: RowCoefficients, rows: Any) -> RowCoefficients:
    """The coefficients of some rows."""
    return RowCoefficients(*(x if isinstance(x, float) else np.ascontiguousarray(x[rows]) for x in k))  # type: ignore[arg-type]


def _rows_of(targets: TopKArrays, rows: Any) -> TopKArrays:
    return TopKArrays(targets.indices[rows], targets.values[rows])


class LinearSoftmax:
    """Softmax cross-entropy of a projection, checked before any product is made."""

    def __init__(
        self, problem: SoftmaxProblem, targets: RowTargets, products: Products, blocks: Blocks, soft: Any = None
    ) -> None:
        """`soft`: dense targets as a matrix of the front-end, if there are any."""
        self._problem, self._targets, self._products, self._blocks = problem, targets, products, blocks
        self._soft = soft
        self._index = None if targets.index is None else np.asarray(targets.index.owner).reshape(-1)
        self._topk = targets.labels if isinstance(targets.labels, TopKArrays) else None

    def run(self, *, gradient: bool, statistics: bool) -> RowResults:
        """The loss (`total` is reduced, and each row's), statistics, and the gradients of the reduced loss."""
        return self._sweep(self._targets.coefficients, gradient, statistics)

    def vjp(self, upstream: PerRow, lse: PerRow | None = None, entropy: PerRow | None = None) -> None:
        """The vector-Jacobian product, into the gradients."""
        k = vjp_coefficients(self._targets.coefficients, upstream, lse, entropy)
        self._sweep(k, True, False, unweighted=lse is not None or entropy is not None)

    def _sweep(self, k: RowCoefficients, gradient: bool, statistics: bool, unweighted: bool = False) -> RowResults:
        """`unweighted`: rows without weight count, too."""
        rows = self._counted(statistics or unweighted)
        if rows is not None:
            self._products.select(rows)
            k = _some(k, rows)
            self._index = None if self._index is None else self._index[rows]
            self._topk = None if self._topk is None else _rows_of(self._topk, rows)
            self._soft = None if self._soft is None else self._soft[rows]
        count = self._problem.rows if rows is None else len(rows)
        if gradient:
            nothing = np.ones(count, bool)
            for coefficient in k[:-1]:
                nothing &= np.asarray(coefficient) == 0
            if nothing.any():
                self._products.silence(np.flatnonzero(nothing))
        whole = self._blocks.classes >= self._problem.classes
        found = (self._by_rows if whole else self._by_classes)(k, count, gradient, statistics)
        if rows is not None:
            loss, lse, entropy = (self._spread(a, rows) for a in (found.loss, found.lse, found.entropy))
            found = RowResults(found.total, loss, lse, entropy, self._spread(found.argmax, rows, -1))
        return found

    def _by_rows(self, k: RowCoefficients, count: int, gradient: bool, statistics: bool) -> RowResults:
        """Each row's logits are all there at once: loss and gradient in one pass."""
        everything = slice(0, self._problem.classes)
        parts = []
        for rows in slices(count, self._blocks.rows):
            some = self._part(rows, everything)
            into = self._products.gradient(rows, everything) if gradient else None
            parts.append(some.run(_some(k, rows), into, rows=True, statistics=statistics))
            if gradient:
                self._products.add(rows, everything)
        names = ("loss", "lse", "entropy", "argmax") if statistics else ("loss",)
        joined = [np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)]) for name in names]
        loss, lse, entropy, argmax = [*joined, None, None, None][:4]
        return RowResults(
            ordered_sum(joined[0]) * k.scale, loss, lse, entropy, None if argmax is None else argmax.astype(np.int64)
        )

    def _by_classes(self, k: RowCoefficients, count: int, gradient: bool, statistics: bool) -> RowResults:
        """The logits are made twice: for the statistics of whole rows, and for the gradient."""
        seen = PartialRows(count)
        entropy = statistics or not (isinstance(k.h, float) and k.h == 0)
        every_block = [
            (rows, classes)
            for classes in slices(self._problem.classes, self._blocks.classes)
            for rows in slices(count, self._blocks.rows)
        ]
        for rows, classes in every_block:
            self._part(rows, classes).collect(seen, rows.start, classes.start, entropy)
        found = seen.conclude(k, statistics)
        for rows, classes in every_block if gradient else ():
            some = self._part(rows, classes)
            some.apply(seen, rows.start, classes.start, _some(k, rows), self._products.gradient(rows, classes))
            self._products.add(rows, classes)
        return found

    def _part(self, rows: slice, classes: slice) -> SoftmaxRows:
        """A block with its targets, on its logits, which are made."""
        labels: IndexLabels | TopKArrays | Memory
        whole = classes.stop - classes.start == self._problem.classes
        if self._index is not None:
            index = self._index[rows]
            if not whole:
                here = (index >= classes.start) & (index < classes.stop)
                index = np.where(here, index - classes.start, np.where(index < 0, index, ELSEWHERE))
            labels = IndexLabels(address(index), index, index)
        elif self._topk is not None:
            indices, values = _rows_of(self._topk, rows)
            if not whole:
                here = (indices >= classes.start) & (indices < classes.stop)
                indices = np.where(here, indices - classes.start, ELSEWHERE)
            labels = TopKArrays(indices, values)
        else:
            labels = self._products.place(self._soft[rows, classes], dense=True)
        return self._targets.part(self._products.logits(rows, classes), labels, classes)

    def _counted(self, unweighted: bool) -> NDArray[np.int64] | None:
        """The rows that are ignored, or have no weight, cost nothing; all of them are there where this is None."""
        targets = self._targets
        counts = np.ones(self._problem.rows, bool) & (np.asarray(targets.kept) != 0)
        if not unweighted:
            counts &= np.asarray(targets.sample_weight) != 0
        return None if counts.all() else np.flatnonzero(counts)

    def _spread(self, found: NDArray[Any] | None, rows: NDArray[np.int64], absent: int = 0) -> NDArray[Any] | None:
        """What was found of the rows that count, among all rows; ignored ones hold 0, and -1 as their best class."""
        if found is None:
            return None
        out = np.full(self._problem.rows, absent, found.dtype)
        out[rows] = found
        return out


class LinearElementwise:
    """A loss of single numbers of a projection. Its blocks are independent, so that the logits are made only once."""

    def __init__(
        self,
        options: ElementwiseOptions,
        shape: Shape,
        products: Products,
        blocks: Blocks,
        labels: Any,
        *,
        pos_weight: Any = None,
        weights: list[Any],
        denominator: float,
    ) -> None:
        """`shape`: rows and classes. Labels, unless lists of positives, and weights are matrices of the front-end."""
        self._options, self._shape, self._products, self._blocks = options, shape, products, blocks
        self._labels, self._pos_weight, self._weights, self._denominator = labels, pos_weight, weights, denominator

    def run(self, *, gradient: bool, each: Any = None) -> float:
        """The reduced loss; each of the losses into a matrix if it is given; and the gradients of the reduced loss."""
        totals = []
        for rows, classes in self._every_block():
            into = self._products.gradient(rows, classes) if gradient else None
            loss = None if each is None else self._products.place(each[rows, classes])
            totals.append(self._part(rows, classes).run(loss, into)[0])
            if gradient:
                self._products.add(rows, classes)
        return ordered_sum(np.array(totals))

    def vjp(self, upstream: Any) -> None:
        """The vector-Jacobian product, into the gradients, for a number or a matrix."""
        for rows, classes in self._every_block():
            one = upstream if isinstance(upstream, float) else self._products.place(upstream[rows, classes])
            self._part(rows, classes).gradient(self._products.gradient(rows, classes), one)
            self._products.add(rows, classes)

    def _every_block(self) -> Iterator[tuple[slice, slice]]:
        count, width = self._shape
        for classes in slices(width, self._blocks.classes):
            for rows in slices(count, self._blocks.rows):
                yield rows, classes

    def _part(self, rows: slice, classes: slice) -> ElementwiseLoss:
        place = self._products.place
        lists = isinstance(self._labels, PositiveLists)
        return ElementwiseLoss(
            self._options,
            self._products.logits(rows, classes),
            some_positives(self._labels, rows, classes) if lists else place(self._labels[rows, classes]),
            pos_weight=None if self._pos_weight is None else place(self._pos_weight[rows, classes]),
            weights=[place(weight[rows, classes]) for weight in self._weights],
            denominator=self._denominator,
            validate=False,  # what is bad was seen before
        )
