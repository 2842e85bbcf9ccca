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
    order = np.argsort(sampled, kind="stable")
    in_order = sampled[order]
    first = np.searchsorted(in_order, trues, "left")
    hits = np.searchsorted(in_order, trues, "right") - first  # of each true class
    per_row = hits.reshape(len(trues), -1).sum(axis=1) if trues.size else np.zeros(len(trues), np.int64)
    rows = np.repeat(np.arange(len(trues)), per_row)
    hits, first = hits.reshape(-1), first.reshape(-1)
    # the n-th hit of a true class is n places after its first one
    nth = np.arange(hits.sum()) - np.repeat(np.cumsum(hits) - hits, hits)
    columns = order[np.repeat(first, hits) + nth]
    if trues.ndim == 2 and trues.shape[1] > 1:  # by column, and a class that is true twice in a row once
        rows, columns = np.divmod(np.unique(rows * sampled.size + columns), max(sampled.size, 1))
    return AccidentalHits(rows, columns)
