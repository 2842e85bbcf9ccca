"""Gradients of any function of JAX's arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...errors import type_error, value_error
from ..outputs import loss_of


def value_and_grad(
    loss_fn: Any, wanted: tuple[int, ...], has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """Value and gradients of any function of JAX's arrays, as `jax.value_and_grad` makes them."""
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

    (_, out), gradients = jax.value_and_grad(scalar, argnums=wanted, has_aux=True)(*args)
    return out, gradients
