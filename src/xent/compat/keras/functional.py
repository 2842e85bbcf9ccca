"""The functions of `keras.losses`: one loss a row (an element's row is averaged), labels first."""

from __future__ import annotations

import warnings
from typing import Any

import keras
from keras import ops
from keras.losses import binary_crossentropy as _binary_of_probabilities
from keras.losses import binary_focal_crossentropy as _binary_focal_of_probabilities
from keras.losses import categorical_focal_crossentropy as _focal_of_probabilities
from keras.src.backend.common.masking import set_keras_mask  # how Keras' own loss tells which rows count

import xent

from ...errors import type_error

# Up to here a dtype tells neighbouring class ids apart.
_EXACT_IDS = {"float16": 2**11, "bfloat16": 2**8, "float32": 2**24}


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


def _class_ids(y_true: Any, y_pred: Any, axis: int) -> Any:
    """Class ids as integers, which they are, or whole numbers in floats that tell them apart."""
    y_true = ops.convert_to_tensor(y_true)
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    classes = y_pred.shape[axis]
    if dtype in _EXACT_IDS and classes is not None and classes > _EXACT_IDS[dtype]:
        remedy = "Pass the labels as integers."
        raise type_error("y_true", f"integers: {dtype} merges class ids above {_EXACT_IDS[dtype]}", dtype, remedy)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis=axis)
    return y_true if "int" in dtype else ops.cast(y_true, "int32")


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
        axis: the class axis.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        IndexError: an id out of range, in eager code; in a compiled step its loss is NaN.

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
        loss = xent.cross_entropy_from_probs(
            _clipped(y_pred, axis), y_true, axis=axis, ignore_index=ignore_class, reduction="none"
        )
    loss = ops.cast(loss, y_pred.dtype)
    if ignore_class is not None:
        set_keras_mask(loss, mask=ops.not_equal(y_true, ignore_class))
    return loss


def _clipped(y_pred: Any, axis: int) -> Any:
    """Probabilities as Keras takes them."""
    epsilon = keras.backend.epsilon()
    return ops.clip(y_pred / ops.sum(y_pred, axis=axis, keepdims=True), epsilon, 1.0 - epsilon)


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
    each = xent.sigmoid_cross_entropy(y_pred, t, reduction="none", validate=False)
    wrong = t * xent.sigmoid(-y_pred) + (1.0 - t) * xent.sigmoid(y_pred)  # 1 - p_t, without the difference
    each = ops.power(ops.cast(wrong, each.dtype), gamma) * each
    if apply_class_balancing:
        each = ops.cast(t * alpha + (1.0 - t) * (1.0 - alpha), each.dtype) * each
    return ops.cast(ops.mean(each, axis=axis), y_pred.dtype)


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
        alpha: a number, or one a class along the last axis.
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
    t = _smoothed(y_true, label_smoothing, y_pred.shape[axis])
    log_p = xent.log_softmax(y_pred, axis)
    surprise = ops.where(ops.equal(t, 0), ops.zeros_like(log_p), -log_p)  # a class without mass adds 0
    return ops.sum(alpha * ops.power(-ops.expm1(log_p), gamma) * t * surprise, axis=axis)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """Generalised cross-entropy of class ids: `(1 - p_y^q) / q` of each row, robust to wrong labels.

    Args:
        y_true: class ids, the shape of `y_pred` without the last axis.
        y_pred: probabilities along the last axis.
        q: in (0, 1]: towards 0 cross-entropy, at 1 the mean absolute error.

    Returns:
        The loss of each row, in the dtype of `y_pred`.

    Raises:
        IndexError: an id out of range, in eager code; in a compiled step its loss is NaN. (Keras gives 1/q.)

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
    # its check of the ids is all that is wanted of this loss, which is finite: 0 times it is 0, or NaN
    nothing = 0.0 * xent.cross_entropy_from_probs(ops.stop_gradient(y_pred), ids, reduction="none", clamp=1e-7)
    safe = ops.clip(ids, 0, y_pred.shape[-1] - 1)
    p = ops.squeeze(ops.take_along_axis(y_pred, ops.expand_dims(safe, -1), axis=-1), axis=-1)
    return (1.0 - ops.power(p, q)) / q + ops.cast(nothing, y_pred.dtype)
