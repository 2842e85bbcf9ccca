"""Gradients on arrays that know none: the losses that a function computes are recorded with theirs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from ...errors import type_error, value_error
from ..outputs import loss_of
from .arrays import Array


class _Recorder:
    """The losses that a function computed: the result, an argument, the gradient to it; once for each argument."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Array | None]] = []

    def add(self, result: Any, argument: Any, gradient: Array | None) -> None:
        self.calls.append((result, argument, gradient))


active: ContextVar[_Recorder | None] = ContextVar("xent_recorder", default=None)


def record(value: Any, argument: Any, gradient: Callable[[], Array]) -> None:
    """Notes a loss and its gradient to an argument, if anyone asked; a loss that is an array has none."""
    recorder = active.get()
    if recorder is not None:
        recorder.add(value, argument, gradient() if np.ndim(value) == 0 else None)


def value_and_grad(
    loss_fn: Callable[..., Any],
    wanted: tuple[int, ...],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Value and gradients of a function that returns one of this library's losses as it came."""
    recorder = _Recorder()
    token = active.set(recorder)
    try:
        out = loss_fn(*args, **kwargs)
    finally:
        active.reset(token)
    loss = loss_of(out, has_aux)
    calls = [c for c in recorder.calls if c[0] is loss]
    if not calls:
        raise type_error(
            "loss_fn",
            "a function of NumPy arrays that returns what one of xent's losses returned",
            type(loss).__name__,
            "Return the loss as it came (with has_aux=True in front of a tuple), or use torch tensors, which "
            "differentiate any function.",
        )
    if calls[0][2] is None:
        raise value_error(
            "loss_fn", "a scalar loss", f"an array of shape {np.shape(loss)}", "Use reduction='mean' or 'sum'."
        )
    found: list[Any] = []
    for at in wanted:
        gradient = next((c[2] for c in calls if c[1] is args[at]), None)
        if gradient is None:
            raise value_error(
                "argnums",
                "the position of the logits (or predictions)",
                repr(at),
                "On NumPy arrays the gradient is to the logits, passed on to the loss as they came.",
            )
        found.append(gradient)
    return out, tuple(found)
