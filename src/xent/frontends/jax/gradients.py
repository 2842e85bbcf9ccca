"""Gradients of any function of JAX's arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...errors import type_error, value_error
from ..outputs import loss_of
from .sparse_gradients import SparseRequested, noticing, value_and_sparse_grad


def value_and_grad(
    loss_fn: Any, wanted: tuple[int, ...], has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """Value and gradients of any function of JAX's arrays, as `jax.value_and_grad` makes them; sparse ones if asked."""
    for at in wanted:
        if not jnp.issubdtype(jnp.result_type(args[at]), jnp.floating):
            raise type_error("argnums", "positions of floating-point arrays", repr(at), "Integers have no gradient.")

    def scalar(*some: Any) -> Any:
        out = loss_fn(*some, **kwargs)
        loss = loss_of(out, has_aux)
        if jnp.ndim(loss):
            got = f"a loss of shape {jnp.shape(loss)}"
            raise value_error("loss_fn", "a scalar loss", got, "Use reduction='mean' or 'sum'.")
        return loss, out

    try:
        with noticing(True):
            (_, out), gradients = jax.value_and_grad(scalar, argnums=wanted, has_aux=True)(*args)
        return out, gradients
    except SparseRequested:
        pass

    def of_wanted(*some: Any) -> Any:
        everything = list(args)
        for at, array in zip(wanted, some, strict=True):
            everything[at] = array
        return scalar(*everything)

    with noticing(False):
        out, found = value_and_sparse_grad(of_wanted, tuple(args[at] for at in wanted))
    return out, tuple(found)
