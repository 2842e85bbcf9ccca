"""The logits of the true and the sampled classes, in any framework's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .hits import AccidentalHits
from .proposal import Proposal, owned

Lines = Callable[[Any, Any, str], Any]  # (array, ids [M], dtype) -> the array's lines with these numbers, in a dtype


class Parts(NamedTuple):
    """Lines of the weight, or numbers of the bias, in the dtype of the products."""

    true: Any
    """[N, T, D] or [N, T]"""
    sampled: Any
    """[S, D], [N, S, D], [S] or [N, S]"""


def gathered(xp: Any, lines: Lines, array: Any, proposal: Proposal, dtype: str) -> Parts:
    """The lines of an array that has one a class. One gathering of both parts, so that it has one gradient."""
    ids = [proposal.true_ids, proposal.sampled_ids]
    flat = [xp.reshape(part, (-1,)) for part in ids]
    found = lines(array, xp.concat(flat, axis=0), dtype)
    count, width = running_shape(xp, flat[0])[0], xp.shape(array)[1:]
    both = found[:count], found[count:]
    return Parts(*(xp.reshape(part, xp.shape(of) + width) for part, of in zip(both, ids, strict=True)))


def products(xp: Any, x: Any, rows: Parts) -> tuple[Any, Any]:
    """Logits of the true classes [N, T] and the sampled ones [N, S], for x [N, D]."""
    true = xp.sum(x[:, None, :] * rows.true, -1)
    if len(xp.shape(rows.sampled)) == 3:
        return true, (x[:, None, :] @ xp.permute_dims(rows.sampled, (0, 2, 1)))[:, 0]
    return true, x @ xp.permute_dims(rows.sampled, (1, 0))


def sampled_logits(
    xp: Any, lines: Lines, inputs: Any, weight: Any, bias: Any, proposal: Proposal, dtype: str, temperature: float
) -> Any:
    """[..., T + S]: `(x·wᵀ + b)/temperature - log expected count`, the true classes first; -inf where `hits` says so.

    `inputs`: [..., D]; all their axes but the last are the N rows of the proposal.
    """
    proposal = owned(xp, proposal, inputs)
    parts = list(products(xp, as_rows(xp, inputs, dtype), gathered(xp, lines, weight, proposal, dtype)))
    if bias is not None:
        added = gathered(xp, lines, bias, proposal, dtype)
        parts = [logits + more for logits, more in zip(parts, added, strict=True)]
    for at, shift in enumerate((proposal.true_shift, proposal.sampled_shift)):
        if temperature != 1.0:
            parts[at] = parts[at] / temperature
        if shift is not None:
            parts[at] = parts[at] - xp.astype(shift, dtype)
    if proposal.hits is not None:
        parts[1] = _without(xp, parts[1], proposal.hits)
    return by_rows(xp, xp.concat(parts, axis=1), inputs)


def in_batch_logits(xp: Any, queries: Any, items: Any, log_q: Any, hits: Any, dtype: str, temperature: float) -> Any:
    """[N, M]: `queries·itemsᵀ/temperature - log q`; -inf where `hits` says so."""
    logits = xp.astype(queries, dtype) @ xp.permute_dims(xp.astype(items, dtype), (1, 0)) / temperature
    if log_q is not None:
        logits = logits - xp.astype(log_q, dtype)
    return logits if hits is None else _without(xp, logits, hits)


def _without(xp: Any, logits: Any, hits: Any) -> Any:
    if isinstance(hits, AccidentalHits):
        hits = hits.mask(xp.shape(logits))
    if isinstance(hits, np.ndarray):
        hits = xp.own(hits, logits)
    return xp.where(hits, float("-inf") * xp.ones_like(logits), logits)


def as_rows(xp: Any, inputs: Any, dtype: str) -> Any:
    """Inputs [..., D] as [N, D], in the dtype of the products."""
    shape = xp.shape(inputs)
    return xp.astype(inputs if len(shape) == 2 else xp.reshape(inputs, (-1, shape[-1])), dtype)


def by_rows(xp: Any, array: Any, inputs: Any) -> Any:
    """An array [N, ...] with the axes of the inputs [..., D], but the last, in place of N."""
    lead = xp.shape(inputs)[:-1]
    if len(lead) == 1:
        return array
    return xp.reshape(array, (*(running_shape(xp, inputs)[at] for at in range(len(lead))), *xp.shape(array)[1:]))


def running_shape(xp: Any, array: Any) -> Any:
    """The shape; in a graph of TensorFlow's, where that may be known only when it runs, a tensor."""
    return getattr(xp, "running_shape", xp.shape)(array)
