"""Accidental hits: sampled classes that are true ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments


class AccidentalHits(NamedTuple):
    """Returned by `accidental_hits`: places of a matrix `[batch, num_sampled]`, by rows, each once."""

    rows: NDArray[np.int64]
    """[hits]: the row of true_classes."""
    columns: NDArray[np.int64]
    """[hits]: the place in sampled_ids of a class that is true in that row."""


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
    given = arguments.classes("sampled_ids", sampled_ids, (1,), "[num_sampled]")
    sampled = np.asarray(given, np.int64)
    if not trues.size or not sampled.size:
        return AccidentalHits(np.empty(0, np.int64), np.empty(0, np.int64))
    order = np.argsort(sampled)
    in_order = sampled[order]
    flat = trues.reshape(-1)
    first = np.searchsorted(in_order, flat)
    hit = np.flatnonzero(in_order[np.minimum(first, sampled.size - 1)] == flat)  # true classes that were drawn
    first = first[hit]
    times = np.searchsorted(in_order, flat[hit], "right") - first
    # a class that was drawn n times lies in n places from its first one on
    nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    columns = order[np.repeat(first, times) + nth]
    rows = np.repeat(hit // (flat.size // len(trues)), times)
    # by row and column; a class that is true twice in a row counts once
    return AccidentalHits(*np.divmod(np.unique(rows * sampled.size + columns), sampled.size))
