"""The kernels as operators of torch's dispatcher: for torch.compile and torch.export, which cannot trace addresses.

Eager calls go to the autograd.Functions instead, which cost much less. An operator runs the eager call without
gradients; its derivative is an operator of its own, which makes the gradient from the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Part of the operators' names. Compilers cache graphs on disk by names, whatever an operator's schema became since.
REVISION = 3
_DEVICES = ("cpu", "cuda")


def differentiable_operator(
    name: str,
    arguments: str,
    *,
    results: int,
    forward: Callable[..., Any],
    backward: Callable[..., list[Tensor]],
    shapes: Callable[..., Any],
    differentiable: int = 1,
) -> Callable[..., Any]:
    """An operator that is differentiable in its first arguments.

    Args:
        arguments: their schema.
        results: how many tensors it returns.
        forward: takes the arguments.
        backward: takes (arguments, upstream gradient of each result, which of the first arguments want a gradient);
            returns the gradients of those.
        shapes: takes the arguments; returns uninitialised contiguous results, for tracing.
        differentiable: how many of the arguments, some of which may be None.
    """
    name = f"{name}_{REVISION}"
    upstream = ", ".join(f"Tensor? upstream_{i}" for i in range(results))
    returns = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"

    def contiguous(*given: Any) -> Any:
        found = forward(*given)
        return found.contiguous() if results == 1 else tuple(t.contiguous() for t in found)

    made = torch.library.custom_op(
        f"xent::{name}", contiguous, mutates_args=(), device_types=_DEVICES, schema=f"({arguments}) -> {returns}"
    )
    made.register_fake(shapes)

    def promised(given: tuple[Any, ...]) -> list[Tensor]:
        """Uninitialised gradients, in the layouts that the graph is told."""
        wanted, sources = given[results], given[results + 1 :]
        return [torch.empty_like(t) for t, want in zip(sources, wanted, strict=False) if want]

    def gradients(*given: Any) -> list[Tensor]:
        found = backward(given[results + 1 :], given[:results], given[results])
        pairs = zip(found, promised(given), strict=True)
        return [g if g.stride() == like.stride() else like.copy_(g) for g, like in pairs]

    derivative = torch.library.custom_op(
        f"xent::{name}_backward",
        gradients,
        mutates_args=(),
        device_types=_DEVICES,
        schema=f"({upstream}, bool[] wanted, {arguments}) -> Tensor[]",
    )
    derivative.register_fake(lambda *given: promised(given))

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.tensors = [isinstance(a, Tensor) for a in inputs]
        ctx.save_for_backward(*(a for a in inputs if isinstance(a, Tensor)))
        ctx.rest = [None if isinstance(a, Tensor) else a for a in inputs]

    def differentiate(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors = iter(ctx.saved_tensors)
        inputs = [next(tensors) if is_one else a for is_one, a in zip(ctx.tensors, ctx.rest, strict=True)]
        wanted = list(ctx.needs_input_grad[:differentiable])
        found = iter(derivative(*cotangents, wanted, *inputs))
        return *(next(found) if want else None for want in wanted), *[None] * (len(inputs) - differentiable)

    made.register_autograd(differentiate, setup_context=keep)
    return made
