"""A loss as torch's autograd sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .arrays import PlainFunction, by_reference, check_memory, is_saving_by_hooks, is_transformed

Layout = tuple[Any, ...]


def layout_of(logits: Tensor, others: Sequence[Tensor | None]) -> Layout:
    """Shape, strides and dtype of each tensor, or None in place of one."""
    layout = [logits.shape, logits.stride(), logits.dtype]
    for tensor in others:
        if tensor is None:
            layout.append(None)
        else:
            layout += (tensor.shape, tensor.stride(), tensor.dtype)
    return tuple(layout)


def check_kinds(found: Layout, expected: Layout) -> None:
    """Raises RuntimeError where more than strides differ."""
    now, before = ([x for x in layout if type(x) is not tuple] for layout in (found, expected))
    if now != before:
        said = f"logits, labels, weights: expected {before}, as in the forward pass, got {now}. "
        raise RuntimeError(f"{said}Assign nothing to their .data before the backward pass.")


class LossCall(ABC):
    """One call of a loss on plain tensors: checked, ready to run, with what its derivatives need."""

    __slots__ = ()

    one_pass: bool  # the gradient is made along with the loss

    @property
    @abstractmethod
    def tensors(self) -> Sequence[Tensor]:
        """Labels and weights, saved beside the logits so that a change in place before the backward is noticed."""

    @abstractmethod
    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The gradient if it is wanted, and (loss,) or (loss, lse, entropy, argmax)."""

    @abstractmethod
    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        """The gradient for any upstream gradients, in `out` if there is one."""

    @abstractmethod
    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The results of `run` in torch's operations."""

    def seen(self, logits: Tensor) -> Layout | None:
        """How tensors are laid out in the forward pass."""
        return layout_of(logits, self.tensors)

    def check(self, logits: Tensor, seen: Layout) -> None:
        """Raises RuntimeError where shapes or dtypes are others in the backward pass: `.data` can be assigned to."""
        check_kinds(layout_of(logits, self.tensors), seen)

    def is_made_for(self, upstream: Tensor) -> bool:
        """Whether the gradient of the forward pass serves this upstream gradient as it is."""
        return float(upstream) == 1.0

    def release(self, logits: Tensor) -> None:  # noqa: B027  # nothing is the right thing to do for most
        """Lets go of large logits, which autograd keeps as long as it needs them."""


class LossFunction(PlainFunction):
    """The loss, or (loss, lse, entropy, argmax) where the call has statistics.

    A scalar loss makes its gradient in the forward pass and hands it over to the first backward; a later backward, and
    one of a loss per row or element, makes it again from the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: LossCall) -> Any:
        tensors = call.tensors
        ctx.save_for_backward(logits, *tensors)
        ctx.call, ctx.layout = call, call.seen(logits)
        try:
            ctx.versions = [t._version for t in tensors]
        except RuntimeError:
            ctx.versions = None  # of tensors made in inference mode, which torch will refuse
        ctx.gradient, results = call.run(logits, call.one_pass and not is_saving_by_hooks())
        call.release(logits)
        if len(results) == 1:
            return results[0]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(results[3])
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        call: LossCall = ctx.call
        loss = upstream[0]
        transformed = is_transformed(upstream)
        alone = len(upstream) == 1 or all(g is None for g in upstream[1:])
        if gradient is not None and loss is not None and alone and not transformed and call.is_made_for(loss):
            return gradient, None
        try:
            logits = ctx.saved_tensors[0]
        except RuntimeError:  # changed in place; of the logits alone a gradient that is there is independent
            same = [t._version for t in call.tensors] == ctx.versions
            if gradient is None or loss is None or transformed or not (alone and same):
                raise
            return gradient.mul_(loss), None
        if transformed:
            return *by_reference(call.reference, (logits,), upstream), None
        check_memory([logits, *call.tensors])
        call.check(logits, ctx.layout)
        return call.vjp(logits, upstream, gradient), None
