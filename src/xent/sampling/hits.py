"""Accidental hits: sampled classes that are true ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels import sampling
from . import arguments


class AccidentalHits(NamedTuple):
    """Returned by `accidental_hits`: places of a matrix `[batch, num_sampled]`, by rows, each once."""

    rows: NDArray[np.int64]
    """[hits]: the row of true_classes."""
    columns: NDArray[np.int64]
    """[hits]: the place in sampled_ids of a class that is true in that row."""

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """[batch, num_sampled], true at the places."""
        found = np.zeros(shape, bool)
        found[self.rows, self.columns] = True
        return found


def accidental_hits(true_classes: ArrayLike, sampled_ids: ArrayLike) -> AccidentalHits:
    """Where a sampled class is a true class of a row: all pairs (i, j) with `sampled_ids[j]` in `true_classes[i]`.

    A class that was drawn several times gives a pair for every time. (TensorFlow's `compute_accidental_hits` gives the
    last one only, so that with `unique=False` a loss takes true classes for false ones.)

    Args:
        true_classes: integers `[batch]` or `[batch, num_true]`.
        sampled_ids: integers `[num_sampled]`.

    Returns:
        `AccidentalHits`: rows and columns, int64, by rising row and column.

    Raises:
        TypeError: arrays that are not integers.
        ValueError: arrays of another rank.

    Example:
        >>> import xent
        >>> rows, columns = xent.samplers.accidental_hits([[3, 5], [4, 4], [7, 3]], [5, 3, 0, 3])
        >>> list(zip(rows.tolist(), columns.tolist()))
        [(0, 0), (0, 1), (0, 3), (2, 1), (2, 3)]

    Source: Jean et al. 2015 (arXiv:1412.2007), and `compute_accidental_hits` of TensorFlow.
    """
    trues = arguments.true_classes(true_classes)
    sampled = arguments.classes("sampled_ids", sampled_ids, (1,), "[num_sampled]")
    return AccidentalHits(*sampling.accidental_hits(trues, np.ascontiguousarray(sampled, np.int64)))
