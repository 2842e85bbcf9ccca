"""Gradients on arrays that know none: the losses that a function computes are recorded with theirs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from ...errors import type_error, value_error
from ...sparse import SparseRows
from ..outputs import loss_of
from .arrays import Array


class _Recorder:
    """The losses that a function computed: the result, an argument, the gradient to it; once for each argument.

    And what arguments were made from: a result, its sources, and the gradients to them for one to the result.
    """

    def __init__(self, wanted: list[Any]) -> None:
        self._wanted = wanted
        self.calls: list[tuple[Any, Any, Array | None]] = []
        self.links: list[tuple[Any, list[Any], Callable[[Array], list[Any]]]] = []

    def wants(self, argument: Any) -> bool:
        """Whether anything asks for the gradient to an argument of a loss."""
        return any(argument is w for w in self._wanted) or any(argument is result for result, _, _ in self.links)

    def link(self, result: Any, sources: list[Any], vjp: Callable[[Array], list[Any]]) -> None:
        self.links.append((result, sources, vjp))

    def gradients(self, loss: Any) -> list[tuple[Any, Any]]:
        """The arguments of a loss and the gradients to them, those of what they were made from after them."""
        found: list[tuple[Any, Any]] = [(argument, g) for result, argument, g in self.calls if result is loss]
        for result, sources, vjp in reversed(self.links):
            upstream = total([g for argument, g in found if argument is result])
            if upstream is not None:
                found += zip(sources, vjp(upstream), strict=True)
        return found

    def add(self, result: Any, argument: Any, gradient: Array | None) -> None:
        self.calls.append((result, argument, gradient))


def total(gradients: list[Any]) -> Any:
    """The sum of the gradients to one array, which may have several parts in a loss; None if there are none."""
    if not gradients:
        return None
    first, *rest = gradients
    for gradient in rest:
        first = first.plus(gradient) if isinstance(first, SparseRows) else first + gradient
    return first


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
    recorder = _Recorder([args[at] for at in wanted])
    token = active.set(recorder)
    try:
        out = loss_fn(*args, **kwargs)
    finally:
        active.reset(token)
    loss = loss_of(out, has_aux)
    calls = recorder.gradients(loss)
    if not calls:
        raise type_error(
            "loss_fn",
            "a function of NumPy arrays that returns what one of xent's losses returned",
            type(loss).__name__,
            "Return the loss as it came (with has_aux=True in front of a tuple), or use torch tensors, which "
            "differentiate any function.",
        )
    if calls[0][1] is None:
        raise value_error(
            "loss_fn", "a scalar loss", f"an array of shape {np.shape(loss)}", "Use reduction='mean' or 'sum'."
        )
    found: list[Any] = []
    for at in wanted:
        gradient = total([g for argument, g in calls if argument is args[at]])
        if gradient is None:
            raise value_error(
                "argnums",
                "the position of the logits (or predictions)",
                repr(at),
                "On NumPy arrays the gradient is to the logits, passed on to the loss as they came.",
            )
        found.append(gradient)
    return out, tuple(found)
