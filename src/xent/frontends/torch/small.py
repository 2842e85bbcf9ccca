"""Losses of small batches, whose kernel takes less time than what surrounds it: prepared once, and found again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...caching import Prepared
from ...kernels.native import POOLED_BYTES
from .arrays import INTERPRETED, is_eager, is_ordinary_in_eager_mode
from .loss_function import Layout, LossCall, LossFunction, check_kinds, layout_of

Others = tuple[Tensor | None, ...]


def are_constants(logits: Tensor, others: Others) -> bool:
    """Whether these are plain tensors that can be read, and only the logits may want a gradient."""
    if INTERPRETED or not (is_eager() and is_readable_in_eager_mode(logits)):
        return False
    for tensor in others:
        if tensor is not None and (not is_readable_in_eager_mode(tensor) or tensor.requires_grad):
            return False
    return True


def is_readable_in_eager_mode(tensor: Any) -> bool:
    return is_ordinary_in_eager_mode(tensor) and tensor.is_cpu


def is_small(logits: Tensor) -> bool:
    return 0 < logits.numel() * logits.itemsize < POOLED_BYTES


class SmallCall(LossCall):
    """A call of constants laid out as something was prepared for; it brings their addresses."""

    __slots__ = ("_layout", "is_elsewhere", "one_pass", "others", "ready")

    def __init__(self, ready: Any, others: Others, layout: Layout) -> None:
        """`ready`: what was prepared for a layout of logits and others; `others`: labels and weights."""
        self.ready, self.others, self._layout = ready, others, layout
        self.one_pass = ready.one_pass
        self.is_elsewhere = False  # in the backward pass, in memory with other strides

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in self.others if t is not None]

    def seen(self, logits: Tensor) -> None:
        return None  # the layout is what it was found by

    def check(self, logits: Tensor, seen: Any) -> None:
        layout = layout_of(logits, self.others)
        self.is_elsewhere = layout != self._layout
        if self.is_elsewhere:
            check_kinds(layout, self._layout)


class SmallCalls:
    """The calls of a loss on small batches. What is prepared is kept by the layout of tensors and by options."""

    def __init__(self, kind: type[SmallCall], prepare: Callable[..., Any]) -> None:
        """`prepare`: what the arguments of `find` are prepared as; None if they belong elsewhere."""
        self._kind, self._prepare, self._prepared = kind, prepare, Prepared()

    def find(self, logits: Tensor, others: Others, options: Any, *rest: Any) -> SmallCall | None:
        """The call, ready to run. `options`: an object known by its identity; `rest`: what is known by its value."""
        if not are_constants(logits, others):
            return None
        layout = layout_of(logits, others)
        key = (id(options), layout, rest)
        found = self._prepared.get(key)
        if found is None:
            found = self._prepared.add(key, options, self._prepare(logits, others, options, *rest))
        return None if found[1] is None else self._kind(found[1], others, layout)

    def loss(self, logits: Tensor, others: Others, options: Any, *rest: Any) -> Tensor | None:
        """The result of the call, if there is one."""
        call = self.find(logits, others, options, *rest)
        if call is None:
            return None
        if logits.requires_grad and torch.is_grad_enabled():
            return LossFunction.apply(logits, call)  # type: ignore[no-any-return]
        return call.run(logits, False)[1][0]
