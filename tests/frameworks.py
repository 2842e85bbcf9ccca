"""Random problems on the arrays of JAX and TensorFlow; those of NumPy and PyTorch are in the registries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import elementwise_cases
import jax
import jax.numpy as jnp
import numpy as np
import registry
import tensorflow as tf

import xent

SHAPES = (((7,), 13, -1), ((5,), 1001, -1), ((2, 5), 33, 1))
ELEMENT_SHAPES = ((7, 13), (3, 1001), ())
SOFTMAX = [(name, shape, d) for name in registry.CASE_BY_NAME for shape in SHAPES for d in ("float32", "float64")]
SOFTMAX += [(name, SHAPES[0], dtype) for name in registry.CASE_BY_NAME for dtype in ("bfloat16", "float16")]
ELEMENTWISE = [
    (name, shape, dtype)
    for name, case in elementwise_cases.CASE_BY_NAME.items()
    for shape in ELEMENT_SHAPES
    for dtype in registry.DTYPES
    if shape or not (case.class_weight or case.sample_weight or case.pos_weight == "class")
]


def identifier(value: Any) -> str:
    return "x".join(map(str, value)).replace(", ", "-") if isinstance(value, tuple) else str(value)


def softmax_batch(name: str, shape: Any, dtype: str) -> registry.Batch:
    batch, classes, axis = shape
    return registry.make_batch(registry.CASE_BY_NAME[name], batch, classes, dtype=dtype, axis=axis)


def elementwise_batch(name: str, shape: Any, dtype: str) -> elementwise_cases.Batch:
    return elementwise_cases.make_batch(elementwise_cases.CASE_BY_NAME[name], shape, dtype=dtype)


def function_of(batch: Any) -> Any:
    return getattr(xent, getattr(batch, "function", "softmax_cross_entropy"))


@contextlib.contextmanager
def jax_wide_for(dtype: str) -> Iterator[None]:
    """JAX has float64 only where it is asked to."""
    with jax.enable_x64(dtype == "float64"):
        yield


def on_jax(batch: Any, upstream: Any = 1.0, *, compiled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of xent on JAX's arrays, with an upstream gradient."""
    with jax_wide_for(batch.dtype):
        options = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
        labels = batch.labels
        labels = xent.TopK(*map(jnp.asarray, labels)) if isinstance(labels, tuple) else jnp.asarray(labels)

        def pull(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
            loss, back = jax.vjp(lambda x: function_of(batch)(x, labels, **options), logits)
            return loss, back(jnp.broadcast_to(jnp.asarray(upstream, loss.dtype), loss.shape))[0]

        loss, gradient = (jax.jit(pull) if compiled else pull)(jnp.asarray(batch.logits))
        return np.asarray(loss), np.asarray(gradient)


def on_tensorflow(batch: Any, upstream: Any = 1.0, *, graph: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of xent on TensorFlow's tensors, with an upstream gradient.

    `graph`: "" for eager mode, else "graph" or "xla" for a tf.function of unknown batch sizes.
    """
    options = {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
    pair = isinstance(batch.labels, tuple)
    parts = [tf.constant(part) for part in (batch.labels if pair else [batch.labels])]

    def pull(logits: Any, *parts: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = function_of(batch)(logits, xent.TopK(*parts) if pair else parts[0], **options)
        cotangent = tf.broadcast_to(tf.constant(upstream, loss.dtype), tf.shape(loss))
        return loss, tape.gradient(loss, logits, output_gradients=cotangent)

    logits = tf.constant(batch.logits)
    if graph:
        specs = [open_spec(x, getattr(batch, "axis", -1)) for x in (logits, *parts)]
        pull = tf.function(pull, jit_compile=graph == "xla", input_signature=specs)
    loss, gradient = pull(logits, *parts)
    return np.asarray(loss.numpy()), np.asarray(gradient.numpy())  # of a bfloat16 scalar there is no view


def open_spec(tensor: Any, axis: int) -> Any:
    """The tensor's signature with the sizes of all axes but the classes' and the last unknown."""
    classes = axis % max(len(tensor.shape), 1)
    shape = [size if at in (classes, len(tensor.shape) - 1) else None for at, size in enumerate(tensor.shape)]
    return tf.TensorSpec(shape if len(shape) > 1 else [None] * len(shape), tensor.dtype)
