"""Losses of a projection, on NumPy arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...heads import head_parts
from ...kernels.native import LABEL_CODES, Memory, address, pooled
from ...labels import Positives, TopK, refuse
from ...losses.elementwise import check_labels, takes_lists
from ...losses.linear import LinearElementwise, LinearSoftmax
from ...losses.softmax import RowTargets, Stats
from ...losses.weights import check_normalizer, kept_mass
from ...options import ElementwiseOptions, SoftmaxOptions
from ...plan import Blocks, linear_blocks
from ...problem import RowLayout, Shape, check_head, elementwise_problem, softmax_problem
from . import gradients
from .arrays import Array, as_array
from .elementwise_loss import positive_weight, read_lists, weight_factors
from .softmax_loss import cotangent, flat_labels, softmax_labels

# Classes that half precision, of which NumPy makes no fast products, is converted to float32 for at a time.
_BLOCK = 2048


class Head:
    """What makes the logits, checked: `arrays` by the names of the arguments, `x` as a matrix, and their shape."""

    def __init__(self, inputs: Any, weight: Any, bias: Any) -> None:
        self.given, self.scale = head_parts(inputs, weight, bias)
        self.arrays = {name: as_array(name, value) for name, value in self.given.items()}
        check_head({name: (a.shape, a.dtype.name) for name, a in self.arrays.items()})
        inputs = self.arrays["inputs"]
        self.shape: Shape = (*inputs.shape[:-1], len(self.arrays["weight"]))
        self.dtype = inputs.dtype
        # Half precision is computed in float32.
        self.wide = np.promote_types(self.dtype, np.float32) if self.dtype.kind == "f" else np.dtype(np.float32)
        self.x = inputs.reshape(-1, inputs.shape[-1])

    def products(self, blocks: Blocks, apart: bool, wanted: frozenset[str]) -> _Products:
        """`wanted`: names of the arrays that gradients are made to."""
        flags = ["inputs" in wanted, "weight" in wanted]
        pairs = [(self.x, self.arrays["weight"])]
        if "weight.down" in self.arrays:
            down = np.asarray(self.arrays["weight.down"], self.wide) * np.asarray(self.scale, self.wide)
            pairs.append((self.x.astype(self.wide) @ down.T, self.arrays["weight.up"]))
            flags += ["inputs" in wanted or "weight.down" in wanted, "weight.up" in wanted]
        bias = self.arrays.get("bias")
        return _Products(pairs, bias, self.wide, blocks, apart, (*flags, bias is not None and "bias" in wanted))

    def silence(self, rows: Any) -> None:
        """Rows of x that count for nothing, whatever they hold: 0 times NaN would be NaN."""
        if rows.any():
            self.x = np.where(rows[:, None], np.zeros((), self.x.dtype), self.x)

    def gradients(self, products: _Products, wanted: frozenset[str]) -> dict[str, Array]:
        """The gradient to each wanted array, in its shape and dtype."""
        found = products.finished()
        out = {"inputs": found[0], "weight": found[1], "bias": found[-1]}
        if "weight.down" in self.arrays:
            down, scale = self.arrays["weight.down"], np.asarray(self.scale, self.wide)
            if "inputs" in wanted:
                out["inputs"] = out["inputs"] + found[2] @ (np.asarray(down, self.wide) * scale)
            if "weight.down" in wanted:
                of_low, x = found[2], self.x.astype(self.wide)
                if products.rows is not None:  # others may hold anything
                    of_low, x = of_low[products.rows], x[products.rows]
                out["weight.down"] = (of_low.T @ x) * scale
            out["weight.up"] = found[3]
        named = [(name, a) for name, a in self.arrays.items() if name in wanted]
        return {name: out[name].reshape(a.shape).astype(a.dtype, copy=False) for name, a in named}


class _Products:
    """The matrix products of logits `Σ xᵢ·Wᵢᵀ + b` and of their gradients, in float32 at least."""

    def __init__(
        self,
        pairs: list[tuple[Array, Array]],
        bias: Array | None,
        dtype: np.dtype[Any],
        blocks: Blocks,
        apart: bool,
        wanted: tuple[bool, ...],
    ) -> None:
        """`apart`: gradients do not go over the logits. `wanted`: to x and W of each pair, and last to the bias."""
        self._dtype, self._bias = dtype, bias
        self._inputs = self._quiet = [np.asarray(x, dtype) for x, _ in pairs]
        self._weights = [w for _, w in pairs]
        self._piece = len(pairs[0][1]) if pairs[0][1].dtype == dtype else _BLOCK
        self._logits = self._buffer(blocks)
        self._gradient = self._buffer(blocks) if apart else self._logits
        self.rows: Any = None
        self._all = [a.shape for pair in zip(self._inputs, self._weights, strict=True) for a in pair]
        # zeros, since no block may come where no row counts
        self._totals: list[Any] = [
            np.zeros(shape, dtype) if want else None for shape, want in zip(self._all, wanted[:-1], strict=True)
        ]
        self._of_bias = np.zeros(len(pairs[0][1]), dtype) if wanted[-1] else None

    def _buffer(self, blocks: Blocks) -> Array:
        """Uninitialised numbers for a block, many of them from the pool."""
        return pooled(blocks.rows * blocks.classes * self._dtype.itemsize).view(self._dtype)

    def select(self, rows: Any) -> None:
        self.rows = rows
        self._inputs = self._quiet = [x[rows] for x in self._inputs]
        for at, x in enumerate(self._inputs):
            if self._totals[2 * at] is not None:
                self._totals[2 * at] = np.zeros_like(x)

    def silence(self, rows: Any) -> None:
        self._quiet = [x.copy() for x in self._inputs]
        for x in self._quiet:
            x[rows] = 0

    def logits(self, rows: slice, classes: slice) -> Memory:
        with np.errstate(invalid="ignore"):  # what is not finite is the loss's to judge
            return self.place(self._made(_block(self._logits, rows, classes), rows, classes))

    def _made(self, out: Array, rows: slice, classes: slice) -> Array:
        for at, (x, w) in enumerate(zip(self._inputs, self._weights, strict=True)):
            for here, some in self._pieces(classes):
                head = np.asarray(w[some], self._dtype).T
                if at == 0:
                    np.matmul(x[rows], head, out=out[:, here])
                else:
                    out[:, here] += x[rows] @ head
        if self._bias is not None:
            out += np.asarray(self._bias[classes], self._dtype)
        return out

    def gradient(self, rows: slice, classes: slice) -> Memory:
        return self.place(_block(self._gradient, rows, classes))

    def place(self, matrix: Array, dense: bool = False) -> Memory:
        size = matrix.itemsize
        if (dense and matrix.strides[1] != size) or not matrix.flags.aligned or any(s % size for s in matrix.strides):
            matrix = np.array(matrix, order="C")
        (rows, classes), (outer, step) = matrix.shape, matrix.strides
        layout = RowLayout(rows, classes, 1, outer // size, step // size, 0)
        return Memory(address(matrix), LABEL_CODES[matrix.dtype.name], layout, matrix)

    def add(self, rows: slice, classes: slice) -> None:
        g = _block(self._gradient, rows, classes)
        for at, (x, w) in enumerate(zip(self._quiet, self._weights, strict=True)):
            of_x, of_w = self._totals[2 * at : 2 * at + 2]
            for here, some in self._pieces(classes):
                if of_x is not None:
                    _add_product(of_x[rows], g[:, here], np.asarray(w[some], self._dtype), some.start == 0)
                if of_w is not None:
                    _add_product(of_w[some], g[:, here].T, x[rows], rows.start == 0)
        if self._of_bias is not None:
            self._of_bias[classes] += g.sum(0)

    def _pieces(self, classes: slice) -> list[tuple[slice, slice]]:
        """Some classes in pieces to be converted one by one: within the block, and among all."""
        width, size = classes.stop - classes.start, self._piece
        pieces = [slice(at, min(at + size, width)) for at in range(0, width, size)]
        return [(here, slice(classes.start + here.start, classes.start + here.stop)) for here in pieces]

    def finished(self) -> list[Any]:
        """The gradients of x and W of each pair, and last of the bias; None where they are not wanted."""
        out: list[Any] = []
        for shape, found in zip(self._all, self._totals, strict=True):
            if found is not None and found.shape != shape:  # of the rows that count
                whole = np.zeros(shape, self._dtype)
                whole[self.rows] = found
                found = whole
            out.append(found)
        return [*out, self._of_bias]


def _add_product(total: Array, a: Array, b: Array, first: bool) -> None:
    """total + a·b, or the first product."""
    if first:
        np.matmul(a, b, out=total)
        return
    for start in range(0, len(total), _BLOCK):  # a product of its own for each, or one as large as the gradient
        some = slice(start, start + _BLOCK)
        total[some] += a[some] @ b


def _block(buffer: Array, rows: slice, classes: slice) -> Array:
    count, width = rows.stop - rows.start, classes.stop - classes.start
    return buffer[: count * width].reshape(count, width)


class LinearSoftmaxCall:
    """One call of softmax cross-entropy of a projection: checked, and ready to run, as `SoftmaxCall` is."""

    def __init__(
        self,
        inputs: Any,
        weight: Any,
        labels: Any,
        options: SoftmaxOptions,
        *,
        bias: Any,
        memory_budget: int | None,
        class_weight: Any,
        sample_weight: Any,
        normalizer: Any,
        validate: bool,
    ) -> None:
        refuse("labels", labels, Positives, "Lists of positive classes belong to linear_sigmoid_cross_entropy.")
        self.head, self.options, self._budget = Head(inputs, weight, bias), options, memory_budget
        target = softmax_labels(labels)
        described = target.indices if isinstance(target, TopK) else target
        self.problem = softmax_problem(
            self.head.shape,
            self.head.dtype.name,
            -1,
            described.shape,
            described.dtype.name,
            isinstance(target, TopK),
            "inputs @ weight.T",
        )
        self._targets = RowTargets(
            self.problem,
            options,
            flat_labels(target, self.problem, validate),
            class_weight=None if class_weight is None else as_array("class_weight", class_weight),
            sample_weight=None if sample_weight is None else as_array("sample_weight", sample_weight),
            normalizer=normalizer,
            validate=validate,
        )
        self._soft = described.reshape(-1, self.problem.classes) if self.problem.target == "dense" else None

    def run(self, wanted: frozenset[str], statistics: bool = False) -> tuple[Any, Stats | None, dict[str, Array]]:
        """The loss, the statistics if asked for, and the gradients of the reduced loss to the arrays that are named."""
        products, loss = self._loss(wanted, False)
        found = loss.run(gradient=bool(wanted), statistics=statistics)
        dtype = np.dtype(self.problem.accumulate)
        value = self._per_row(found.loss) if self.options.reduction == "none" else dtype.type(found.total)
        stats = None
        if statistics:
            argmax = found.argmax.reshape(self.problem.batch_shape)
            stats = Stats(self._per_row(found.lse), self._per_row(found.entropy), argmax)
        return value, stats, self.head.gradients(products, wanted)

    def vjp(self, wanted: frozenset[str], loss: Any, lse: Any = None, entropy: Any = None) -> dict[str, Array]:
        """The gradients for cotangents of the loss, and of lse and entropy: a number for a scalar, or one a row."""
        products, sweep = self._loss(wanted, entropy is not None)
        of_loss, of_lse, of_entropy = (None if g is None else cotangent(g) for g in (loss, lse, entropy))
        sweep.vjp(0.0 if of_loss is None else of_loss, of_lse, of_entropy)
        return self.head.gradients(products, wanted)

    def _loss(self, wanted: frozenset[str], apart: bool) -> tuple[_Products, LinearSoftmax]:
        apart = bool(wanted) and (apart or self.options.softcap is not None)
        number_bytes = self.head.wide.itemsize * (1 + apart)
        blocks = linear_blocks(self.problem.rows, self.problem.classes, number_bytes, self._budget, True)
        products = self.head.products(blocks, apart, wanted)
        return products, LinearSoftmax(self.problem, self._targets, products, blocks, self._soft)

    def _per_row(self, values: Array) -> Array:
        return values.astype(self.problem.accumulate).reshape(self.problem.batch_shape)


class LinearSigmoidCall:
    """One call of a linear loss of single numbers: checked, and ready to run."""

    def __init__(
        self,
        inputs: Any,
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
    ) -> None:
        self.head, self.options, self._budget = Head(inputs, weight, bias), options, memory_budget
        shape = self.head.shape
        self._matrix = (prod(shape[:-1]), shape[-1])
        nowhere = np.broadcast_to(np.empty((), self.head.dtype), shape)  # logits that are not there
        lists = takes_lists("labels", labels, options)
        y = nowhere if lists else as_array("labels", labels)
        problem = elementwise_problem(shape, nowhere.dtype.name, y.shape, y.dtype.name)
        self._dtype = np.dtype(problem.accumulate)
        self._pos_weight = None if pos_weight is None else self._rows_of(positive_weight(pos_weight, nowhere))
        weights, sample = weight_factors(nowhere, class_weight, sample_weight)
        if sample is not None:
            self.head.silence(np.all(self._rows_of(sample) == 0, axis=1))
        self._weights = [self._rows_of(weight) for weight in weights]
        self._labels = read_lists(labels, nowhere) if lists else y.reshape(self._matrix)
        if validate and not lists:
            check_labels("labels", self._labels, options, np.asarray)
        self._denominator = 1.0
        if normalizer is not None:
            self._denominator = check_normalizer(normalizer, options.reduction)
        elif options.reduction == "mean":
            self._denominator = kept_mass(shape, None if lists else y, sample, options.ignore_index)

    def _rows_of(self, weight: Array) -> Array:
        """A weight that broadcasts to the logits as rows and classes; no class is copied that shares its number."""
        last = weight.shape[-1] if weight.ndim else 1
        rows = np.broadcast_to(weight, (*self.head.shape[:-1], last)).reshape(-1, last)
        return np.broadcast_to(rows, self._matrix)

    def run(self, wanted: frozenset[str]) -> tuple[Any, dict[str, Array]]:
        """The loss, and the gradients of the reduced loss to the arrays that are named."""
        products, loss = self._loss(wanted)
        each = np.empty(self._matrix, self._dtype) if self.options.reduction == "none" else None
        total = loss.run(gradient=bool(wanted), each=each)
        value = self._dtype.type(total) if each is None else each.reshape(self.head.shape)
        return value, self.head.gradients(products, wanted)

    def vjp(self, wanted: frozenset[str], upstream: Any) -> dict[str, Array]:
        """The gradients for the cotangent of the loss: a number for a scalar, or one an element."""
        products, loss = self._loss(wanted)
        scalar = self.options.reduction != "none"
        loss.vjp(float(upstream) if scalar else np.asarray(upstream, self._dtype).reshape(self._matrix))
        return self.head.gradients(products, wanted)

    def _loss(self, wanted: frozenset[str]) -> tuple[_Products, LinearElementwise]:
        blocks = linear_blocks(*self._matrix, self.head.wide.itemsize, self._budget, False)
        products = self.head.products(blocks, False, wanted)
        loss = LinearElementwise(
            self.options,
            self._matrix,
            products,
            blocks,
            self._labels,
            pos_weight=self._pos_weight,
            weights=self._weights,
            denominator=self._denominator,
        )
        return products, loss


def _record(value: Any, head: Head, scalar: bool, found: dict[str, Array]) -> None:
    recorder = gradients.active.get()
    if recorder is None:
        return
    for name, given in head.given.items():
        if name in found or not scalar:
            recorder.add(value, given, found[name] if scalar else None)


def _wanted(call: LinearSoftmaxCall | LinearSigmoidCall) -> frozenset[str]:
    recorder = gradients.active.get()
    if recorder is None or call.options.reduction == "none":
        return frozenset()
    return frozenset(name for name, given in call.head.given.items() if recorder.wants(given))


def linear_softmax_cross_entropy(
    inputs: Any, weight: Any, labels: Any, options: SoftmaxOptions, *, return_stats: bool, **rest: Any
) -> Any:
    call = LinearSoftmaxCall(inputs, weight, labels, options, **rest)
    value, stats, found = call.run(_wanted(call), return_stats)
    _record(value, call.head, options.reduction != "none", found)
    return (value, stats) if return_stats else value


def linear_sigmoid_cross_entropy(
    inputs: Any, weight: Any, labels: Any, options: ElementwiseOptions, **rest: Any
) -> Any:
    call = LinearSigmoidCall(inputs, weight, labels, options, **rest)
    value, found = call.run(_wanted(call))
    _record(value, call.head, options.reduction != "none", found)
    return value
