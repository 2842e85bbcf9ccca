"""Probabilities: what they must be, and where their logarithm is cut off."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import type_error, value_error

# The smallest normal number of each dtype.
TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}
# Rounding may carry a sum of probabilities this far past 1.
SLACK = {"float16": 2.0**-8, "bfloat16": 2.0**-5, "float32": 2.0**-20, "float64": 2.0**-48}


def clamp_value(clamp: Any, dtype: str) -> float:
    """The number below which a probability counts as this one."""
    if clamp is None:
        return TINY[dtype]
    if isinstance(clamp, bool) or not isinstance(clamp, (int, float)):
        raise type_error("clamp", "a number or None", type(clamp).__name__, "A usual value is 1e-7.")
    if not 0.0 < clamp < 1.0:
        raise value_error("clamp", "a number in (0, 1)", repr(clamp), "A usual value is 1e-7.")
    return float(clamp)


def check_probabilities(argument: str, values: np.ndarray[Any, Any], dtype: str, log: bool) -> None:
    """Probabilities lie in [0, 1], logarithms of them in [-inf, 0], but for rounding."""
    slack = SLACK[dtype]
    fine = (values <= slack) if log else (values >= 0) & (values <= 1 + slack)
    if fine.all():
        return
    at = tuple(int(i) for i in np.unravel_index(int(np.argmin(fine)), values.shape))
    kind = "log-probabilities, at most 0" if log else "probabilities in [0, 1]"
    remedy = "These look like logits: use softmax_cross_entropy or sigmoid_cross_entropy, which take them as they are."
    raise value_error(argument, kind, f"{values[at]} at {at}", remedy)
