"""Sampled losses, up to their logits, in a framework's own operations, which it differentiates.

`xp` is the framework's namespace as the reference takes it, with the conversions of its front-end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import type_error, value_error
from ..kernels.reference import numbers
from ..problem import INTEGER_DTYPES, LOGIT_DTYPES, check_head, check_logits_dtype
from ..sampling import logits as sampling_logits
from ..sampling import proposal as proposals
from ..sampling.proposal import Proposal
from ..sampling.sampler import Candidates, Sampler


class Sampled(NamedTuple):
    """The logits of a sampled loss, of the true classes first."""

    logits: Any
    """[..., T + S]"""
    zeros: Any
    """[...]: the label of the first true class."""
    true_classes: int
    """T"""


class Reduced(NamedTuple):
    """What becomes of the logits."""

    loss: Callable[[Any, Sampled], Any]
    """Of the namespace and the logits."""
    softmax: tuple[str, Any] | None
    """Reduction and normalizer, if that is the softmax loss without sample weights."""


class Ranking(NamedTuple):
    """Of the classes drawn only those with the largest logits stay."""

    kept: int
    temperature: float
    """Divides the logits by which they rank."""
    calibrated: bool
    """Whether the expected counts are those of a sample of `kept` classes."""


class _Arguments(NamedTuple):
    inputs: Any
    """[..., D]"""
    weight: Any
    bias: Any
    true_ids: Any
    """[N, T], of NumPy where the values are known."""
    dtype: str
    """Of the logits."""


def _checked(xp: Any, inputs: Any, weight: Any, labels: Any, bias: Any, drawing: bool) -> _Arguments:
    """`drawing`: the labels are fetched from wherever they are; else, only those in the processor's memory are read."""
    x = xp.as_array("inputs", inputs, inputs)
    w = xp.as_array("weight", weight, x)
    b = None if bias is None else xp.as_array("bias", bias, x)
    named = {"inputs": x, "weight": w} | ({} if b is None else {"bias": b})
    dtype = check_logits_dtype(xp.dtype_name(x), "inputs")
    check_head({name: (xp.shape(array), xp.dtype_name(array)) for name, array in named.items()})
    y = xp.as_array("labels", labels, x)
    if xp.dtype_name(y) not in INTEGER_DTYPES:
        raise type_error("labels", "true classes as integers", xp.dtype_name(y), "Convert them to int64.")
    shape, lead = xp.shape(y), xp.shape(x)[:-1]
    if shape[: len(lead)] != lead or len(shape) > len(lead) + 1:
        expected = f"shape {lead} or {(*lead, 'T')}: one or T true classes a row"
        remedy = "Give each row of the inputs its labels."
        raise value_error("labels", expected, f"shape {shape}", remedy)
    if drawing:
        values = xp.values(y)
        if values is None:
            remedy = "Draw outside of what is traced, and pass candidates=sampler.sample(labels)."
            raise type_error(
                "labels", "true classes whose values are known, to draw with a sampler", "a tracer", remedy
            )
    else:
        values = xp.numpy_of(y) if xp.is_readable(y) else None
    true_classes = shape[-1] if len(shape) > len(lead) else 1
    if not true_classes:
        raise value_error("labels", "at least one true class a row", f"shape {shape}", "Leave such rows out.")
    rows = (-1, true_classes)
    # a copy: what is differentiated later must not follow the user's array
    y = xp.reshape(y, rows) if values is None else np.array(np.reshape(values, rows), np.int64, order="C")
    return _Arguments(x, w, b, y, dtype)


def sampled_loss(
    xp: Any,
    logits_of: Callable[..., Any],
    logsumexp: Callable[[Any, int], Any],
    inputs: Any,
    weight: Any,
    labels: Any,
    candidates: Sampler | Candidates,
    *,
    reduced: Reduced,
    bias: Any,
    corrected: bool,
    remove_hits: bool,
    temperature: float,
    sparse: bool,
    validate: bool,
    ranking: Ranking | None = None,
    softmax_of: Callable[..., Any] | None = None,
) -> Any:
    """The loss for candidates that are given, or drawn once the labels are known.

    Args:
        logits_of: `sampling.logits.sampled_logits`, or what calls it. softmax_of: logits and their softmax loss in one,
            or None where that is not to be had.
        corrected: the logits lose the logarithm of the expected counts.
        sparse: the gradients to weight and bias are sparse.
    """
    a = _checked(xp, inputs, weight, labels, bias, isinstance(candidates, Sampler))
    proposal = _proposal(xp, a, candidates, corrected, validate)
    lines = partial(xp.lines, sparse=sparse)
    if ranking is not None:
        proposal = _ranked(xp, logsumexp, lines, a, proposal, ranking)
    if remove_hits:
        proposal = proposals.with_hits(xp, proposal)
    head = xp, lines, a.inputs, a.weight, a.bias, proposal, a.dtype, temperature
    if softmax_of is not None and reduced.softmax is not None:
        loss = softmax_of(*head, *reduced.softmax)
        if loss is not None:
            return loss
    logits = logits_of(*head)
    zeros = xp.zeros_like(xp.own(a.true_ids, a.inputs)[:, 0])
    return reduced.loss(xp, Sampled(logits, sampling_logits.by_rows(xp, zeros, a.inputs), a.true_ids.shape[1]))


def _proposal(xp: Any, a: _Arguments, candidates: Sampler | Candidates, corrected: bool, validate: bool) -> Proposal:
    classes = xp.shape(a.weight)[0]
    if isinstance(candidates, Sampler):
        # a class beyond a sampler's range has no expected count
        reach, labels, outside = candidates.range_max, a.true_ids, None
        if validate:
            remedy = f"The sampler draws from {reach} of {classes} classes: map the labels into its range, or widen it."
            proposals.check_ids("labels", labels, reach, remedy)
        else:
            labels, outside = proposals.inside(labels, reach)
        drawn = candidates.sample(labels)
        proposals.check_ids(
            "candidates.sampled_ids", np.asarray(drawn.sampled_ids), classes
        )  # a sampler may be anyone's
        return proposals.in_range(labels, drawn, corrected, outside)
    parts = zip(Candidates._fields, proposals.as_candidates(candidates), (True, corrected, corrected), strict=True)
    given: list[Any] = [
        xp.as_array(f"candidates.{name}", part, a.inputs) if used else None for name, part, used in parts
    ]
    readable = isinstance(a.true_ids, np.ndarray)
    shape = a.true_ids.shape if readable else xp.shape(a.true_ids)
    proposals.check_shapes(xp, Candidates(*given), xp.shape(a.inputs)[:-1], shape, corrected)
    if readable and all(part is None or xp.is_readable(part) for part in given):
        given = [part if part is None else xp.numpy_of(part) for part in given]
        return proposals.known(a.true_ids, classes, Candidates(*given), corrected, validate)
    return proposals.traced(xp, xp.own(a.true_ids, a.inputs), classes, Candidates(*given), a.dtype, corrected)


def _ranked(
    xp: Any,
    logsumexp: Callable[[Any, int], Any],
    lines: Callable[..., Any],
    a: _Arguments,
    proposal: Proposal,
    ranking: Ranking,
) -> Proposal:
    """The proposal of the sampled classes whose logits, divided by a temperature, have the largest log-sum-exp."""
    owned = proposals.owned(xp, proposal, a.inputs)
    shape = xp.shape(owned.sampled_ids)
    if len(shape) != 1:
        expected = "shape (S,): one list for all rows"
        raise value_error("candidates.sampled_ids", expected, f"shape {shape}", "Draw one list.")
    if ranking.kept >= shape[0]:
        expected, remedy = f"fewer than num_sampled ({shape[0]})", "Draw more candidates, or keep fewer."
        raise value_error("num_resampled", expected, str(ranking.kept), remedy)
    x, w, b = (None if t is None else xp.stop_gradient(t) for t in (a.inputs, a.weight, a.bias))
    rows = lines(w, owned.sampled_ids, a.dtype)
    scores = sampling_logits.as_rows(xp, x, a.dtype) @ xp.permute_dims(rows, (1, 0))
    if b is not None:
        scores = scores + lines(b, owned.sampled_ids, a.dtype)
    # where there are no rows, all classes rank alike
    scores = scores if xp.shape(scores)[0] else xp.zeros_like(rows[None, :, 0])
    best = xp.top(logsumexp(scores / ranking.temperature, 0), ranking.kept)
    fraction = ranking.kept / shape[0] if ranking.calibrated else 1.0
    if isinstance(proposal.sampled_ids, np.ndarray) and xp.is_readable(best):
        places = xp.numpy_of(best)
        return proposals.chosen(np, proposal, lambda array: array[places], fraction)
    return proposals.chosen(xp, owned, lambda array: xp.gather(array, best), fraction)


def in_batch_logits(
    xp: Any, logits_of: Callable[..., Any], queries: Any, items: Any, item_ids: Any, log_q: Any, temperature: float
) -> tuple[Any, Any]:
    """The logits of every item for every query, and the place of the query's own."""
    queries = xp.as_array("queries", queries, queries)
    items = xp.as_array("items", items, queries)
    dtype = check_logits_dtype(xp.dtype_name(queries), "queries")
    shape, other = xp.shape(queries), xp.shape(items)
    if len(shape) != 2:
        raise value_error("queries", "shape (N, D)", f"shape {shape}", "Reshape them to one row a query.")
    if len(other) != 2 or other[1] != shape[1] or other[0] < shape[0]:
        expected = f"shape (M, {shape[1]}) with M at least {shape[0]}"
        raise value_error("items", expected, f"shape {other}", "The first items belong to the queries.")
    if xp.dtype_name(items) != xp.dtype_name(queries):
        got = xp.dtype_name(items)
        raise type_error("items", f"the dtype of queries, {xp.dtype_name(queries)}", got, "Convert one of them.")
    own, hits = numbers(xp, shape[0], queries), None
    if item_ids is not None:
        ids = _of_items(xp, "item_ids", item_ids, INTEGER_DTYPES, items)
        others = xp.not_equal(own[:, None], numbers(xp, other[0], queries)[None, :])
        hits = xp.equal(ids[: shape[0], None], ids[None, :]) & others
    if log_q is not None:
        log_q = _of_items(xp, "log_q", log_q, LOGIT_DTYPES + INTEGER_DTYPES, items)
        if xp.is_readable(log_q) and not np.isfinite(np.asarray(xp.numpy_of(log_q), np.float64)).all():
            raise value_error("log_q", "finite numbers", "inf or NaN", "Every item of a batch has a positive count.")
    return logits_of(xp, queries, items, log_q, hits, dtype, temperature), own


def _of_items(xp: Any, argument: str, value: Any, dtypes: tuple[str, ...], items: Any) -> Any:
    """One number of each item."""
    array, expected = xp.as_array(argument, value, items), xp.shape(items)[:1]
    if xp.shape(array) != expected:
        got = f"shape {xp.shape(array)}"
        raise value_error(argument, f"shape {expected}: one number an item", got, "Give each item its own.")
    if xp.dtype_name(array) not in dtypes:
        kind, to = ("integers", "int64") if dtypes == INTEGER_DTYPES else ("real numbers", "float32")
        raise type_error(argument, kind, xp.dtype_name(array), f"Convert them to {to}.")
    return array
