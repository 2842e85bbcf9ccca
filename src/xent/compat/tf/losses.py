"""`tf.compat.v1.losses`: weighted and reduced losses, labels first.

`scope` and `loss_collection` are ignored, as in eager mode.
"""

from __future__ import annotations

from typing import Any

from ..arrays import namespace_of
from . import nn
from .tensors import converted, spread, squeezed, weights_of


class Reduction:
    """Names of the reductions, as in `tf.compat.v1.losses.Reduction`.

    With losses l and weights w: `NONE` gives w·l; `SUM` Σ w·l; `MEAN` Σ w·l / Σ w; `SUM_OVER_BATCH_SIZE` Σ w·l / N;
    `SUM_BY_NONZERO_WEIGHTS` (also `SUM_OVER_NONZERO_WEIGHTS`) Σ w·l over the number of weights that are not 0. What
    would be divided by 0 is 0.
    """

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """All names, as TensorFlow lists them."""
        return (
            cls.NONE,
            cls.SUM,
            cls.MEAN,
            cls.SUM_OVER_BATCH_SIZE,
            cls.SUM_OVER_NONZERO_WEIGHTS,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )

    @classmethod
    def validate(cls, key: Any) -> None:
        """Refuses what is no name of a reduction."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}. Key should be one of {cls.all()}.")


def _check_weights(weights: tuple[int, ...], values: tuple[int, ...]) -> None:
    """Weights are one number, or have the rank of the losses with each axis of their size or 1."""
    prefix = "weights can not be broadcast to values. "
    if not weights:
        return
    if len(weights) != len(values):
        raise ValueError(
            f"{prefix}values.rank={len(values)}. weights.rank={len(weights)}. "
            f"values.shape={values}. weights.shape={weights}. Reshape the weights."
        )
    for axis, (own, size) in enumerate(zip(weights, values, strict=True)):
        if own not in (1, size):
            shapes = f"values.shape={_spaced(values)}, weights.shape={_spaced(weights)}"
            raise ValueError(f"{prefix}Mismatch at dim {axis}. {shapes}. Reshape the weights.")


def _spaced(shape: tuple[int, ...]) -> str:
    return f"[{' '.join(map(str, shape))}]"


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = "losses",
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Losses times weights, reduced; see `Reduction`.

    Args:
        losses: of any shape.
        weights: a number, or an array of the rank of the losses whose axes have their size or 1. It is differentiable.
        reduction: a name of `Reduction`.

    Returns:
        The loss in the dtype of the losses, computed in float32 or, for float64, in float64 (TensorFlow: in float32).

    Raises:
        ValueError: weights that do not fit, an unknown reduction.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import losses
        >>> float(losses.compute_weighted_loss(np.array([10.0, 10.0, 10.0]), np.array([2.0, 0.0, 0.5])))
        12.5

    Source: `tf.compat.v1.losses.compute_weighted_loss`.
    """
    Reduction.validate(reduction)
    xp = namespace_of(losses, weights)
    each = converted(xp, losses)
    dtype = xp.dtype_name(each)
    w = weights_of(xp, weights, dtype)
    each = xp.astype(each, "float64" if dtype == "float64" else "float32")
    _check_weights(xp.shape(w), xp.shape(each))
    w = spread(xp, w, each)
    weighted = w * each
    if reduction == Reduction.NONE:
        return xp.astype(weighted, dtype)
    total = xp.sum(weighted)
    if reduction == Reduction.MEAN:
        total = _over(xp, total, xp.sum(w))
    elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
        total = _over(xp, total, xp.sum(xp.ones_like(each)))
    elif reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
        counted = xp.where(xp.equal(w, 0), xp.zeros_like(w), xp.ones_like(w))
        total = _over(xp, total, xp.sum(counted))
    return xp.astype(total, dtype)


def _over(xp: Any, total: Any, divisor: Any) -> Any:
    """The quotient; 0 where it would be by 0."""
    nothing = xp.equal(divisor, 0)
    return xp.where(nothing, xp.zeros_like(total), total / xp.where(nothing, xp.ones_like(divisor), divisor))


def _given(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is None:
            raise ValueError(f"Argument `{name}` must not be None.")


def _same_shape(xp: Any, logits: Any, labels: Any) -> None:
    if xp.shape(logits) != xp.shape(labels):
        raise ValueError(f"Shapes {xp.shape(logits)} and {xp.shape(labels)} are incompatible")


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = "losses",
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Cross-entropy of one-hot or soft labels, smoothed to `t·(1 - ε) + ε/C`, weighted and reduced.

    Args:
        onehot_labels: of the shape of the logits; no gradient reaches them.
        logits: of a float dtype, classes along the last axis.
        weights: a number, or one a row (or 1 in place of an axis).
        label_smoothing: ε in [0, 1]; below 0 nothing is smoothed.
        reduction: a name of `Reduction`.

    Returns:
        The loss in nats, in the dtype of the logits. Its gradient is that of `nn.softmax_cross_entropy_with_logits`.

    Raises:
        ValueError: a missing argument, shapes that differ, weights that do not fit, an unknown reduction.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import losses
        >>> float(losses.softmax_cross_entropy(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]])).round(6))
        0.407606

    Source: `tf.compat.v1.losses.softmax_cross_entropy`.
    """
    _given(onehot_labels=onehot_labels, logits=logits)
    xp = namespace_of(logits, onehot_labels)
    z = converted(xp, logits)
    t = xp.stop_gradient(xp.astype(converted(xp, onehot_labels), xp.dtype_name(z)))
    _same_shape(xp, z, t)
    if label_smoothing > 0:
        t = t * (1.0 - label_smoothing) + label_smoothing / xp.shape(t)[-1]
    return compute_weighted_loss(nn.softmax_cross_entropy_with_logits(t, z), weights, reduction=reduction)


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = "losses",
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Cross-entropy of class indices, weighted and reduced.

    Args:
        labels: int32 or int64, the shape of the logits without the last axis, or with 1 there.
        logits: of a float dtype, classes along the last axis, or along the one before a last axis of 1.
        weights: a number, or one a row (or 1 in place of an axis; a last axis of 1 is dropped).
        reduction: a name of `Reduction`.

    Returns:
        The loss in nats, in the dtype of the logits.

    Raises:
        ValueError: a missing argument, shapes or weights that do not fit, an unknown reduction.
        InvalidArgumentError: labels out of range, in eager code; weights with one axis too many that is not 1 long.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import losses
        >>> float(losses.sparse_softmax_cross_entropy(np.array([[2]]), np.array([[1.0, 2.0, 3.0]])).round(6))
        0.407606

    Source: `tf.compat.v1.losses.sparse_softmax_cross_entropy`.
    """
    _given(labels=labels, logits=logits)
    xp = namespace_of(logits, labels, weights)
    y, z = converted(xp, labels), converted(xp, logits)
    w = weights_of(xp, weights, xp.dtype_name(z))
    if z.ndim == y.ndim + 2 and xp.shape(z)[-1] == 1:
        z = squeezed(xp, z)
    elif z.ndim == y.ndim and y.ndim and xp.shape(y)[-1] == 1:
        y = squeezed(xp, y)
    if w.ndim == y.ndim + 1:
        w = squeezed(xp, w)
    return compute_weighted_loss(nn.sparse_softmax_cross_entropy_with_logits(y, z), w, reduction=reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = "losses",
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Binary cross-entropy of each element, labels smoothed to `y·(1 - ε) + ε/2`, weighted and reduced.

    Args:
        multi_class_labels: of the shape of the logits; a gradient reaches them.
        logits: of a float dtype.
        weights: a number, or one an element (or 1 in place of an axis).
        label_smoothing: ε in [0, 1]; below 0 nothing is smoothed.
        reduction: a name of `Reduction`.

    Returns:
        The loss in nats, in the dtype of the logits.

    Raises:
        ValueError: a missing argument, shapes that differ, weights that do not fit, an unknown reduction.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import losses
        >>> float(losses.sigmoid_cross_entropy(np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]])).round(6))
        0.220095

    Source: `tf.compat.v1.losses.sigmoid_cross_entropy`.
    """
    _given(multi_class_labels=multi_class_labels, logits=logits)
    xp = namespace_of(logits, multi_class_labels)
    x = converted(xp, logits)
    y = xp.astype(converted(xp, multi_class_labels), xp.dtype_name(x))
    _same_shape(xp, x, y)
    if label_smoothing > 0:
        y = y * (1 - label_smoothing) + 0.5 * label_smoothing
    return compute_weighted_loss(nn.sigmoid_cross_entropy_with_logits(y, x), weights, reduction=reduction)
