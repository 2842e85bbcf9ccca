"""Calls of losses of single numbers on plain tensors: checked, and ready to run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels import reference
from ...kernels.native import LABEL_CODES, POOLED_BYTES, Memory
from ...labels import Positives
from ...losses.elementwise import ElementwiseLoss, PositiveLists, bad_label, positive_lists, takes_lists
from ...losses.weights import finite_weights, kept_mass
from ...options import ElementwiseOptions
from ...problem import (
    RowLayout,
    Shape,
    check_class_weight,
    check_pos_weight,
    dense_strides,
    elementwise_problem,
    elementwise_weight_axes,
    last_axis,
    shared_layouts,
)
from ..numpy.arrays import as_array
from .arrays import (
    DTYPE_NAMES,
    NAMESPACE,
    TORCH_DTYPES,
    as_tensor,
    dtype_name,
    empty_like,
    numpy_of,
)
from .loss_function import LossCall


def walked(tensors: list[Tensor], shape: Shape, by_rows: bool = False) -> tuple[list[Tensor], tuple[RowLayout, ...]]:
    """Tensors broadcast to one shape, the first in full, walked alike: copied where nothing else helps.

    Returns them with their layouts, and as the last one that of an output, which is laid out like the first.
    """
    views = [t.detach().expand(shape) for t in tensors]
    strides = tuple(t.stride() for t in views)
    layouts = shared_layouts(shape, (*strides, dense_strides(shape, strides[0])), by_rows)
    if layouts is None:
        return walked([v.clone(memory_format=torch.contiguous_format) for v in views], shape, by_rows)
    return views, layouts


def walked_together(
    tensors: list[Tensor], shape: Shape, by_rows: bool = False
) -> tuple[Tensor, list[Memory], RowLayout]:
    """The first tensor as it is walked, copied or not, the memory of each, and the layout of an output."""
    views, layouts = walked(tensors, shape, by_rows)
    return views[0], [memory_of(t, layout) for t, layout in zip(views, layouts, strict=False)], layouts[-1]


def memory_of(tensor: Tensor, layout: RowLayout) -> Memory:
    return Memory(tensor.data_ptr(), LABEL_CODES[DTYPE_NAMES[tensor.dtype]], layout, tensor)


def _dense(classes: Tensor, starts: Tensor | None, logits: Tensor) -> Tensor:
    """Lists of positive classes as zeros and ones, in operations that a graph can hold; NaN of classes out of range."""
    classes, count = classes.to(logits.device).long(), logits.shape[-1]
    zeros = torch.zeros(logits.shape, device=logits.device)
    if 0 in logits.shape:
        return zeros
    real = torch.where((classes >= 0) & (classes < count), 1.0, torch.nan)
    if starts is None:
        real = torch.where(classes == -1, 0.0, real)
        return zeros.scatter_reduce(-1, classes.clamp(0, count - 1), real, "amax")
    entry = torch.arange(classes.shape[0], device=classes.device)
    row = torch.searchsorted(starts.to(logits.device).long(), entry, right=True) - 1
    at = row.clamp(0, starts.shape[0] - 2) * count + classes.clamp(0, count - 1)
    return zeros.view(-1).scatter_reduce(0, at, real, "amax").view(logits.shape)


def _fetched(lists: Any) -> Any:
    """Lists in the memory of the processor, if they are tensors."""
    return lists.detach().cpu() if isinstance(lists, Tensor) else lists


class ElementwiseCall(LossCall):
    """One call of an elementwise loss, with what its derivatives need."""

    loss: Any = None
    output: RowLayout
    logits_like: Any = None
    labels: Tensor
    lists: Positives | None = None
    by_lists: PositiveLists | None = None
    pos_weight: Tensor | None = None
    sample: Tensor | None = None
    normalizer: Any = None
    one_pass = False
    bad_is_nan = False  # a label that is not what it must be, where nothing can be raised

    def __init__(
        self,
        logits: Tensor,
        labels: Any,
        options: ElementwiseOptions,
        names: tuple[str, str],
        pos_weight: Any,
        class_weight: Any,
        sample_weight: Any,
    ) -> None:
        self.options, self.labels_name = options, names[1]
        self.scalar = options.reduction != "none"
        lists = takes_lists(names[1], labels, options)
        y = logits if lists else as_tensor(names[1], labels, logits)
        problem = elementwise_problem(logits.shape, dtype_name(logits), y.shape, dtype_name(y), *names)
        self.dtype = TORCH_DTYPES[problem.accumulate]
        self.labels = y
        self.weights: list[Tensor] = []
        self.named: list[tuple[str, Tensor]] = []  # what is differentiable besides the logits
        self.given: list[Tensor | None] = [None, None, None]  # the weights as they came
        if lists:
            self.lists = labels
        else:
            self.named.append(("labels", y))
        if pos_weight is not None:
            self.pos_weight = self.given[0] = as_tensor("pos_weight", pos_weight, logits)
            check_pos_weight(self.pos_weight.shape, logits.shape)
            self.named.append(("pos_weight", self.pos_weight))
        if class_weight is not None:
            by_class = self.given[1] = as_tensor("class_weight", class_weight, logits)
            check_class_weight(tuple(by_class.shape), last_axis(tuple(logits.shape)))
            self._weigh("class_weight", by_class)
        if sample_weight is not None:
            sample = self.given[2] = as_tensor("sample_weight", sample_weight, logits)
            by_rows = elementwise_weight_axes(sample.shape, logits.shape) == "rows"
            self.sample = sample.unsqueeze(-1) if by_rows else sample
            self._weigh("sample_weight", self.sample)

    def _weigh(self, name: str, weight: Tensor) -> None:
        self.weights.append(weight)
        self.named.append((name, weight))

    def read_lists(self, logits: Tensor) -> PositiveLists:
        """The lists of positives in memory, and checked."""
        lists: Any = self.lists
        starts = None if lists.starts is None else as_array("labels.starts", _fetched(lists.starts))
        classes = as_array("labels.classes", _fetched(lists.classes))
        return positive_lists(classes, starts, tuple(logits.shape))

    def list_tensors(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The lists of positives as tensors: classes, and starts if there are any."""
        lists: Any = self.lists
        starts = None if lists.starts is None else as_tensor("labels.starts", lists.starts, logits)
        return as_tensor("labels.classes", lists.classes, logits), starts

    @property
    def tensors(self) -> list[Tensor]:
        labels = [] if self.lists is not None else [self.labels]
        pos = [] if self.pos_weight is None else [self.pos_weight]
        return [*labels, *pos, *self.weights]

    def check_weights(self) -> None:
        for name, weight in self.named:
            if name != "labels":
                finite_weights(name, numpy_of(weight.cpu()))

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Checks weights and lists, and readies the kernel."""
        self.check_weights()
        if self.lists is not None and self.by_lists is None:
            self.by_lists = self.read_lists(logits)
        denominator = self.normalizer
        if denominator is None:
            labels = None if self.lists is not None else numpy_of(self.labels)
            ignore = self.options.ignore_index
            denominator = 1.0
            if self.options.reduction == "mean":
                denominator = kept_mass(tuple(logits.shape), labels, numpy_of(self.sample), ignore)
        first, (at_x, *placed), self.output = walked_together(
            [logits, *self.tensors], tuple(logits.shape), self.lists is not None
        )
        self.logits_like = first
        targets = placed.pop(0) if self.by_lists is None else self.by_lists
        self.loss = ElementwiseLoss(
            self.options,
            at_x,
            targets,
            pos_weight=None if self.pos_weight is None else placed.pop(0),
            weights=placed,
            denominator=denominator,
            validate=validate,
        )

    def release(self, logits: Tensor) -> None:
        if logits.numel() * logits.itemsize >= POOLED_BYTES:
            self.loss = self.logits_like = None

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        like = self.logits_like
        out = empty_like(like) if gradient else None
        each = None if self.scalar else empty_like(like, self.dtype)
        at_each = None if each is None else memory_of(each, self.output)
        total, bad = self.loss.run(at_each, None if out is None else memory_of(out, self.output))
        if bad:
            raise bad_label(self.labels_name, numpy_of(self.labels), self.options)
        return out, (torch.scalar_tensor(total, dtype=self.dtype, device="cpu") if each is None else each,)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        (of_loss,) = upstream
        if of_loss is None:
            return torch.zeros_like(logits)
        if self.loss is None:
            self.prepare(logits, False)
        if out is None:
            out = empty_like(self.logits_like)
        if of_loss.ndim == 0 and self.scalar:
            self.loss.gradient(memory_of(out, self.output), float(of_loss))
            return out
        # walked as the logits are: laid out like them
        each = empty_like(self.logits_like, self.dtype).copy_(of_loss)
        self.loss.gradient(memory_of(out, self.output), memory_of(each, self.output))
        return out

    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        labels = self.labels
        if self.lists is not None:
            labels = _dense(*self.list_tensors(logits), logits)
        labels = labels.to(self.dtype)
        if self.bad_is_nan:
            labels = reference.labels_or_nan(NAMESPACE, self.options, labels)
        weight = None
        for factor in self.weights:
            weight = factor.to(self.dtype) if weight is None else weight * factor.to(self.dtype)
        loss = reference.elementwise_loss(
            NAMESPACE,
            self.options,
            logits.to(self.dtype),
            labels,
            pos_weight=None if self.pos_weight is None else self.pos_weight.to(self.dtype),
            weight=weight,
            mass=None if self.sample is None else self.sample.to(self.dtype),
            normalizer=self.normalizer,
        )
        return (loss,)
