"""Sampled classes beside the true ones of each row: what of a sampled loss depends on labels and counts alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import label_error, type_error, value_error
from ..kernels.sampling import first_outside
from . import arguments
from .hits import AccidentalHits, accidental_hits
from .sampler import Candidates


class Proposal(NamedTuple):
    """Classes whose logits are made. N rows, T true classes of each, S sampled ones."""

    true_ids: Any
    """[N, T]"""
    sampled_ids: Any
    """[S], or [N, S]: each row has its own."""
    true_shift: Any = None
    """[N, T]: log expected counts, taken off the logits; None: nothing is."""
    sampled_shift: Any = None
    """As sampled_ids."""
    hits: Any = None
    """Where a sampled class is a true one of the row and does not count: a mask [N, S]; None: nowhere.

    `AccidentalHits` where the values are known, and all rows have one list.
    """


def known(
    true_ids: NDArray[Any],
    classes: int,
    candidates: Candidates,
    corrected: bool,
    remove_hits: bool,
    validate: bool = True,
) -> Proposal:
    """The proposal of true classes [N, T] and candidates whose values are known.

    Args:
        candidates: sampled ids and the expected counts of the true and the sampled classes, in TensorFlow's order.
        corrected: the logits lose the logarithm of the expected counts.

    Raises:
        IndexError: an id out of range. TypeError, ValueError: arrays that do not belong together, counts that are not
            positive.
    """
    true_ids = np.ascontiguousarray(true_ids, np.int64)
    rows = len(true_ids)
    sampled = arguments.classes("candidates.sampled_ids", candidates.sampled_ids, (1, 2), "[S] or [rows, S]")
    sampled = np.ascontiguousarray(sampled, np.int64)
    if sampled.ndim == 2 and len(sampled) != rows:
        expected = f"shape (S,) or ({rows}, S)"
        raise value_error("candidates.sampled_ids", expected, f"shape {sampled.shape}", "Draw one list a row, or one.")
    check_ids("candidates.sampled_ids", sampled, classes)
    outside = None
    if validate:
        check_ids("labels", true_ids, classes)
    else:
        true_ids, outside = inside(true_ids, classes)
    of_true, of_sampled = None, None
    if corrected:
        counts = candidates.true_expected_count, candidates.sampled_expected_count
        of_true = _log_counts("candidates.true_expected_count", counts[0], true_ids, "labels")
        of_sampled = _log_counts("candidates.sampled_expected_count", counts[1], sampled, "sampled ids")
    if outside is not None and outside.any():
        of_true = np.where(outside, np.nan, 0.0 if of_true is None else of_true)  # such rows are NaN
    hits = _hits(true_ids, sampled) if remove_hits else None
    return Proposal(true_ids, sampled, of_true, of_sampled, hits)


def check_ids(argument: str, ids: NDArray[np.int64], classes: int) -> None:
    """Class ids are in [0, classes)."""
    bad = first_outside(ids, classes)
    if bad >= 0:
        row, label = bad // (ids.shape[-1] or 1), int(ids.reshape(-1)[bad])
        raise label_error(argument, row, label, classes, "Map the classes into the range of the weight's rows.")


def inside(ids: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ids, 0 in place of one out of range, and which were."""
    outside = (ids < 0) | (ids >= classes)
    return np.where(outside, 0, ids), outside


def as_candidates(candidates: Any) -> Candidates:
    """What a user passes as candidates."""
    try:
        return Candidates(*candidates)
    except TypeError:
        raise type_error(
            "candidates",
            "sampled ids, true expected counts and sampled expected counts",
            type(candidates).__name__,
            "Pass what a sampler's sample() returned.",
        ) from None


def _log_counts(argument: str, counts: Any, ids: NDArray[np.int64], what: str) -> NDArray[np.float64]:
    wide = np.asarray(counts, np.float64)
    if wide.shape != ids.shape and wide.size == ids.size:
        wide = wide.reshape(ids.shape)  # [N] for one true class a row
    if wide.shape != ids.shape:
        got, remedy = f"shape {wide.shape}", "Pass what one call of sample() returned."
        raise value_error(argument, f"the shape of the {what}, {ids.shape}", got, remedy)
    fine = (wide > 0) & np.isfinite(wide)
    if not fine.all():
        at = int(np.argmin(fine))
        raise value_error(
            argument,
            "positive finite counts",
            f"{wide.reshape(-1)[at]:g} of class {ids.reshape(-1)[at]}, whose log q is not finite",
            "A sampler that never draws a class, such as a reserved id, has no count of it: leave such rows out, or "
            "use negative_sampling_loss.",
        )
    return np.log(wide)


def _hits(true_ids: NDArray[np.int64], sampled: NDArray[np.int64]) -> AccidentalHits | NDArray[np.bool_] | None:
    if sampled.ndim == 2:
        mask = (true_ids[:, :, None] == sampled[:, None, :]).any(1)
        return mask if mask.any() else None
    hits = accidental_hits(true_ids, sampled)
    return hits if hits.rows.size else None


def traced(xp: Any, true_ids: Any, candidates: Candidates, dtype: str, corrected: bool, remove_hits: bool) -> Proposal:
    """The same where the values are not known: nothing can be checked."""
    ids, true_count, sampled_count = candidates
    of_true, of_sampled = None, None
    if corrected:
        of_true = xp.log(xp.reshape(xp.astype(true_count, dtype), xp.shape(true_ids)))
        of_sampled = xp.log(xp.astype(sampled_count, dtype))
    hits = None
    if remove_hits:
        sampled = ids[:, None, :] if len(xp.shape(ids)) == 2 else ids[None, None, :]
        hits = xp.any(xp.equal(true_ids[:, :, None], sampled), 1)
    return Proposal(true_ids, ids, of_true, of_sampled, hits)
