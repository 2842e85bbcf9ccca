"""Gradients of which only some lines are not zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .errors import label_error


class SparseRows(NamedTuple):
    """The gradient to an array of which only some lines were used: their numbers, and what each adds.

    What `value_and_grad` gives for sampled losses with `sparse_gradient=True` on NumPy's and JAX's arrays. A number may
    stand several times, as in `weight.at[g.ids].add(-rate * g.rows)` of JAX, which adds them up. On JAX it is a tree of
    `ids` and `rows`, so compiled functions may return it.

    Args:
        ids: integers [M]. `rows`: [M, ...], the lines. `size`: how many lines the array has.

    Raises:
        IndexError: from `to_dense` on NumPy, a number that is no line; JAX leaves such ones out.
        TypeError: from `coalesced` in code that JAX compiles, where the number of lines would depend on values.

    Example:
        >>> import numpy as np, xent
        >>> gradient = xent.SparseRows(np.array([2, 0, 2]), np.array([1.0, 5.0, 3.0]), 4)
        >>> gradient.coalesced()
        SparseRows(ids=array([0, 2]), rows=array([5., 4.]), size=4)
        >>> gradient.to_dense()
        array([5., 0., 4., 0.])

    Source: TensorFlow's `tf.IndexedSlices`.
    """

    ids: Any
    rows: Any
    size: int

    def plus(self, other: SparseRows) -> SparseRows:
        """The sum of two gradients to one array."""
        xp = self.rows.__array_namespace__()
        return SparseRows(xp.concat([self.ids, other.ids]), xp.concat([self.rows, other.rows]), self.size)

    def coalesced(self) -> SparseRows:
        """Each number once, rising, with the sum of its lines; in half precision, a sum in float32 rounded once."""
        xp = self.rows.__array_namespace__()
        if xp is not np:
            ids, places = xp.unique_inverse(self.ids)
            return SparseRows(ids, SparseRows(places, self.rows, len(ids)).to_dense(), self.size)
        order = np.argsort(self.ids, kind="stable")
        ids = self.ids[order]
        first = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
        rows = np.add.reduceat(_widened(self.rows[order]), first, axis=0) if len(ids) else self.rows
        return SparseRows(ids[first], rows.astype(self.rows.dtype, copy=False), self.size)

    def to_dense(self) -> Any:
        """The whole array."""
        xp = self.rows.__array_namespace__()
        if xp is not np:
            rows = _widened(self.rows)
            # a negative number would count from the end
            ids = xp.where(self.ids < 0, self.size, self.ids)
            return xp.zeros((self.size, *rows.shape[1:]), rows.dtype).at[ids].add(rows).astype(self.rows.dtype)
        ids, rows, size = self.coalesced()
        bad = ids[(ids < 0) | (ids >= size)]
        if bad.size:
            raise label_error("ids", int(np.argmax(self.ids == bad[0])), int(bad[0]), size, "Check the size.")
        out = np.zeros((size, *rows.shape[1:]), rows.dtype)
        out[ids] = rows
        return out


def _widened(rows: Any) -> Any:
    return rows.astype("float32") if rows.dtype.itemsize == 2 else rows
