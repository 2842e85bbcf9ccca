"""Softmax cross-entropy on tensors."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...caching import Prepared
from ...errors import label_error
from ...formulas import RowFunction
from ...kernels.native import BAD_WEIGHT, POOLED_BYTES, Memory, PreparedSoftmax
from ...labels import Positives, TopK, refuse
from ...losses.labels import check_index
from ...losses.softmax import Stats, prepared_loss
from ...losses.weights import check_normalizer, finite_weights
from ...options import SoftmaxOptions
from ...plan import loss_plan
from ...problem import SoftmaxProblem, check_class_weight, row_layout, softmax_problem
from .arrays import (
    CODES,
    are_constants,
    as_tensor,
    divisor,
    dtype_name,
    is_memory,
    numpy_of,
    readable_integers,
    wanted_gradients,
    wants_gradient,
)
from .calls import kernels_of_operator, softmax_call
from .device import kernels_for
from .operators import differentiable_operator
from .softmax_call import SoftmaxCall, SoftmaxCrossEntropy


class PreparedCall(SoftmaxCall):
    """A call whose kernel is prepared: around that of a small batch the arithmetic is a fraction of the time."""

    __slots__ = ("layout", "prepared")

    layout: tuple[Any, ...]
    prepared: PreparedSoftmax

    def release(self, logits: Tensor) -> None:
        pass  # it is small

    def fill(
        self, logits: Tensor, gradient: Tensor | None, loss: Tensor | None, upstream: float, rows: Tensor | None
    ) -> None:
        """Makes the gradient and the loss where they are wanted, the gradient times what is upstream."""
        labels, class_weight, _, _ = self.arguments
        bad = self.prepared.run(
            logits.data_ptr(),
            labels.data_ptr(),
            0 if class_weight is None else class_weight.data_ptr(),
            0 if gradient is None else gradient.data_ptr(),
            0 if loss is None else loss.data_ptr(),
            upstream,
            0 if rows is None else rows.data_ptr(),
        )
        if bad == BAD_WEIGHT:
            finite_weights("class_weight", numpy_of(class_weight))
        if bad >= 0:
            raise label_error("labels", bad, int(labels.view(-1)[bad]), self.problem.classes)

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        out = torch.empty_like(logits) if gradient else None
        shape = self.problem.batch_shape if self.options.reduction == "none" else ()
        loss = logits.new_empty(shape, dtype=self.dtype)
        self.fill(logits, out, loss, 1.0, None)
        return out, (loss,)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        loss = upstream[0]
        labels, class_weight, _, normalizer = self.arguments
        changed = self.layout != _layout(logits, labels, class_weight, normalizer, self.layout[-1])  # by `.data`
        if changed or loss is None or not is_memory(loss) or loss._is_zerotensor():
            if changed:
                self.prepare(logits, False)
            return super().vjp(logits, upstream, out)
        out = torch.empty_like(logits) if out is None else out
        if loss.ndim == 0:
            self.fill(logits, out, None, float(loss), None)
        else:
            self.fill(logits, out, None, 1.0, loss.contiguous())
        return out


_prepared = Prepared()


def _layout(
    logits: Tensor, labels: Tensor, class_weight: Tensor | None, normalizer: Any, validate: bool
) -> tuple[Any, ...]:
    weights = None if class_weight is None else (class_weight.shape, class_weight.stride(), class_weight.dtype)
    return (
        *(logits.shape, logits.stride(), logits.dtype, labels.shape, labels.stride(), labels.dtype),
        *(weights, normalizer, validate),
    )


def _prepare(
    logits: Tensor,
    options: SoftmaxOptions,
    labels: Tensor,
    class_weight: Tensor | None,
    normalizer: Any,
    validate: bool,
) -> tuple[SoftmaxProblem, PreparedSoftmax] | None:
    name = dtype_name(logits)
    problem = softmax_problem(logits.shape, name, options.axis, labels.shape, dtype_name(labels), False)
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
    return problem, prepared_loss(
        problem,
        options,
        at,
        target if dense else None,
        gradient.layout,
        wide_weights=class_weight is not None and class_weight.dtype is torch.float64,
        normalizer=normalizer,
        validate=validate,
    )


def _small_call(
    logits: Tensor, labels: Any, class_weight: Any, normalizer: Any, options: SoftmaxOptions, validate: bool
) -> PreparedCall | None:
    if not are_constants(logits, labels, (class_weight,)):
        return None
    if not 0 < logits.numel() * logits.itemsize < POOLED_BYTES:
        return None
    if normalizer is not None and type(normalizer) is not int and type(normalizer) is not float:
        return None
    return prepared_call(logits, labels, class_weight, normalizer, options, validate)


def prepared_call(
    logits: Tensor,
    labels: Tensor,
    class_weight: Tensor | None,
    normalizer: float | None,
    options: SoftmaxOptions,
    validate: bool,
) -> PreparedCall | None:
    """The call of constants, of any size, if their layouts have one."""
    arguments = (labels, class_weight, normalizer)
    layout = _layout(logits, *arguments, validate)
    found = _prepared.get(layout, options, lambda: _prepare(logits, options, *arguments, validate))
    if found is None:
        return None
    call = PreparedCall(found[0], options, (labels, class_weight, None, normalizer))
    call.one_pass = options.reduction != "none"
    call.layout, call.prepared = layout, found[1]
    return call


def _from_operator(
    logits: Tensor,
    labels: Tensor,
    values: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    *rest: Any,
) -> tuple[SoftmaxCall, bool]:
    """The call that an operator's arguments stand for, and whether labels are checked."""
    *options, normalizer, return_stats, validate = rest
    target = labels if values is None else TopK(labels, values)
    problem = softmax_problem(
        logits.shape, dtype_name(logits), options[0], labels.shape, dtype_name(labels), values is not None
    )
    kind = softmax_call(kernels_of_operator(logits))
    call = kind(problem, SoftmaxOptions(*options), (target, class_weight, sample_weight, normalizer))
    call.return_stats = return_stats
    return call, validate


@torch.no_grad()
def _forward(logits: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, validate = _from_operator(logits, *arguments)
    try:
        call.prepare(logits, validate)
    except IndexError as error:  # a graph holds no call of torch's own that could say it in torch's words
        label = re.search(r"label (-?\d+)", str(error))
        raise IndexError(f"{error} (Target {label[1] if label else ''} is out of bounds.)") from error
    results = call.run(logits, gradient=False)[1]
    return results if call.return_stats else (*results, *(logits.new_empty(0) for _ in range(3)))


@torch.no_grad()
def _backward(arguments: tuple[Any, ...], upstream: tuple[Tensor | None, ...], wanted: list[bool]) -> list[Tensor]:
    logits = arguments[0]
    call, validate = _from_operator(*arguments)
    call.prepare(logits, validate)
    return [call.vjp(logits, upstream[:3] if call.return_stats else upstream[:1], None)]


def _shapes(logits: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, _ = _from_operator(logits, *arguments)
    batch = call.problem.batch_shape
    loss = logits.new_empty(batch if call.options.reduction == "none" else (), dtype=call.dtype)
    if not call.return_stats:
        return (loss, *(logits.new_empty(0) for _ in range(3)))
    each = [logits.new_empty(batch, dtype=dtype) for dtype in (call.dtype, call.dtype, torch.int64)]
    return (loss, *each)


_softmax_operator = differentiable_operator(
    "softmax_cross_entropy",
    "Tensor logits, Tensor labels, Tensor? values, Tensor? class_weight, Tensor? sample_weight, int axis, "
    "float label_smoothing, int? ignore_index, float temperature, float? softcap, float z_loss, str reduction, "
    "float? normalizer, bool return_stats, bool validate",
    results=4,
    forward=_forward,
    backward=_backward,
    shapes=_shapes,
)


def _operator(call: SoftmaxCall, logits: Tensor, validate: bool) -> tuple[Tensor, ...]:
    """The same through torch's dispatcher, for graphs. A normalizer that is a tensor divides afterwards."""
    labels, class_weight, sample_weight, normalizer = call.arguments
    indices, values = (labels.indices, labels.values) if isinstance(labels, TopK) else (labels, None)
    o, later = call.options, isinstance(normalizer, Tensor)
    loss, *stats = _softmax_operator(
        *(logits, indices, values, class_weight, sample_weight),
        *(o.axis, o.label_smoothing, o.ignore_index, o.temperature, o.softcap, o.z_loss),
        *("sum" if later else o.reduction, None if later else normalizer, call.return_stats, validate),
    )
    return (loss / normalizer if later else loss, *stats)


def softmax_cross_entropy(
    logits: Tensor,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
    function: RowFunction | None = None,
) -> Any:
    if wants_gradient(normalizer):
        check_normalizer(1.0, options.reduction)
        out = softmax_cross_entropy(
            logits,
            labels,
            replace(options, reduction="sum"),
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=None,
            return_stats=return_stats,
            validate=validate,
            function=function,
        )
        return (out[0] / normalizer, out[1]) if return_stats else out / normalizer
    if sample_weight is None and not return_stats and function is None:
        small = _small_call(logits, labels, class_weight, normalizer, options, validate)
        if small is not None:
            if logits.requires_grad and torch.is_grad_enabled():
                return SoftmaxCrossEntropy.apply(logits, small)
            return small.run(logits, False)[1][0]
    refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    if isinstance(labels, TopK):
        target: Any = TopK(
            as_tensor("labels.indices", labels.indices, logits), as_tensor("labels.values", labels.values, logits)
        )
        described, tensors = target.indices, [("labels", target.values)]
    else:
        described = target = as_tensor("labels", labels, logits)
        tensors = [("labels", target)]
    problem = softmax_problem(
        logits.shape, dtype_name(logits), options.axis, described.shape, dtype_name(described), target is not described
    )
    if class_weight is not None:
        class_weight = as_tensor("class_weight", class_weight, logits)
        tensors.append(("class_weight", class_weight))
    if sample_weight is not None:
        sample_weight = as_tensor("sample_weight", sample_weight, logits)
        tensors.append(("sample_weight", sample_weight))
    wants = wanted_gradients(logits, tensors)
    memory = kernels_for([logits, described, *(t for _, t in tensors if t is not described)])
    traced = torch.compiler.is_compiling()
    plan = loss_plan(memory, wants, options.reduction != "none", traced, function is None)
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced or (memory == "triton" and not validate))
    call = softmax_call(plan.kernel)(problem, options, (target, class_weight, sample_weight, normalizer))
    call.return_stats, call.function = return_stats, function
    call.one_pass = plan.gradient_in_forward
    if memory is None or traced:
        call.check_without_memory()
    else:
        call.prepare(logits, validate)
    if plan.kernel == "reference":
        if validate and memory is None and problem.target == "index":
            given = readable_integers(described)
            if given is not None:
                check_index(given, problem, options.ignore_index)
        loss, *stats = call.reference(logits)
    elif plan.kernel == "operator":
        loss, *stats = _operator(call, logits, validate)
    else:
        if wants:
            results = SoftmaxCrossEntropy.apply(logits, call)
        else:
            results = call.run(logits, gradient=False)[1]
            if not return_stats:
                return results[0]
        if not return_stats:
            return results
        loss, *stats = results
    return (loss, Stats(*stats)) if return_stats else loss
