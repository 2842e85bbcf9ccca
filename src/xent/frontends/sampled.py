"""Sampled losses, up to their logits, in a framework's own operations, which it differentiates.

`xp` is the framework's namespace as the reference takes it, with the conversions of its front-end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import type_error, value_error
from ..problem import INTEGER_DTYPES, check_head, check_logits_dtype
from ..sampling import logits as sampling_logits
from ..sampling.proposal import Proposal, as_candidates, inside, known, traced
from ..sampling.sampler import Candidates

Draw = Callable[[Any], Candidates]  # of true classes [N, T] as a NumPy array


class Sampled(NamedTuple):
    """The logits of a sampled loss, of the true classes first."""

    logits: Any
    """[..., T + S]"""
    zeros: Any
    """[...]: the label of the first true class."""
    true_classes: int
    """T"""


class _Arguments(NamedTuple):
    inputs: Any
    """[..., D]"""
    weight: Any
    bias: Any
    true_ids: Any
    """[N, T], of NumPy where the values are known."""
    lead: tuple[int, ...]
    """The axes of the inputs but the last."""
    dtype: str
    """Of the logits."""


def _checked(xp: Any, inputs: Any, weight: Any, labels: Any, bias: Any, drawing: bool) -> _Arguments:
    """`drawing`: the labels are fetched from wherever they are; else, only those in the processor's memory are read."""
    w = xp.as_array("weight", weight, inputs)
    b = None if bias is None else xp.as_array("bias", bias, inputs)
    named = {"inputs": inputs, "weight": w} | ({} if b is None else {"bias": b})
    dtype = check_logits_dtype(xp.dtype_name(inputs), "inputs")
    check_head({name: (xp.shape(array), xp.dtype_name(array)) for name, array in named.items()})
    y = xp.as_array("labels", labels, inputs)
    if xp.dtype_name(y) not in INTEGER_DTYPES:
        raise type_error("labels", "true classes as integers", xp.dtype_name(y), "Convert them to int64.")
    shape, lead = xp.shape(y), xp.shape(inputs)[:-1]
    if shape[: len(lead)] != lead or len(shape) > len(lead) + 1:
        expected = f"shape {lead} or {(*lead, 'T')}: one or T true classes a row"
        raise value_error("labels", expected, f"shape {shape}", "Reshape.")
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
    y = xp.reshape(y, rows) if values is None else np.reshape(values, rows).astype(np.int64, copy=False)
    return _Arguments(inputs, w, b, y, lead, dtype)


def sampled_logits(
    xp: Any,
    logits_of: Callable[..., Any],
    inputs: Any,
    weight: Any,
    labels: Any,
    candidates: Draw | Candidates,
    *,
    bias: Any,
    corrected: bool,
    remove_hits: bool,
    temperature: float,
    sparse: bool,
    validate: bool,
) -> Sampled:
    """The logits for candidates that are given, or drawn once the labels are known.

    Args:
        logits_of: `sampling.logits.sampled_logits`, or what calls it.
        corrected: the logits lose the logarithm of the expected counts.
        sparse: the gradients to weight and bias are sparse.
    """
    a = _checked(xp, inputs, weight, labels, bias, callable(candidates))
    proposal = _proposal(xp, a, candidates, corrected, remove_hits, validate)
    owned = (None if p is None else xp.own(p, a.inputs) for p in proposal[:-1])
    arrays = Proposal(*owned, hits=proposal.hits)  # type: ignore[misc]
    gather = partial(xp.gather, sparse=sparse)
    logits = logits_of(xp, gather, a.inputs, a.weight, a.bias, arrays, a.dtype, temperature)
    zeros = xp.zeros_like(xp.own(a.true_ids, a.inputs)[:, 0])
    if len(a.lead) != 1:
        zeros = xp.reshape(zeros, a.lead)
    return Sampled(logits, zeros, a.true_ids.shape[1])


def _proposal(
    xp: Any, a: _Arguments, candidates: Draw | Candidates, corrected: bool, remove_hits: bool, validate: bool
) -> Proposal:
    classes = xp.shape(a.weight)[0]
    if callable(candidates):
        drawn = candidates(a.true_ids if validate else inside(a.true_ids, classes)[0])
        return known(a.true_ids, classes, drawn, corrected, remove_hits, validate)
    given = [xp.as_array("candidates", part, a.inputs) for part in as_candidates(candidates)]
    if isinstance(a.true_ids, np.ndarray) and all(xp.is_readable(part) for part in given):
        values = Candidates(*(xp.numpy_of(part) for part in given))
        return known(a.true_ids, classes, values, corrected, remove_hits, validate)
    true_ids = xp.own(a.true_ids, a.inputs)
    return traced(xp, true_ids, Candidates(*given), a.dtype, corrected, remove_hits)


def in_batch_logits(
    xp: Any, logits_of: Callable[..., Any], queries: Any, items: Any, item_ids: Any, log_q: Any, temperature: float
) -> tuple[Any, Any]:
    """The logits of every item for every query, and the place of the query's own."""
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
    own = xp.arange(shape[0])
    hits = None
    for name, value in (("item_ids", item_ids), ("log_q", log_q)):
        if value is not None and xp.shape(xp.as_array(name, value, queries)) != (other[0],):
            got = f"shape {xp.shape(xp.as_array(name, value, queries))}"
            raise value_error(name, f"shape ({other[0]},): one number an item", got, "Reshape it.")
    if item_ids is not None:
        ids = xp.as_array("item_ids", item_ids, queries)
        if xp.dtype_name(ids) not in INTEGER_DTYPES:
            raise type_error("item_ids", "integers", xp.dtype_name(ids), "Number the items.")
        others = xp.not_equal(own[:, None], xp.arange(other[0])[None, :])
        hits = xp.equal(ids[: shape[0], None], ids[None, :]) & others
    if log_q is not None:
        log_q = xp.as_array("log_q", log_q, queries)
        if xp.is_readable(log_q) and not np.isfinite(np.asarray(xp.numpy_of(log_q), np.float64)).all():
            raise value_error("log_q", "finite numbers", "inf or NaN", "Every item of a batch has a positive count.")
    return logits_of(xp, queries, items, log_q, hits, dtype, temperature), own


def ranked(
    xp: Any,
    logsumexp: Callable[[Any, int], Any],
    inputs: Any,
    weight: Any,
    labels: Any,
    candidates: Draw | Candidates,
    *,
    bias: Any,
    kept: int,
    temperature: float,
    sparse: bool,
) -> Candidates:
    """The candidates whose logits, divided by a temperature, have the largest log-sum-exp over the batch."""
    a = _checked(xp, inputs, weight, labels, bias, callable(candidates))
    drawn: Any = candidates(a.true_ids) if callable(candidates) else as_candidates(candidates)
    ids, of_true, of_sampled = (xp.as_array("candidates", part, a.inputs) for part in drawn)
    if len(xp.shape(ids)) != 1:
        raise value_error(
            "candidates.sampled_ids", "shape (S,): one list for all rows", f"shape {xp.shape(ids)}", "Draw one list."
        )
    x, w, b = (None if t is None else xp.stop_gradient(t) for t in (a.inputs, a.weight, a.bias))
    proposal = Proposal(xp.own(a.true_ids, a.inputs), ids)
    rows = sampling_logits.gathered(xp, partial(xp.gather, sparse=sparse), w, proposal, a.dtype)
    _, scores = sampling_logits.products(xp, sampling_logits.as_rows(xp, x, a.dtype), rows)
    if b is not None:
        scores = scores + xp.astype(xp.gather(b, ids), a.dtype)
    best = xp.top(logsumexp(scores / temperature, 0), kept)
    return Candidates(xp.gather(ids, best), of_true, xp.gather(of_sampled, best))
