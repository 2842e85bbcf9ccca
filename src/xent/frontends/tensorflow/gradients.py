"""Gradients: of the kernels on TensorFlow's tapes, and of any function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

from ...errors import type_error, value_error
from ..numpy.arrays import Array
from ..outputs import loss_of
from .arrays import numpy_of, recording, tensor_of


def differentiable(
    sources: list[Any],
    results: list[Any],
    vjp: Callable[..., list[Array]],
    reference: Callable[..., list[Any]],
    ready: list[Array] | None,
) -> None:
    """Records results of a kernel, with their derivatives by the sources, on all open tapes and accumulators.

    Args:
        sources: the logits, or what else is differentiated.
        results: the loss first, and what else is differentiable.
        vjp: the gradients for an upstream gradient of each result: None, a number for a scalar, or an array.
        reference: the same results of the sources in TensorFlow's operations.
        ready: the gradients of the first result alone, if the forward pass made them. The first backward takes them.
    """

    def gradient(*upstream: Any) -> Any:
        nonlocal ready
        if not tf.executing_eagerly() or any(tf.is_symbolic_tensor(g) for g in upstream):  # a Jacobian's loop
            return _by_reference(reference, sources, upstream)
        made, ready = ready, None
        numbers = [_cotangent(g, keep=at == 0) for at, g in enumerate(upstream)]
        if made is None or numbers[0] != 1.0 or any(g is not None for g in numbers[1:]):
            made = vjp(*numbers)
        values = [tensor_of(array) for array in made]
        if recording():
            record.record_operation(
                "XentGradient",
                values,
                [*sources, *upstream],
                lambda *cotangents: _second(reference, sources, upstream, cotangents),
            )
        return values

    record.record_operation("Xent", results, sources, gradient)


def _cotangent(upstream: Any, keep: bool) -> Any:
    """An upstream gradient as a number or an array; None for one that is 0 throughout, as that of an unused result."""
    array = numpy_of(upstream)
    if not keep and not array.any():
        return None
    return array if array.ndim else float(array)


def _by_reference(reference: Callable[..., list[Any]], sources: list[Any], upstream: tuple[Any, ...]) -> list[Any]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        results = reference(*sources)
    found: list[Any] = tape.gradient(results, sources, list(upstream))
    return found


def _second(
    reference: Callable[..., list[Any]], sources: list[Any], upstream: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> list[Any]:
    """The derivatives of gradients, by the sources and by the upstream gradients; themselves differentiable."""
    inputs = [*sources, *upstream]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        values = _by_reference(reference, sources, upstream)
    found: list[Any] = tape.gradient(
        values, inputs, list(cotangents), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return found


def value_and_grad(
    loss_fn: Callable[..., Any],
    wanted: tuple[int, ...],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Value and gradients of any function of tensors."""
    leaves = list(args)
    for at in wanted:
        if not (isinstance(leaves[at], (tf.Tensor, tf.Variable)) and leaves[at].dtype.is_floating):
            raise type_error("argnums", "positions of floating-point tensors", repr(at), "Integers have no gradient.")
        leaves[at] = tf.identity(leaves[at])
    sources = [leaves[at] for at in wanted]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        out = loss_fn(*leaves, **kwargs)
    loss = loss_of(out, has_aux)
    if not isinstance(loss, tf.Tensor) or loss.shape.rank != 0:
        got = f"a loss of shape {loss.shape}" if isinstance(loss, tf.Tensor) else type(loss).__name__
        raise value_error("loss_fn", "a scalar loss", got, "Use reduction='mean' or 'sum'.")
    gradients = tape.gradient(loss, sources)
    for at, gradient in zip(wanted, gradients, strict=True):
        if gradient is None:
            raise value_error("argnums", "arguments that the loss depends on", repr(at), "Name the logits' position.")
    return out, tuple(tf.convert_to_tensor(gradient) for gradient in gradients)
