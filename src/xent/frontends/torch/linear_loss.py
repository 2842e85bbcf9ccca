"""Cross-entropy of a projection, on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...heads import LowRank
from ...kernels.native import LABEL_CODES, Memory, pooled
from ...labels import Positives, TopK, refuse
from ...losses.elementwise import check_labels
from ...losses.linear import LinearElementwise, LinearSoftmax
from ...losses.softmax import RowTargets, Stats
from ...losses.weights import kept_mass
from ...options import ElementwiseOptions, SoftmaxOptions
from ...plan import Blocks, linear_blocks
from ...problem import (
    RowLayout,
    SoftmaxProblem,
    check_class_weight,
    check_head,
    check_sample_weight,
    softmax_problem,
)
from .arrays import (
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
    numpy_of,
)
from .elementwise_loss import ElementwiseCall, elementwise_loss
from .softmax_loss import SoftmaxCall, flat_labels, softmax_cross_entropy

Tensors = tuple[Any, ...]  # x and W of each product that makes the logits, and last the bias or None


class _Products:
    """The matrix products of logits `Σ xᵢ·Wᵢᵀ + b` and of their gradients.

    Sums over several blocks are made in float32 at least, those of one block by the product itself, which rounds once.
    """

    def __init__(self, tensors: Tensors, wanted: tuple[bool, ...], blocks: Blocks, apart: bool) -> None:
        """`tensors`: x and W of each pair, and last the bias. `apart`: gradients do not go over the logits."""
        *pairs, self._bias = tensors
        self._inputs, self._weights = pairs[::2], pairs[1::2]
        self._wanted, self._tensors, self._blocks = wanted, tensors, blocks
        self._rows: Any = None
        dtype = tensors[0].dtype
        self._logits = _buffer(blocks, dtype)
        self._gradient = _buffer(blocks, dtype) if apart else self._logits
        self.gradients: list[Any] = [None] * len(tensors)

    def select(self, rows: Any) -> None:
        self._rows = torch.from_numpy(rows)
        self._inputs = [x.index_select(0, self._rows) for x in self._inputs]

    def logits(self, rows: slice, classes: slice) -> Memory:
        out = _block(self._logits, rows, classes)
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            some, head = x[rows], w[classes].t()
            if at:
                out.addmm_(some, head)
            elif self._bias is None:
                torch.mm(some, head, out=out)
            else:
                torch.addmm(self._bias[classes], some, head, out=out)
        return self.place(out)

    def gradient(self, rows: slice, classes: slice) -> Memory:
        return self.place(_block(self._gradient, rows, classes))

    def place(self, matrix: Tensor, dense: bool = False) -> Memory:
        if dense and matrix.stride(1) != 1:
            matrix = matrix.contiguous()
        (rows, classes), (outer, step) = matrix.shape, matrix.stride()
        layout = RowLayout(rows, classes, 1, outer, step, 0)
        return Memory(matrix.data_ptr(), LABEL_CODES[dtype_name(matrix)], layout, matrix)

    def add(self, rows: slice, classes: slice) -> None:
        g = _block(self._gradient, rows, classes)
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            if self._wanted[2 * at]:
                total = self._total(2 * at, x, classes.stop - classes.start == len(w))[rows]
                _add_product(total, g, w[classes], classes.start == 0)
            if self._wanted[2 * at + 1]:
                total = self._total(2 * at + 1, w, rows.stop - rows.start == len(x))[classes]
                _add_product(total, g.t(), x[rows], rows.start == 0)
        if self._wanted[-1]:
            total = self._total(-1, self._bias, False)[classes]
            part = g.sum(0, dtype=total.dtype)
            total.copy_(part) if rows.start == 0 else total.add_(part)

    def _total(self, at: int, like: Tensor, in_one: bool) -> Tensor:
        """What a gradient is summed up in."""
        if self.gradients[at] is None:
            self.gradients[at] = empty_like(like, like.dtype if in_one else _wide(like.dtype))
        return self.gradients[at]  # type: ignore[no-any-return]

    def finished(self) -> list[Any]:
        """The gradients that are wanted; in float32 where those of half precision were summed up."""
        out: list[Any] = []
        for tensor, want, found in zip(self._tensors, self._wanted, self.gradients, strict=True):
            if not want:
                out.append(None)
            elif found is None:
                out.append(torch.zeros_like(tensor))
            elif found.shape != tensor.shape:  # of the rows that count
                out.append(torch.zeros_like(tensor).index_copy_(0, self._rows, found.to(tensor.dtype)))
            else:
                out.append(found)
        return out


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _add_product(total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
    """total + a·b, or the first product."""
    if a.dtype is torch.bfloat16 and total.dtype is not a.dtype:
        # What a product of bfloat16 has rounded off is another such product, exact inside: both are faster than one of
        # float32 where processors have bfloat16 in matrices, and hold 16 bits.
        rounded = torch.mm(a, b)
        rest = torch.addmm(rounded, a, b, beta=-1)
        total.copy_(rounded) if first else total.add_(rounded)
        total.add_(rest)
        return
    a, b = a.to(total.dtype), b.to(total.dtype)
    if first:
        torch.mm(a, b, out=total)
    else:
        total.addmm_(a, b)


def _buffer(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    """Uninitialised numbers for a block, many of them from the pool."""
    return torch.from_numpy(pooled(blocks.rows * blocks.classes * dtype.itemsize)).view(dtype)


def _block(buffer: Tensor, rows: slice, classes: slice) -> Tensor:
    count, width = rows.stop - rows.start, classes.stop - classes.start
    return buffer[: count * width].view(count, width)


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
        apart = any(wanted) and (apart or self.options.softcap is not None)
        x, classes = tensors[0], self.problem.classes
        whole_rows = x.itemsize >= 4  # a product with half as large numbers takes a third of the time
        blocks = linear_blocks(len(x), classes, x.itemsize * (1 + apart), self.budget, whole_rows)
        products = _Products(tensors, wanted, blocks, apart)
        return products, LinearSoftmax(self.problem, self.targets, products, blocks, self.soft)

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
    """One call of a linear loss of single numbers."""

    def __init__(
        self, shape: torch.Size, options: ElementwiseOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        """`arguments`: labels, positive weight, class weight, sample weight and normalizer."""
        self.shape, self.options, self.arguments, self.budget = shape, options, arguments, budget
        self.matrix = (shape[:-1].numel(), shape[-1])

    def prepare(self, logits_dtype: torch.dtype, validate: bool) -> None:
        """Checks the arguments against logits that are not there, and makes the denominator."""
        labels, *weights, normalizer = self.arguments
        nowhere = torch.empty((), dtype=logits_dtype).expand(self.shape)
        call = ElementwiseCall(nowhere, labels, self.options, _NAMES, *weights)
        call.check_weights()
        self.dtype = call.dtype
        self.others = [t for _, t in call.named]
        if call.lists is not None:
            call.read_lists(nowhere)
            self.labels: Any = call.by_lists
        else:
            self.labels = labels.detach().reshape(self.matrix)
            if validate:
                check_labels("labels", self.labels, self.options, numpy_of)
        self.pos_weight = None if call.pos_weight is None else self._matrix(call.pos_weight)
        self.weights = [self._matrix(weight) for weight in call.weights]
        self.denominator: float = 1.0
        if normalizer is not None:
            self.denominator = normalizer
        elif self.options.reduction == "mean":
            given = None if call.lists is not None else numpy_of(labels)
            self.denominator = kept_mass(tuple(self.shape), given, numpy_of(call.sample), self.options.ignore_index)

    def _matrix(self, weight: Tensor) -> Tensor:
        """A weight that broadcasts to the logits as rows and classes; no class is copied that shares its number."""
        last = weight.shape[-1] if weight.ndim else 1
        return weight.detach().expand(*self.shape[:-1], last).reshape(-1, last).expand(self.matrix)

    def _loss(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[_Products, LinearElementwise]:
        blocks = linear_blocks(*self.matrix, tensors[0].itemsize, self.budget, False)
        products = _Products(tensors, wanted, blocks, False)
        loss = LinearElementwise(
            self.options,
            self.matrix,
            products,
            blocks,
            self.labels,
            pos_weight=self.pos_weight,
            weights=self.weights,
            denominator=self.denominator,
        )
        return products, loss

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        products, loss = self._loss(tensors, wanted)
        each = torch.empty(self.matrix, dtype=self.dtype) if self.options.reduction == "none" else None
        total = loss.run(gradient=any(wanted), each=each)
        value = torch.scalar_tensor(total, dtype=self.dtype, device="cpu") if each is None else each.view(self.shape)
        return (value,), products.finished()

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        products, loss = self._loss(tensors, wanted)
        g: Any = upstream[0]
        scalar = self.options.reduction != "none"
        loss.vjp(float(g) if scalar else g.detach().to(self.dtype).reshape(self.matrix))
        return products.finished()

    def reference(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        labels, *weights, normalizer = self.arguments
        logits = _logits(tensors).view(self.shape)
        call = ElementwiseCall(logits, labels, self.options, _NAMES, *weights)
        call.normalizer = normalizer
        return (call.reference(logits),)


_NAMES = ("logits", "labels")


def _checked(inputs: Tensor, weight: Any, bias: Any) -> Tensors:
    """What makes the logits, checked, x as a matrix; in autocast's dtype if it is on."""
    head = weight if isinstance(weight, LowRank) else LowRank(weight, None, None)
    named = {"weight": head.weight, "weight.down": head.down, "weight.up": head.up, "bias": bias}
    given = {name: as_tensor(name, value, inputs) for name, value in named.items() if value is not None}
    given["inputs"] = inputs
    if torch.is_autocast_enabled(inputs.device.type) and inputs.dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(inputs.device.type)
        given = {name: t.to(dtype) for name, t in given.items()}
    check_head({name: (tuple(t.shape), dtype_name(t)) for name, t in given.items()})
    x, w, b = given["inputs"].reshape(-1, inputs.shape[-1]), given["weight"], given.get("bias")
    if head.down is None:
        return x, w, b
    return x, w, x @ (given["weight.down"].t() * head.scale), given["weight.up"], b


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
