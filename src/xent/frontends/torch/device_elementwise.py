"""Losses of single numbers on tensors of a device. Nothing waits for it, unless what arrays hold is to be validated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels import reference
from ...kernels.triton.elementwise_launch import ElementwiseTiles, Into, KeptMass, Meaning, Operand
from ...losses.elementwise import bad_label, elements_of
from ...losses.weights import LARGEST, SMALLEST, finite_weights
from ...problem import RowLayout, dense_strides
from .arrays import NAMESPACE, numpy_of
from .device import check_device, number_on, on_device_of, processors, reciprocal
from .device_lists import marked_elements
from .device_sums import total
from .elementwise_call import ElementwiseCall, walked

_BOUNDS = SMALLEST, LARGEST


class DeviceElementwiseCall(ElementwiseCall):
    """One call on a device, where the denominator is made from labels and weights, too."""

    elements: Tensor | None = None  # those that lists name as positive
    marks: Tensor | None = None  # a weight of each row of lists that were not looked at
    meaning: Meaning
    scale: Tensor | None = None  # what the sum of the losses is multiplied by, and its gradient was made for

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Makes the denominator; what arrays hold is looked at only with `validate`, which waits for the device."""
        named = {self.labels_name if name == "labels" else name: t for name, t in self.named}
        check_device(logits, named)
        for name, weight in self.named:
            if name != "labels":
                shown = weight if validate else torch.empty(0, dtype=weight.dtype)
                finite_weights(name, numpy_of(shown.cpu()))
        o = self.options
        self.meaning = Meaning(
            *(o.kind, o.alpha, o.beta, o.rest, o.low, o.high, o.ends_only, o.ignore_index),
            *(o.positive, o.negative, o.gamma_pos, o.gamma_neg, o.clip, self.bad_is_nan),
        )
        with on_device_of(logits):
            if self.lists is not None:
                self._find_elements(logits, validate)
            elif validate:
                self._check_labels()
            self.scale = None if o.reduction == "none" else self._scale(logits)

    def _find_elements(self, logits: Tensor, validate: bool) -> None:
        lists: Any = self.lists
        given = (lists.classes, *(() if lists.starts is None else (lists.starts,)))
        if validate or not all(isinstance(t, Tensor) and t.device == logits.device for t in given):
            self.by_lists = self.read_lists(logits)
            self.elements = torch.from_numpy(elements_of(self.by_lists, logits.shape[-1])).to(logits.device)
        else:
            self.elements, self.marks = marked_elements(*self.list_tensors(logits), logits, self.dtype)

    def _check_labels(self) -> None:
        fine = reference.labels_or_nan(NAMESPACE, self.options, self.labels.detach().to(self.dtype))
        if fine.isnan().any():
            raise bad_label(self.labels_name, numpy_of(self.labels.cpu()), self.options)

    def _scale(self, logits: Tensor) -> Tensor:
        if self.options.reduction == "sum":
            return number_on(logits.device, 1.0)
        if self.normalizer is not None:
            return reciprocal(self.normalizer, logits.device)
        size, ignore = logits.numel(), self.options.ignore_index
        if self.sample is None and ignore is None:
            return number_on(logits.device, 1.0 / size)
        # without ignored elements each weight counts as often as it is used
        shape = tuple(logits.shape if self.sample is None or ignore is not None else self.sample.shape)
        tensors = [] if ignore is None else [self.labels]
        tensors += [] if self.sample is None else [self.sample]
        views, layouts = walked(tensors, shape)
        operands = [Operand(*pair) for pair in zip(views, layouts, strict=False)]
        y = None if ignore is None else operands.pop(0)
        s = operands.pop() if operands else None
        mass = KeptMass(layouts[0], s, y, ignore, _BOUNDS, processors(logits.device))
        sums = torch.empty(mass.sums, dtype=torch.float64, device=logits.device)
        mass.run(sums)
        share = None if ignore is not None else number_on(logits.device, views[0].numel() / size)
        return total(sums, scale=share, inverse=True)

    def tiles(
        self, logits: Tensor, upstream: Tensor | None = None
    ) -> tuple[ElementwiseTiles, Operand | None, Tensor, RowLayout]:
        """The kernels' call, the upstream gradient of each element as it is walked, the logits, copied or not, and the
        layout of an output."""
        tensors = [logits, *self.tensors, *(() if upstream is None else (upstream,))]
        views, layouts = walked(tensors, tuple(logits.shape), self.lists is not None)
        x, *operands = (Operand(*pair) for pair in zip(views, layouts, strict=False))
        of_upstream = None if upstream is None else operands.pop()
        y = None if self.lists is not None else operands.pop(0)
        pos_weight = None if self.pos_weight is None else operands.pop(0)
        first, second = (*operands, None, None)[:2]
        tiles = ElementwiseTiles(
            self.meaning,
            x,
            y,
            pos_weight=pos_weight,
            weights=(first, second),
            bounds=_BOUNDS,
            number_bytes=self.dtype.itemsize,
            processors=processors(logits.device),
            entries=self.elements,
            marks=self.marks,
        )
        return tiles, of_upstream, views[0], layouts[-1]

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        with on_device_of(logits):
            tiles, _, like, layout = self.tiles(logits)
            out = _laid_out(like, like.dtype) if gradient else None
            if not self.scalar:
                each = _laid_out(like, self.dtype)
                tiles.run(Into(layout, loss=each, gradient=out))
                return out, (each,)
            sums = torch.empty(2, tiles.sums, dtype=torch.float64, device=logits.device)
            infinite = None if self.lists is None else sums[1]
            tiles.run(Into(layout, sums[0], infinite, gradient=out, scale=self.scale))
            return out, (self.reduced(sums),)

    def reduced(self, sums: Tensor) -> Tensor:
        """The loss from partial sums, [2, programs]: of what is finite, and with lists how many losses are not."""
        loss = total(sums[0], scale=self.scale)
        if self.lists is not None:
            loss = torch.where(sums[1].sum() > 0, loss + torch.inf, loss)
        return loss.to(self.dtype)

    def is_made_for(self, upstream: Tensor) -> bool:
        return False  # the kernel itself sees whether there is anything to do

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        (of_loss,) = upstream
        if of_loss is None or of_loss._is_zerotensor():  # without memory
            return torch.zeros_like(logits)
        with on_device_of(logits):
            if self.scale is None:
                tiles, of_each, like, layout = self.tiles(logits, of_loss)
                out = _laid_out(like, like.dtype)
                tiles.run(Into(layout, gradient=out), None, of_each)
                return out
            tiles, _, like, layout = self.tiles(logits)
            made = None if out is None else self.scale
            if out is None:
                out = _laid_out(like, like.dtype)
            tiles.run(Into(layout, gradient=out, scale=self.scale * of_loss), made)
        return out


def _laid_out(like: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor without gaps in the memory order of another."""
    strides = dense_strides(tuple(like.shape), like.stride())
    return torch.empty_strided(like.shape, strides, dtype=dtype, device=like.device)
