"""NumPy: values directly; gradients through `value_and_grad`, which records the loss that a function calls."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import type_error, value_error
from ..formulas import mean_scale, pinball
from ..kernels.native import DTYPE_CODES, IndexLabels, Memory, RowCoefficients, SoftmaxRows, address, pooled
from ..labels import TopK
from ..losses import SoftmaxLoss, Stats, TopKArrays, int64_labels, topk_arrays
from ..options import PinballOptions, SoftmaxOptions
from ..problem import (
    SoftmaxProblem,
    check_logits_dtype,
    check_same_shape,
    check_sample_weight,
    memory_order,
    row_layout,
    softmax_axis,
    softmax_problem,
)

Array = NDArray[Any]


def as_array(argument: str, value: Any) -> Array:
    """An ndarray in native byte order, aligned, without hidden meaning."""
    if isinstance(value, np.ma.MaskedArray):
        raise type_error(
            argument, "a plain array", "a masked array", "Mask rows with ignore_index or sample_weight instead."
        )
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:  # ragged lists, tensors with a graph or on a device
        raise type_error(argument, "an array", type(value).__name__, f"Convert it to one. ({error})") from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def memory(array: Array, axis: int) -> Memory:
    """The rows of an array along `axis`; copied where they are not evenly spaced in whole elements."""
    size = array.itemsize
    layout = None
    if array.flags.aligned and not any(step % size for step in array.strides):
        layout = row_layout(array.shape, tuple(step // size for step in array.strides), axis)
    if layout is None:
        return memory(np.array(array, order="C"), axis)
    return Memory(address(array), DTYPE_CODES[array.dtype.name], layout, array)


def empty_like_rows(x: Array, rows: Memory, axis: int) -> tuple[Array, Memory]:
    """An uninitialised array of the logits' shape, dtype and memory order, large ones from the pool."""
    order, at = memory_order(x.shape, axis, rows.layout.class_stride == 1)
    out = np.moveaxis(pooled(x.size * x.itemsize).view(x.dtype).reshape(order), at, axis)
    return out, memory(out, axis)


class _Recorder:
    """The losses that a function computed: the result, the argument, the gradient to it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Array | None]] = []

    def add(self, result: Any, argument: Any, gradient: Array | None) -> None:
        self.calls.append((result, argument, gradient))


_recorder: ContextVar[_Recorder | None] = ContextVar("xent_recorder", default=None)


def value_and_grad(
    loss_fn: Callable[..., Any],
    argnums: int | tuple[int, ...],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Any]:
    """Value and gradient of a function that returns one of this library's losses as it came."""
    recorder = _Recorder()
    token = _recorder.set(recorder)
    try:
        out = loss_fn(*args, **kwargs)
    finally:
        _recorder.reset(token)
    loss = out[0] if has_aux else out
    call = next((c for c in recorder.calls if c[0] is loss), None)
    if call is None:
        raise type_error(
            "loss_fn",
            "a function of NumPy arrays that returns what one of xent's losses returned",
            type(loss).__name__,
            "Return the loss as it came (with has_aux=True in front of a tuple), or use torch or JAX arrays, which "
            "differentiate any function.",
        )
    if call[2] is None:
        raise value_error(
            "loss_fn", "a scalar loss", f"an array of shape {np.shape(loss)}", "Use reduction='mean' or 'sum'."
        )
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for at in wanted:
        if not -len(args) <= at < len(args):
            raise value_error("argnums", f"positions among {len(args)} positional arguments", repr(at), "Count from 0.")
        if args[at] is not call[1]:
            raise value_error(
                "argnums",
                "the position of the logits (or predictions)",
                repr(at),
                "On NumPy arrays the gradient is to the logits, passed on to the loss as they came.",
            )
    gradients = tuple(call[2] for _ in wanted)
    return out, gradients[0] if isinstance(argnums, int) else gradients


def _scalar(value: float, problem: SoftmaxProblem) -> Any:
    return np.dtype(problem.accumulate).type(value)


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
) -> Any:
    x = as_array("logits", logits)
    target = (
        TopK(as_array("labels.indices", labels.indices), as_array("labels.values", labels.values))
        if isinstance(labels, TopK)
        else as_array("labels", labels)
    )
    described = target.indices if isinstance(target, TopK) else target
    problem = softmax_problem(
        x.shape, x.dtype.name, options.axis, described.shape, described.dtype.name, isinstance(target, TopK)
    )
    rows = memory(x, problem.axis)
    loss = SoftmaxLoss(
        problem,
        options,
        rows,
        flat_labels(target, problem, validate),
        class_weight=None if class_weight is None else as_array("class_weight", class_weight),
        sample_weight=None if sample_weight is None else as_array("sample_weight", sample_weight),
        normalizer=normalizer,
        validate=validate,
    )
    recorder = _recorder.get()
    gradient = into = None
    if recorder is not None and options.reduction != "none":
        gradient, into = empty_like_rows(x, rows, problem.axis)
    out = loss.run(into, statistics=return_stats)
    shape, dtype = problem.batch_shape, np.dtype(problem.accumulate)
    value = _scalar(out.total, problem) if options.reduction != "none" else out.loss.astype(dtype).reshape(shape)
    if recorder is not None:
        recorder.add(value, logits, gradient)
    if not return_stats:
        return value
    return value, Stats(
        out.lse.astype(dtype).reshape(shape), out.entropy.astype(dtype).reshape(shape), out.argmax.reshape(shape)
    )


def pinball_loss(pred: Any, target: Any, options: PinballOptions, *, sample_weight: Any) -> Any:
    x, t = as_array("pred", pred), as_array("target", target)
    dtype = np.dtype(check_logits_dtype(x.dtype.name, "pred"))
    check_same_shape("target", t.shape, x.shape, "pred")
    loss, slope = pinball(np, x.astype(np.float64) - t, options.over, options.under)
    weight: Any = 1.0
    if sample_weight is not None:
        weight = as_array("sample_weight", sample_weight)
        check_sample_weight(weight.shape, x.shape)
        weight = np.broadcast_to(weight, x.shape).astype(np.float64)
    scale = 1.0
    if options.reduction == "mean":
        scale = mean_scale(float(np.sum(weight)) if sample_weight is not None else float(x.size))
    value: Any = (loss * weight).astype(dtype)
    if options.reduction != "none":
        value = dtype.type(np.sum(loss * weight) * scale)
    recorder = _recorder.get()
    if recorder is not None:
        recorder.add(value, pred, (slope * (weight * scale)).astype(x.dtype))
    return value


def flat_labels(target: Array | TopK, problem: SoftmaxProblem, validate: bool) -> IndexLabels | TopKArrays | Memory:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(target, TopK):
        return topk_arrays(target.indices, target.values, problem.classes, validate)
    if problem.target == "dense":
        return memory(target, problem.axis)
    flat = int64_labels(target)
    return IndexLabels(address(flat), flat)


def _rows(logits: Any, axis: int) -> tuple[Array, int, Memory]:
    x = as_array("logits", logits)
    at = softmax_axis(x.shape, x.dtype.name, axis)
    return x, at, memory(x, at)


def softmax(logits: Any, axis: int) -> Array:
    x, at, rows = _rows(logits, axis)
    out, into = empty_like_rows(x, rows, at)
    SoftmaxRows(rows).run(RowCoefficients(l=1.0), into)
    return out


def log_softmax(logits: Any, axis: int) -> Array:
    x, at, rows = _rows(logits, axis)
    out, into = empty_like_rows(x, rows, at)
    SoftmaxRows(rows).log_softmax(into)
    return out


def logsumexp(logits: Any, axis: int) -> Any:
    x, at, rows = _rows(logits, axis)
    out = SoftmaxRows(rows).run(RowCoefficients(l=1.0), rows=True)
    lse = out.loss.reshape(x.shape[:at] + x.shape[at + 1 :])
    if np.isnan(lse).any():  # the kernels make NaN of +inf, whose sum is known here
        lse = np.where(np.isnan(lse) & (x.max(axis=at) == np.inf), np.inf, lse)
    return lse.astype(x.dtype)[()]
