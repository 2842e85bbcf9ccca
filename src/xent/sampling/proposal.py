"""Sampled classes beside the true ones of each row: what of a sampled loss depends on labels and counts alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import label_error, type_error, value_error
from ..kernels.sampling import accidental_hits, first_outside, log_counts
from ..problem import INTEGER_DTYPES, LOGIT_DTYPES, Shape
from .hits import AccidentalHits
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


def check_shapes(xp: Any, candidates: Candidates, lead: Shape, true: Shape, corrected: bool) -> None:
    """What can be checked of candidates without their values.

    Args:
        lead: the axes of the rows as they came. true: (N, T), the shape of the true classes.
    """
    ids = xp.shape(candidates.sampled_ids)
    if xp.dtype_name(candidates.sampled_ids) not in INTEGER_DTYPES:
        got = xp.dtype_name(candidates.sampled_ids)
        raise type_error("candidates.sampled_ids", "integers", got, "Convert them to int64.")
    if len(ids) not in (1, 2) or (len(ids) == 2 and ids[0] != true[0]):
        expected = f"shape (S,) or ({true[0]}, S)"
        raise value_error(
            "candidates.sampled_ids", expected, f"shape {ids}", "Draw one list for all rows, or one each."
        )
    if not corrected:
        return
    rows, count = true
    of_labels = [true, (*lead, count)] + ([(rows,), lead] if count == 1 else [])
    for name, fitting, of in (
        ("true_expected_count", of_labels, f"labels, {true}"),
        ("sampled_expected_count", [ids], f"sampled ids, {ids}"),
    ):
        counts = getattr(candidates, name)
        if xp.dtype_name(counts) not in (*LOGIT_DTYPES, *INTEGER_DTYPES):
            raise type_error(f"candidates.{name}", "numbers", xp.dtype_name(counts), "Convert them to float32.")
        if xp.shape(counts) not in fitting:
            got, remedy = f"shape {xp.shape(counts)}", "Pass what one call of sample() returned."
            raise value_error(f"candidates.{name}", f"the shape of the {of}", got, remedy)


def known(
    true_ids: NDArray[np.int64], classes: int, candidates: Candidates, corrected: bool, validate: bool
) -> Proposal:
    """The proposal, without hits, of true classes [N, T] and candidates whose values are known.

    Args:
        candidates: sampled ids and the expected counts of the true and the sampled classes, in TensorFlow's order.
        corrected: the logits lose the logarithm of the expected counts.

    Raises:
        IndexError: an id out of range. ValueError: counts that are not positive.
    """
    check_ids("candidates.sampled_ids", np.ascontiguousarray(candidates.sampled_ids, np.int64), classes)
    outside = None
    if validate:
        check_ids("labels", true_ids, classes)
    else:
        true_ids, outside = inside(true_ids, classes)
    return in_range(true_ids, candidates, corrected, outside)


def in_range(
    true_ids: NDArray[np.int64], candidates: Candidates, corrected: bool, outside: NDArray[np.bool_] | None
) -> Proposal:
    """The same of ids that are classes; `outside`: which of the true ones stand for what was none."""
    sampled = np.array(candidates.sampled_ids, np.int64, order="C")  # of our own, as the true ones are
    of_true, of_sampled = None, None
    if corrected:
        counts = candidates.true_expected_count, candidates.sampled_expected_count
        of_true = _log_counts("candidates.true_expected_count", counts[0], true_ids)
        of_sampled = _log_counts("candidates.sampled_expected_count", counts[1], sampled)
    if outside is not None and outside.any():  # such rows are NaN
        of_true = np.where(outside, np.nan, 0.0 if of_true is None else of_true)
        of_sampled = np.zeros(sampled.shape) if of_sampled is None else of_sampled
    return Proposal(true_ids, sampled, of_true, of_sampled)


def traced(xp: Any, true_ids: Any, classes: int, candidates: Candidates, dtype: str, corrected: bool) -> Proposal:
    """The same where the values are not known: what would be refused is NaN."""

    def part(ids: Any, counts: Any) -> tuple[Any, Any]:
        ids = xp.astype(ids, "int64")
        fine = (ids >= 0) & (ids < classes)
        shift = xp.zeros_like(xp.astype(ids, dtype))
        if corrected:
            counts = xp.reshape(xp.astype(counts, dtype), xp.shape(ids))
            fine = fine & (counts > 0) & xp.isfinite(counts)
            shift = xp.log(counts)
        # no framework is asked for a line that is not there: each gives something else
        return xp.where(fine, ids, xp.zeros_like(ids)), xp.where(fine, shift, math.nan * xp.ones_like(shift))

    true, of_true = part(true_ids, candidates.true_expected_count)
    sampled, of_sampled = part(candidates.sampled_ids, candidates.sampled_expected_count)
    return Proposal(true, sampled, of_true, of_sampled)


def check_ids(
    argument: str,
    ids: NDArray[np.int64],
    classes: int,
    remedy: str = "Map the classes into the range of the weight's rows.",
) -> None:
    """Class ids are in [0, classes)."""
    bad = first_outside(ids, classes)
    if bad >= 0:
        row, label = bad // (ids.shape[-1] or 1), int(ids.reshape(-1)[bad])
        raise label_error(argument, row, label, classes, remedy)


def inside(ids: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ids, 0 in place of one out of range, and which were."""
    outside = (ids < 0) | (ids >= classes)
    return np.where(outside, 0, ids), outside


def _log_counts(argument: str, counts: Any, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.asarray(counts).reshape(ids.shape)
    counts = np.ascontiguousarray(counts, np.float32 if counts.dtype == np.float32 else np.float64)
    logs, at = log_counts(counts)
    if at >= 0:
        raise value_error(
            argument,
            "positive finite counts",
            f"{counts.reshape(-1)[at]:g} of class {ids.reshape(-1)[at]}, whose log q is not finite",
            "A sampler that never draws a class, such as a reserved id, has no count of it: leave such rows out, or "
            "use negative_sampling_loss.",
        )
    return logs


def owned(xp: Any, proposal: Proposal, like: Any) -> Proposal:
    """The proposal in the framework's arrays; hits whose places are known stay what they are."""
    parts = (None if p is None else xp.own(p, like) for p in proposal[:-1])
    return Proposal(*parts, hits=proposal.hits)  # type: ignore[misc]


def chosen(xp: Any, proposal: Proposal, take: Callable[[Any], Any], fraction: float) -> Proposal:
    """The proposal of some of the sampled classes [S].

    Args:
        take: of an array [S], those of the classes that stay.
        fraction: what the expected counts of those are multiplied by.
    """
    shift = proposal.sampled_shift
    if shift is not None:
        # an id that is none makes NaN also where it is not among those that stay
        shift = take(shift) + 0.0 * xp.sum(shift)
        shift = shift if fraction == 1.0 else shift + math.log(fraction)
    return proposal._replace(sampled_ids=take(proposal.sampled_ids), sampled_shift=shift)


def with_hits(xp: Any, proposal: Proposal) -> Proposal:
    """The proposal in which accidental hits do not count."""
    true_ids, sampled, _, shift, _ = proposal
    if isinstance(sampled, np.ndarray):
        return proposal._replace(hits=_hits(true_ids, sampled))
    own = len(xp.shape(sampled)) == 2
    hits = xp.any(xp.equal(true_ids[:, :, None], sampled[:, None, :] if own else sampled[None, None, :]), 1)
    # what stands for an id that is none does count, as NaN
    return proposal._replace(hits=hits & xp.equal(shift, shift))


def _hits(true_ids: NDArray[np.int64], sampled: NDArray[np.int64]) -> AccidentalHits | NDArray[np.bool_] | None:
    if sampled.ndim == 2:
        mask = (true_ids[:, :, None] == sampled[:, None, :]).any(1)
        return mask if mask.any() else None
    hits = AccidentalHits(*accidental_hits(true_ids, sampled))
    return hits if hits.rows.size else None
