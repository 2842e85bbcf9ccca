"""Rules about shapes and dtypes: what keeps a loss from being computed, or makes it another one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ....problem import INTEGER_DTYPES
from ..arrays import Lines
from ..case import SOFTMAX, Case
from .table import Found, rule


@rule(7, "one class under softmax", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    if case.classes == 1:
        yield (
            "error",
            f"logits of shape {case.logits.shape} have one class, whose probability is always 1: the loss is 0.",
            f"Two exclusive classes by one number: xent.sigmoid_cross_entropy(logits.squeeze({case.axis}), labels). "
            "Or give the head two outputs.",
        )


@rule(9, "class indices as floats", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    if not isinstance(case.labels, Lines) or case.labels.shape != case.batch or case.kind == "dense":
        return
    if case.labels.dtype in INTEGER_DTYPES:
        return
    values = np.asarray(case.labels[...], float)
    if values.size and (values == np.round(values)).all():
        yield (
            "error",
            f"labels are {case.labels.dtype} of shape {case.labels.shape}, and all whole numbers: class indices are "
            "meant.",
            "Make them integers: labels.astype('int64'), in PyTorch labels.long().",
        )


@rule(14, "the class axis is another one", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    if case.kind != "other" or not isinstance(case.labels, Lines):
        return
    shape, labels = case.logits.shape, case.labels.shape
    fitting = [at for at in range(len(shape)) if shape[:at] + shape[at + 1 :] == labels]
    if fitting and case.axis not in fitting:
        at = -1 if fitting[-1] == len(shape) - 1 else fitting[0]
        yield (
            "error",
            f"labels of shape {labels} fit logits of shape {shape} with the classes on axis {at}, not on "
            f"axis {case.axis}.",
            f"PyTorch takes axis 1: pass logits.movedim({at}, 1)."
            if case.options.framework == "torch"
            else f"Pass axis={at}.",
        )


@rule(15, "several axes could be the class axis", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    if not isinstance(case.labels, Lines) or case.options.axis is not None or case.kind != "index":
        return
    shape, labels = case.logits.shape, case.labels.shape
    fitting = [at for at in range(len(shape)) if shape[:at] + shape[at + 1 :] == labels]
    if len(fitting) > 1:
        yield (
            "info",
            f"labels of shape {labels} fit logits of shape {shape} with the classes on each of the axes {fitting}; "
            "the last one is taken, in PyTorch axis 1.",
            f"Name the axis: axis={fitting[-1] - len(shape)}; in PyTorch, move the classes to axis 1.",
        )


@rule(16, "an axis of length 1 too many", stage="form")
def _(case: Case) -> Iterator[Found]:
    if case.kind != "other" or not isinstance(case.labels, Lines):
        return
    shape = case.labels.shape
    if not case.softmax:
        without = tuple(n for n in shape if n != 1)
        if without == tuple(n for n in case.logits.shape if n != 1):
            yield (
                "error",
                f"labels of shape {shape} for logits of shape {case.logits.shape}: other libraries broadcast them to "
                "all pairs, and the loss is of something else.",
                "Give both one shape: logits.squeeze(-1), or labels[:, None].",
            )
        return
    same_rank = len(shape) == len(case.logits.shape)
    if (
        case.classes > 1
        and same_rank
        and shape[case.axis] == 1
        and shape[: case.axis] + shape[case.axis + 1 :] == case.batch
    ):
        yield (
            "error",
            f"labels of shape {shape} have an axis of length 1 where logits of shape {case.logits.shape} have "
            "their classes.",
            f"Take it away: labels.squeeze({case.axis}).",
        )


@rule(10, "labels for each class, as integers", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    if case.kind != "dense" or not isinstance(case.labels, Lines) or case.labels.dtype not in (*INTEGER_DTYPES, "bool"):
        return
    ones = case.label_mass
    if (ones == 1).all() and case.rows:
        yield (
            "info",
            f"integer labels of the logits' shape, one 1 in each of the {case.rows} rows: a one-hot matrix.",
            f"Pass class indices, {case.classes} times smaller: labels.argmax({case.axis}).",
        )


@rule(32, "pos_weight of another shape", ("sigmoid",), "form")
def _(case: Case) -> Iterator[Found]:
    if case.options.pos_weight is None:
        return
    shape = Lines("pos_weight", case.options.pos_weight).shape
    axis = 1 if case.options.framework == "torch" and len(case.logits.shape) > 1 else case.axis
    try:
        fits = np.broadcast_shapes(shape, case.logits.shape) == case.logits.shape
    except ValueError:
        fits = False
    if fits:
        return
    classes = case.logits.shape[axis]
    right = (classes, *(1,) * (len(case.logits.shape) - 1 - axis))  # broadcast from the last axis
    fits_another = len(shape) > 0 and shape[0] in case.logits.shape and shape[0] != classes
    where = f" It fits axis {case.logits.shape.index(shape[0])}, which is not the class axis." if fits_another else ""
    yield (
        "error",
        f"pos_weight of shape {shape} for {classes} classes on axis {axis} of logits {case.logits.shape}.{where}",
        f"One number for each class: shape {right}, or a single number. If the classes are on another axis, name it: "
        "for [N, C, H, W] axis=1, with pos_weight of shape (C, 1, 1).",
    )


@rule(45, "memory in another order, or rows made for nothing")
def _(case: Case) -> Iterator[Found]:
    skipped = int(case.ignored.sum())
    if case.rows >= 1000 and skipped > 0.5 * case.rows:
        yield (
            "info",
            f"{skipped} of {case.rows} rows ({skipped / case.rows:.0%}) are ignored: their logits are made and not "
            "used.",
            "Select the rows before the last layer: hidden[labels != ignore_index]. "
            "xent.linear_softmax_cross_entropy makes no logits for ignored rows.",
        )
    if not case.logits.contiguous and case.rows * case.classes > 1 << 20:
        yield (
            "info",
            f"logits of shape {case.logits.shape} are not contiguous: a transposed or sliced view.",
            "Nothing to do for xent, which reads any layout in place; others copy it. Let the layer write its result "
            "in the order in which the loss reads it, classes last.",
        )
