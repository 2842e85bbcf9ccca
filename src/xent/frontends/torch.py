"""PyTorch: CPU tensors go to the native kernels as they lie in memory; all others to the reference."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import _native
from ..errors import type_error
from ..formulas import pinball
from ..kernels import reference
from ..kernels.native import (
    DTYPE_CODES,
    POOLED_BYTES,
    IndexLabels,
    Memory,
    PerRow,
    RowCoefficients,
    SoftmaxRows,
    pooled,
)
from ..labels import TopK
from ..losses import SoftmaxLoss, Stats, check_normalizer, int64_labels, topk_arrays
from ..options import PinballOptions, SoftmaxOptions
from ..plan import softmax_plan
from ..problem import (
    SoftmaxProblem,
    check_class_weight,
    check_logits_dtype,
    check_same_shape,
    check_sample_weight,
    memory_order,
    row_layout,
    softmax_axis,
    softmax_problem,
)
from .numpy import as_array

_native.share_openmp()  # torch's threads: a second pool would compete with them

_NAMES = "float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"
DTYPE_NAMES = {getattr(torch, name): name for name in _NAMES.split()}
TORCH_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_CODES = {TORCH_DTYPES[name]: code for name, code in DTYPE_CODES.items()}
_LOGITS_ONLY = frozenset({"logits"})
_NOTHING: frozenset[str] = frozenset()


def dtype_name(tensor: Tensor) -> str:
    return DTYPE_NAMES.get(tensor.dtype) or str(tensor.dtype)


def memory(tensor: Tensor, axis: int) -> Memory:
    """The rows of a CPU tensor along `axis`; copied where they are not evenly spaced."""
    layout = row_layout(tensor.shape, tensor.stride(), axis)
    if layout is None:
        return memory(tensor.contiguous(), axis)
    return Memory(tensor.data_ptr(), _CODES[tensor.dtype], layout, tensor)


def empty_like_rows(logits: Tensor, rows: Memory, axis: int) -> tuple[Tensor, Memory]:
    """An uninitialised tensor of the logits' shape, dtype and memory order, large ones from the pool."""
    nbytes = logits.nbytes
    if nbytes < POOLED_BYTES and logits.is_contiguous():
        out = torch.empty_like(logits)
        return out, Memory(out.data_ptr(), rows.dtype, rows.layout, out)
    order, at = memory_order(logits.shape, axis, rows.layout.class_stride == 1)
    if nbytes < POOLED_BYTES:
        out = torch.empty(order, dtype=logits.dtype)
    else:
        out = torch.from_numpy(pooled(nbytes)).view(logits.dtype).view(order)
    if at != axis:
        out = out.movedim(at, axis)
    return out, memory(out, axis)


class Namespace:
    """The array API in torch's words, for the reference."""

    bool, nan = torch.bool, math.nan
    exp, log1p, tanh, isfinite, argmax, arange = (
        torch.exp,
        torch.log1p,
        torch.tanh,
        torch.isfinite,
        torch.argmax,
        torch.arange,
    )
    where, sum, all, zeros, ones = torch.where, torch.sum, torch.all, torch.zeros, torch.ones
    zeros_like, ones_like, moveaxis = torch.zeros_like, torch.ones_like, torch.movedim
    expand_dims, take_along_axis = torch.unsqueeze, torch.take_along_dim


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is ordinary memory of the CPU: no other device, subclass, tracer or sparse layout."""
    return (
        (type(tensor) is Tensor or type(tensor) is torch.nn.Parameter)
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_conj()
        and not tensor.is_neg()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


def numpy_of(tensor: Tensor | None) -> Any:
    """Small arrays (weights, labels) as NumPy, without a copy where the dtype exists there."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.double() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def as_tensor(argument: str, value: Any, like: Tensor) -> Tensor:
    """A tensor on the device of `like`; anything that NumPy understands is copied to one."""
    if isinstance(value, Tensor):
        return value
    array = as_array(argument, value)
    try:
        if array.dtype.name == "bfloat16":
            array = array.astype("float32")
        return torch.tensor(array.copy(), device=like.device)
    except TypeError as error:
        raise type_error(argument, "an array of numbers", f"dtype {array.dtype}", "Convert it to numbers.") from error


_NAMESPACE = Namespace()


def cotangent(upstream: Tensor) -> PerRow:
    """An upstream gradient as a number, or flat float64."""
    if upstream.ndim == 0:
        return float(upstream)
    return upstream.detach().to(torch.float64).contiguous().view(-1).numpy()


def flat_labels(labels: Tensor | TopK, problem: SoftmaxProblem, validate: bool) -> Any:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(labels, TopK):
        return topk_arrays(numpy_of(labels.indices), numpy_of(labels.values), problem.classes, validate)
    if problem.target == "dense":
        return memory(labels.detach(), problem.axis)
    flat = labels.contiguous() if labels.dtype is torch.int64 else torch.from_numpy(int64_labels(labels.numpy()))
    return IndexLabels(flat.data_ptr(), flat)


class SoftmaxCrossEntropy(torch.autograd.Function):
    """The loss, or (loss, lse, entropy, argmax) where the call asks for statistics.

    A scalar loss makes its gradient in the forward pass and hands it over to the first backward; a later backward, and
    one of a loss per row, makes it again from the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: _Call) -> Any:
        ctx.save_for_backward(logits, *call.tensors)
        ctx.set_materialize_grads(False)
        ctx.call = call
        ctx.gradient, results = call.run(logits, gradient=call.one_pass)
        if len(results) == 1:
            return results[0]
        ctx.mark_non_differentiable(results[3])
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        ready = gradient is not None and not torch.is_grad_enabled()
        if ready and all(g is None for g in upstream[1:]) and upstream[0] is not None and float(upstream[0]) == 1.0:
            return gradient, None
        return ctx.call.vjp(ctx.saved_tensors[0], upstream, gradient), None


class _Call:
    """One call of softmax cross-entropy, with what its derivatives need."""

    __slots__ = ("arguments", "dtype", "loss", "one_pass", "options", "problem", "return_stats", "rows")

    def __init__(self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...]) -> None:
        self.problem, self.options, self.arguments = problem, options, arguments
        self.dtype = TORCH_DTYPES[problem.accumulate]
        self.return_stats = False
        self.one_pass = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Labels and weights, saved beside the logits so that a change in place before the backward is noticed."""
        labels, class_weight, sample_weight, _ = self.arguments
        given = (labels.indices, labels.values) if isinstance(labels, TopK) else (labels,)
        return tuple(t for t in (*given, class_weight, sample_weight) if t is not None)

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Checks what the arrays hold, and readies the kernel."""
        labels, class_weight, sample_weight, normalizer = self.arguments
        self.rows = memory(logits.detach(), self.problem.axis)
        self.loss = SoftmaxLoss(
            self.problem,
            self.options,
            self.rows,
            flat_labels(labels, self.problem, validate),
            class_weight=numpy_of(class_weight),
            sample_weight=numpy_of(sample_weight),
            normalizer=normalizer,
            validate=validate,
        )

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The gradient if it is wanted, and (loss,) or (loss, lse, entropy, argmax)."""
        out, into = empty_like_rows(logits, self.rows, self.problem.axis) if gradient else (None, None)
        results = self.loss.run(into, statistics=self.return_stats)
        if self.options.reduction != "none":
            loss = torch.scalar_tensor(results.total, dtype=self.dtype)
        else:
            loss = self.per_row(results.loss)
        if not self.return_stats:
            return out, (loss,)
        argmax = torch.from_numpy(results.argmax).view(self.problem.batch_shape)
        return out, (loss, self.per_row(results.lse), self.per_row(results.entropy), argmax)

    def per_row(self, values: Any) -> Tensor:
        return torch.from_numpy(values).to(self.dtype).view(self.problem.batch_shape)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        """The gradient for any upstream gradients, in `out` if there is one; differentiable under `create_graph`."""
        loss, lse, entropy = (*upstream, None, None)[:3]
        if torch.is_grad_enabled():
            pairs = zip(self.reference(logits), (loss, lse, entropy), strict=False)
            used = [(output, g) for output, g in pairs if g is not None]
            outputs, cotangents = zip(*used, strict=True)
            return torch.autograd.grad(outputs, logits, cotangents, create_graph=True)[0]
        if out is None:
            out, into = empty_like_rows(logits, self.rows, self.problem.axis)
        else:
            into = memory(out, self.problem.axis)
        self.loss.gradient(
            into,
            0.0 if loss is None else cotangent(loss),
            lse=None if lse is None else cotangent(lse),
            entropy=None if entropy is None else cotangent(entropy),
        )
        return out

    def check_without_memory(self) -> None:
        """The checks that need no values: for tracers, other devices and wrappers."""
        _, class_weight, sample_weight, normalizer = self.arguments
        if class_weight is not None:
            check_class_weight(tuple(class_weight.shape), self.problem.classes)
        if sample_weight is not None:
            check_sample_weight(tuple(sample_weight.shape), self.problem.batch_shape)
        if normalizer is not None:
            self.arguments = (*self.arguments[:3], check_normalizer(normalizer, self.options.reduction))

    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        labels, class_weight, sample_weight, normalizer = self.arguments
        if isinstance(labels, TopK):
            labels = (labels.indices.long(), labels.values.to(self.dtype))
        elif self.problem.target == "index":
            labels = labels.long()
        else:
            labels = labels.to(self.dtype)
        loss, stats = reference.softmax_cross_entropy(
            _NAMESPACE,
            self.problem,
            self.options,
            logits.to(self.dtype),
            labels,
            class_weight=None if class_weight is None else class_weight.to(self.dtype),
            sample_weight=None if sample_weight is None else sample_weight.to(self.dtype),
            normalizer=normalizer,
        )
        return loss, stats.lse, stats.entropy, stats.argmax


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
) -> Any:
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
    wants = _wants(logits, tensors)
    plain = is_plain(logits) and is_plain(described) and all(is_plain(t) for _, t in tensors)
    plan = softmax_plan(plain_memory=plain, wants=wants, scalar=options.reduction != "none")
    call = _Call(problem, options, (target, class_weight, sample_weight, normalizer))
    call.return_stats = return_stats
    call.one_pass = plan.gradient_in_forward
    if plain:
        call.prepare(logits, validate)
    else:
        call.check_without_memory()
    if plan.kernel == "reference":
        loss, *stats = call.reference(logits)
    else:
        if wants:
            results = SoftmaxCrossEntropy.apply(logits, call)  # type: ignore[no-untyped-call]
        else:
            results = call.run(logits, gradient=False)[1]
            if not return_stats:
                return results[0]
        if not return_stats:
            return results
        loss, *stats = results
    return (loss, Stats(*stats)) if return_stats else loss


def _wants(logits: Tensor, others: list[tuple[str, Tensor]]) -> frozenset[str]:
    if not torch.is_grad_enabled():
        return _NOTHING
    if any(tensor.requires_grad for _, tensor in others):
        names = {name for name, tensor in others if tensor.requires_grad}
        return frozenset(names | {"logits"} if logits.requires_grad else names)
    return _LOGITS_ONLY if logits.requires_grad else _NOTHING


class LogSumExp(torch.autograd.Function):
    """log Σ exp along an axis; its gradient is the softmax."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.axis = axis
        rows = memory(logits, axis)
        out = SoftmaxRows(rows).run(RowCoefficients(l=1.0), rows=True)
        lse = torch.from_numpy(out.loss).to(logits.dtype).view(logits.shape[:axis] + logits.shape[axis + 1 :])
        if lse.isnan().any():  # the kernels make NaN of +inf, whose sum is known here
            lse = torch.where(lse.isnan() & (logits.amax(axis) == math.inf), math.inf, lse)
        return lse

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (logits,) = ctx.saved_tensors
        return upstream.unsqueeze(ctx.axis) * softmax(logits, ctx.axis), None


class Softmax(torch.autograd.Function):
    """exp z / Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        rows = memory(logits, axis)
        out, into = empty_like_rows(logits, rows, axis)
        SoftmaxRows(rows).run(RowCoefficients(l=1.0), into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        g = p * upstream
        return g - p * g.sum(ctx.axis, keepdim=True), None


class LogSoftmax(torch.autograd.Function):
    """z - log Σ exp z along an axis."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, axis: int) -> Tensor:
        rows = memory(logits, axis)
        out, into = empty_like_rows(logits, rows, axis)
        SoftmaxRows(rows).log_softmax(into)
        ctx.save_for_backward(out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (log_p,) = ctx.saved_tensors
        return upstream - log_p.exp() * upstream.sum(ctx.axis, keepdim=True), None


def _along_axis(function: Any, fallback: Any, logits: Tensor, axis: int) -> Tensor:
    at = softmax_axis(tuple(logits.shape), dtype_name(logits), axis)
    if is_plain(logits):
        return function.apply(logits, at)  # type: ignore[no-any-return]
    return fallback(logits, at)  # type: ignore[no-any-return]


def softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(Softmax, torch.softmax, logits, axis)


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSoftmax, torch.log_softmax, logits, axis)


def logsumexp(logits: Tensor, axis: int) -> Tensor:
    return _along_axis(LogSumExp, torch.logsumexp, logits, axis)


def pinball_loss(pred: Tensor, target: Any, options: PinballOptions, *, sample_weight: Any) -> Tensor:
    dtype = TORCH_DTYPES[check_logits_dtype(dtype_name(pred), "pred")]
    target = as_tensor("target", target, pred)
    check_same_shape("target", tuple(target.shape), tuple(pred.shape), "pred")
    loss, _ = pinball(torch, pred.to(dtype) - target, options.over, options.under)
    weight = (
        torch.ones((), dtype=dtype, device=pred.device)
        if sample_weight is None
        else as_tensor("sample_weight", sample_weight, pred)
    )
    if sample_weight is not None:
        check_sample_weight(tuple(weight.shape), tuple(pred.shape))
    weight = weight.to(dtype).expand(pred.shape)
    loss = loss * weight
    if options.reduction == "none":
        return loss
    total = loss.sum()
    if options.reduction == "sum":
        return total
    mass = weight.sum()
    return torch.where(mass == 0, total * 0.0, total / torch.where(mass == 0, 1.0, mass))


def value_and_grad(
    loss_fn: Any, argnums: int | tuple[int, ...], has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """Value and gradient of any function of tensors."""
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    leaves = list(args)
    for at in wanted:
        if not (isinstance(leaves[at], Tensor) and leaves[at].is_floating_point()):
            raise type_error("argnums", "positions of floating-point tensors", repr(at), "Integers have no gradient.")
        leaves[at] = leaves[at].detach().requires_grad_()
    with torch.enable_grad():
        out = loss_fn(*leaves, **kwargs)
    loss = out[0] if has_aux else out
    gradients = torch.autograd.grad(loss, [leaves[at] for at in wanted])
    loss = loss.detach()
    return ((loss, *out[1:]) if has_aux else loss), gradients[0] if isinstance(argnums, int) else gradients
