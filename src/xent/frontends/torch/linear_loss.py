"""Cross-entropy of a projection, on tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...heads import LowRank
from ...kernels.native import Memory, pooled
from ...labels import Positives, TopK, refuse
from ...losses.elementwise import bad_label
from ...losses.linear import LinearSoftmax
from ...losses.softmax import RowTargets, Stats
from ...losses.weights import kept_mass
from ...options import ElementwiseOptions, SoftmaxOptions
from ...plan import linear_rows
from ...problem import (
    RowLayout,
    SoftmaxProblem,
    check_class_weight,
    check_low_rank,
    check_one_dtype,
    check_projection,
    check_sample_weight,
    softmax_problem,
)
from .arrays import (
    CODES,
    PlainFunction,
    as_tensor,
    by_reference,
    cotangent,
    divisor,
    dtype_name,
    empty_like,
    is_plain,
    is_saving_by_hooks,
    is_transformed,
    memory,
    numpy_of,
)
from .elementwise_loss import ElementwiseCall, elementwise_loss
from .softmax_loss import SoftmaxCall, flat_labels, softmax_cross_entropy

Tensors = tuple[Any, ...]  # x and W of each product that makes the logits, and last the bias or None


class _Products:
    """The matrix products of logits `Σ xᵢ·Wᵢᵀ + b` and of their gradients, with float32 sums for half precision."""

    def __init__(self, tensors: Tensors, wanted: tuple[bool, ...], chunk: int, apart: bool, soft: Any) -> None:
        """`tensors`: x and W of each pair, and last the bias. `apart`: gradients do not go over the logits."""
        *pairs, self._bias = tensors
        self._inputs, self._weights = pairs[::2], pairs[1::2]
        self._wanted, self._soft = wanted, soft
        self._rows: Any = None
        x, w = self._inputs[0], self._weights[0]
        shape = (chunk, w.shape[0])
        self._logits = _matrix(shape, x.dtype)
        self._gradient = _matrix(shape, x.dtype) if apart else self._logits
        self._all = self._inputs
        self.gradients: list[Any] = [None] * len(tensors)

    def select(self, rows: Any) -> None:
        self._rows = torch.from_numpy(rows)
        self._inputs = [x.index_select(0, self._rows) for x in self._all]
        if self._soft is not None:
            self._soft = self._soft.index_select(0, self._rows)

    def logits(self, start: int, stop: int) -> Memory:
        out = self._logits[: stop - start]
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            if at:
                out.addmm_(x[start:stop], w.t())
            elif self._bias is None:
                torch.mm(x[start:stop], w.t(), out=out)
            else:
                torch.addmm(self._bias, x[start:stop], w.t(), out=out)
        return _place(out)

    def matrix(self, rows: int) -> Tensor:
        """The logits of the last chunk."""
        return self._logits[:rows]

    def gradient(self, start: int, stop: int) -> Memory:
        return _place(self._gradient[: stop - start])

    def soft_labels(self, start: int, stop: int) -> Memory:
        return memory(self._soft[start:stop], 1)

    def add(self, start: int, stop: int) -> None:
        g = self._gradient[: stop - start]
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            if self._wanted[2 * at]:
                if self.gradients[2 * at] is None:
                    self.gradients[2 * at] = torch.empty_like(x)
                torch.mm(g, w, out=self.gradients[2 * at][start:stop])
            if self._wanted[2 * at + 1]:
                self.gradients[2 * at + 1] = _add_outer(self.gradients[2 * at + 1], g, x[start:stop], w)
        if self._wanted[-1]:
            total = g.sum(0, dtype=_wide(g.dtype))
            self.gradients[-1] = total if self.gradients[-1] is None else self.gradients[-1].add_(total)

    def finished(self) -> list[Any]:
        """The gradients that are wanted; in float32 for weights of half precision."""
        out: list[Any] = []
        for tensor, want, found in zip((*self._both(), self._bias), self._wanted, self.gradients, strict=True):
            if not want:
                out.append(None)
            elif found is None:
                out.append(torch.zeros_like(tensor))
            elif self._rows is not None and found.shape != tensor.shape:
                out.append(torch.zeros_like(tensor).index_copy_(0, self._rows, found))
            else:
                out.append(found)
        return out

    def _both(self) -> list[Any]:
        return [t for pair in zip(self._all, self._weights, strict=True) for t in pair]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


# Classes that half precision is converted to float32 for at a time, so that they stay in cache.
_BLOCK = 2048


def _add_outer(total: Tensor | None, g: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """total + gᵀ·x, the gradient to W, in float32 at least."""
    out = empty_like(w, _wide(w.dtype)) if total is None else total
    beta = 0 if total is None else 1
    if w.dtype is out.dtype:
        return out.addmm_(g.t(), x, beta=beta)
    wide = x.float()
    for first in range(0, len(w), _BLOCK):
        some = slice(first, first + _BLOCK)
        out[some].addmm_(g[:, some].float().t(), wide, beta=beta)
    return out


def _matrix(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """An uninitialised matrix, a large one from the pool."""
    return torch.from_numpy(pooled(shape[0] * shape[1] * dtype.itemsize)).view(dtype).view(shape)


def _place(matrix: Tensor) -> Memory:
    rows, classes = matrix.shape
    return Memory(matrix.data_ptr(), CODES[matrix.dtype], RowLayout(rows, classes, 1, classes, 1, 0), matrix)


class _SoftmaxCall:
    """One call of a linear loss."""

    def __init__(
        self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        """`arguments`: labels, class weight, sample weight and normalizer, as the dense loss takes them."""
        self.dense = SoftmaxCall(problem, options, arguments)
        self.problem, self.options, self.budget = problem, options, budget
        self.return_stats = False

    def prepare(self, validate: bool) -> None:
        labels, class_weight, sample_weight, normalizer = self.dense.arguments
        self.soft = labels.detach().reshape(-1, self.problem.classes) if self.problem.target == "dense" else None
        self.targets = RowTargets(
            self.problem,
            self.options,
            flat_labels(labels, self.problem, validate),
            class_weight=numpy_of(class_weight),
            sample_weight=numpy_of(sample_weight),
            normalizer=normalizer,
            validate=validate,
        )

    @property
    def others(self) -> tuple[Tensor, ...]:
        return self.dense.tensors

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        """The results, and the gradients that are wanted."""
        products, loss = self.sweep(tensors, wanted, False)
        results = self.results(loss.run(gradient=any(wanted), statistics=self.return_stats))
        return results, products.finished()

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        loss, lse, entropy = (*upstream, None, None)[:3]
        products, sweep = self.sweep(tensors, wanted, entropy is not None)
        sweep.vjp(
            0.0 if loss is None else cotangent(loss),
            None if lse is None else cotangent(lse),
            None if entropy is None else cotangent(entropy),
        )
        return products.finished()  # type: ignore[no-any-return]

    def sweep(self, tensors: Tensors, wanted: tuple[bool, ...], apart: bool) -> Any:
        """The products and the loss on them."""
        x = tensors[0]
        apart = apart or self.options.softcap is not None
        each = x.itemsize * (2 if apart and any(wanted) else 1)
        chunk = linear_rows(self.problem.rows, self.problem.classes * each, self.budget)
        products = _Products(tensors, wanted, chunk, apart and any(wanted), self.soft)
        return products, LinearSoftmax(self.problem, self.targets, products, chunk)

    def results(self, found: Any) -> tuple[Tensor, ...]:
        per_row, dtype = self.dense.per_row, self.dense.dtype
        if self.options.reduction == "none":
            loss = per_row(found.loss)
        else:
            loss = torch.scalar_tensor(found.total, dtype=dtype, device="cpu")
        if not self.return_stats:
            return (loss,)
        argmax = torch.from_numpy(found.argmax.reshape(self.problem.batch_shape))
        return loss, per_row(found.lse), per_row(found.entropy), argmax

    def reference(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        return self.dense.reference(_logits(tensors).view(self.problem.shape))


def _logits(tensors: Tensors) -> Tensor:
    """All logits at once, in torch's operations."""
    *pairs, bias = tensors
    logits = torch.nn.functional.linear(pairs[0], pairs[1], bias)
    for x, w in zip(pairs[2::2], pairs[3::2], strict=True):
        logits = logits + torch.nn.functional.linear(x, w)
    return logits


class LinearCrossEntropy(PlainFunction):
    """A linear loss, or (loss, lse, entropy, argmax). A scalar loss makes its gradients in the forward pass."""

    @staticmethod
    def forward(ctx: Any, call: Any, *tensors: Tensor | None) -> Any:
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *call.others)
        ctx.call = call
        one_pass = call.options.reduction != "none" and not is_saving_by_hooks()
        wanted = tuple(ctx.needs_input_grad[1:]) if one_pass else (False,) * len(tensors)
        results, gradients = call.run(tensors, wanted)
        ctx.gradients = gradients if one_pass else None
        if len(results) == 1:
            return results[0]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(results[3])
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        gradients, ctx.gradients = ctx.gradients, None
        tensors = ctx.saved_tensors[: ctx.count]
        wanted = tuple(ctx.needs_input_grad[1:])
        if is_transformed(upstream):
            return None, *by_reference(ctx.call.reference, tensors, upstream, wanted)
        loss, *others = upstream
        if loss is not None and gradients is not None and all(g is None for g in others):
            factor = float(loss)
            made = [g if g is None or factor == 1.0 else g.mul_(factor) for g in gradients]
        else:
            made = ctx.call.vjp(tensors, wanted, upstream)
        return None, *(g if g is None else g.to(t.dtype) for g, t in zip(made, tensors, strict=True))


class _SigmoidCall:
    """One call of a linear loss of single numbers: every chunk of rows is a dense call of its own."""

    def __init__(
        self, shape: torch.Size, options: ElementwiseOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        """`arguments`: labels, positive weight, class weight, sample weight and normalizer, of all rows."""
        self.shape, self.options, self.arguments, self.budget = shape, options, arguments, budget
        self.classes = shape[-1]

    def prepare(self, logits_dtype: torch.dtype, validate: bool) -> None:
        """Checks the arguments against logits that are not there, and makes the denominator."""
        labels, *weights, normalizer = self.arguments
        nowhere = torch.empty((), dtype=logits_dtype).expand(self.shape)
        call = ElementwiseCall(nowhere, labels, self.options, _NAMES, *weights)
        call.check_weights()
        self.others = [t for _, t in call.named]
        self.lists = None
        if isinstance(labels, Positives):
            call.read_lists(nowhere)
            self.lists = call.by_lists
        elif validate:
            self._check_labels(labels)
        self.denominator: float | None = normalizer
        if normalizer is None and self.options.reduction == "mean":
            given = None if self.lists is not None else numpy_of(labels)
            total = kept_mass(tuple(self.shape), given, numpy_of(call.sample), self.options.ignore_index)
            self.denominator = total or math.inf  # the mean of nothing is 0

    def _check_labels(self, labels: Tensor) -> None:
        rows = labels.reshape(-1, self.classes)
        step = max(1, (1 << 20) // self.classes)
        for part in (rows[at : at + step] for at in range(0, len(rows), step)):
            fine = (part >= self.options.low) & (part <= self.options.high)
            if self.options.ignore_index is not None:
                fine |= part == self.options.ignore_index
            if not fine.all():
                raise bad_label("labels", numpy_of(labels), self.options)

    def _part(self, logits: Tensor, start: int, stop: int) -> Any:
        """The dense call of some rows."""
        labels, pos_weight, class_weight, sample_weight, _ = self.arguments
        if self.lists is not None:
            starts = self.lists.starts[start : stop + 1]
            labels = Positives(self.lists.classes[starts[0] : starts[-1]], starts - starts[0])
        else:
            labels = labels.reshape(-1, self.classes)[start:stop]
        if sample_weight is not None:
            if sample_weight.ndim == len(self.shape):
                lead = sample_weight.expand(*self.shape[:-1], sample_weight.shape[-1])
                sample_weight = lead.reshape(-1, sample_weight.shape[-1])[start:stop]
            else:
                sample_weight = sample_weight.expand(self.shape[:-1]).reshape(-1)[start:stop]
        call = ElementwiseCall(logits, labels, self.options, _NAMES, pos_weight, class_weight, sample_weight)
        call.normalizer = self.denominator
        if self.lists is not None:
            call.read_lists(logits)
        call.prepare(logits, False)
        return call

    def _sweep(self, tensors: Tensors, wanted: tuple[bool, ...], of_part: Any) -> list[Any]:
        """What `of_part` makes of each chunk: its gradient is written over the chunk's logits, and added up."""
        rows, itemsize = self.shape[:-1].numel(), tensors[0].itemsize
        chunk = linear_rows(rows, self.classes * itemsize * (2 if any(wanted) else 1), self.budget)
        products = _Products(tensors, wanted, chunk, False, None)
        for start in range(0, rows, chunk):
            stop = min(start + chunk, rows)
            products.logits(start, stop)
            logits = products.matrix(stop - start)
            gradient = of_part(self._part(logits, start, stop), start, stop)
            if any(wanted):
                logits.copy_(gradient)
                products.add(start, stop)
        return products.finished()

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        dtype = torch.promote_types(tensors[0].dtype, torch.float32)
        each = torch.empty(self.shape, dtype=dtype) if self.options.reduction == "none" else None
        total = 0.0

        def one(call: Any, start: int, stop: int) -> Tensor | None:
            nonlocal total
            gradient, loss = call.run(any(wanted))
            if each is None:
                total += float(loss)
            else:
                each.view(-1, self.classes)[start:stop] = loss
            return gradient  # type: ignore[no-any-return]

        gradients = self._sweep(tensors, wanted, one)
        return (torch.scalar_tensor(total, dtype=dtype, device="cpu") if each is None else each,), gradients

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        g: Any = upstream[0]

        def one(call: Any, start: int, stop: int) -> Tensor:
            some = g if g.ndim == 0 else g.reshape(-1, self.classes)[start:stop]
            return call.vjp(call.logits_like, some, None)  # type: ignore[no-any-return]

        return self._sweep(tensors, wanted, one)

    def reference(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        labels, *weights, _ = self.arguments
        logits = _logits(tensors).view(self.shape)
        call = ElementwiseCall(logits, labels, self.options, _NAMES, *weights)
        call.normalizer = self.denominator
        return (call.reference(logits),)


_NAMES = ("logits", "labels")


def _checked(inputs: Tensor, weight: Any, bias: Any) -> Tensors:
    """What makes the logits, checked, x as a matrix; in autocast's dtype if it is on."""
    head = weight if isinstance(weight, LowRank) else LowRank(weight, None, None)
    w = as_tensor("weight", head.weight, inputs)
    b = None if bias is None else as_tensor("bias", bias, inputs)
    named = [("weight", w), ("bias", b)]
    check_projection(tuple(inputs.shape), tuple(w.shape), None if b is None else tuple(b.shape))
    down = up = None
    if head.down is not None:
        down, up = as_tensor("weight.down", head.down, inputs), as_tensor("weight.up", head.up, inputs)
        named += [("weight.down", down), ("weight.up", up)]
        check_low_rank(tuple(w.shape), tuple(down.shape), tuple(up.shape))
    if torch.is_autocast_enabled(inputs.device.type) and inputs.dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(inputs.device.type)
        inputs, w = inputs.to(dtype), w.to(dtype)
        b, down, up = (t if t is None else t.to(dtype) for t in (b, down, up))
    else:
        check_one_dtype(dtype_name(inputs), {name: dtype_name(t) for name, t in named if t is not None})
    x = inputs.reshape(-1, inputs.shape[-1])
    if down is None:
        return x, w, b
    return x, w, x @ (down.t() * head.scale), up, b


def linear_softmax_cross_entropy(
    inputs: Tensor,
    weight: Any,
    labels: Any,
    options: SoftmaxOptions,
    *,
    bias: Any,
    memory_budget: int | None,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to linear_sigmoid_cross_entropy.")
    tensors = _checked(inputs, weight, bias)
    target: Any = labels
    if isinstance(labels, TopK):
        target = TopK(
            as_tensor("labels.indices", labels.indices, inputs), as_tensor("labels.values", labels.values, inputs)
        )
        described = target.indices
    else:
        described = target = as_tensor("labels", labels, inputs)
    x, w = tensors[0], tensors[1]
    shape = (*inputs.shape[:-1], w.shape[0])
    topk = target is not described
    problem = softmax_problem(
        shape, dtype_name(x), -1, described.shape, dtype_name(described), topk, "inputs @ weight.T"
    )
    if class_weight is not None:
        class_weight = as_tensor("class_weight", class_weight, inputs)
        check_class_weight(tuple(class_weight.shape), problem.classes)
    if sample_weight is not None:
        sample_weight = as_tensor("sample_weight", sample_weight, inputs)
        check_sample_weight(tuple(sample_weight.shape), problem.batch_shape)
    others = [t for t in (target.values if topk else target, described, class_weight, sample_weight) if t is not None]
    traced = torch.compiler.is_compiling()
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in others)
    if traced or differentiated or not all(is_plain(t) for t in (*tensors, *others) if t is not None):
        return softmax_cross_entropy(
            _logits(tensors).view(shape),
            target,
            options,
            class_weight=class_weight,
            sample_weight=sample_weight,
            normalizer=normalizer,
            return_stats=return_stats,
            validate=validate,
        )
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced)
    call = _SoftmaxCall(problem, options, (target, class_weight, sample_weight, normalizer), memory_budget)
    call.return_stats = return_stats
    call.prepare(validate)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        results = LinearCrossEntropy.apply(call, *tensors)
        results = results if return_stats else (results,)
    else:
        results = call.run(tensors, (False,) * len(tensors))[0]
    return (results[0], Stats(*results[1:])) if return_stats else results[0]


def linear_sigmoid_cross_entropy(
    inputs: Tensor,
    weight: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    bias: Any,
    memory_budget: int | None,
    pos_weight: Any,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    validate: bool,
) -> Any:
    tensors = _checked(inputs, weight, bias)
    shape = torch.Size((*inputs.shape[:-1], tensors[1].shape[0]))
    weights = [
        None if w is None else as_tensor(name, w, inputs)
        for name, w in (("pos_weight", pos_weight), ("class_weight", class_weight), ("sample_weight", sample_weight))
    ]
    target = labels if isinstance(labels, Positives) else as_tensor("labels", labels, inputs)
    lists = [target.classes, target.starts] if isinstance(target, Positives) else [target]
    others = [t for t in (*lists, *weights) if isinstance(t, Tensor)]
    traced = torch.compiler.is_compiling()
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in others)
    if traced or differentiated or not all(is_plain(t) for t in (*tensors, *others) if t is not None):
        return elementwise_loss(
            _logits(tensors).view(shape),
            target,
            options,
            pos_weight=weights[0],
            class_weight=weights[1],
            sample_weight=weights[2],
            normalizer=normalizer,
            validate=validate,
        )
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction, traced)
    call = _SigmoidCall(shape, options, (target, *weights, normalizer), memory_budget)
    call.prepare(tensors[0].dtype, validate)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return LinearCrossEntropy.apply(call, *tensors)
    return call.run(tensors, (False,) * len(tensors))[0][0]
