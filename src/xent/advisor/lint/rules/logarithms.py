"""L04 to L07: logarithms of probabilities."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from ..activations import Activation, activation
from ..names import canonical
from ..rule import Edit, Problem, Rule
from ..source import Source, argument, number
from ..vocabulary import (
    CLIPS,
    DIFFERENTIATED,
    FRAMEWORKS,
    LOGARITHMS,
    REDUCTIONS,
    SIGMOID_NAMES,
    SOFTMAX_NAMES,
    Kind,
    calls,
)

# Activations whose logarithm has a name beside theirs; "softmax" is the method of a tensor
LOG_NAMES = {
    "softmax": "log_softmax",
    "torch.softmax": "log_softmax",
    "tensorflow.nn.softmax": "log_softmax",
    "jax.nn.softmax": "log_softmax",
    "keras.ops.softmax": "log_softmax",
    "scipy.special.softmax": "log_softmax",
    "xent.softmax": "log_softmax",
    "jax.nn.sigmoid": "log_sigmoid",
    "keras.ops.sigmoid": "log_sigmoid",
    "scipy.special.expit": "log_expit",
    "xent.sigmoid": "log_sigmoid",
}
# The sigmoid's logarithm in modules that have it elsewhere or under another name
LOG_SIGMOIDS = {
    "torch": "nn.functional.logsigmoid",
    canonical("torch.nn.functional"): "logsigmoid",
    "tensorflow": "math.log_sigmoid",
    "tensorflow.math": "log_sigmoid",
}
LABEL = re.compile(r"(\w+_)?(y|y_\w+|labels?|targets?|true|one_?hot)", re.IGNORECASE)
LOG = calls(*LOGARITHMS)
PROTECTIONS = ("clip", "clamp", "max", "where", "nan_to_num", "softplus", "exp", "finfo", "eps", "tiny", ">", "<", "+")


def log_of_softmax(source: Source) -> Iterator[Problem]:
    """L04."""
    yield from _log_of(
        source, "softmax", "log_softmax", "is -inf, with a gradient of NaN, where the softmax rounds to 0"
    )


def log_of_sigmoid(source: Source) -> Iterator[Problem]:
    """L05."""
    yield from _log_of(
        source, "sigmoid", "log_sigmoid", "is -inf, with a gradient of NaN, where the sigmoid rounds to 0"
    )


def unprotected_sum(source: Source) -> Iterator[Problem]:
    """L06."""
    for product in source.nodes.products:
        for log, label in ((product.right, product.left), (product.left, product.right)):
            probability = _logarithm(source, log)
            if probability is None or not _is_bare(source, probability, label):
                continue
            # a mean may be that of returns times log-probabilities, unless the factor is called a label
            reductions = ("sum", "mean") if LABEL.fullmatch(source.code(label).lstrip("-")) else ("sum",)
            if _is_negative(source, product, reductions):
                message = "a cross-entropy of probabilities without protection: NaN as soon as one is 0"
                yield Problem(product, "warning", message, "compute the loss from the logits, or use xlogy(y, p)")


def log_of_clip(source: Source) -> Iterator[Problem]:
    """L07."""
    for call in source.calls:
        inner = _logarithm(source, call)
        clip = None if inner is None else source.value(inner)
        if not isinstance(clip, cst.Call) or _is_in_logit(source, call):
            continue
        clipped, low, high = _clip(source, clip)
        if clipped is None:
            continue
        found = activation(source, clipped)
        if found is not None and found.kind in ("softmax", "sigmoid"):
            fix = f"take log_{found.kind} of the logits"
        elif _is_differentiated(source, call) and _is_small(low) and _is_nearly_one(high):
            fix = "compute the loss from the logits"
        else:
            continue
        message = "the logarithm of a clipped probability: no gradient where the model is wrong with certainty"
        yield Problem(call, "warning", message, fix)


def _logarithm(source: Source, node: cst.BaseExpression) -> cst.BaseExpression | None:
    """What an expression is the logarithm of."""
    if not isinstance(node, cst.Call):
        return None
    name = source.name(node.func)
    if name:
        return argument(node, 0, "input", "x", "a") if name in LOGARITHMS else None
    method = node.func
    if isinstance(method, cst.Attribute) and method.attr.value == "log" and not node.args:
        return method.value
    return None


def _log_of(source: Source, kind: Kind, better: str, symptom: str) -> Iterator[Problem]:
    for call in source.calls:
        inner = _logarithm(source, call)
        if inner is None:
            continue
        found = _activation_of_log(source, inner, kind)
        if found is not None:
            message = f"log({kind}(x)) {symptom}"
            yield Problem(call, "warning", message, f"use {better}", _fused(source, call, inner, found))


def _activation_of_log(source: Source, inner: cst.BaseExpression, kind: Kind) -> Activation | None:
    """The activation p in log(p), log(p + 1e-8) and, for sigmoids, log(1 - p)."""
    match inner:
        case cst.BinaryOperation(operator=cst.Add()) if number(inner.right) is not None or "eps" in source.code(
            inner.right
        ):
            inner = inner.left
        case cst.BinaryOperation(operator=cst.Subtract()) if kind == "sigmoid" and number(inner.left) == 1:
            inner = inner.right
    found = activation(source, inner)
    return found if found is not None and found.kind == kind else None


def _fused(source: Source, call: cst.Call, inner: cst.BaseExpression, found: Activation) -> tuple[Edit, ...]:
    """The edit that writes the logarithm of the activation as one function, where both stand in one place."""
    function = found.call.func
    # the logarithm's other arguments, such as out=, have no place in the activation
    if (
        len(call.args) > 1
        or found.call is not inner
        or not isinstance(function, cst.Attribute)
        or any(arg.star for arg in found.call.args)
    ):
        return ()
    name = source.name(function)
    better = LOG_NAMES.get(name or function.attr.value)
    if better is None and name in ("torch.sigmoid", "tensorflow.sigmoid"):
        better = LOG_SIGMOIDS.get(source.name(function.value))
    if better is None:
        return ()
    renamed = cst.parse_expression(f"{source.code(function.value)}.{better}")
    return (Edit(call, source.code(found.call.with_changes(func=renamed, lpar=[], rpar=[]))),)


def _is_negative(source: Source, product: cst.BinaryOperation, reductions: tuple[str, ...]) -> bool:
    """Whether a product is added up by one of the reductions and has a minus."""
    negative = _is_minus(product.left)
    reduced = False
    below: cst.CSTNode = product
    for node in source.ancestors(product):
        match node:
            case cst.Arg():
                pass
            case cst.Attribute() if node.value is below and node.attr.value in ("sum", "mean"):
                pass
            case cst.Call() if isinstance(below, cst.Attribute):
                reduced = reduced or below.attr.value in reductions
            case cst.Call() if node.args and node.args[0] is below and source.name(node.func) in REDUCTIONS:
                reduced = reduced or source.name(node.func).endswith(reductions)
            case cst.UnaryOperation():
                return reduced and (negative or _is_minus(node))
            case _:
                return reduced and negative
        below = node
    return False


def _is_minus(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus)


def _is_bare(source: Source, probability: cst.BaseExpression, label: cst.BaseExpression) -> bool:
    """Whether nothing in sight keeps a probability from being 0 where its label is 0, too."""
    if not isinstance(probability, cst.Name | cst.Attribute | cst.Subscript):
        return False
    written = source.code(probability)
    if written == source.code(label) or any(word in written for word in PROTECTIONS):
        return False
    name = probability.value if isinstance(probability, cst.Subscript) else probability
    if isinstance(name, cst.Name):
        bound = source.assignments(name)
        if not bound:
            return False
        for target in bound:
            parameter = isinstance(source.parents.get(target), cst.Param) or isinstance(target, cst.Param)
            value = source.nodes.values.get(target)
            if not parameter and value is None:
                return False
            if value is not None and any(word in source.code(value) for word in PROTECTIONS):
                return False
        found = activation(source, name)
        return found is None
    return True


def _clip(
    source: Source, call: cst.Call
) -> tuple[cst.BaseExpression | None, cst.BaseExpression | None, cst.BaseExpression | None]:
    """What a call clips, and between which limits."""
    low, high = (
        ("min", "a_min", "clip_value_min", "x_min", "min_value"),
        ("max", "a_max", "clip_value_max", "x_max", "max_value"),
    )
    name = source.name(call.func)
    if name in CLIPS:
        return argument(call, 0, "input", "x", "a", "t"), argument(call, 1, *low), argument(call, 2, *high)
    if not name and isinstance(call.func, cst.Attribute) and call.func.attr.value in ("clamp", "clip"):
        return call.func.value, argument(call, 0, *low), argument(call, 1, *high)
    return None, None, None


def _is_in_logit(source: Source, log: cst.Call) -> bool:
    """Whether a logarithm is part of log(p) - log(1 - p), which has to be kept finite by something."""
    outer = source.parents.get(log)
    return (
        isinstance(outer, cst.BinaryOperation)
        and isinstance(outer.operator, cst.Subtract)
        and "log" in (source.code(outer.right if outer.left is log else outer.left))
    )


def _is_differentiated(source: Source, call: cst.Call) -> bool:
    root = source.name(call.func).partition(".")[0]
    return root in DIFFERENTIATED if root else source.imports("torch")


def _is_small(node: cst.BaseExpression | None) -> bool:
    value = number(node)
    return 0 < value <= 0.01 if value is not None else isinstance(node, cst.Name | cst.Attribute | cst.Call)


def _is_nearly_one(node: cst.BaseExpression | None) -> bool:
    value = number(node)
    if value is not None:
        return 0.99 <= value <= 1
    return isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Subtract) and number(node.left) == 1


RULES = (
    Rule(
        number="L04",
        summary="log(softmax(x))",
        why=(
            "The softmax of a logit far below the largest one rounds to 0 in float32 (from a difference of 88 on "
            "in JAX, of 104 in PyTorch); its logarithm is then -inf and the gradient NaN. A small number added to "
            "it hides that and cuts the gradient off. log_softmax is exact."
        ),
        bad="""\
import torch


def step(logits):
    return torch.log(torch.softmax(logits, dim=-1))
""",
        good="""\
import torch


def step(logits):
    return torch.log_softmax(logits, dim=-1)
""",
        mends=True,
        words=(FRAMEWORKS, SOFTMAX_NAMES, LOG),
        check=log_of_softmax,
    ),
    Rule(
        number="L05",
        summary="log(sigmoid(x)) or log(1 - sigmoid(x))",
        why=(
            "In float32 the sigmoid rounds to 0 for logits around -90 and below, and to 1 from 17 on; one of the "
            "two logarithms is then -inf and its gradient NaN. log_sigmoid(x), and log_sigmoid(-x) for the other, "
            "are exact."
        ),
        bad="""\
import jax
import jax.numpy as jnp


def step(logits):
    return jnp.log(jax.nn.sigmoid(logits))
""",
        good="""\
import jax
import jax.numpy as jnp


def step(logits):
    return jax.nn.log_sigmoid(logits)
""",
        mends=True,
        words=(FRAMEWORKS, SIGMOID_NAMES, LOG),
        check=log_of_sigmoid,
    ),
    Rule(
        number="L06",
        summary="-sum(y * log(p)) without protection",
        why=(
            "Where a probability is 0 its logarithm is -inf, and 0 · -inf is NaN: one such class makes the whole "
            "sum NaN, even if its label is 0. A loss that takes logits has no such case; xlogy(y, p) is 0 where y "
            "is."
        ),
        bad="""\
import numpy as np


def cross_entropy(labels, probabilities):
    return -np.sum(labels * np.log(probabilities))
""",
        good="""\
import numpy as np
from scipy.special import xlogy


def cross_entropy(labels, probabilities):
    return -np.sum(xlogy(labels, probabilities))
""",
        mends=False,
        words=(FRAMEWORKS, frozenset(("*log()",)), calls(*REDUCTIONS)),
        check=unprotected_sum,
    ),
    Rule(
        number="L07",
        summary="log(clip(p)) of a probability",
        why=(
            "Clipping keeps the logarithm finite and sets its gradient to 0 exactly where the prediction is "
            "worst, so such examples are never learned. A loss that takes logits needs no clipping."
        ),
        bad="""\
import tensorflow as tf


def loss(labels, probabilities):
    return -tf.reduce_sum(labels * tf.math.log(tf.clip_by_value(probabilities, 1e-7, 1.0)), axis=-1)
""",
        good="""\
import tensorflow as tf


def loss(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
""",
        mends=False,
        words=(FRAMEWORKS, calls(*CLIPS), LOG),
        check=log_of_clip,
    ),
)
