"""Losses of single numbers on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...kernels import reference
from ...kernels.native import LABEL_CODES, Memory
from ...losses.elementwise import ElementwiseLoss, PositiveLists, activation, bad_label, positive_lists, takes_lists
from ...losses.weights import check_normalizer, finite_weights, kept_mass
from ...options import ElementwiseOptions
from ...plan import loss_plan
from ...problem import (
    RowLayout,
    Shape,
    check_class_weight,
    check_logits_dtype,
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
    is_plain,
    numpy_of,
    outside_graphs,
    wanted_gradients,
)


def walked_together(
    tensors: list[Tensor], shape: Shape, by_rows: bool = False
) -> tuple[Tensor, list[Memory], RowLayout]:
    """Tensors broadcast to one shape, the first in full, as memory walked alike, with outputs like the first.

    They are copied where nothing else helps. Returns the first tensor, copied or not, the memory of each, and the
    layout of an output.
    """
    views = [t.detach().expand(shape) for t in tensors]
    strides = tuple(t.stride() for t in views)
    layouts = shared_layouts(shape, (*strides, dense_strides(shape, strides[0])), by_rows)
    if layouts is None:
        return walked_together([v.clone(memory_format=torch.contiguous_format) for v in views], shape, by_rows)
    pairs = zip(views, layouts, strict=False)
    return views[0], [_memory(t, layout) for t, layout in pairs], layouts[-1]


def _memory(tensor: Tensor, layout: RowLayout) -> Memory:
    return Memory(tensor.data_ptr(), LABEL_CODES[DTYPE_NAMES[tensor.dtype]], layout, tensor)


class _Call:
    """One call of an elementwise loss, with what its derivatives need."""

    loss: ElementwiseLoss
    output: RowLayout
    logits_like: Tensor
    labels: Tensor
    by_lists: PositiveLists | None = None
    pos_weight: Tensor | None = None
    sample: Tensor | None = None
    normalizer: float | None = None
    one_pass = False

    def __init__(self, options: ElementwiseOptions, dtype: torch.dtype, labels_name: str) -> None:
        self.options, self.dtype, self.labels_name = options, dtype, labels_name
        self.scalar = options.reduction != "none"
        self.weights: list[Tensor] = []

    @property
    def tensors(self) -> list[Tensor]:
        """Labels and weights: what the logits are walked together with."""
        labels = [] if self.by_lists is not None else [self.labels]
        pos = [] if self.pos_weight is None else [self.pos_weight]
        return [*labels, *pos, *self.weights]

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Readies the kernel."""
        denominator = self.normalizer
        if denominator is None:
            labels = None if self.by_lists is not None else numpy_of(self.labels)
            ignore = self.options.ignore_index
            denominator = 1.0
            if self.options.reduction == "mean":
                denominator = kept_mass(tuple(logits.shape), labels, numpy_of(self.sample), ignore)
        first, (at_x, *placed), self.output = walked_together(
            [logits, *self.tensors], tuple(logits.shape), self.by_lists is not None
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

    def run(self, gradient: bool) -> tuple[Tensor | None, Tensor]:
        """The gradient if it is wanted, and the loss."""
        like = self.logits_like
        out = empty_like(like) if gradient else None
        each = None if self.scalar else empty_like(like, self.dtype)
        at_each = None if each is None else _memory(each, self.output)
        total, bad = self.loss.run(at_each, None if out is None else _memory(out, self.output))
        if bad:
            raise bad_label(self.labels_name, numpy_of(self.labels), self.options)
        return out, torch.scalar_tensor(total, dtype=self.dtype) if each is None else each

    def vjp(self, logits: Tensor, upstream: Tensor, out: Tensor | None) -> Tensor:
        """The gradient for any upstream gradient, in `out` if there is one; differentiable under `create_graph`."""
        if torch.is_grad_enabled():
            loss = self.reference(logits)
            return torch.autograd.grad(loss, logits, upstream, create_graph=True)[0]
        if out is None:
            out = empty_like(self.logits_like)
        if upstream.ndim == 0 and self.scalar:
            self.loss.gradient(_memory(out, self.output), float(upstream))
            return out
        # walked as the logits are: laid out like them
        each = empty_like(self.logits_like, self.dtype).copy_(upstream)
        self.loss.gradient(_memory(out, self.output), _memory(each, self.output))
        return out

    def reference(self, logits: Tensor) -> Tensor:
        labels = self.labels
        if self.by_lists is not None:
            starts, classes = (torch.from_numpy(a) for a in self.by_lists)
            rows = torch.repeat_interleave(torch.arange(len(starts) - 1), starts.diff())
            dense = torch.zeros(len(starts) - 1, logits.shape[-1], dtype=self.dtype)
            labels = dense.index_put((rows, classes), torch.ones((), dtype=self.dtype)).view(logits.shape)
        weight = None
        for factor in self.weights:
            weight = factor.to(self.dtype) if weight is None else weight * factor.to(self.dtype)
        return reference.elementwise_loss(  # type: ignore[no-any-return]
            NAMESPACE,
            self.options,
            logits.to(self.dtype),
            labels.to(self.dtype),
            pos_weight=None if self.pos_weight is None else self.pos_weight.to(self.dtype),
            weight=weight,
            mass=None if self.sample is None else self.sample.to(self.dtype),
            normalizer=self.normalizer,
        )


class ElementwiseCrossEntropy(torch.autograd.Function):
    """A loss of single numbers. A scalar one makes its gradient in the forward pass, as softmax cross-entropy does."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: _Call) -> Tensor:
        ctx.save_for_backward(logits, *call.tensors)
        ctx.call = call
        ctx.gradient, loss = call.run(call.one_pass)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is not None and not torch.is_grad_enabled() and float(upstream) == 1.0:
            return gradient, None
        return ctx.call.vjp(ctx.saved_tensors[0], upstream, gradient), None


@outside_graphs
def elementwise_loss(
    logits: Tensor,
    labels: Any,
    options: ElementwiseOptions,
    *,
    names: tuple[str, str] = ("logits", "labels"),
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
    validate: bool = True,
) -> Any:
    lists = takes_lists(names[1], labels, options)
    y = logits if lists else as_tensor(names[1], labels, logits)
    problem = elementwise_problem(logits.shape, dtype_name(logits), y.shape, dtype_name(y), *names)
    call = _Call(options, TORCH_DTYPES[problem.accumulate], names[1])
    call.labels = y
    call.normalizer = None if normalizer is None else check_normalizer(normalizer, options.reduction)
    if lists:
        starts = None if labels.starts is None else as_array("labels.starts", labels.starts)
        call.by_lists = positive_lists(as_array("labels.classes", labels.classes), starts, tuple(logits.shape))
    if pos_weight is not None:
        call.pos_weight = as_tensor("pos_weight", pos_weight, logits)
        check_pos_weight(call.pos_weight.shape, logits.shape)
    weight_names = []
    if class_weight is not None:
        weight_names.append("class_weight")
        by_class = as_tensor("class_weight", class_weight, logits)
        check_class_weight(tuple(by_class.shape), last_axis(tuple(logits.shape)))
        call.weights.append(by_class)
    if sample_weight is not None:
        weight_names.append("sample_weight")
        sample = as_tensor("sample_weight", sample_weight, logits)
        by_rows = elementwise_weight_axes(sample.shape, logits.shape) == "rows"
        call.sample = sample.unsqueeze(-1) if by_rows else sample
        call.weights.append(call.sample)

    named = [("labels", y)] if not lists else []
    named += [] if call.pos_weight is None else [("pos_weight", call.pos_weight)]
    named += zip(weight_names, call.weights, strict=True)
    plain = is_plain(logits) and all(is_plain(t) for _, t in named)
    wants = wanted_gradients(logits, named)
    plan = loss_plan(plain_memory=plain, wants=wants, scalar=call.scalar)
    if plain:
        for name, t in named[0 if lists else 1 :]:
            finite_weights(name, numpy_of(t))
        call.prepare(logits, validate)
    if plan.kernel == "reference":
        if plain and validate and not lists:
            call.run(False)  # for its check of the labels
        return call.reference(logits)
    call.one_pass = plan.gradient_in_forward
    if wants:
        return ElementwiseCrossEntropy.apply(logits, call)  # type: ignore[no-untyped-call]
    return call.run(False)[1]


def _activation(logits: Tensor, log: bool) -> Tensor:
    first, (at_x,), layout = walked_together([logits], tuple(logits.shape))
    out = empty_like(first)
    activation(at_x, _memory(out, layout), log)
    return out


class Sigmoid(torch.autograd.Function):
    """1 / (1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        out = _activation(logits, log=False)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        return upstream * p * (1 - p)


class LogSigmoid(torch.autograd.Function):
    """-log(1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return _activation(logits, log=True)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        return upstream * sigmoid(-logits)


@outside_graphs
def sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_plain(logits):
        return Sigmoid.apply(logits)  # type: ignore[no-untyped-call]
    return torch.sigmoid(logits)


@outside_graphs
def log_sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_plain(logits):
        return LogSigmoid.apply(logits)  # type: ignore[no-untyped-call]
    return torch.nn.functional.logsigmoid(logits)
