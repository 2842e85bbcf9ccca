"""Cross-entropy of a projection, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...heads import LowRank
from ...kernels.native import Memory, pooled
from ...labels import Positives, TopK, refuse
from ...losses.linear import LinearSoftmax
from ...losses.softmax import RowTargets, Stats
from ...options import SoftmaxOptions
from ...plan import linear_rows
from ...problem import check_low_rank, check_one_dtype, check_projection, softmax_problem
from . import gradients
from .arrays import Array, as_array, memory
from .softmax_loss import flat_labels

# Classes that half precision, of which NumPy makes no fast products, is converted to float32 for at a time.
_BLOCK = 2048


class _Products:
    """The matrix products of logits `Σ xᵢ·Wᵢᵀ + b` and of their gradients; half precision is computed in float32."""

    def __init__(
        self, pairs: list[tuple[Array, Array]], bias: Array | None, gradient: bool, chunk: int, apart: bool, soft: Any
    ) -> None:
        """`apart`: gradients do not go over the logits."""
        self._pairs, self._bias, self._soft = pairs, bias, soft
        weight = pairs[0][1]
        self.dtype = np.promote_types(weight.dtype, np.float32) if weight.dtype.kind == "f" else np.dtype(np.float32)
        size = len(weight) if weight.dtype == self.dtype else _BLOCK
        self._blocks = [slice(at, at + size) for at in range(0, len(weight), size)]
        self._logits = _matrix(chunk, len(weight), self.dtype)
        self._gradient = _matrix(chunk, len(weight), self.dtype) if apart else self._logits
        self._inputs = [np.asarray(x, self.dtype) for x, _ in pairs]
        self._rows: Any = None
        self.gradients: list[tuple[Array, Array]] = []
        self.of_bias: Array | None = None
        if gradient:
            self.gradients = [(np.zeros(x.shape, self.dtype), np.zeros(w.shape, self.dtype)) for x, w in pairs]
            self._of_inputs = [g for g, _ in self.gradients]
            self.of_bias = np.zeros(len(weight), self.dtype)

    def select(self, rows: Any) -> None:
        self._rows = rows
        self._inputs = [x[rows] for x in self._inputs]
        self._soft = None if self._soft is None else self._soft[rows]
        if self.gradients:
            self._of_inputs = [np.zeros_like(x) for x in self._inputs]

    def logits(self, start: int, stop: int) -> Memory:
        out = self._logits[: stop - start]
        for at, (x, (_, w)) in enumerate(zip(self._inputs, self._pairs, strict=True)):
            for some in self._blocks:
                part = x[start:stop] @ np.asarray(w[some], self.dtype).T
                out[:, some] = part if at == 0 else out[:, some] + part
        if self._bias is not None:
            out += np.asarray(self._bias, self.dtype)
        return memory(out, 1)

    def gradient(self, start: int, stop: int) -> Memory:
        return memory(self._gradient[: stop - start], 1)

    def soft_labels(self, start: int, stop: int) -> Memory:
        return memory(self._soft[start:stop], 1)

    def add(self, start: int, stop: int) -> None:
        g = self._gradient[: stop - start]
        for x, (_, w), of_x, (_, of_w) in zip(self._inputs, self._pairs, self._of_inputs, self.gradients, strict=True):
            for some in self._blocks:
                of_x[start:stop] += g[:, some] @ np.asarray(w[some], self.dtype)
                of_w[some] += g[:, some].T @ x[start:stop]
        self.of_bias += g.sum(0)

    def finished(self) -> list[tuple[Array, Array]]:
        """The gradients of x and W of each pair."""
        if self._rows is not None:
            for (whole, _), some in zip(self.gradients, self._of_inputs, strict=True):
                whole[self._rows] = some
        return self.gradients


def _matrix(rows: int, classes: int, dtype: Any) -> Array:
    out: Array = pooled(rows * classes * dtype.itemsize).view(dtype).reshape(rows, classes)
    return out


def linear_softmax_cross_entropy(
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
    return_stats: bool,
    validate: bool,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to linear_sigmoid_cross_entropy.")
    x = as_array("inputs", inputs)
    head = weight if isinstance(weight, LowRank) else LowRank(weight, None, None)
    w, b = as_array("weight", head.weight), None if bias is None else as_array("bias", bias)
    check_projection(x.shape, w.shape, None if b is None else b.shape)
    named = [("weight", w), ("bias", b)]
    if head.down is not None:
        down, up = as_array("weight.down", head.down), as_array("weight.up", head.up)
        check_low_rank(w.shape, down.shape, up.shape)
        named += [("weight.down", down), ("weight.up", up)]
    check_one_dtype(x.dtype.name, {name: array.dtype.name for name, array in named if array is not None})
    target: Any = (
        TopK(as_array("labels.indices", labels.indices), as_array("labels.values", labels.values))
        if isinstance(labels, TopK)
        else as_array("labels", labels)
    )
    described = target.indices if isinstance(target, TopK) else target
    shape = (*x.shape[:-1], len(w))
    problem = softmax_problem(
        shape, x.dtype.name, -1, described.shape, described.dtype.name, isinstance(target, TopK), "inputs @ weight.T"
    )
    targets = RowTargets(
        problem,
        options,
        flat_labels(target, problem, validate),
        class_weight=None if class_weight is None else as_array("class_weight", class_weight),
        sample_weight=None if sample_weight is None else as_array("sample_weight", sample_weight),
        normalizer=normalizer,
        validate=validate,
    )
    flat = x.reshape(-1, x.shape[-1])
    pairs = [(flat, w)]
    if head.down is not None:
        pairs.append((flat @ (down.T * np.asarray(head.scale, x.dtype)), up))
    recorder = gradients.active.get()
    wanted = recorder is not None and options.reduction != "none"
    apart = wanted and options.softcap is not None
    soft = target.reshape(-1, problem.classes) if problem.target == "dense" else None
    chunk = linear_rows(problem.rows, problem.classes * max(x.dtype.itemsize, 4) * (1 + apart), memory_budget)
    products = _Products(pairs, b, wanted, chunk, apart, soft)
    found = LinearSoftmax(problem, targets, products, chunk).run(gradient=wanted, statistics=return_stats)
    dtype = np.dtype(problem.accumulate)
    per_row = [None if a is None else a.astype(dtype).reshape(problem.batch_shape) for a in found[1:4]]
    value: Any = per_row[0] if options.reduction == "none" else dtype.type(found.total)
    if recorder is not None:
        if wanted:
            (of_x, of_w), *rest = products.finished()
            if rest:
                ((of_down, of_up),) = rest
                scale = np.asarray(head.scale, of_x.dtype)
                of_x = of_x + of_down @ (down * scale)
                recorder.add(value, head.down, ((of_down.T @ flat) * scale).astype(down.dtype))
                recorder.add(value, head.up, of_up.astype(up.dtype))
            recorder.add(value, inputs, of_x.reshape(x.shape).astype(x.dtype))
            recorder.add(value, head.weight, of_w.astype(w.dtype))
            if b is not None and products.of_bias is not None:
                recorder.add(value, bias, products.of_bias.astype(b.dtype))
        else:
            recorder.add(value, inputs, None)
    if not return_stats:
        return value
    return value, Stats(per_row[1], per_row[2], found.argmax.reshape(problem.batch_shape))
