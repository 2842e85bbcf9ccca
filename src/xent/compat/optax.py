"""`optax.losses`, its cross-entropy family, on the arrays of any framework: one loss for each example, logits first.

Where Optax is wrong, these are right: a label out of range is an IndexError (inside jit, a NaN loss and a NaN gradient)
instead of the last class or a finite gradient; a class without mass adds 0 to value, gradient and tangent, whatever its
logit; the gradient of a divergence is finite where a target is 0; an element that `where` leaves out is not read, and
may be NaN; `smooth_labels` counts the classes of a broadcast `where` as often as they are there.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..api import kl_divergence as _kl_divergence
from ..api import log_softmax, logsumexp, sigmoid
from ..api import sigmoid_cross_entropy as _sigmoid_cross_entropy
from ..api import softmax_cross_entropy as _softmax_cross_entropy
from ..errors import type_error, value_error
from ..problem import INTEGER_DTYPES, LOGIT_DTYPES, check_logits_dtype
from .arrays import namespace_of

Axes = int | tuple[int, ...] | None

__all__ = [
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]


def _arrays(**named: Any) -> tuple[Any, list[Any]]:
    """The namespace of some arrays' framework, and the arrays in it; integers that would not fit stay out of range."""
    xp = namespace_of(*named.values())
    like = next(x for x in named.values() if x is not None and namespace_of(x) is xp)
    return xp, [None if x is None else xp.asarray(xp.as_array(name, x, like)) for name, x in named.items()]


def _common(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that all broadcast to. Equal ones may have axes of unknown length."""
    return shapes[0] if all(shape == shapes[0] for shape in shapes) else np.broadcast_shapes(*shapes)


def _spread(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    return x if xp.shape(x) == shape else xp.broadcast_to(x, shape)


class _Batch:
    """Arrays broadcast to one shape, with the axes that are summed moved to the end and made one.

    A mask without those axes gets them if `rows`, and is broadcast like any array if not.
    """

    def __init__(self, axis: Axes, where: Any, *, rows: bool = True, **named: Any) -> None:
        self.xp, (mask, *arrays) = _arrays(where=where, **named)
        xp = self.xp
        self.dtype = _float_dtype(xp, arrays[0])
        for at, given in enumerate(named.values()):
            name = xp.dtype_name(arrays[at])
            if name not in LOGIT_DTYPES:
                arrays[at] = xp.astype(arrays[at], self.dtype)
            elif namespace_of(given) is xp:  # what had to be converted has a dtype by accident
                self.dtype = _wider(self.dtype, name)
        shape = _common([xp.shape(x) for x in arrays])
        if mask is not None and len(xp.shape(mask)) >= len(shape):
            shape = _common([shape, xp.shape(mask)])
        self.axes = _axes(axis, len(shape))
        self.arrays = [_in_rows(xp, _spread(xp, x, shape), self.axes) for x in arrays]
        self.mask = None
        if mask is not None:
            mask = xp.astype(mask, "bool")
            if rows and len(xp.shape(mask)) == len(shape) - len(self.axes):
                for at in sorted(self.axes):
                    mask = xp.expand_dims(mask, at)
            self.mask = _in_rows(xp, _spread(xp, mask, shape), self.axes)
        if len(named) > 1 and xp.shape(self.arrays[0])[-1] == 0:  # no classes: as one that is left out
            self.arrays = [xp.expand_dims(xp.sum(x, axis=-1), -1) for x in self.arrays]
            self.mask = xp.equal(self.arrays[0], 1)

    def filled(self, x: Any, value: float) -> Any:
        """The array, with a value where the mask leaves it out."""
        if self.mask is None:
            return x
        return self.xp.where(self.mask, x, value * self.xp.ones_like(x))

    def without_empty(self, x: Any) -> tuple[Any, Any]:
        """Logits, -inf where the mask leaves them out; but zeros in rows without any, and which rows have some."""
        if self.mask is None:
            return x, None
        some = self.xp.any(self.mask, axis=-1)
        empty = self.xp.where(self.xp.expand_dims(some, -1), self.filled(x, -math.inf), self.xp.zeros_like(x))
        return empty, some

    def result(self, loss: Any, some: Any = None) -> Any:
        """In Optax' dtype, and 0 in rows of which nothing is left."""
        loss = self.xp.astype(loss, self.dtype)
        return loss if some is None else self.xp.where(some, loss, self.xp.zeros_like(loss))


def _float_dtype(xp: Any, logits: Any) -> str:
    """The dtype of logits, which must be a float."""
    name: str = xp.dtype_name(logits)
    check_logits_dtype(name)
    return name


def _wider(one: str, other: str) -> str:
    """The float dtype that holds what two hold."""
    return one if one == other else "float64" if "float64" in (one, other) else "float32"


def _axes(axis: Axes, rank: int) -> tuple[int, ...]:
    several = tuple(range(rank)) if axis is None else axis
    given = tuple(several) if isinstance(several, tuple | list) else (operator.index(several),)
    for at in given:
        if not -rank <= at < rank:
            raise value_error("axis", f"axes in [{-rank}, {rank})", repr(axis), "Name axes that the logits have.")
    different = tuple(at % rank for at in given)
    if len(set(different)) < len(different):
        raise value_error("axis", "different axes", repr(axis), "There is a duplicate value in 'axis'.")
    return different


def _in_rows(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The array with some axes moved to the end and made one."""
    shape = xp.shape(x)
    kept = [at for at in range(len(shape)) if at not in axes]
    order = (*kept, *axes)
    if order != tuple(range(len(shape))):
        x = xp.permute_dims(x, order)
    if len(axes) == 1:
        return x
    return xp.flatten(x, len(kept))


def softmax_cross_entropy(logits: Any, labels: Any, axis: Axes = -1, where: Any = None) -> Any:
    """Cross-entropy of distributions: `-Σ_k t_k·log softmax(z)_k` over `axis`, one loss for each example.

    Args:
        logits: z, of a float dtype.
        labels: t, broadcast with the logits; not normalised. Classes of mass 0 add 0.
        axis: the class axis, several that are one set of classes, or None for all.
        where: which elements count; of the shape of the logits, or without the class axes. A row of none has loss 0.

    Returns:
        The losses in nats, in the dtype of the logits, or of the labels if that is a wider float; differentiable in
        both arrays.

    Raises:
        TypeError: logits of no float dtype. ValueError: shapes that do not fit, an axis that does not exist.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.softmax_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.0, 1.0]])).round(6)
        array([0.407606])

    Source: `optax.losses.softmax_cross_entropy`, which gives NaN for a logit of -inf without mass.
    """
    batch = _Batch(axis, where, logits=logits, labels=labels)
    z, t = batch.arrays
    z, some = batch.without_empty(z)
    return batch.result(_softmax_cross_entropy(z, batch.filled(t, 0.0), reduction="none"), some)


def safe_softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """`softmax_cross_entropy` over the last axis, which is safe here as it is: a class without mass adds 0.

    Args:
        logits, labels: as in `softmax_cross_entropy`.

    Returns:
        The losses in nats, as `softmax_cross_entropy` returns them.

    Raises:
        TypeError, ValueError: as `softmax_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.safe_softmax_cross_entropy(np.array([[0.0, 0.0, -np.inf]]), np.array([[0.0, 1.0, 0.0]])).round(6)
        array([0.693147])

    Source: `optax.losses.safe_softmax_cross_entropy`, whose tangents are NaN there.
    """
    return softmax_cross_entropy(logits, labels)


def softmax_cross_entropy_with_integer_labels(
    logits: Any, labels: Any, axis: int | tuple[int, ...] = -1, where: Any = None
) -> Any:
    """Cross-entropy of class indices: `log Σ exp z - z_y` over `axis`, one loss for each example.

    Args:
        logits: z, of a float dtype.
        labels: y, integers, broadcast with the logits without `axis`; with several axes, indices into all classes.
        axis: the class axis, or several that are one set of classes.
        where: which logits count in the sum; of the shape of the logits, or without the class axes. A row of none has
            loss 0, and its label is not read.

    Returns:
        The losses in nats, in the dtype of the logits.

    Raises:
        IndexError: a label out of range, in eager code; inside jit the row's loss and gradient are NaN. Optax takes -1
            for the last class.
        TypeError: labels that are no integers, logits that are no floats.
        ValueError: an `axis` that is neither an integer nor a tuple; shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.softmax_cross_entropy_with_integer_labels(np.array([[1.0, 2.0, 3.0]]), np.array([2])).round(6)
        array([0.407606])

    Source: `optax.losses.softmax_cross_entropy_with_integer_labels`.
    """
    if not isinstance(axis, int | tuple):
        raise ValueError(
            "Keyword argument 'axis' must be of type 'int' or 'tuple[int, ...]' but actual type is "
            f"{type(axis)}. Name the class axes."
        )
    xp, (y, *_) = _arrays(labels=labels, logits=logits, where=where)
    if xp.dtype_name(y) not in INTEGER_DTYPES:
        raise type_error("labels", "integers", xp.dtype_name(y), "Pass soft labels to softmax_cross_entropy.")
    batch = _Batch(axis, where, logits=logits)
    (z,) = batch.arrays
    *rows, classes = xp.shape(z)
    if len(xp.shape(y)) == len(rows):
        shape = _common([tuple(rows), xp.shape(y)])
        y, z = _spread(xp, y, shape), _spread(xp, z, (*shape, classes))
    if batch.mask is None:
        return batch.result(_softmax_cross_entropy(z, y, reduction="none"))
    batch.mask = _spread(xp, batch.mask, xp.shape(z))
    raw = z
    z, some = batch.without_empty(z)
    y = xp.where(some, y, xp.zeros_like(y))
    own = _softmax_cross_entropy(z, y, reduction="none")
    # a label that is left out of the sum still has its logit
    outside = (y < 0) | (y >= classes)
    at = xp.expand_dims(xp.where(outside, xp.zeros_like(y), y), -1)
    left_out = ~(xp.take_along_axis(batch.mask, at, -1)[..., 0] | outside)
    other = xp.astype(logsumexp(z) - xp.take_along_axis(raw, at, -1)[..., 0], xp.dtype_name(own))
    finite = xp.where(left_out, xp.zeros_like(own), own)
    return batch.result(xp.where(left_out, other, finite), some)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """Binary cross-entropy of each element: `-y·log σ(x) - (1 - y)·log σ(-x)`.

    Args:
        logits: x, of a float dtype.
        labels: y, broadcast with the logits.

    Returns:
        The losses in nats, in the dtype of the logits.

    Raises:
        TypeError: logits of no float dtype. ValueError: shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.sigmoid_binary_cross_entropy(np.array([2.0, -1.0]), np.array([1, 0])).round(6)
        array([0.126928, 0.313262])

    Source: `optax.losses.sigmoid_binary_cross_entropy`.
    """
    xp, dtype, x, y = _elements(logits, labels)
    return xp.astype(_sigmoid_cross_entropy(x, y, reduction="none", validate=False), dtype)


def _elements(logits: Any, labels: Any) -> tuple[Any, str, Any, Any]:
    """The namespace, the dtype of the logits, and both arrays in it and in one shape."""
    xp, (x, y) = _arrays(logits=logits, labels=labels)
    dtype = _float_dtype(xp, x)
    shape = _common([xp.shape(x), xp.shape(y)])
    return xp, dtype, _spread(xp, x, shape), _spread(xp, xp.astype(y, dtype), shape)


def sigmoid_focal_loss(logits: Any, labels: Any, *, alpha: Any = None, gamma: Any = 2.0) -> Any:
    """Focal loss of each element: the binary cross-entropy times `(1 - p_t)^γ`, `p_t = y·σ(x) + (1 - y)·σ(-x)`.

    Args:
        logits, labels: as in `sigmoid_binary_cross_entropy`.
        alpha: balance; with it the loss is times `y·α + (1 - y)·(1 - α)`.
        gamma: exponent, at least 0.

    Returns:
        The losses in nats, in the dtype of the logits.

    Raises:
        TypeError, ValueError: as `sigmoid_binary_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.sigmoid_focal_loss(np.array([2.0, -1.0]), np.array([1, 0]), alpha=0.25).round(6)
        array([0.000451, 0.016994])

    Source: `optax.losses.sigmoid_focal_loss`; Lin et al. 2017 (arXiv:1708.02002).
    """
    xp, dtype, x, y = _elements(logits, labels)
    wide = check_logits_dtype(dtype)
    x, y = xp.astype(x, wide), xp.astype(y, wide)
    loss = _sigmoid_cross_entropy(x, y, reduction="none", validate=False)
    wrong = y * sigmoid(-x) + (1.0 - y) * sigmoid(x)  # 1 - p_t, without the difference
    none = xp.equal(wrong, 0)  # and so is the loss, but the slope of a power would be infinite
    power = xp.where(none, xp.ones_like(wrong), wrong) ** gamma
    loss = xp.where(none, xp.zeros_like(loss), power * loss)
    if alpha is not None:
        loss = (alpha * y + (1.0 - alpha) * (1.0 - y)) * loss
    return xp.astype(loss, dtype)


def poly_loss_cross_entropy(logits: Any, labels: Any, *, epsilon: Any = 2.0, axis: Axes = -1, where: Any = None) -> Any:
    """PolyLoss: `softmax_cross_entropy` plus `ε·Σ_k t_k·(1 - p_k)`.

    Args:
        logits, labels, axis, where: as in `softmax_cross_entropy`; the labels are floats.
        epsilon: weight of the added term, a number or one an example.

    Returns:
        The losses in nats, as `softmax_cross_entropy` returns them.

    Raises:
        TypeError: labels or logits of no float dtype. ValueError: as `softmax_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.poly_loss_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.0, 1.0]])).round(6)
        array([1.077124])

    Source: `optax.losses.poly_loss_cross_entropy`, whose two terms read a `where` without class axes differently; Leng
    et al. 2022 (arXiv:2204.12511).
    """
    _check_float("labels", labels)
    batch = _Batch(axis, where, logits=logits, labels=labels)
    xp, (z, t) = batch.xp, batch.arrays
    z, some = batch.without_empty(z)
    t = batch.filled(t, 0.0)
    loss = _softmax_cross_entropy(z, t, reduction="none")
    wide = xp.dtype_name(loss)
    wrong = xp.sum(xp.astype(t, wide) * -xp.expm1(log_softmax(xp.astype(z, wide))), axis=-1)
    return batch.result(loss + epsilon * wrong, some)


def kl_divergence(log_predictions: Any, targets: Any, axis: Axes = -1, where: Any = None) -> Any:
    """The divergence KL(t ‖ q) over `axis`: `Σ_k t_k·(log t_k - log q_k)`, one for each example.

    Args:
        log_predictions: log q, of a float dtype.
        targets: t, broadcast with them. Where t is 0 nothing is added, in value and gradient.
        axis: as in `softmax_cross_entropy`.
        where: which elements count, broadcast with the arrays.

    Returns:
        The divergences in nats, in the wider dtype of both arrays.

    Raises:
        TypeError: arrays of no float dtype. ValueError: shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.kl_divergence(np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]])).round(6)
        array([0.693147])

    Source: `optax.losses.kl_divergence`, whose gradient is NaN where a target is 0.
    """
    batch, loss = _divergence(log_predictions, targets, axis, where, log_targets=False)
    return batch.result(loss)


def kl_divergence_with_log_targets(log_predictions: Any, log_targets: Any, axis: Axes = -1, where: Any = None) -> Any:
    """`kl_divergence` with the logarithms of the targets.

    Args:
        log_predictions, axis, where: as in `kl_divergence`.
        log_targets: log t; -inf for a class without mass.

    Returns:
        The divergences in nats, in the wider dtype of both arrays.

    Raises:
        TypeError, ValueError: as `kl_divergence`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.kl_divergence_with_log_targets(np.log([[0.5, 0.5]]), np.log([[0.75, 0.25]])).round(6)
        array([0.130812])

    Source: `optax.losses.kl_divergence_with_log_targets`.
    """
    batch, loss = _divergence(log_predictions, log_targets, axis, where, log_targets=True)
    return batch.result(loss)


def _divergence(log_predictions: Any, targets: Any, axis: Axes, where: Any, *, log_targets: bool) -> tuple[_Batch, Any]:
    """The arrays as rows, and the divergence of each row."""
    _check_float("log_targets" if log_targets else "targets", targets)
    batch = _Batch(axis, where, rows=False, log_predictions=log_predictions, targets=targets)
    q, t = batch.arrays
    loss = _kl_divergence(
        batch.filled(q, 0.0),
        batch.filled(t, -math.inf if log_targets else 0.0),
        log_predictions=True,
        log_targets=log_targets,
        reduction="none",
        validate=False,
    )
    return batch, loss


def generalized_kl_divergence(log_predictions: Any, targets: Any, axis: Axes = -1, where: Any = None) -> Any:
    """`kl_divergence` plus `Σ_k (q_k - t_k)`: at least 0 and convex also where neither sums to 1.

    Args:
        log_predictions, targets, axis, where: as in `kl_divergence`.

    Returns:
        The divergences in nats, in the wider dtype of both arrays.

    Raises:
        TypeError, ValueError: as `kl_divergence`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.generalized_kl_divergence(np.log([[0.5, 0.5]]), np.array([[1.0, 1.0]])).round(6)
        array([0.386294])

    Source: `optax.losses.generalized_kl_divergence`.
    """
    batch, loss = _divergence(log_predictions, targets, axis, where, log_targets=False)
    xp, wide = batch.xp, batch.xp.dtype_name(loss)
    q, t = (xp.astype(x, wide) for x in batch.arrays)
    excess = batch.filled(xp.exp(batch.filled(q, 0.0)) - t, 0.0)
    return batch.result(loss + xp.sum(excess, axis=-1))


def smooth_labels(labels: Any, alpha: Any, *, axis: Axes = -1, where: Any = None) -> Any:
    """Labels smoothed towards the uniform distribution: `(1 - α)·t + α/C`.

    Args:
        labels: t, of a float dtype.
        alpha: α in [0, 1].
        axis: the class axes, whose product C is.
        where: which elements count in C, broadcast with the labels.

    Returns:
        An array like `labels`.

    Raises:
        TypeError: labels of no float dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import optax
        >>> optax.smooth_labels(np.array([[0.0, 1.0]]), 0.1)
        array([[0.05, 0.95]])

    Source: `optax.losses.smooth_labels`.
    """
    _check_float("labels", labels)
    xp, (t, counted) = _arrays(labels=labels, where=where)
    shape = xp.shape(t) if where is None else _common([xp.shape(t), xp.shape(counted)])
    axes = _axes(axis, len(shape))
    if where is None:
        return (1.0 - alpha) * t + alpha / math.prod(t.shape[at] for at in axes)
    counted = _spread(xp, xp.astype(counted, xp.dtype_name(t)), shape)
    for at in axes:
        counted = xp.expand_dims(xp.sum(counted, axis=at), at)
    return (1.0 - alpha) * t + alpha / counted


def _check_float(argument: str, array: Any) -> None:
    xp, (array,) = _arrays(**{argument: array})
    name = xp.dtype_name(array)
    if name not in LOGIT_DTYPES:
        raise type_error(argument, " or ".join(LOGIT_DTYPES), name, "Convert it to the logits' dtype.")
