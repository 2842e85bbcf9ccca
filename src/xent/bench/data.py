"""The arrays of a case, and its solution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case

Array = NDArray[Any]
Float64 = NDArray[np.float64]

BLOCK = 1 << 22  # elements of the truth that are computed at a time: 32 MiB an array


@dataclass(frozen=True)
class Problem:
    """A case with its data.

    Attributes:
        case: what is computed.
        logits: values of the case's dtype, held in float32.
        labels: as the case's family of losses has them; what xent takes.
        plain_labels: the same labels as all others take them.
        weight: float32 [C], of classes or of their positive labels, or None.
    """

    case: Case
    logits: Array
    labels: Array
    plain_labels: Array
    weight: Array | None


@dataclass(frozen=True)
class Truth:
    """A problem's solution in float64.

    Attributes:
        loss: in nats.
        gradient: [rows, classes].
        depth: the largest -log p of any element, in nats.
    """

    loss: float
    gradient: Float64
    depth: float


def representable(values: Array, dtype: str) -> Array:
    """The values rounded so that the dtype holds them exactly."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    return values


def numpy_logits(problem: Problem) -> Array:
    """The logits in the case's dtype, which must be one of NumPy's."""
    return problem.logits.astype(problem.case.dtype, copy=False)


def rows_of(array: Array) -> Array:
    """[rows, classes] of an array whose classes are on axis 1."""
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


def blocks(rows: int, classes: int) -> Iterator[slice]:
    """Rows, some at a time."""
    step = max(1, BLOCK // classes)
    return (slice(start, start + step) for start in range(0, rows, step))
