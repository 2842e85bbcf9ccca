"""The functions of `keras.losses`: one loss a row (an element's row is averaged), labels first."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
from keras import ops
from keras.losses import binary_crossentropy as _binary_of_probabilities
from keras.losses import binary_focal_crossentropy as _binary_focal_of_probabilities
from keras.losses import categorical_focal_crossentropy as _focal_of_probabilities
from keras.src.backend.common.masking import set_keras_mask  # how Keras' own loss tells which rows count

import xent

from ...errors import type_error, value_error
from ...losses.labels import check_index
from ...problem import softmax_problem
from ..arrays import namespace_of
from ..optax import sigmoid_focal_loss

# As Keras' own functions are found by name, so these must have names of their own to be found again.
_serializable = keras.saving.register_keras_serializable(package="xent")

# Up to here a dtype tells neighbouring class ids apart.
_EXACT_IDS = {"float16": 2**11, "bfloat16": 2**8, "float32": 2**24}
# Out of every range.
_NO_ID = -(2**31)


def _predictions(y_pred: Any) -> Any:
    return ops.convert_to_tensor(y_pred)


def _check_axis(name: str, y_pred: Any, axis: Any) -> None:
    if isinstance(axis, bool):
        raise ValueError(f"`axis` must be of type `int`. Received: axis={axis} of type {type(axis)}")
    if y_pred.shape[-1] == 1:
        warnings.warn(
            f"In loss {name}, expected y_pred.shape to be (batch_size, num_classes) with num_classes > 1. "
            f"Received: y_pred.shape={y_pred.shape}. Consider using 'binary_crossentropy' if you only have 2 classes.",
            SyntaxWarning,
            stacklevel=3,
        )


def _smoothed(y_true: Any, label_smoothing: float, classes: int) -> Any:
    return y_true * (1.0 - label_smoothing) + label_smoothing / classes if label_smoothing else y_true


def _in_float32(y_pred: Any) -> Any:
    """At least float32, in which half precision is computed."""
    return y_pred if keras.backend.standardize_dtype(y_pred.dtype) == "float64" else ops.cast(y_pred, "float32")


def _class_ids(y_true: Any, y_pred: Any, axis: int) -> Any:
    """Class ids as integers, which they are, or whole numbers in floats that tell them apart."""
    if not ops.is_tensor(y_true):  # integers that would not fit stay out of range
        y_true = namespace_of(y_pred).as_array("y_true", y_true, y_pred)
    y_true = ops.convert_to_tensor(y_true)
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    classes = y_pred.shape[axis]
    if dtype in _EXACT_IDS and classes is not None and classes > _EXACT_IDS[dtype]:
        remedy = "Pass the labels as integers."
        raise type_error("y_true", f"integers: {dtype} merges class ids above {_EXACT_IDS[dtype]}", dtype, remedy)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis=axis)
    if "int" in dtype:
        return y_true
    ids = ops.cast(y_true, "int32")
    whole = ops.equal(ops.cast(ids, y_true.dtype), y_true)
    xp = namespace_of(y_pred)
    if xp.is_readable(whole) and not xp.numpy_of(whole).all():
        raise value_error("y_true", "class ids", "numbers that are not whole", "Pass the labels as integers.")
    return ops.where(whole, ids, _NO_ID)


def _check_ids(ids: Any, y_pred: Any, axis: int, ignore_class: int | None = None) -> None:
    """Refuses class ids out of range, if they can be read; but no probabilities, which may be NaN as in Keras."""
    xp = namespace_of(y_pred)
    shapes = xp.shape(y_pred), xp.dtype_name(y_pred), axis, xp.shape(ids), xp.dtype_name(ids)
    problem = softmax_problem(*shapes, topk=False, logits="y_pred")
    if xp.is_readable(ids):
        check_index(xp.numpy_of(ids), problem, ignore_class)


@_serializable
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """Cross-entropy of distributions: `-Σ_k t_k·log p_k` of each row, t smoothed to `t·(1 - ε) + ε/C`.

    Args:
        y_true: distributions or one-hot labels, of the shape of `y_pred`.
        y_pred: probabilities, which are divided by their sum and clipped to [1e-7, 1 - 1e-7] as Keras does; or logits.
        from_logits: whether `y_pred` are logits. Then nothing is clipped.
        label_smoothing: ε in [0, 1], spread over the classes of `axis` (Keras: of the last axis, whatever `axis` is).
        axis: the class axis.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        ValueError: shapes that differ, an axis that is no integer.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import categorical_crossentropy
        >>> loss = categorical_crossentropy(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]]), from_logits=True)
        >>> round(float(loss[0]), 6)
        0.407606

    Source: `keras.losses.categorical_crossentropy`.
    """
    y_pred = _predictions(y_pred)
    _check_axis("categorical_crossentropy", y_pred, axis)
    y_true = ops.cast(y_true, y_pred.dtype)
    if not from_logits:
        smoothed = _smoothed(y_true, label_smoothing, y_pred.shape[axis])
        return ops.categorical_crossentropy(smoothed, y_pred, axis=axis)
    loss = xent.softmax_cross_entropy(y_pred, y_true, axis=axis, label_smoothing=label_smoothing, reduction="none")
    return ops.cast(loss, y_pred.dtype)


@_serializable
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """Cross-entropy of class ids: `-log p_y` of each row.

    Args:
        y_true: class ids, the shape of `y_pred` without `axis`, or with 1 there. They stay integers: Keras rounds them
            to the dtype of its loss, which merges classes.
        y_pred: probabilities, which are divided by their sum and clipped to [1e-7, 1 - 1e-7]; or logits.
        from_logits: whether `y_pred` are logits. Then nothing is clipped.
        ignore_class: an id whose rows have loss 0; their predictions are not read, and the mean does not count them.
        axis: the class axis; any, where Keras on TensorFlow and JAX takes the last only.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        IndexError: an id out of range, in eager code; in a compiled step its loss and gradient are NaN.
        ValueError: ids in floats that are not whole; in a compiled step their loss and gradient are NaN.
        TypeError: ids in floats that merge some of the classes.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import sparse_categorical_crossentropy
        >>> loss = sparse_categorical_crossentropy(np.array([2]), np.array([[1.0, 2.0, 3.0]]), from_logits=True)
        >>> round(float(loss[0]), 6)
        0.407606

    Source: `keras.losses.sparse_categorical_crossentropy`.
    """
    y_pred = _predictions(y_pred)
    y_true = _class_ids(y_true, y_pred, axis)
    if from_logits:
        loss = xent.softmax_cross_entropy(y_pred, y_true, axis=axis, ignore_index=ignore_class, reduction="none")
    else:
        if ignore_class is not None:
            kept = ops.expand_dims(ops.not_equal(y_true, ignore_class), axis)
            y_pred = ops.where(kept, y_pred, ops.ones_like(y_pred))
        _check_ids(y_true, y_pred, axis, ignore_class)
        loss = xent.cross_entropy_from_probs(
            _clipped(y_pred, axis), y_true, axis=axis, ignore_index=ignore_class, reduction="none", validate=False
        )
    loss = ops.cast(loss, y_pred.dtype)
    if ignore_class is not None:
        set_keras_mask(loss, mask=ops.not_equal(y_true, ignore_class))
    return loss


def _clipped(y_pred: Any, axis: int) -> Any:
    """Probabilities as Keras takes them."""
    epsilon = keras.backend.epsilon()
    return ops.clip(y_pred / ops.sum(y_pred, axis=axis, keepdims=True), epsilon, 1.0 - epsilon)


@_serializable
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """Binary cross-entropy, averaged over `axis`: `-t·log p - (1 - t)·log(1 - p)` with `t = y·(1 - ε) + ε/2`.

    Args:
        y_true: labels of the shape of `y_pred`.
        y_pred: probabilities, which Keras clips to [1e-7, 1 - 1e-7]; or logits.
        from_logits: whether `y_pred` are logits. Then nothing is clipped (on its NumPy backend Keras clips here too).
        label_smoothing: ε in [0, 1].
        axis: what is averaged over.

    Returns:
        The mean of each row, in the dtype of `y_pred`.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import binary_crossentropy
        >>> loss = binary_crossentropy(np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]]), from_logits=True)
        >>> round(float(loss[0]), 6)
        0.220095

    Source: `keras.losses.binary_crossentropy`.
    """
    y_pred = _predictions(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    if not from_logits:
        return _binary_of_probabilities(y_true, y_pred, label_smoothing=label_smoothing, axis=axis)
    loss = xent.sigmoid_cross_entropy(y_pred, y_true, label_smoothing=label_smoothing, reduction="none", validate=False)
    return ops.cast(ops.mean(loss, axis=axis), y_pred.dtype)


@_serializable
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Focal binary cross-entropy, averaged over `axis`: the binary cross-entropy times `(1 - p_t)^γ`.

    With t the smoothed label, `p_t = t·p + (1 - t)·(1 - p)`, and with `apply_class_balancing` times
    `t·α + (1 - t)·(1 - α)`.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as in `binary_crossentropy`.
        apply_class_balancing: whether α counts.
        alpha: weight of the positive class in [0, 1].
        gamma: exponent, at least 0.

    Returns:
        The mean of each row, in the dtype of `y_pred`.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import binary_focal_crossentropy
        >>> loss = binary_focal_crossentropy(np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]]), from_logits=True)
        >>> round(float(loss[0]), 6)
        0.012231

    Source: `keras.losses.binary_focal_crossentropy`, which clips the probabilities of logits too.
    """
    y_pred = _predictions(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    if not from_logits:
        return _binary_focal_of_probabilities(
            y_true, y_pred, apply_class_balancing, alpha, gamma, label_smoothing=label_smoothing, axis=axis
        )
    t = _smoothed(y_true, label_smoothing, 2)
    each = sigmoid_focal_loss(_in_float32(y_pred), t, alpha=alpha if apply_class_balancing else None, gamma=gamma)
    return ops.cast(ops.mean(each, axis=axis), y_pred.dtype)


@_serializable
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Focal cross-entropy of distributions: `-Σ_k α_k·(1 - p_k)^γ·t_k·log p_k` of each row.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as in `categorical_crossentropy`.
        alpha: a number, or a list of one a class along the last axis.
        gamma: exponent, at least 0.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        ValueError: shapes that differ, an axis that is no integer.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import categorical_focal_crossentropy
        >>> y_true, y_pred = np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]])
        >>> round(float(categorical_focal_crossentropy(y_true, y_pred, from_logits=True)[0]), 6)
        0.011419

    Source: `keras.losses.categorical_focal_crossentropy`, which clips the probabilities of logits too.
    """
    y_pred = _predictions(y_pred)
    _check_axis("categorical_focal_crossentropy", y_pred, axis)
    y_true = ops.cast(y_true, y_pred.dtype)
    if not from_logits:
        smoothed = _smoothed(y_true, label_smoothing, y_pred.shape[axis])
        return _focal_of_probabilities(smoothed, y_pred, alpha, gamma, axis=axis)
    log_p = xent.log_softmax(_in_float32(y_pred), axis)
    t = ops.cast(_smoothed(y_true, label_smoothing, y_pred.shape[axis]), log_p.dtype)
    surprise = ops.where(ops.equal(t, 0), ops.zeros_like(log_p), -log_p)  # a class without mass adds 0
    wrong = -ops.expm1(log_p)
    none = ops.equal(wrong, 0)  # and so is the loss, but the slope of a power would be infinite
    power = ops.power(ops.where(none, ops.ones_like(wrong), wrong), gamma)
    each = ops.where(none, ops.zeros_like(power), power * t * surprise)
    return ops.cast(ops.sum(ops.convert_to_tensor(alpha, each.dtype) * each, axis=axis), y_pred.dtype)


@_serializable
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """Generalised cross-entropy of class ids: `(1 - p_y^q) / q` of each row, robust to wrong labels.

    Args:
        y_true: class ids, the shape of `y_pred` without the last axis, or with 1 there (Keras broadcasts that wrongly).
        y_pred: probabilities along the last axis.
        q: in (0, 1]: towards 0 cross-entropy, at 1 the mean absolute error.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        IndexError: an id out of range, in eager code; in a compiled step its loss and gradient are NaN. (Keras: 1/q.)
        ValueError: ids in floats that are not whole; in a compiled step their loss and gradient are NaN.
        TypeError: ids in floats that merge some of the classes.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import categorical_generalized_cross_entropy
        >>> loss = categorical_generalized_cross_entropy(np.array([1]), np.array([[0.25, 0.75]]), 0.5)
        >>> round(float(loss[0]), 6)
        0.267949

    Source: Zhang and Sabuncu 2018 (arXiv:1805.07836); `keras.losses.categorical_generalized_cross_entropy`.
    """
    y_pred = _predictions(y_pred)
    ids = _class_ids(y_true, y_pred, -1)
    _check_ids(ids, y_pred, -1)
    inside = ops.logical_and(ids >= 0, ids < y_pred.shape[-1])
    at = ops.where(inside, ids, ops.zeros_like(ids))
    p = ops.squeeze(ops.take_along_axis(y_pred, ops.expand_dims(at, -1), axis=-1), axis=-1)
    # times NaN, so that the gradient is NaN too
    p = p * ops.where(inside, ops.ones_like(p), math.nan * ops.ones_like(p))
    return (1.0 - ops.power(p, q)) / q
