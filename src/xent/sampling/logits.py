"""The logits of the true and the sampled classes, in any framework's operations."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .hits import AccidentalHits
from .proposal import Proposal

Gather = Callable[[Any, Any], Any]  # (array, ids of any shape) -> the array's lines with these numbers


class Rows(NamedTuple):
    """Lines of the weight, in the dtype of the products."""

    true: Any
    """[N, T, D]"""
    sampled: Any
    """[S, D] or [N, S, D]"""


def gathered(xp: Any, gather: Gather, weight: Any, proposal: Proposal, dtype: str) -> Rows:
    return Rows(*(xp.astype(gather(weight, ids), dtype) for ids in (proposal.true_ids, proposal.sampled_ids)))


def products(xp: Any, x: Any, rows: Rows) -> tuple[Any, Any]:
    """Logits of the true classes [N, T] and the sampled ones [N, S], for x [N, D]."""
    true = xp.sum(x[:, None, :] * rows.true, -1)
    if len(xp.shape(rows.sampled)) == 3:
        return true, (x[:, None, :] @ xp.permute_dims(rows.sampled, (0, 2, 1)))[:, 0]
    return true, x @ xp.permute_dims(rows.sampled, (1, 0))


def sampled_logits(
    xp: Any, gather: Gather, inputs: Any, weight: Any, bias: Any, proposal: Proposal, dtype: str, temperature: float
) -> Any:
    """[..., T + S]: `(x·wᵀ + b)/temperature - log expected count`, the true classes first; -inf where `hits` says so.

    `inputs`: [..., D]; all their axes but the last are the N rows of the proposal.
    """
    x = as_rows(xp, inputs, dtype)
    parts = []
    rows = gathered(xp, gather, weight, proposal, dtype)
    ids, shifts = (proposal.true_ids, proposal.sampled_ids), (proposal.true_shift, proposal.sampled_shift)
    for logits, some, shift in zip(products(xp, x, rows), ids, shifts, strict=True):
        if bias is not None:
            logits = logits + xp.astype(gather(bias, some), dtype)
        if temperature != 1.0:
            logits = logits / temperature
        parts.append(logits if shift is None else logits - xp.astype(shift, dtype))
    if proposal.hits is not None:
        parts[1] = _without(xp, parts[1], proposal.hits)
    logits = xp.concat(parts, axis=1)
    lead = xp.shape(inputs)[:-1]
    return logits if len(lead) == 1 else xp.reshape(logits, (*lead, xp.shape(logits)[1]))


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
    *lead, width = xp.shape(inputs)
    return xp.astype(inputs if len(lead) == 1 else xp.reshape(inputs, (prod(lead), width)), dtype)
