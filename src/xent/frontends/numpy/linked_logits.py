"""Logits of sampled classes on NumPy arrays, with their derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...sampling import logits as sampling_logits
from ...sampling.proposal import Proposal
from ...sparse import SparseRows
from . import gradients
from .arrays import Array


def linked_logits(
    xp: Any,
    lines: Any,
    inputs: Array,
    weight: Array,
    bias: Array | None,
    proposal: Proposal,
    dtype: str,
    temperature: float,
) -> Array:
    """As `sampling.logits.sampled_logits`, known to an open `value_and_grad`."""
    logits = sampling_logits.sampled_logits(xp, lines, inputs, weight, bias, proposal, dtype, temperature)
    recorder = gradients.active.get()
    if recorder is not None:
        sparse = lines.keywords["sparse"]

        def vjp(upstream: Array) -> list[Any]:
            g = upstream.reshape(-1, upstream.shape[-1]) / temperature
            return _vjp(xp, lines, inputs, weight, bias, proposal, dtype, g, sparse)

        recorder.link(logits, [inputs, weight] if bias is None else [inputs, weight, bias], vjp)
    return logits  # type: ignore[no-any-return]


def linked_in_batch_logits(
    xp: Any, queries: Array, items: Array, log_q: Any, hits: Any, dtype: str, temperature: float
) -> Array:
    """As `sampling.logits.in_batch_logits`, known to an open `value_and_grad`."""
    logits = sampling_logits.in_batch_logits(xp, queries, items, log_q, hits, dtype, temperature)
    recorder = gradients.active.get()
    if recorder is not None:

        def vjp(upstream: Array) -> list[Any]:
            g = upstream / temperature
            of_queries, of_items = g @ items.astype(dtype), g.T @ queries.astype(dtype)
            return [of_queries.astype(queries.dtype), of_items.astype(items.dtype)]

        recorder.link(logits, [queries, items], vjp)
    return logits  # type: ignore[no-any-return]


def _vjp(
    xp: Any,
    lines: Any,
    inputs: Array,
    weight: Array,
    bias: Array | None,
    proposal: Proposal,
    dtype: str,
    g: Array,
    sparse: bool,
) -> list[Any]:
    """The gradients to x, weight and bias for an upstream gradient [N, T + S]."""
    rows = sampling_logits.gathered(xp, lines, weight, proposal, dtype)
    x = sampling_logits.as_rows(xp, inputs, dtype)
    of_true, of_sampled = np.split(g, [proposal.true_ids.shape[1]], axis=1)
    of_x = _weighted(of_true, rows.true)
    if proposal.sampled_ids.ndim == 2:
        of_x += _weighted(of_sampled, rows.sampled)
        made, numbers = _outer(of_sampled, x), of_sampled.reshape(-1)
    else:
        of_x += of_sampled @ rows.sampled
        made, numbers = of_sampled.T @ x, of_sampled.sum(0)
    ids = np.concatenate([proposal.true_ids.reshape(-1), proposal.sampled_ids.reshape(-1)])
    found: list[Any] = [of_x.reshape(inputs.shape).astype(inputs.dtype)]
    parts = [(weight, _outer(of_true, x), made)]
    if bias is not None:
        parts.append((bias, of_true.reshape(-1), numbers))
    for array, true, sampled in parts:
        gradient = SparseRows(ids, np.concatenate([true, sampled]), len(array))
        gradient = gradient._replace(rows=gradient.rows.astype(array.dtype)) if sparse else gradient
        found.append(gradient if sparse else gradient.to_dense().astype(array.dtype))
    return found


def _weighted(g: Array, rows: Array) -> Array:
    """Σ_k g[n, k]·rows[n, k, :]"""
    out: Array = (g[:, None, :] @ rows)[:, 0]
    return out


def _outer(g: Array, x: Array) -> Array:
    """g[n, k]·x[n, :] as a line for each (n, k)."""
    return (g[:, :, None] * x[:, None, :]).reshape(-1, x.shape[-1])
