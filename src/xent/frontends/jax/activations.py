"""softmax, log_softmax and logsumexp of JAX's arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...problem import softmax_axis
from .. import numpy as on_numpy
from .arrays import is_readable, to_jax


def _wide(x: Any) -> Any:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _softmax(x: Any, axis: int) -> Any:
    if is_readable(x):
        return to_jax(on_numpy.softmax(np.asarray(x), axis), x)
    return jax.nn.softmax(_wide(x), axis).astype(x.dtype)


@_softmax.defjvp
def _(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    p = _softmax(x, axis)
    q, w = _wide(p), _wide(t)
    return p, (q * (w - jnp.sum(q * w, axis, keepdims=True))).astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _log_softmax(x: Any, axis: int) -> Any:
    if is_readable(x):
        return to_jax(on_numpy.log_softmax(np.asarray(x), axis), x)
    return jax.nn.log_softmax(_wide(x), axis).astype(x.dtype)


@_log_softmax.defjvp
def _(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    w = _wide(t)
    slope = w - jnp.sum(_softmax(_wide(x), axis) * w, axis, keepdims=True)
    return _log_softmax(x, axis), slope.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _logsumexp(x: Any, axis: int) -> Any:
    if is_readable(x):
        return to_jax(on_numpy.logsumexp(np.asarray(x), axis), x)
    return jax.nn.logsumexp(_wide(x), axis).astype(x.dtype)


@_logsumexp.defjvp
def _(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return _logsumexp(x, axis), jnp.sum(_softmax(_wide(x), axis) * _wide(t), axis).astype(x.dtype)


def softmax(logits: Any, axis: int) -> Any:
    return _softmax(logits, softmax_axis(logits.shape, str(logits.dtype), axis))


def log_softmax(logits: Any, axis: int) -> Any:
    return _log_softmax(logits, softmax_axis(logits.shape, str(logits.dtype), axis))


def logsumexp(logits: Any, axis: int) -> Any:
    return _logsumexp(logits, softmax_axis(logits.shape, str(logits.dtype), axis))
