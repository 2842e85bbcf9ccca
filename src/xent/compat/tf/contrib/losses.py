"""`tf.contrib.losses`: logits first, always over the number of weights that are not 0, no gradient to the labels."""

from __future__ import annotations

from typing import Any

from ...arrays import namespace_of
from .. import losses as today
from ..tensors import converted, squeezed
from .deprecation import deprecated

_MODULE = "xent.compat.tf.losses"


def _aligned(values: Any, weights: Any) -> Any:
    """Weights without a last axis of 1, then with the axes that they lack at the end, as `tf.contrib` broadcasts."""
    xp = namespace_of(values, weights)
    w = converted(xp, weights)
    if w.ndim > 1 and xp.shape(w)[-1] == 1:
        w = squeezed(xp, w)
    while 0 < w.ndim < values.ndim:
        w = xp.expand_dims(w, -1)
    return w


def compute_weighted_loss(losses: Any, weights: Any = 1.0, scope: str | None = None) -> Any:
    """Σ w·l over the number of weights that are not 0.

    Args:
        losses: of any shape.
        weights: a number, or an array whose axes are the first ones of the losses; a last axis of 1 is dropped.

    Returns:
        The loss in the dtype of the losses.

    Raises:
        ValueError: weights that do not fit.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf import contrib
        >>> with warnings.catch_warnings(action="ignore"):
        ...     float(contrib.losses.compute_weighted_loss(np.ones((2, 3)), np.array([2.0, 0.0])))
        2.0

    Source: `tf.contrib.losses.compute_weighted_loss` of TensorFlow 1.15.
    """
    deprecated("losses.compute_weighted_loss", f"{_MODULE}.compute_weighted_loss(losses, weights)")
    each = converted(namespace_of(losses, weights), losses)
    return today.compute_weighted_loss(each, _aligned(each, weights))


def softmax_cross_entropy(
    logits: Any, onehot_labels: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None
) -> Any:
    """`losses.softmax_cross_entropy` with the logits first.

    Args:
        logits, onehot_labels, label_smoothing: as there.
        weights: a number, or an array whose axes are the first ones of the losses; a last axis of 1 is dropped.

    Returns:
        The loss in nats, in the dtype of the logits.

    Raises:
        ValueError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf import contrib
        >>> with warnings.catch_warnings(action="ignore"):
        ...     loss = contrib.losses.softmax_cross_entropy(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
        >>> round(float(loss), 6)
        0.313262

    Source: `tf.contrib.losses.softmax_cross_entropy` of TensorFlow 1.15.
    """
    deprecated("losses.softmax_cross_entropy", f"{_MODULE}.softmax_cross_entropy(onehot_labels, logits)")
    each = today.softmax_cross_entropy(onehot_labels, logits, 1.0, label_smoothing, reduction=today.Reduction.NONE)
    return today.compute_weighted_loss(each, _aligned(each, weights))


def sparse_softmax_cross_entropy(logits: Any, labels: Any, weights: Any = 1.0, scope: str | None = None) -> Any:
    """`losses.sparse_softmax_cross_entropy` with the logits first.

    Args:
        logits, labels: as there.
        weights: a number, or an array whose axes are the first ones of the losses; a last axis of 1 is dropped.

    Returns:
        The loss in nats, in the dtype of the logits.

    Raises:
        ValueError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf import contrib
        >>> with warnings.catch_warnings(action="ignore"):
        ...     loss = contrib.losses.sparse_softmax_cross_entropy(np.array([[1.0, 2.0]]), np.array([1]))
        >>> round(float(loss), 6)
        0.313262

    Source: `tf.contrib.losses.sparse_softmax_cross_entropy` of TensorFlow 1.15.
    """
    deprecated("losses.sparse_softmax_cross_entropy", f"{_MODULE}.sparse_softmax_cross_entropy(labels, logits)")
    each = today.sparse_softmax_cross_entropy(labels, logits, reduction=today.Reduction.NONE)
    return today.compute_weighted_loss(each, _aligned(each, weights))


def sigmoid_cross_entropy(
    logits: Any, multi_class_labels: Any, weights: Any = 1.0, label_smoothing: float = 0, scope: str | None = None
) -> Any:
    """`losses.sigmoid_cross_entropy` with the logits first, and no gradient to the labels.

    Args:
        logits, multi_class_labels, label_smoothing: as there.
        weights: a number, or an array whose axes are the first ones of the losses; a last axis of 1 is dropped.

    Returns:
        The loss in nats, in the dtype of the logits.

    Raises:
        ValueError: as there.

    Example:
        >>> import numpy as np, warnings
        >>> from xent.compat.tf import contrib
        >>> with warnings.catch_warnings(action="ignore"):
        ...     loss = contrib.losses.sigmoid_cross_entropy(np.array([[2.0, -1.0]]), np.array([[1.0, 0.0]]))
        >>> round(float(loss), 6)
        0.220095

    Source: `tf.contrib.losses.sigmoid_cross_entropy` of TensorFlow 1.15.
    """
    deprecated("losses.sigmoid_cross_entropy", f"{_MODULE}.sigmoid_cross_entropy(multi_class_labels, logits)")
    xp = namespace_of(logits, multi_class_labels)
    labels = xp.stop_gradient(xp.asarray(multi_class_labels))
    each = today.sigmoid_cross_entropy(labels, logits, 1.0, label_smoothing, reduction=today.Reduction.NONE)
    return today.compute_weighted_loss(each, _aligned(each, weights))
