"""softmax, log_softmax and logsumexp of NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.native import Memory, RowCoefficients, SoftmaxRows
from ...problem import softmax_axis
from .arrays import Array, as_array, memory, output_like


def _rows(logits: Any, axis: int) -> tuple[Array, int, Memory]:
    x = as_array("logits", logits)
    at = softmax_axis(x.shape, x.dtype.name, axis)
    return x, at, memory(x, at)


def softmax(logits: Any, axis: int) -> Array:
    x, at, rows = _rows(logits, axis)
    out, into = output_like(x, at)
    SoftmaxRows(rows).run(RowCoefficients(l=1.0), into)
    return out


def log_softmax(logits: Any, axis: int) -> Array:
    x, at, rows = _rows(logits, axis)
    out, into = output_like(x, at)
    SoftmaxRows(rows).log_softmax(into)
    return out


def logsumexp(logits: Any, axis: int) -> Any:
    x, at, rows = _rows(logits, axis)
    out = SoftmaxRows(rows).run(RowCoefficients(l=1.0), rows=True)
    lse = out.loss.reshape(x.shape[:at] + x.shape[at + 1 :])
    if np.isnan(lse).any():  # the kernels make NaN of +inf, whose sum is known here
        lse = np.where(np.isnan(lse) & (x.max(axis=at) == np.inf), np.inf, lse)
    return lse.astype(x.dtype)[()]
