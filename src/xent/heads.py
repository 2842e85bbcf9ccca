"""Heads of a model that are not one matrix."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

from .errors import type_error, value_error


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


def head_parts(inputs: Any, weight: Any, bias: Any) -> tuple[dict[str, Any], float]:
    """What makes the logits of a linear loss, by the names of the arguments, and the scale of an update."""
    head = weight if isinstance(weight, LowRank) else LowRank(weight, None, None)
    if head.weight is None:
        raise type_error("weight", "an array [C, D] or a LowRank", "None", "Pass the weight of the output layer.")
    for name, part, other in (("weight.down", head.down, head.up), ("weight.up", head.up, head.down)):
        if part is None and other is not None:
            raise type_error(name, "an array", "None", "An update of low rank has two factors.")
    if isinstance(head.scale, bool) or not isinstance(head.scale, numbers.Real):
        remedy = "Pass a plain number; multiply `up` with a scale that is learned."
        raise type_error("weight.scale", "a real number", type(head.scale).__name__, remedy)
    scale = float(head.scale)
    if not -math.inf < scale < math.inf:  # in words that torch can trace
        raise value_error("weight.scale", "a finite number", repr(scale), "A usual scale is alpha / rank.")
    named = {"inputs": inputs, "weight": head.weight, "weight.down": head.down, "weight.up": head.up, "bias": bias}
    return {name: part for name, part in named.items() if part is not None}, scale
