"""Softmax cross-entropy of small batches, prepared."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import label_error
from ...kernels.native import BAD_WEIGHT, Memory, PreparedSoftmax
from ...losses.softmax import prepared_loss
from ...losses.weights import finite_weights
from ...options import SoftmaxOptions
from ...problem import SoftmaxProblem, check_class_weight, row_layout, softmax_problem
from .arrays import CODES, TORCH_DTYPES, dtype_name, numpy_of
from .small import Others, SmallCall, SmallCalls, is_readable_in_eager_mode, is_small
from .softmax_call import SoftmaxCall


class ReadySoftmax(NamedTuple):
    """What is prepared for constants of one layout."""

    problem: SoftmaxProblem
    options: SoftmaxOptions
    normalizer: float | None
    dtype: torch.dtype  # of the loss
    shape: tuple[int, ...]
    one_pass: bool
    loss: PreparedSoftmax

    def fill(
        self,
        logits: Tensor,
        others: Others,
        gradient: Tensor | None,
        loss: Tensor | None,
        upstream: float = 1.0,
        rows: Tensor | None = None,
    ) -> None:
        """Makes the gradient and the loss where they are wanted, the gradient times what is upstream."""
        labels, class_weight = others
        bad = self.loss.run(
            logits.data_ptr(),
            labels.data_ptr() if labels is not None else 0,
            0 if class_weight is None else class_weight.data_ptr(),
            0 if gradient is None else gradient.data_ptr(),
            0 if loss is None else loss.data_ptr(),
            upstream,
            0 if rows is None else rows.data_ptr(),
        )
        if bad == BAD_WEIGHT:
            finite_weights("class_weight", numpy_of(class_weight))
        if bad >= 0 and labels is not None:
            raise label_error("labels", bad, int(labels.view(-1)[bad]), self.problem.classes)


def ready_softmax(
    logits: Tensor,
    others: Others,
    options: SoftmaxOptions,
    normalizer: float | None,
    validate: bool,
    nothing: float = 0.0,
) -> ReadySoftmax | None:
    """The loss of logits, labels and class weights laid out like these, of any size; None if some have to be copied.

    `nothing`: the mean over no rows.
    """
    labels, class_weight = others
    if labels is None:
        return None
    problem = softmax_problem(logits.shape, dtype_name(logits), options.axis, labels.shape, dtype_name(labels), False)
    dense = problem.target == "dense"
    if class_weight is not None:
        check_class_weight(tuple(class_weight.shape), problem.classes)
        if not (class_weight.dtype in (torch.float32, torch.float64) and class_weight.is_contiguous()):
            return None
    if dense and options.reduction == "mean" and normalizer is None:
        return None  # the denominator is seen on the way
    if not dense and not (labels.dtype is torch.int64 and labels.is_contiguous()):
        return None
    tensors = (logits, torch.empty_like(logits), labels if dense else logits)
    places = [row_layout(problem.shape, t.stride(), problem.axis) for t in tensors]
    if any(place is None for place in places):
        return None
    at, gradient, target = (Memory(0, CODES[t.dtype], p, None) for t, p in zip(tensors, places, strict=True) if p)
    loss = prepared_loss(
        problem,
        options,
        at,
        target if dense else None,
        gradient.layout,
        wide_weights=class_weight is not None and class_weight.dtype is torch.float64,
        normalizer=normalizer,
        validate=validate,
        nothing=nothing,
    )
    each = options.reduction == "none"
    shape = problem.batch_shape if each else ()
    return ReadySoftmax(problem, options, normalizer, TORCH_DTYPES[problem.accumulate], shape, not each, loss)


class SmallSoftmax(SmallCall):
    """A call of `ReadySoftmax`."""

    __slots__ = ()
    ready: ReadySoftmax

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        out = torch.empty_like(logits) if gradient else None
        loss = logits.new_empty(self.ready.shape, dtype=self.ready.dtype)
        self.ready.fill(logits, self.others, out, loss)
        return out, (loss,)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        loss = upstream[0]
        if loss is None or not is_readable_in_eager_mode(loss) or self.is_elsewhere:
            return self._whole().vjp(logits, upstream, out)
        out = torch.empty_like(logits) if out is None else out
        if loss.ndim == 0:
            self.ready.fill(logits, self.others, out, None, float(loss))
        else:
            self.ready.fill(logits, self.others, out, None, 1.0, loss.contiguous())
        return out

    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        return self._whole().reference(logits)

    def _whole(self) -> SoftmaxCall:
        """The same call, with nothing prepared."""
        (labels, class_weight), ready = self.others, self.ready
        return SoftmaxCall(ready.problem, ready.options, (labels, class_weight, None, ready.normalizer))


def _prepare(
    logits: Tensor, others: Others, options: SoftmaxOptions, normalizer: Any, validate: bool
) -> ReadySoftmax | None:
    return ready_softmax(logits, others, options, normalizer, validate) if is_small(logits) else None


small_softmax = SmallCalls(SmallSoftmax, _prepare)
