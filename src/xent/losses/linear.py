"""Losses of a projection `z = x·Wᵀ + b` whose logits never exist at once: they are made in chunks of rows, and dropped.

A front-end brings the matrix products; everything between two of them is here. A chunk's logits go through the kernels
of the dense losses, which write the gradient over them, and leave as what they add to the gradients of x, W and b.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..kernels.native import (
    IndexLabels,
    Memory,
    PerRow,
    RowCoefficients,
    RowResults,
    address,
    ordered_sum,
)
from ..problem import SoftmaxProblem
from .labels import TopKArrays
from .softmax import RowTargets, vjp_coefficients


class Products(Protocol):
    """The matrix products of one call, on the rows that count."""

    def select(self, rows: NDArray[np.int64]) -> None:
        """From now on only these rows of x are there."""

    def logits(self, start: int, stop: int) -> Memory:
        """The logits of some rows, in a buffer that serves all chunks."""

    def gradient(self, start: int, stop: int) -> Memory:
        """Where the gradient by these logits goes: over them, unless they are still needed while it is written."""

    def add(self, start: int, stop: int) -> None:
        """Adds what these rows contribute to the gradients that are wanted."""

    def soft_labels(self, start: int, stop: int) -> Memory:
        """Soft targets of some rows, where there are any."""


def _some(k: RowCoefficients, rows: Any) -> RowCoefficients:
    """The coefficients of some rows."""
    return RowCoefficients(*(x if isinstance(x, float) else np.ascontiguousarray(x[rows]) for x in k))  # type: ignore[arg-type]


class LinearSoftmax:
    """Softmax cross-entropy of a projection, checked before any product is made."""

    def __init__(self, problem: SoftmaxProblem, targets: RowTargets, products: Products, chunk: int) -> None:
        """`chunk`: rows whose logits exist at the same time."""
        self._problem, self._targets, self._products, self._chunk = problem, targets, products, chunk

    def run(self, *, gradient: bool, statistics: bool) -> RowResults:
        """The loss (`total` is reduced, and each row's), statistics, and the gradients of the reduced loss."""
        return self._sweep(self._targets.coefficients, gradient, statistics)

    def vjp(self, upstream: PerRow, lse: PerRow | None = None, entropy: PerRow | None = None) -> None:
        """The vector-Jacobian product, into the gradients."""
        self._sweep(vjp_coefficients(self._targets.coefficients, upstream, lse, entropy), True, False)

    def _sweep(self, k: RowCoefficients, gradient: bool, statistics: bool) -> RowResults:
        rows = self._counted(statistics)
        index, topk = self._index(), self._topk()
        if rows is not None:
            self._products.select(rows)
            k = _some(k, rows)
            index = None if index is None else index[rows]
            topk = None if topk is None else TopKArrays(topk.indices[rows], topk.values[rows])
        count = self._problem.rows if rows is None else len(rows)
        found: list[RowResults] = []
        for start in range(0, count, self._chunk):
            stop = min(start + self._chunk, count)
            labels: Any
            if index is not None:
                some = index[start:stop]
                labels = IndexLabels(address(some), some, some)
            elif topk is not None:
                labels = TopKArrays(topk.indices[start:stop], topk.values[start:stop])
            else:
                labels = self._products.soft_labels(start, stop)
            logits = self._products.logits(start, stop)
            into = self._products.gradient(start, stop) if gradient else None
            found.append(
                self._targets.part(logits, labels).run(
                    _some(k, slice(start, stop)), into, rows=True, statistics=statistics
                )
            )
            if gradient:
                self._products.add(start, stop)
        return self._joined(found, rows, k.scale)

    def _counted(self, statistics: bool) -> NDArray[np.int64] | None:
        """The rows that are ignored, or have no weight, cost nothing; all of them are there where this is None."""
        targets = self._targets
        counts = np.ones(self._problem.rows, bool) & (np.asarray(targets.kept) != 0)
        if not statistics:
            counts &= np.asarray(targets.sample_weight) != 0
        return None if counts.all() else np.flatnonzero(counts)

    def _index(self) -> NDArray[np.int64] | None:
        """Resolved class indices."""
        index = self._targets.index
        return None if index is None else np.asarray(index.owner).reshape(-1)

    def _topk(self) -> TopKArrays | None:
        labels = self._targets.labels
        return labels if isinstance(labels, TopKArrays) else None

    def _joined(self, parts: list[RowResults], rows: NDArray[np.int64] | None, scale: float) -> RowResults:
        """The results of all chunks; ignored rows hold 0, and -1 as their best class."""

        def join(name: str, absent: float = 0.0) -> Any:
            arrays = [getattr(part, name) for part in parts]
            if rows is None and arrays:
                return None if arrays[0] is None else np.concatenate(arrays)
            out = np.full(self._problem.rows, absent, np.int64 if name == "argmax" else np.float64)
            if arrays and arrays[0] is not None:
                out[rows] = np.concatenate(arrays)
            return out

        loss = join("loss")
        return RowResults(ordered_sum(loss) * scale, loss, join("lse"), join("entropy"), join("argmax", -1))
