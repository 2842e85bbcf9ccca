"""What is asked, in shapes and dtypes: the one place where arrays from a user are checked.

Nothing here touches an array's data or a framework: front-ends pass shapes, dtype names and strides, so the same checks
serve all of them, and a repeated shape costs a cache lookup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from .caching import remember
from .errors import type_error, value_error

Shape = tuple[int, ...]
Target = Literal["index", "dense", "topk"]

LOGIT_DTYPES = ("float32", "float64", "bfloat16", "float16")
INTEGER_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class SoftmaxProblem(NamedTuple):
    """Shapes of one softmax loss: every row is a vector of `classes` logits along `axis`."""

    shape: Shape  # of the logits
    axis: int  # of the classes, counted from the front
    classes: int
    batch_shape: Shape  # the shape without the class axis
    rows: int
    target: Target
    accumulate: str  # dtype of the loss: float64 for float64 logits, else float32


class RowLayout(NamedTuple):
    """Rows in memory: element (o, c, i) of an outer × classes × inner array, with strides in elements.

    Row o·inner + i is a row in the order of the batch shape.
    """

    outer: int
    classes: int
    inner: int
    outer_stride: int
    class_stride: int
    inner_stride: int


def class_axis(shape: Shape, axis: int, argument: str = "logits") -> int:
    """`axis` counted from the front, or an error that lists the axes there are."""
    if not shape:
        raise value_error(
            argument, "at least one axis", "a scalar", f"Pass an array with a class axis, as in {argument}[None]."
        )
    if not -len(shape) <= axis < len(shape):
        raise value_error(
            "axis",
            f"an axis in [{-len(shape)}, {len(shape)}) of {argument} of shape {shape}",
            str(axis),
            "Name an axis.",
        )
    return axis % len(shape)


def softmax_axis(shape: Shape, dtype: str, axis: int, argument: str = "logits") -> int:
    """The class axis of logits that a softmax is taken of, counted from the front.

    Raises:
        TypeError, ValueError: a dtype that is no float, an axis that does not exist, zero classes.
    """
    check_logits_dtype(dtype, argument)
    at = class_axis(shape, axis, argument)
    if shape[at] == 0:
        raise value_error(argument, "at least one class", f"shape {shape} with axis {axis}", "Check the class axis.")
    return at


def check_logits_dtype(dtype: str, argument: str = "logits") -> str:
    """The dtype in which the loss is accumulated and returned."""
    if dtype not in LOGIT_DTYPES:
        raise type_error(argument, " or ".join(LOGIT_DTYPES), dtype, f"Convert {argument} to one of these dtypes.")
    return "float64" if dtype == "float64" else "float32"


@remember
def softmax_problem(
    shape: Shape,
    dtype: str,
    axis: int,
    label_shape: Shape,
    label_dtype: str,
    topk: bool,
    logits: str = "logits",
) -> SoftmaxProblem:
    """The checked problem of a softmax loss.

    Args:
        label_shape, label_dtype: of the labels; with `topk`, of the indices of `TopK` labels.
        logits: what the caller names the first argument.

    Raises:
        TypeError: logits or labels of a dtype that has no meaning here.
        ValueError: shapes that do not belong together, a missing axis, zero classes.
    """
    shape, label_shape = tuple(shape), tuple(label_shape)  # plain ones for the messages
    accumulate = check_logits_dtype(dtype, logits)
    at = softmax_axis(shape, dtype, axis, logits)
    classes = shape[at]
    batch = shape[:at] + shape[at + 1 :]
    target = _target(shape, at, batch, label_shape, label_dtype, topk, logits)
    return SoftmaxProblem(shape, at, classes, batch, math.prod(batch), target, accumulate)


def _target(
    shape: Shape, axis: int, batch: Shape, label_shape: Shape, label_dtype: str, topk: bool, logits: str
) -> Target:
    got = f"shape {label_shape}"
    if topk:
        if label_dtype not in INTEGER_DTYPES:
            raise type_error("labels.indices", "an integer dtype", label_dtype, "Class indices are integers.")
        if label_shape[:-1] != batch or not label_shape or label_shape[-1] == 0:
            raise value_error(
                "labels.indices", f"shape {(*batch, 'k')} with k >= 1", got, "Append one axis of length k."
            )
        return "topk"
    if label_dtype in INTEGER_DTYPES:
        if label_shape == batch:
            return "index"
        remedy = f"Class indices have the shape of {logits}, {shape}, without the class axis {axis}."
        if label_shape == (*batch, 1):
            remedy = "Drop the last axis with labels[..., 0]."
        elif label_shape == shape:
            remedy = "For one-hot labels pass labels.argmax(axis), for soft targets convert them to a float dtype."
        raise value_error("labels", f"shape {batch} for integer labels", got, remedy)
    if label_dtype in LOGIT_DTYPES:
        if label_shape == shape:
            return "dense"
        remedy = f"Soft targets have the shape of the {logits}, {shape}."
        if label_shape == batch:
            remedy = "These look like class indices: convert them to an integer dtype."
        raise value_error("labels", f"shape {shape} for soft targets", got, remedy)
    raise type_error(
        "labels",
        "an integer dtype (class indices) or a float dtype (soft targets)",
        label_dtype,
        "Convert the labels to int64 or to the logits' dtype.",
    )


@remember
def row_layout(shape: Shape, strides: Shape, axis: int) -> RowLayout | None:
    """The rows of a strided array as outer × classes × inner, or None if no such view of it exists.

    Args:
        shape, strides: of the array, strides in elements; any sign, zero for broadcast axes.
        axis: the class axis, counted from the front.
    """
    outer = _merge(shape[:axis], strides[:axis])
    inner = _merge(shape[axis + 1 :], strides[axis + 1 :])
    if outer is None or inner is None:
        return None
    return RowLayout(outer[0], shape[axis], inner[0], outer[1], strides[axis], inner[1])


@remember
def memory_order(shape: Shape, strides: Shape) -> Shape | None:
    """The axes in the order in which an array lies in memory, outermost first; None for the plain order.

    A result in this order is read and written as its source is, for channels-last images, say.
    """
    # axes of no extent, and broadcast ones, stay where they are: outermost
    reach = [abs(step) if size > 1 and step else math.inf for size, step in zip(shape, strides, strict=True)]
    order = tuple(sorted(range(len(shape)), key=lambda at: -reach[at]))
    return None if order == tuple(range(len(shape))) else order


@remember
def dense_strides(shape: Shape, strides: Shape) -> Shape:
    """Strides of an array without gaps that lies in memory in the order of another."""
    order = memory_order(shape, strides) or tuple(range(len(shape)))
    dense, step = [0] * len(shape), 1
    for at in reversed(order):
        dense[at] = step
        step *= shape[at]
    return tuple(dense)


@remember
def shared_layouts(shape: Shape, strides: tuple[Shape, ...], by_rows: bool) -> tuple[RowLayout, ...] | None:
    """One way to walk several arrays of one shape, each with its own strides: as a line, or along some axis.

    None if there is none, and they must be copied. `by_rows`: along the last axis, which holds the classes.
    """
    flat = [_merge(shape, steps) for steps in strides]
    if all(flat) and not by_rows:
        return tuple(RowLayout(1, line[0], 1, 0, line[1], 0) for line in flat if line)
    for axis in reversed(range(len(shape))) if not by_rows else (len(shape) - 1,):
        layouts = tuple(row_layout(shape, steps, axis) for steps in strides)
        if all(layouts):
            return layouts  # type: ignore[return-value]
    return None


def _merge(sizes: Shape, strides: Shape) -> tuple[int, int] | None:
    """(length, stride) of several axes read as one in C order, or None if one stride cannot do it."""
    length, stride = 1, 0
    for size, step in zip(reversed(sizes), reversed(strides), strict=True):
        if size == 1:
            continue
        if length == 1:
            length, stride = size, step
        elif step == stride * length:
            length *= size
        else:
            return (0, 0) if 0 in sizes else None
    return length, stride


class ElementwiseProblem(NamedTuple):
    """Shapes of a loss of single numbers."""

    shape: Shape
    accumulate: str  # dtype of the loss: float64 for float64 logits, else float32


@remember
def elementwise_problem(
    shape: Shape, dtype: str, label_shape: Shape, label_dtype: str, logits: str = "logits", labels: str = "labels"
) -> ElementwiseProblem:
    """The checked problem of a loss of single numbers.

    Args:
        logits, labels: what the caller names these arguments.

    Raises:
        TypeError: dtypes that have no meaning here.
        ValueError: shapes that differ: nothing is broadcast by accident.
    """
    shape, label_shape = tuple(shape), tuple(label_shape)
    accumulate = check_logits_dtype(dtype, logits)
    if label_dtype not in (*LOGIT_DTYPES, *INTEGER_DTYPES, "bool"):
        raise type_error(labels, "real numbers or booleans", label_dtype, f"Convert {labels} to a float dtype.")
    if label_shape != shape:
        remedy = f"Reshape one of them: both name the same elements, as in {labels}.reshape({logits}.shape)."
        if label_shape == shape[:-1] and label_dtype in INTEGER_DTYPES:
            remedy = "Class indices belong to softmax_cross_entropy; for many labels a row pass 0/1 or xent.Positives."
        elif label_shape == (*shape, 1) or (*label_shape, 1) == shape:
            remedy = f"Squeeze the axis of length 1, as in {labels if label_shape[-1:] == (1,) else logits}[..., 0]."
        raise value_error(labels, f"the shape of {logits}, {shape}", f"shape {label_shape}", remedy)
    return ElementwiseProblem(shape, accumulate)


def check_pos_weight(shape: Shape, logits: Shape) -> None:
    """A positive weight broadcasts to the logits without enlarging them."""
    shape, logits = tuple(shape), tuple(logits)
    pairs = zip(reversed(shape), reversed(logits), strict=False)
    if len(shape) <= len(logits) and all(own in (1, size) for own, size in pairs):
        return
    remedy = "Pass one number, one a class along the last axis, or one an element."
    fits = [axis for axis, size in enumerate(logits) if len(shape) == 1 and size == shape[0]]
    if fits:
        target = tuple(shape[0] if axis == fits[0] else 1 for axis in range(fits[0], len(logits)))
        remedy = f"It fits axis {fits[0]}: pass pos_weight.reshape({target})."
    classes = f"({logits[-1]},): one weight a class" if logits else "()"
    raise value_error("pos_weight", f"a number or shape {classes}", f"shape {shape}", remedy)


def elementwise_weight_axes(shape: Shape, logits: Shape) -> Literal["elements", "rows"]:
    """Whether sample weights are one an element (or 1 in place of an axis) or one a row, by their rank."""
    shape, logits = tuple(shape), tuple(logits)
    if len(shape) == len(logits):
        check_sample_weight(shape, logits)
        return "elements"
    if logits and shape == logits[:-1]:
        return "rows"
    raise value_error(
        "sample_weight",
        f"shape {logits} (one an element, or 1 in place of an axis) or {logits[:-1]} (one a row)",
        f"shape {shape}",
        "Reshape the weights, as in sample_weight[..., None].",
    )


def last_axis(logits: Shape) -> int:
    """How many classes lie along the last axis, which class weights are for."""
    if logits:
        return logits[-1]
    raise value_error(
        "class_weight", "logits with a class axis", "a scalar", "Use sample_weight, or pass logits[None]."
    )


def check_head(arrays: Mapping[str, tuple[Shape, str]]) -> None:
    """What makes the logits of a linear loss: shapes and dtypes by the arguments' names.

    Inputs [..., D], a weight [C, D], if any a bias [C] and an update up·down of the weight, [C, r]·[r, D].
    """
    inputs, dtype = arrays["inputs"]
    weight = arrays["weight"][0]
    if not inputs:
        raise value_error("inputs", "at least one axis", "a scalar", "Pass the hidden states, [..., D].")
    if inputs[-1] == 0:
        raise value_error(
            "inputs", "at least one feature, D > 0", f"shape {inputs}", "Pass the hidden states, [..., D]."
        )
    if len(weight) != 2 or weight[1] != inputs[-1]:
        remedy = "Pass weight.T." if len(weight) == 2 and weight[0] == inputs[-1] else "The last axis of both is D."
        raise value_error("weight", f"shape (C, {inputs[-1]})", f"shape {weight}", remedy)
    if "bias" in arrays and arrays["bias"][0] != weight[:1]:
        got = f"shape {arrays['bias'][0]}"
        raise value_error("bias", f"shape ({weight[0]},): one number a class", got, "Reshape it.")
    if "weight.down" in arrays:
        down, up = arrays["weight.down"][0], arrays["weight.up"][0]
        if len(down) != 2 or down[1] != weight[1]:
            remedy = "down is applied to the inputs."
            raise value_error("weight.down", f"shape (r, {weight[1]})", f"shape {down}", remedy)
        if up != (weight[0], down[0]):
            raise value_error("weight.up", f"shape ({weight[0]}, {down[0]})", f"shape {up}", "up makes the logits.")
    for name, (_, other) in arrays.items():
        if other != dtype:  # products of two dtypes are nobody's wish
            raise type_error(name, f"the dtype of inputs, {dtype}", other, "Convert one of them.")


def check_same_shape(argument: str, shape: Shape, expected: Shape, of: str) -> None:
    """Elementwise losses take arrays of one shape; nothing is broadcast by accident."""
    if shape != expected:
        raise value_error(argument, f"the shape of {of}, {expected}", f"shape {shape}", "Reshape one of them.")


def check_class_weight(shape: Shape, classes: int) -> None:
    """Class weights are one number a class."""
    if shape != (classes,):
        raise value_error(
            "class_weight", f"shape ({classes},): one weight a class", f"shape {shape}", "Pass one weight per class."
        )


def check_sample_weight(shape: Shape, batch: Shape) -> None:
    """Sample weights have the batch shape, or 1 where an axis shares its weight."""
    fits = len(shape) == len(batch) and all(s in (1, b) for s, b in zip(shape, batch, strict=True))
    if not fits:
        raise value_error(
            "sample_weight",
            f"shape {batch}, or 1 in place of an axis that shares its weight",
            f"shape {shape}",
            "Pass one weight per row, in the shape of the per-row loss.",
        )
