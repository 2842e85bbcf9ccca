"""Label types of the library's own: sparse soft targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TopK:
    """Sparse soft targets: for each row `k` classes and the target mass of each; all other classes have mass 0.

    The target of a row is `t_c = Σ_j values_j·[indices_j = c]`, as if it were a dense soft target.

    Args:
        indices: integer array `[..., k]`: the batch shape of the logits with `k` appended. Classes of one row differ.
        values: float array of the same shape: the mass of each class, usually a teacher's probabilities.

    Raises (where a loss takes it):
        ValueError: the shapes differ, or a class stands twice in one row.
        IndexError: a class lies outside `[0, C)`.

    Example:
        >>> import numpy as np, xent
        >>> teacher = xent.TopK(np.array([[2, 0]]), np.array([[0.75, 0.25]]))
        >>> float(round(xent.softmax_cross_entropy(np.array([[1.0, 2.0, 3.0]]), teacher), 6))
        0.907606

    Source: top-k knowledge distillation, where storing the teacher's whole distribution costs too much.
    """

    indices: Any
    values: Any
