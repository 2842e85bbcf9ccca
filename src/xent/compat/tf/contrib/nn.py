"""`tf.contrib.nn`: the losses of each row or element with their arguments in the order of TensorFlow 0."""

from __future__ import annotations

from typing import Any

from .. import nn as today
from ..sampled import rank_sampled_softmax_loss as rank_sampled_softmax_loss
from ..sampled import sampled_sparse_softmax_loss as sampled_sparse_softmax_loss
from .deprecation import deprecated

_MODULE = "xent.compat.tf.nn"


def deprecated_flipped_softmax_cross_entropy_with_logits(
    logits: Any, labels: Any, dim: int = -1, name: str | None = None
) -> Any:
    """`nn.softmax_cross_entropy_with_logits` with the logits first, and no gradient to the labels.

    Args:
        logits, labels, name: as there. `dim` is the class axis.

    Returns:
        The losses, as there.

    Raises:
        InvalidArgumentError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf.contrib import nn
        >>> with warnings.catch_warnings(action="ignore"):
        ...     nn.deprecated_flipped_softmax_cross_entropy_with_logits(np.zeros(2), np.array([0.0, 1.0])).round(6)
        np.float64(0.693147)

    Source: `tf.contrib.nn.deprecated_flipped_softmax_cross_entropy_with_logits` of TensorFlow 1.15.
    """
    deprecated(
        "nn.deprecated_flipped_softmax_cross_entropy_with_logits",
        f"{_MODULE}.softmax_cross_entropy_with_logits(labels, logits)",
    )
    return today.softmax_cross_entropy_with_logits_v1(labels, logits, dim)


def deprecated_flipped_sparse_softmax_cross_entropy_with_logits(
    logits: Any, labels: Any, name: str | None = None
) -> Any:
    """`nn.sparse_softmax_cross_entropy_with_logits` with the logits first.

    Args:
        logits, labels, name: as there.

    Returns:
        The losses, as there.

    Raises:
        ValueError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf.contrib import nn
        >>> with warnings.catch_warnings(action="ignore"):
        ...     nn.deprecated_flipped_sparse_softmax_cross_entropy_with_logits(np.zeros((1, 2)), np.array([1])).round(6)
        array([0.693147])

    Source: `tf.contrib.nn.deprecated_flipped_sparse_softmax_cross_entropy_with_logits` of TensorFlow 1.15.
    """
    deprecated(
        "nn.deprecated_flipped_sparse_softmax_cross_entropy_with_logits",
        f"{_MODULE}.sparse_softmax_cross_entropy_with_logits(labels, logits)",
    )
    return today.sparse_softmax_cross_entropy_with_logits(labels, logits)


def deprecated_flipped_sigmoid_cross_entropy_with_logits(logits: Any, targets: Any, name: str | None = None) -> Any:
    """`nn.sigmoid_cross_entropy_with_logits` with the logits first.

    Args:
        logits, name: as there. `targets` are the labels.

    Returns:
        The losses, as there.

    Raises:
        ValueError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf.contrib import nn
        >>> with warnings.catch_warnings(action="ignore"):
        ...     nn.deprecated_flipped_sigmoid_cross_entropy_with_logits(np.zeros(2), np.array([0.0, 1.0])).round(6)
        array([0.693147, 0.693147])

    Source: `tf.contrib.nn.deprecated_flipped_sigmoid_cross_entropy_with_logits` of TensorFlow 1.15.
    """
    deprecated(
        "nn.deprecated_flipped_sigmoid_cross_entropy_with_logits",
        f"{_MODULE}.sigmoid_cross_entropy_with_logits(labels, logits)",
    )
    return today.sigmoid_cross_entropy_with_logits(targets, logits)
