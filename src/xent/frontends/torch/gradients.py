"""Gradients of any function of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import type_error, value_error
from ..outputs import loss_of


def value_and_grad(
    loss_fn: Any, wanted: tuple[int, ...], has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Tensor, ...]]:
    """Value and gradients of any function of tensors."""
    leaves = list(args)
    for at in wanted:
        if not (isinstance(leaves[at], Tensor) and leaves[at].is_floating_point()):
            raise type_error("argnums", "positions of floating-point tensors", repr(at), "Integers have no gradient.")
        leaves[at] = leaves[at].detach().requires_grad_()
    with torch.enable_grad():
        out = loss_fn(*leaves, **kwargs)
    loss = loss_of(out, has_aux)
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"a loss of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise value_error("loss_fn", "a scalar loss", got, "Use reduction='mean' or 'sum'.")
    gradients = torch.autograd.grad(loss, [leaves[at] for at in wanted])
    loss = loss.detach()
    return ((loss, *out[1:]) if has_aux else loss), gradients
