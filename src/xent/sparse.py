"""Gradients of which only some lines are not zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SparseRows(NamedTuple):
    """The gradient to an array of which only some lines were used: their numbers, and what each adds.

    What sampled losses give with `sparse_gradient=True` on NumPy arrays. A number may stand several times.

    Args:
        ids: integers [M]. `rows`: [M, ...], the lines. `size`: how many lines the array has.

    Raises:
        IndexError: from `to_dense`, a number that is no line.

    Example:
        >>> import numpy as np, xent
        >>> gradient = xent.SparseRows(np.array([2, 0, 2]), np.array([1.0, 5.0, 3.0]), 4)
        >>> gradient.coalesced()
        SparseRows(ids=array([0, 2]), rows=array([5., 4.]), size=4)
        >>> gradient.to_dense()
        array([5., 0., 4., 0.])

    Source: TensorFlow's `tf.IndexedSlices`.
    """

    ids: NDArray[np.int64]
    rows: NDArray[Any]
    size: int

    def plus(self, other: SparseRows) -> SparseRows:
        """The sum of two gradients to one array."""
        return SparseRows(np.concatenate([self.ids, other.ids]), np.concatenate([self.rows, other.rows]), self.size)

    def coalesced(self) -> SparseRows:
        """Each number once, rising, with the sum of its lines."""
        order = np.argsort(self.ids, kind="stable")
        ids = self.ids[order]
        first = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
        rows = np.add.reduceat(self.rows[order], first, axis=0) if len(ids) else self.rows
        return SparseRows(ids[first], rows, self.size)

    def to_dense(self) -> NDArray[Any]:
        """The whole array."""
        ids, rows, size = self.coalesced()
        out = np.zeros((size, *rows.shape[1:]), rows.dtype)
        out[ids] = rows
        return out
