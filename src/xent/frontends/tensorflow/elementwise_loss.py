"""Losses of single numbers on tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...kernels import reference
from ...labels import Positives
from ...losses.elementwise import takes_lists
from ...options import ElementwiseOptions
from ...plan import loss_plan
from ...problem import (
    check_class_weight,
    check_logits_dtype,
    check_pos_weight,
    elementwise_problem,
    elementwise_weight_axes,
    last_axis,
)
from ..numpy import log_sigmoid as numpy_log_sigmoid
from ..numpy import sigmoid as numpy_sigmoid
from ..numpy.elementwise_loss import ElementwiseCall
from .arrays import (
    NAMESPACE,
    all_readable,
    as_tensor,
    divisor,
    given,
    has_tangents,
    is_readable,
    kept,
    numpy_of,
    on_numpy,
    recording,
    static_shape,
    tensor_of,
    wanted_gradients,
    weight_tensor,
    with_shape,
)
from .gradients import differentiable


def _dense(lists: Positives, logits: Any) -> Any:
    """Lists of positive classes as zeros and ones."""
    classes = tf.cast(as_tensor("labels.classes", lists.classes), tf.int64)
    size = tf.shape(logits, out_type=tf.int64)
    flat = tf.zeros(tf.stack([tf.reduce_prod(size[:-1]), size[-1]]), tf.float32)
    if lists.starts is None:
        classes = tf.reshape(classes, tf.stack([tf.shape(flat)[0], tf.shape(classes)[-1]]))
        row = tf.zeros_like(classes) + tf.range(tf.shape(flat, out_type=tf.int64)[0])[:, None]
        places = tf.stack([row, tf.maximum(classes, 0)], -1)
        return tf.reshape(tf.tensor_scatter_nd_max(flat, places, tf.cast(classes >= 0, flat.dtype)), size)
    starts = tf.cast(as_tensor("labels.starts", lists.starts), tf.int64)
    entry = tf.range(tf.shape(classes, out_type=tf.int64)[0])
    row = tf.searchsorted(starts, entry, side="right", out_type=tf.int64) - 1
    marks = tf.ones_like(classes, flat.dtype)
    return tf.reshape(tf.tensor_scatter_nd_update(flat, tf.stack([row, classes], -1), marks), size)


class _Reference:
    """A call of an elementwise loss in TensorFlow's operations, on arguments that are checked by their shapes."""

    def __init__(
        self,
        logits: Any,
        labels: Any,
        options: ElementwiseOptions,
        names: tuple[str, str],
        validate: bool,
        *,
        pos_weight: Any,
        class_weight: Any,
        sample_weight: Any,
        normalizer: Any,
    ) -> None:
        self.options = options
        shape = static_shape(logits, names[0])
        lists = takes_lists(names[1], labels, options)
        y = logits if lists else as_tensor(names[1], labels)
        name, label_name = logits.dtype.name, y.dtype.name
        problem = elementwise_problem(shape, name, static_shape(y, names[1]), label_name, *names)
        self.dtype = dtype = problem.accumulate
        if lists:
            last_axis(shape)
            y = _dense(labels, logits)
        else:
            y = with_shape(names[1], y, logits.shape if logits.shape.is_fully_defined() else tf.shape(logits))
        self.labels = tf.cast(y, dtype)
        if validate:
            self.labels = reference.labels_or_nan(NAMESPACE, options, self.labels)
        self.arguments: dict[str, Any] = {}
        factors = []
        if pos_weight is not None:
            weight = self.arguments["pos_weight"] = weight_tensor("pos_weight", pos_weight, dtype)
            check_pos_weight(static_shape(weight, "pos_weight"), shape)
        if class_weight is not None:
            weight = weight_tensor("class_weight", class_weight, dtype)
            check_class_weight(static_shape(weight, "class_weight"), last_axis(shape))
            factors.append(weight)
        if sample_weight is not None:
            weight = weight_tensor("sample_weight", sample_weight, dtype)
            if elementwise_weight_axes(static_shape(weight, "sample_weight"), shape) == "rows":
                weight = weight[..., None]
            factors.append(weight)
            self.arguments["mass"] = weight
        if factors:
            self.arguments["weight"] = factors[0] if len(factors) == 1 else factors[0] * factors[1]
        if normalizer is not None:
            self.arguments["normalizer"] = divisor(normalizer, options.reduction, dtype)

    def __call__(self, logits: Any) -> Any:
        x = tf.cast(logits, self.dtype)
        return reference.elementwise_loss(NAMESPACE, self.options, x, self.labels, **self.arguments)


def elementwise_loss(
    logits: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    names: tuple[str, str] = ("logits", "labels"),
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
    validate: bool = True,
) -> Any:
    if isinstance(labels, Positives):
        starts = None if labels.starts is None else given("labels.starts", labels.starts)
        labels = Positives(given("labels.classes", labels.classes), starts)
        parts = [labels.classes, starts]
    else:
        labels = given(names[1], labels)
        parts = [labels]
    weights = {"pos_weight": pos_weight, "class_weight": class_weight, "sample_weight": sample_weight}
    arguments = {
        name: None if value is None else given(name, value)
        for name, value in {**weights, "normalizer": normalizer}.items()
    }
    tensors = [logits, *parts, *arguments.values()]
    plain = is_readable(logits) and all_readable(tensors[1:])
    wants: frozenset[str] = frozenset()
    if recording():
        wants = wanted_gradients([("logits", logits), (names[1], parts[0]), *((n, arguments[n]) for n in weights)])
    if wants:
        labels, arguments = kept(labels), kept(arguments)
    call = None
    if plain:
        call = ElementwiseCall(
            numpy_of(logits), on_numpy(labels), options, names=names, validate=validate, **on_numpy(arguments)
        )
    # forward mode differentiates the reference's operations
    plan = loss_plan("native" if plain and not has_tangents(tensors) else None, wants, options.reduction != "none")
    if call is None or plan.kernel == "reference":
        if call is not None and validate:
            call.run()  # for its check of the labels
        return _Reference(logits, labels, options, names, validate, **arguments)(logits)

    value, gradient = call.run(gradient=plan.gradient_in_forward)
    results = [tensor_of(value)]
    if wants:

        def in_operations(x: Any) -> list[Any]:
            return [_Reference(logits, labels, options, names, validate, **arguments)(x)]

        ready = None if gradient is None else [gradient]
        differentiable([logits], results, lambda *upstream: [call.vjp(*upstream)], in_operations, ready)
    return results[0]


def sigmoid(logits: Any) -> Any:
    check_logits_dtype(logits.dtype.name)
    if not is_readable(logits):
        return _widely(tf.sigmoid, logits)
    return _sigmoid(logits)


@tf.custom_gradient
def _sigmoid(logits: Any) -> Any:
    def gradient(upstream: Any) -> Any:
        x = tf.cast(logits, _wide(logits))  # from a rounded p near 1 its complement could not be made
        return tf.cast(tf.cast(upstream, x.dtype) * sigmoid(x) * sigmoid(-x), logits.dtype)

    return tensor_of(numpy_sigmoid(numpy_of(logits))), gradient


def log_sigmoid(logits: Any) -> Any:
    check_logits_dtype(logits.dtype.name)
    if not is_readable(logits):
        return _widely(tf.math.log_sigmoid, logits)
    return _log_sigmoid(logits)


@tf.custom_gradient
def _log_sigmoid(logits: Any) -> Any:
    return tensor_of(numpy_log_sigmoid(numpy_of(logits))), lambda upstream: upstream * sigmoid(-logits)


def _wide(logits: Any) -> Any:
    return tf.float64 if logits.dtype == tf.float64 else tf.float32


def _widely(function: Any, logits: Any) -> Any:
    """A function of tensors, in at least float32."""
    return tf.cast(function(tf.cast(logits, _wide(logits))), logits.dtype)
