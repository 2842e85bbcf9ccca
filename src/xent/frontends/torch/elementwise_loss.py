"""Losses of single numbers on tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...caching import Prepared
from ...kernels import reference
from ...kernels.native import BAD_WEIGHT, LABEL_CODES, POOLED_BYTES, Memory, PreparedElementwise
from ...labels import Positives
from ...losses.elementwise import (
    ElementwiseLoss,
    PositiveLists,
    WeightNumbers,
    activation,
    bad_label,
    positive_lists,
    prepared_loss,
    takes_lists,
)
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
    PlainFunction,
    are_constants,
    as_saved,
    as_tensor,
    by_reference,
    divisor,
    dtype_name,
    empty_like,
    is_memory,
    is_plain,
    is_readable,
    is_saving_by_hooks,
    is_transformed,
    keep,
    kept,
    numpy_of,
    wanted_gradients,
    wants_gradient,
)
from .operators import differentiable_operator


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


def _dense(classes: Tensor, starts: Tensor | None, logits: Tensor) -> Tensor:
    """Lists of positive classes as zeros and ones, in operations that a graph can hold."""
    classes, zeros = classes.to(logits.device).long(), torch.zeros(logits.shape, device=logits.device)
    if starts is None:
        real = (classes >= 0).to(zeros.dtype)
        return zeros.scatter_reduce(-1, classes.clamp(min=0), real, "amax")
    entry = torch.arange(classes.shape[0], device=classes.device)
    row = torch.searchsorted(starts.to(logits.device).long(), entry, right=True) - 1
    flat = zeros.view(-1, logits.shape[-1])
    return flat.index_put((row, classes), torch.ones((), device=logits.device)).view(logits.shape)


class ElementwiseCall:
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

    def read_lists(self, logits: Tensor) -> None:
        """Looks at lists of positives, and checks them."""
        lists: Any = self.lists
        starts = None if lists.starts is None else as_array("labels.starts", lists.starts)
        self.by_lists = positive_lists(as_array("labels.classes", lists.classes), starts, tuple(logits.shape))

    def list_tensors(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The lists of positives as tensors: classes, and starts if there are any."""
        lists: Any = self.lists
        starts = None if lists.starts is None else as_tensor("labels.starts", lists.starts, logits)
        return as_tensor("labels.classes", lists.classes, logits), starts

    @property
    def tensors(self) -> list[Tensor]:
        """Labels and weights: what the logits are walked together with."""
        labels = [] if self.by_lists is not None else [self.labels]
        pos = [] if self.pos_weight is None else [self.pos_weight]
        return [*labels, *pos, *self.weights]

    def check_weights(self) -> None:
        for name, weight in self.named:
            if name != "labels":
                finite_weights(name, numpy_of(weight))

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Checks the weights, and readies the kernel."""
        self.check_weights()
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

    def release(self, logits: Tensor) -> None:
        """Lets go of large logits, which autograd keeps as long as it needs them."""
        if logits.numel() * logits.itemsize >= POOLED_BYTES:
            self.loss = self.logits_like = None

    def run(self, gradient: bool) -> tuple[Tensor | None, Tensor]:
        """The gradient if it is wanted, and the loss."""
        like = self.logits_like
        out = empty_like(like) if gradient else None
        each = None if self.scalar else empty_like(like, self.dtype)
        at_each = None if each is None else _memory(each, self.output)
        total, bad = self.loss.run(at_each, None if out is None else _memory(out, self.output))
        if bad:
            raise bad_label(self.labels_name, numpy_of(self.labels), self.options)
        return out, torch.scalar_tensor(total, dtype=self.dtype, device="cpu") if each is None else each

    def operator(self, logits: Tensor, validate: bool) -> Any:
        """The same through torch's dispatcher, for graphs. A normalizer that is a tensor divides afterwards."""
        lists = self.lists is not None
        labels, starts = self.list_tensors(logits) if lists else (self.labels, None)
        later = isinstance(self.normalizer, Tensor)
        o = replace(self.options, reduction="sum") if later else self.options
        loss = _elementwise_operator(
            *(logits, labels, starts, *self.given, lists, self.labels_name, o.kind),
            *(o.alpha, o.beta, o.rest, o.low, o.high, o.ends_only, o.ignore_index, o.positive, o.negative),
            *(o.gamma_pos, o.gamma_neg, o.clip, o.reduction, None if later else self.normalizer, validate),
        )
        return loss / self.normalizer if later else loss

    def vjp(self, logits: Tensor, upstream: Tensor, out: Tensor | None) -> Tensor:
        """The gradient for any upstream gradient, in `out` if there is one."""
        if self.loss is None:
            self.prepare(logits, False)
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
        if self.lists is not None:
            labels = _dense(*self.list_tensors(logits), logits)
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


class ElementwiseCrossEntropy(PlainFunction):
    """A loss of single numbers. A scalar one makes its gradient in the forward pass, as softmax cross-entropy does."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: ElementwiseCall) -> Tensor:
        keep(ctx, logits, call.tensors)
        ctx.call = call
        ctx.gradient, loss = call.run(call.one_pass and not is_saving_by_hooks())
        call.release(logits)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        transformed = is_transformed((upstream,))
        factor = None if gradient is None or transformed else float(upstream)
        if factor == 1.0:
            return gradient, None
        logits = kept(ctx, ctx.call.tensors, gradient)
        if transformed:
            return *by_reference(lambda x: (ctx.call.reference(x),), (as_saved(ctx, logits),), (upstream,)), None
        if logits is None and factor is not None and gradient is not None:
            return gradient.mul_(factor), None
        return ctx.call.vjp(as_saved(ctx, logits), upstream, gradient), None


class _Ready(NamedTuple):
    """What is prepared for small batches of one layout."""

    options: ElementwiseOptions
    names: tuple[str, str]
    scalar: bool
    dtype: torch.dtype  # of the loss
    loss: PreparedElementwise


class _SmallCall:
    """A call of a small batch: around it the arithmetic is a fraction of the time, so all that can be is prepared."""

    __slots__ = ("arguments", "labels", "layout", "logits", "ready", "weights")

    def __init__(self, logits: Tensor, arguments: tuple[Any, ...], layout: tuple[Any, ...], ready: _Ready) -> None:
        self.logits, self.arguments, self.layout, self.ready = logits, arguments, layout, ready
        self.labels, self.weights = arguments[0], arguments[1:4]

    @property
    def one_pass(self) -> bool:
        return self.ready.scalar

    @property
    def tensors(self) -> list[Tensor]:
        return [self.labels, *(w for w in self.weights if w is not None)]

    def release(self, logits: Tensor) -> None:
        pass  # it is small

    def whole(self, logits: Tensor) -> ElementwiseCall:
        """The same call, with nothing prepared."""
        labels, pos_weight, class_weight, sample_weight, normalizer = self.arguments
        call = ElementwiseCall(
            logits, labels, self.ready.options, self.ready.names, pos_weight, class_weight, sample_weight
        )
        call.normalizer = normalizer
        return call

    def reference(self, logits: Tensor) -> Tensor:
        return self.whole(logits).reference(logits)

    def _run(
        self, logits: Tensor, gradient: Tensor | None, loss: Tensor | None, upstream: float, each: Tensor | None
    ) -> None:
        pos_weight, class_weight, sample_weight = self.weights
        first, second = (sample_weight, None) if class_weight is None else (class_weight, sample_weight)
        bad = self.ready.loss.run(
            logits.data_ptr(),
            self.labels.data_ptr(),
            0 if pos_weight is None else pos_weight.data_ptr(),
            0 if first is None else first.data_ptr(),
            0 if second is None else second.data_ptr(),
            0 if gradient is None else gradient.data_ptr(),
            0 if loss is None else loss.data_ptr(),
            upstream,
            0 if each is None else each.data_ptr(),
        )
        if bad == BAD_WEIGHT:
            self.whole(logits).check_weights()
        if bad >= 0:
            raise bad_label(self.ready.names[1], numpy_of(self.labels), self.ready.options)

    def run(self, gradient: bool) -> tuple[Tensor | None, Tensor]:
        out = torch.empty_like(self.logits) if gradient else None
        if self.ready.scalar:
            loss = self.logits.new_empty((), dtype=self.ready.dtype)
        else:
            loss = torch.empty_like(self.logits, dtype=self.ready.dtype)
        self._run(self.logits, out, loss, 1.0, None)
        return out, loss

    def vjp(self, logits: Tensor, upstream: Tensor, out: Tensor | None) -> Tensor:
        changed = self.layout != _layout(logits, self.arguments, self.layout[-1])  # by way of `.data`
        if changed or not is_memory(upstream) or upstream._is_zerotensor():
            return self.whole(logits).vjp(logits, upstream, None)
        out = torch.empty_like(logits) if out is None else out
        if self.ready.scalar:
            self._run(logits, out, None, float(upstream), None)
        else:
            each = upstream
            if each.stride() != out.stride() or each.dtype is not self.ready.dtype:
                each = torch.empty_like(logits, dtype=self.ready.dtype).copy_(upstream)  # laid out like them
            self._run(logits, out, None, 1.0, each)
        return out


_prepared = Prepared()


def _layout(logits: Tensor, arguments: tuple[Any, ...], validate: bool) -> tuple[Any, ...]:
    labels, pos_weight, class_weight, sample_weight, normalizer = arguments
    return (
        *(logits.shape, logits.stride(), logits.dtype, labels.shape, labels.stride(), labels.dtype),
        None if pos_weight is None else (pos_weight.shape, pos_weight.stride(), pos_weight.dtype),
        None if class_weight is None else (class_weight.shape, class_weight.stride(), class_weight.dtype),
        None if sample_weight is None else (sample_weight.shape, sample_weight.stride(), sample_weight.dtype),
        normalizer,
        validate,
    )


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


def _prepare(
    logits: Tensor, options: ElementwiseOptions, names: tuple[str, str], arguments: tuple[Any, ...], validate: bool
) -> _Ready | None:
    labels, *weights, normalizer = arguments
    if not 0 < logits.numel() * logits.itemsize < POOLED_BYTES:
        return None
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
    return _Ready(options, names, call.scalar, call.dtype, loss)


def _small_call(
    logits: Tensor,
    labels: Any,
    options: ElementwiseOptions,
    names: tuple[str, str],
    weights: tuple[Any, ...],
    normalizer: Any,
    validate: bool,
) -> _SmallCall | None:
    if not are_constants(logits, labels, weights):
        return None
    if normalizer is not None and type(normalizer) is not int and type(normalizer) is not float:
        return None
    arguments = (labels, *weights, normalizer)
    layout = _layout(logits, arguments, validate)
    ready = _prepared.get(layout, options, lambda: _prepare(logits, options, names, arguments, validate))
    return None if ready is None else _SmallCall(logits, arguments, layout, ready)


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
    weights = (pos_weight, class_weight, sample_weight)
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        named = dict(zip(("pos_weight", "class_weight", "sample_weight"), weights, strict=True))
        total = replace(options, reduction="sum")
        return elementwise_loss(logits, labels, total, names=names, validate=validate, **named) / normalizer
    small = _small_call(logits, labels, options, names, weights, normalizer, validate)
    if small is not None:
        if logits.requires_grad and torch.is_grad_enabled():
            return ElementwiseCrossEntropy.apply(logits, small)
        return small.run(False)[1]
    traced = torch.compiler.is_compiling()
    call = ElementwiseCall(logits, labels, options, names, pos_weight, class_weight, sample_weight)
    call.normalizer = None if normalizer is None else divisor(normalizer, options.reduction, traced)
    plain = is_plain(logits) and all(is_plain(t) for _, t in call.named)
    wants = wanted_gradients(logits, call.named)
    plan = loss_plan("native" if plain else None, wants, call.scalar, traced)
    if plan.kernel == "operator":
        return call.operator(logits, validate)
    if call.lists is not None and not traced and (plain or not isinstance(labels.classes, Tensor)):
        call.read_lists(logits)
    if plain and not traced:
        call.prepare(logits, validate)
    if plan.kernel == "reference":
        if plain and not traced and validate and call.lists is None:
            call.run(False)  # for its check of the labels
        return call.reference(logits)
    call.one_pass = plan.gradient_in_forward
    if wants:
        return ElementwiseCrossEntropy.apply(logits, call)
    return call.run(False)[1]


def _from_operator(
    logits: Tensor,
    labels: Tensor,
    starts: Tensor | None,
    pos_weight: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    lists: bool,
    name: str,
    *rest: Any,
) -> tuple[ElementwiseCall, bool]:
    """The call that an operator's arguments stand for, and whether labels are checked."""
    *options, normalizer, validate = rest
    given = Positives(labels, starts) if lists else labels
    names = ("logits", name)
    call = ElementwiseCall(logits, given, ElementwiseOptions(*options), names, pos_weight, class_weight, sample_weight)
    call.normalizer = normalizer
    return call, validate


def _readied(logits: Tensor, *arguments: Any) -> ElementwiseCall:
    call, validate = _from_operator(logits, *arguments)
    if call.lists is not None:
        call.read_lists(logits)
    call.prepare(logits, validate)
    return call


@torch.no_grad()
def _forward(*arguments: Any) -> Tensor:
    return _readied(*arguments).run(False)[1]


@torch.no_grad()
def _backward(arguments: tuple[Any, ...], upstream: tuple[Tensor, ...], wanted: list[bool]) -> list[Tensor]:
    return [_readied(*arguments).vjp(arguments[0], upstream[0], None)]


def _shapes(logits: Tensor, *arguments: Any) -> Tensor:
    call, _ = _from_operator(logits, *arguments)
    return logits.new_empty(() if call.scalar else logits.shape, dtype=call.dtype)


_elementwise_operator = differentiable_operator(
    "elementwise",
    "Tensor logits, Tensor labels, Tensor? starts, Tensor? pos_weight, Tensor? class_weight, Tensor? sample_weight, "
    "bool lists, str labels_name, str kind, float alpha, float beta, float rest, float low, float high, "
    "bool ends_only, float? ignore_index, float positive, float negative, float gamma_pos, float gamma_neg, "
    "float clip, str reduction, float? normalizer, bool validate",
    results=1,
    forward=_forward,
    backward=_backward,
    shapes=_shapes,
)


def _activation(logits: Tensor, log: bool) -> Tensor:
    first, (at_x,), layout = walked_together([logits], tuple(logits.shape))
    out = empty_like(first)
    activation(at_x, _memory(out, layout), log)
    return out


class Sigmoid(PlainFunction):
    """1 / (1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return _activation(logits, log=False)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors  # from a rounded p near 1 its complement could not be made
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (upstream * sigmoid(x) * sigmoid(-x)).to(logits.dtype)


class LogSigmoid(PlainFunction):
    """-log(1 + e^-x)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return _activation(logits, log=True)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        return upstream * sigmoid(-logits)


def sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_readable(logits):
        return Sigmoid.apply(logits)
    return torch.sigmoid(logits)


def log_sigmoid(logits: Tensor) -> Any:
    check_logits_dtype(dtype_name(logits))
    if is_readable(logits):
        return LogSigmoid.apply(logits)
    return torch.nn.functional.logsigmoid(logits)
