"""L01 to L03: activations in front of losses that have their own, and probabilities where logits are at hand."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..activations import CLASS_AXES, Activation, LossCall, activation, loss_calls
from ..rule import Edit, Problem, Rule
from ..source import Source, argument, number
from ..vocabulary import FRAMEWORKS, LOSS_NAMES, SIGMOID_NAMES, SOFTMAX_NAMES


def softmax_twice(source: Source) -> Iterator[Problem]:
    """L01."""
    for loss, found in _activated(source):
        if (
            loss.loss.family != "softmax"
            or loss.from_logits is not True
            or found.kind not in ("softmax", "log_softmax")
        ):
            continue
        if found.axis not in _class_axes(loss):
            continue
        edits = _without(source, loss, found)
        if found.kind == "softmax":
            message = f"softmax before {_short(loss)}, which applies it once more: the gradient all but vanishes"
            yield Problem(loss.logits, "error", message, "pass the logits", edits)
        else:
            message = f"log_softmax before {_short(loss)}, which applies it once more: the same value for more work"
            yield Problem(loss.logits, "info", message, "pass the logits", edits)


def sigmoid_twice(source: Source) -> Iterator[Problem]:
    """L02."""
    for loss, found in _activated(source):
        if loss.loss.family == "sigmoid" and loss.from_logits is True and found.kind == "sigmoid":
            message = f"sigmoid before {_short(loss)}, which applies it once more: no probability leaves [0.5, 0.731]"
            yield Problem(loss.logits, "error", message, "pass the logits", _without(source, loss, found))


def bce_of_sigmoid(source: Source) -> Iterator[Problem]:
    """L03."""
    for loss, found in _activated(source):
        if loss.name in ("torch.binary_cross_entropy", "torch.BCELoss") and found.kind == "sigmoid":
            replacement = {"binary_cross_entropy": "binary_cross_entropy_with_logits", "BCELoss": "BCEWithLogitsLoss"}
            name = loss.name.removeprefix("torch.")
            message = f"{name} of a sigmoid: the logarithm is cut off at -100 and the gradient is lost before that"
            edits = _without(source, loss, found)
            function = (loss.made_by or loss.call).func
            # A loss object's other uses would change with it, unless it is made where it is used.
            renamed = loss.made_by is None or loss.made_by is loss.call.func
            if edits and renamed and isinstance(function, cst.Attribute) and function.attr.value == name:
                edits = (Edit(function.attr, replacement[name]), *edits)
            else:
                edits = ()
            yield Problem(loss.logits, "warning", message, f"use {replacement[name]} and pass the logits", edits)


def _activated(source: Source) -> Iterator[tuple[LossCall, Activation]]:
    for loss in loss_calls(source):
        found = activation(source, loss.logits)
        if found is not None:
            yield loss, found


def _class_axes(loss: LossCall) -> tuple[float | None, ...]:
    given = argument(loss.call, None, "axis", "dim")
    return CLASS_AXES if given is None else (number(given),)


def _short(loss: LossCall) -> str:
    return loss.name.rpartition(".")[2]


def _without(source: Source, loss: LossCall, found: Activation) -> tuple[Edit, ...]:
    """The edit that passes the logits themselves, where they can be written in the activation's place."""
    if found.logits is None or any(arg.keyword is not None and arg.keyword.value == "dtype" for arg in found.call.args):
        return ()
    if any(node is loss.logits for node in (found.call, *source.ancestors(found.call))):
        written = source.code(found.logits)
        is_argument = isinstance(source.parents.get(found.call), cst.Arg)
        return (Edit(found.call, written if is_argument or _is_atom(found.logits) else f"({written})"),)
    ends = (loss.logits, found.logits)
    variables = [node.value for node in ends if isinstance(node, cst.Name) and source.is_constant(node)]
    is_certain = len(variables) == 2 and source.assigned(loss.logits) is found.call
    if is_certain and source.is_unchanged(variables, found.call, loss.logits):
        return (Edit(loss.logits, source.code(found.logits)),)
    return ()


def _is_atom(node: cst.BaseExpression) -> bool:
    return bool(node.lpar) or isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript)


RULES = (
    Rule(
        number="L01",
        summary="softmax or log_softmax before a loss that takes logits",
        why=(
            "The loss applies a softmax itself. Applied to probabilities it sees logits between 0 and 1, so that "
            "it can not fall below log(1 + (C - 1)/e) and hardly has a gradient. A log_softmax in front changes "
            "nothing and costs a pass over the logits."
        ),
        bad="""\
import torch.nn.functional as F


def step(model, x, y):
    return F.cross_entropy(F.softmax(model(x), dim=1), y)
""",
        good="""\
import torch.nn.functional as F


def step(model, x, y):
    return F.cross_entropy(model(x), y)
""",
        mends=True,
        words=(FRAMEWORKS, LOSS_NAMES, SOFTMAX_NAMES),
        check=softmax_twice,
    ),
    Rule(
        number="L02",
        summary="sigmoid before a loss that takes logits",
        why=(
            "The loss applies a sigmoid itself. Of a probability that is between 0.5 and 0.731, so no example can "
            "be called negative and none with confidence."
        ),
        bad="""\
import torch
from torch import nn

criterion = nn.BCEWithLogitsLoss()


def step(model, x, y):
    return criterion(torch.sigmoid(model(x)), y)
""",
        good="""\
import torch
from torch import nn

criterion = nn.BCEWithLogitsLoss()


def step(model, x, y):
    return criterion(model(x), y)
""",
        mends=True,
        words=(FRAMEWORKS, LOSS_NAMES, SIGMOID_NAMES),
        check=sigmoid_twice,
    ),
    Rule(
        number="L03",
        summary="BCELoss or binary_cross_entropy of a sigmoid",
        why=(
            "In float32 the sigmoid is 1 from a logit of 17 on. With the label 0 the loss then jumps from 16 to "
            "100, where BCELoss cuts the logarithm off, and the gradient to 0. The form that takes logits is "
            "exact everywhere, and one pass instead of two."
        ),
        bad="""\
import torch
import torch.nn.functional as F


def step(model, x, y):
    return F.binary_cross_entropy(torch.sigmoid(model(x)), y)
""",
        good="""\
import torch
import torch.nn.functional as F


def step(model, x, y):
    return F.binary_cross_entropy_with_logits(model(x), y)
""",
        mends=True,
        words=(FRAMEWORKS, frozenset(("BCELoss", "binary_cross_entropy")), SIGMOID_NAMES),
        check=bce_of_sigmoid,
    ),
)
