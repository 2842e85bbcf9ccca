"""The kernels as operators of torch's dispatcher: for torch.compile and torch.export, which cannot trace addresses.

Eager calls go to the autograd.Functions instead, which cost much less. An operator runs the eager call without
gradients; its derivative is an operator of its own, which makes the gradient from the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def differentiable_operator(
    name: str,
    arguments: str,
    *,
    results: int,
    forward: Callable[..., Any],
    backward: Callable[..., Tensor],
    shapes: Callable[..., Any],
) -> Callable[..., Any]:
    """An operator that is differentiable in its first argument.

    Args:
        arguments: their schema.
        results: how many tensors it returns.
        forward: takes the arguments.
        backward: takes (arguments, upstream gradient of each result); returns the gradient of the first argument.
        shapes: takes the arguments; returns uninitialised contiguous results, for tracing.
    """
    upstream = ", ".join(f"Tensor? upstream_{i}" for i in range(results))
    returns = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"

    def contiguous(*given: Any) -> Any:
        found = forward(*given)
        return found.contiguous() if results == 1 else tuple(t.contiguous() for t in found)

    made = torch.library.custom_op(
        f"xent::{name}", contiguous, mutates_args=(), device_types="cpu", schema=f"({arguments}) -> {returns}"
    )
    made.register_fake(shapes)

    def gradient(*given: Any) -> Tensor:
        found = backward(given[results:], given[:results])
        promised = torch.empty_like(given[results])  # in the layout that the graph was told
        return found if found.stride() == promised.stride() else promised.copy_(found)

    derivative = torch.library.custom_op(
        f"xent::{name}_backward",
        gradient,
        mutates_args=(),
        device_types="cpu",
        schema=f"({upstream}, {arguments}) -> Tensor",
    )
    derivative.register_fake(lambda *given: torch.empty_like(given[results]))

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.tensors = [isinstance(a, Tensor) for a in inputs]
        ctx.save_for_backward(*(a for a in inputs if isinstance(a, Tensor)))
        ctx.rest = [None if isinstance(a, Tensor) else a for a in inputs]

    def differentiate(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors = iter(ctx.saved_tensors)
        inputs = [next(tensors) if is_one else a for is_one, a in zip(ctx.tensors, ctx.rest, strict=True)]
        return derivative(*cotangents, *inputs), *[None] * (len(inputs) - 1)

    made.register_autograd(differentiate, setup_context=keep)
    return made
