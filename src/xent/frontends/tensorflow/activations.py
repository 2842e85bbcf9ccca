"""softmax, log_softmax and logsumexp of tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...problem import softmax_axis
from .. import numpy as on_numpy
from .arrays import is_readable, numpy_of, recording, static_shape, tensor_of


def softmax(logits: Any, axis: int) -> Any:
    at = softmax_axis(static_shape(logits), logits.dtype.name, axis)
    if not is_readable(logits):
        return _widely(tf.nn.softmax, logits, at)
    p = tensor_of(on_numpy.softmax(numpy_of(logits), at))

    @tf.custom_gradient
    def recorded(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            # made again where it is differentiated once more
            q, w = (tf.cast(a, _wide(x)) for a in (softmax(x, at) if recording() else p, upstream))
            return tf.cast(q * (w - tf.reduce_sum(q * w, at, keepdims=True)), x.dtype)

        return p, gradient

    return recorded(logits) if recording() else p


def log_softmax(logits: Any, axis: int) -> Any:
    at = softmax_axis(static_shape(logits), logits.dtype.name, axis)
    if not is_readable(logits):
        return _widely(tf.nn.log_softmax, logits, at)
    log_p = tensor_of(on_numpy.log_softmax(numpy_of(logits), at))

    @tf.custom_gradient
    def recorded(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            w = tf.cast(upstream, _wide(x))
            return tf.cast(w - softmax(tf.cast(x, w.dtype), at) * tf.reduce_sum(w, at, keepdims=True), x.dtype)

        return log_p, gradient

    return recorded(logits) if recording() else log_p


def logsumexp(logits: Any, axis: int) -> Any:
    at = softmax_axis(static_shape(logits), logits.dtype.name, axis)
    if not is_readable(logits):
        return _widely(tf.reduce_logsumexp, logits, at)
    lse = tensor_of(on_numpy.logsumexp(numpy_of(logits), at))

    @tf.custom_gradient
    def recorded(x: Any) -> Any:
        return lse, lambda upstream: tf.expand_dims(upstream, at) * softmax(x, at)

    return recorded(logits) if recording() else lse


def _wide(logits: Any) -> Any:
    return tf.float64 if logits.dtype == tf.float64 else tf.float32


def _widely(function: Any, logits: Any, axis: int) -> Any:
    """A function of tensors along an axis, in at least float32."""
    return tf.cast(function(tf.cast(logits, _wide(logits)), axis), logits.dtype)
