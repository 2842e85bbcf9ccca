"""`tf.nn.compute_accidental_hits`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import namespace_of
from . import operations
from .errors import invalid_argument


class AccidentalHits(NamedTuple):
    """Returned by `compute_accidental_hits`: one entry for each true class that was sampled, by rows."""

    indices: Any
    """[hits], int32: the row of true_classes."""
    ids: Any
    """[hits], int64: the place in sampled_candidates."""
    weights: Any
    """[hits], float32: the lowest finite number, to be added to the logit."""


def compute_accidental_hits(
    true_classes: Any, sampled_candidates: Any, num_true: int, seed: Any = None, name: str | None = None
) -> AccidentalHits:
    """Where a true class was sampled, with the weight that takes it out of a loss.

    Of a class that was sampled several times it gives the last place only, as TensorFlow's does, so that with
    `unique=False` the others stay in the loss as false classes. `xent.samplers.accidental_hits` gives them all.

    Args:
        true_classes: integers `[batch, num_true]`; TensorFlow's tensors must be int64.
        sampled_candidates: integers `[num_sampled]`, likewise.
        num_true: the number of columns of `true_classes`.
        seed: of no effect, but that without it a seed of `tf.random.set_seed` gives out its next number.
        name: ignored outside TensorFlow's graphs.

    Returns:
        `AccidentalHits`: indices, ids and weights, as arrays of the framework of the arrays.

    Raises:
        TypeError: an argument of another type.
        InvalidArgumentError: arrays of other shapes; TensorFlow's tensors that are not int64.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> hits = tf.nn.compute_accidental_hits(np.array([[3, 5], [7, 3]]), np.array([5, 3, 0, 3]), num_true=2)
        >>> hits.indices, hits.ids
        (array([0, 0, 1], dtype=int32), array([3, 0, 3]))

    Source: `tf.nn.compute_accidental_hits`.
    """
    xp = namespace_of(true_classes, sampled_candidates, ())
    if getattr(xp, "in_graph", bool)():
        return xp.original("nn", "compute_accidental_hits")(  # type: ignore[no-any-return]
            true_classes, sampled_candidates, num_true, seed, name
        )
    operations.seeds_of(xp, seed)
    columns = operations.integer("num_true", num_true)
    true = operations.class_ids(true_classes, "ComputeAccidentalHits", 0)
    sampled = operations.class_ids(sampled_candidates, "ComputeAccidentalHits", 1)
    if true.ndim != 2 or true.shape[1] != columns:
        raise invalid_argument(xp, "true_candidates must be a batch_size * num_true matrix")
    if sampled.ndim != 1:
        text = "sampled_candidates must be a vector, which is typically an output from CandidateSampler"
        raise invalid_argument(xp, text)
    rows, places = _last_places(true, sampled)
    weights = np.full(rows.shape, np.finfo(np.float32).min, np.float32)
    like = true_classes if namespace_of(true_classes) is xp else sampled_candidates
    return AccidentalHits(*(xp.placed(part, like) for part in (rows, places, weights)))


def _last_places(true: Any, sampled: Any) -> tuple[Any, Any]:
    """Rows of the true classes that were sampled, in their order, and the last place of each."""
    if not true.size or not sampled.size:
        return np.empty(0, np.int32), np.empty(0, np.int64)
    order = np.argsort(sampled, kind="stable")  # so that equal classes stay in the order of their places
    flat = true.reshape(-1)
    last = np.searchsorted(sampled[order], flat, "right") - 1
    places = order[last]
    hit = np.flatnonzero((last >= 0) & (sampled[places] == flat))
    return (hit // true.shape[1]).astype(np.int32), places[hit]
