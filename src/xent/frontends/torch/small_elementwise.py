"""Losses of single numbers of small batches, prepared."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.native import BAD_WEIGHT, LABEL_CODES, Memory, PreparedElementwise
from ...losses.elementwise import WeightNumbers, bad_label, prepared_loss
from ...losses.weights import check_normalizer
from ...options import ElementwiseOptions
from ...problem import shared_layouts
from .arrays import DTYPE_NAMES, numpy_of
from .elementwise_call import ElementwiseCall
from .small import Others, SmallCall, SmallCalls, is_readable_in_eager_mode, is_small


class ReadyElementwise(NamedTuple):
    """What is prepared for constants of one layout."""

    options: ElementwiseOptions
    names: tuple[str, str]
    normalizer: float | None
    dtype: torch.dtype  # of the loss
    one_pass: bool
    loss: PreparedElementwise


def _numbers(weight: Tensor) -> WeightNumbers | None:
    """The numbers of a weight, if they are contiguous but for axes along which it is expanded."""
    count = 1
    for size, stride in zip(reversed(weight.shape), reversed(weight.stride()), strict=True):
        if size != 1 and stride != 0:
            if stride != count:
                return None
            count *= size
    if weight.dtype not in (torch.float32, torch.float64):
        return None
    return WeightNumbers(count, weight.dtype is torch.float64)


def ready_elementwise(
    logits: Tensor,
    others: Others,
    options: ElementwiseOptions,
    names: tuple[str, str],
    normalizer: float | None,
    validate: bool,
) -> ReadyElementwise | None:
    """The loss of small logits, labels and weights (of positives, classes, samples) laid out like these.

    None if some have to be copied, or are not small.
    """
    if not is_small(logits):
        return None
    labels, *weights = others
    call = ElementwiseCall(logits, labels, options, names, *weights)  # checks the shapes
    denominator, mean_over = 1.0, None
    if normalizer is not None:
        denominator = check_normalizer(normalizer, options.reduction)
    elif options.reduction == "mean":
        if options.ignore_index is not None:
            return None
        denominator = float(logits.numel())
        if call.sample is not None:
            mean_over = len(call.weights) - 1, denominator / call.sample.numel()
    tensors = [logits, *call.tensors]
    strides = tuple(t.expand(logits.shape).stride() for t in tensors)
    layouts = shared_layouts(tuple(logits.shape), (*strides, torch.empty_like(logits).stride()), False)
    numbers = [n for n in map(_numbers, tensors[2:]) if n is not None]
    if layouts is None or len(numbers) < len(tensors) - 2:
        return None
    if mean_over is not None and numbers[-1].size != call.weights[-1].numel():
        return None  # expanded: not all of its numbers are there to be summed up
    at_x, at_y, *placed = (
        Memory(0, LABEL_CODES[DTYPE_NAMES[t.dtype]], place, None) for t, place in zip(tensors, layouts, strict=False)
    )
    weighed = list(zip(placed, numbers, strict=True))
    loss = prepared_loss(
        options,
        at_x,
        at_y,
        layouts[-1],
        pos_weight=None if call.pos_weight is None else weighed.pop(0),
        weights=weighed,
        mean_over=mean_over,
        denominator=denominator,
        validate=validate,
    )
    return ReadyElementwise(options, names, normalizer, call.dtype, call.scalar, loss)


class SmallElementwise(SmallCall):
    """A call of `ReadyElementwise`."""

    __slots__ = ()
    ready: ReadyElementwise

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        ready = self.ready
        out = torch.empty_like(logits) if gradient else None
        if ready.one_pass:
            loss = logits.new_empty((), dtype=ready.dtype)
        else:
            loss = torch.empty_like(logits, dtype=ready.dtype)
        self._fill(logits, out, loss)
        return out, (loss,)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        (each,) = upstream
        if each is None or not is_readable_in_eager_mode(each) or self.is_elsewhere:
            return self._whole(logits).vjp(logits, upstream, None)
        out = torch.empty_like(logits) if out is None else out
        if self.ready.one_pass:
            self._fill(logits, out, None, float(each))
        else:
            if each.stride() != out.stride() or each.dtype is not self.ready.dtype:
                each = torch.empty_like(logits, dtype=self.ready.dtype).copy_(each)  # laid out like them
            self._fill(logits, out, None, 1.0, each)
        return out

    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        return self._whole(logits).reference(logits)

    def _fill(
        self,
        logits: Tensor,
        gradient: Tensor | None,
        loss: Tensor | None,
        upstream: float = 1.0,
        each: Tensor | None = None,
    ) -> None:
        """Makes the gradient and the loss where they are wanted, the gradient times what is upstream."""
        labels, pos_weight, class_weight, sample_weight = self.others
        first, second = (sample_weight, None) if class_weight is None else (class_weight, sample_weight)
        bad = self.ready.loss.run(
            logits.data_ptr(),
            labels.data_ptr() if labels is not None else 0,
            0 if pos_weight is None else pos_weight.data_ptr(),
            0 if first is None else first.data_ptr(),
            0 if second is None else second.data_ptr(),
            0 if gradient is None else gradient.data_ptr(),
            0 if loss is None else loss.data_ptr(),
            upstream,
            0 if each is None else each.data_ptr(),
        )
        if bad == BAD_WEIGHT:
            self._whole(logits).check_weights()
        if bad >= 0:
            raise bad_label(self.ready.names[1], numpy_of(labels), self.ready.options)

    def _whole(self, logits: Tensor) -> ElementwiseCall:
        """The same call, with nothing prepared."""
        ready = self.ready
        call = ElementwiseCall(logits, self.others[0], ready.options, ready.names, *self.others[1:])
        call.normalizer = ready.normalizer
        return call


def _prepare(
    logits: Tensor,
    others: Others,
    options: ElementwiseOptions,
    names: tuple[str, str],
    normalizer: float | None,
    validate: bool | None,
) -> ReadyElementwise | None:
    return ready_elementwise(logits, others, options, names, normalizer, bool(validate))


small_elementwise = SmallCalls(SmallElementwise, _prepare)
