"""The arrays of a case: random, and the same in every run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case

Array = NDArray[Any]

IGNORED = -100  # torch's default, which xent is told


@dataclass(frozen=True)
class Problem:
    """A case with its data.

    Attributes:
        case: what is computed.
        logits: values of the case's dtype, held in float32.
        labels: int64 class indices, or float32 soft targets of the logits' shape.
        class_weight: float32 [C], or None.
    """

    case: Case
    logits: Array
    labels: Array
    class_weight: Array | None


def problem(case: Case) -> Problem:
    """The arrays of a case."""
    random = np.random.default_rng(0)
    logits = representable(random.standard_normal(case.shape, dtype=np.float32), case.dtype)
    labels = soft_targets(random, logits) if case.soft else class_indices(random, case)
    weight = (
        representable(random.uniform(0.5, 1.5, case.shape[1]).astype(np.float32), case.dtype)
        if case.class_weight
        else None
    )
    return Problem(case, logits, labels, weight)


def none_ignored(ignoring: Problem) -> Problem:
    """The same problem with every row kept."""
    case = replace(ignoring.case, ignored=0.0)
    return replace(ignoring, case=case, labels=class_indices(np.random.default_rng(1), case))


def representable(values: Array, dtype: str) -> Array:
    """The values rounded so that the dtype holds them exactly."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    return values


def soft_targets(random: np.random.Generator, like: Array) -> Array:
    """Positive, and 1 in sum along the class axis."""
    targets = random.standard_exponential(like.shape, dtype=np.float32)
    return targets / targets.sum(1, keepdims=True)  # type: ignore[no-any-return]


def class_indices(random: np.random.Generator, case: Case) -> Array:
    """One class a row, of which the case's share is ignored."""
    labels = random.integers(case.shape[1], size=case.shape[:1] + case.shape[2:], dtype=np.int64)
    ignored = random.permutation(labels.size)[: round(case.ignored * labels.size)]
    labels.reshape(-1)[ignored] = IGNORED
    return labels
