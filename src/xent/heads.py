"""Heads of a model that are not one matrix."""

from __future__ import annotations

from typing import Any, NamedTuple


class LowRank(NamedTuple):
    """A weight with an update of low rank, `W + scale·up·down`, for the linear losses; the sum is never formed.

    Args:
        weight: W, [C, D].
        down: [r, D]. `up`: [C, r].
        scale: a number.

    Raises (where a loss takes it):
        ValueError: shapes that do not belong together. TypeError: dtypes that differ.

    Example:
        >>> import numpy as np, xent
        >>> head = xent.LowRank(np.eye(3, 2), np.ones((1, 2)), np.ones((3, 1)), 0.5)
        >>> loss = xent.linear_softmax_cross_entropy(np.ones((1, 2)), head, np.array([0]))
        >>> round(float(loss), 6)
        0.861995

    Source: Hu et al. 2021, LoRA (arXiv:2106.09685).
    """

    weight: Any
    down: Any
    up: Any
    scale: float = 1.0
