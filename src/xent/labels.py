"""Label types of the library's own: sparse soft targets, and lists of positive classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import type_error


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


@dataclass(frozen=True)
class Positives:
    """Multi-label targets as lists of positive classes; all other classes are negative.

    For very many classes: the loss of a row is `Σ_k softplus(x_k) - Σ_{k positive} x_k`, and no dense label matrix ever
    exists in the loss and its gradient. (Gradients to weights, and derivatives of derivatives, make one.) Two forms:

    - padded: `classes` `[..., k]`, the batch shape of the logits with one axis appended; entries of -1 are padding;
    - CSR: `classes` `[total]` and `starts` `[rows + 1]`: row r has the classes `classes[starts[r]:starts[r + 1]]`.

    Args:
        classes: integer array; the classes of one row differ.
        starts: integer array, or None for the padded form.

    Raises (where a loss takes it):
        IndexError: a class lies outside `[0, C)`.
        ValueError: a class stands twice in one row, or the shapes do not fit.

    Example:
        >>> import numpy as np, xent
        >>> logits = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
        >>> padded = xent.Positives(np.array([[1, -1], [0, 2]]))
        >>> csr = xent.Positives(np.array([1, 0, 2]), starts=np.array([0, 1, 3]))
        >>> dense = np.array([[0, 1, 0], [1, 0, 1]])
        >>> [float(round(xent.sigmoid_cross_entropy(logits, y), 6)) for y in (padded, csr, dense)]
        [0.472149, 0.472149, 0.472149]

    Source: the labels of extreme multi-label classification; CSR is that of `scipy.sparse.csr_array`.
    """

    classes: Any
    starts: Any = None


def refuse(argument: str, labels: Any, kind: type, remedy: str) -> None:
    """Labels of a type that this loss cannot take."""
    if isinstance(labels, kind):
        raise type_error(argument, "an array", f"xent.{kind.__name__}", remedy)
