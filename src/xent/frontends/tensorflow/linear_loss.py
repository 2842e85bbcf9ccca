"""Losses of a projection, on tensors: in eager mode without the logits, by NumPy's products on the tensors' memory.

In graphs, in forward mode and for gradients to weights or soft labels the logits are made by TensorFlow's product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...heads import LowRank, head_parts
from ...labels import Positives, TopK, refuse
from ...losses.softmax import Stats
from ...options import ElementwiseOptions, SoftmaxOptions
from ...problem import check_head
from ..numpy.linear_loss import LinearSigmoidCall, LinearSoftmaxCall
from .arrays import (
    all_readable,
    as_tensor,
    given,
    has_tangents,
    kept,
    numpy_of,
    on_numpy,
    recording,
    static_shape,
    tensor_of,
    wanted_gradients,
)
from .elementwise_loss import elementwise_loss
from .gradients import differentiable
from .softmax_loss import softmax_cross_entropy

Tensors = dict[str, Any]


class _Head:
    """What makes the logits: tensors by the names of the arguments, and the scale of an update of low rank."""

    def __init__(self, inputs: Any, weight: Any, bias: Any) -> None:
        parts, self.scale = head_parts(inputs, weight, bias)
        self.tensors = {name: as_tensor(name, value) for name, value in parts.items()}

    def arrays(self) -> tuple[Any, Any, Any]:
        """Inputs, weight and bias on NumPy."""
        a = {name: numpy_of(tensor) for name, tensor in self.tensors.items()}
        weight: Any = a["weight"]
        if "weight.down" in a:
            weight = LowRank(weight, a["weight.down"], a["weight.up"], self.scale)
        return a["inputs"], weight, a.get("bias")

    def logits(self, tensors: Tensors | None = None) -> Any:
        """All logits at once, in TensorFlow's operations; `tensors` in place of this head's."""
        t = self.tensors | (tensors or {})
        check_head({name: (static_shape(x, name), x.dtype.name) for name, x in t.items()})
        logits = tf.tensordot(t["inputs"], t["weight"], [[-1], [1]])
        if "weight.down" in t:
            low = tf.tensordot(t["inputs"], t["weight.down"] * tf.cast(self.scale, t["weight.down"].dtype), [[-1], [1]])
            logits += tf.tensordot(low, t["weight.up"], [[-1], [1]])
        return logits + t["bias"] if "bias" in t else logits


def _linear(
    head: _Head,
    arguments: dict[str, Any],
    differentiated: list[tuple[str, Any]],
    scalar: bool,
    call: Callable[..., Any],
    run: Callable[[Any, frozenset[str]], tuple[list[Any], dict[str, Any]]],
    dense: Callable[[Any, dict[str, Any]], list[Any]],
) -> list[Any]:
    """The results of a linear loss, recorded on the open tapes.

    Args:
        arguments: labels, weights and normalizer. `differentiated`: those of them that may have a gradient.
        call: makes the call on NumPy from inputs, weight, bias and the arguments.
        run: the call's results and the gradients to what is named.
        dense: the results of all logits, in TensorFlow's operations.
    """
    tensors = [*head.tensors.values(), *_tensors(arguments)]
    wanted: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    if recording():
        wanted, others = wanted_gradients(list(head.tensors.items())), wanted_gradients(differentiated)
    if not all_readable(tensors) or has_tangents(tensors) or others:
        return dense(head.logits(), arguments)
    if wanted:
        arguments = kept(arguments)
    made = call(*head.arrays(), **on_numpy(arguments))
    values, gradients = run(made, wanted if scalar else frozenset())
    results = [tensor_of(value) for value in values]
    if wanted:
        names = [name for name in head.tensors if name in wanted]
        differentiable_results = results[:3]  # all but argmax

        def vjp(*upstream: Any) -> list[Any]:
            found = made.vjp(wanted, *upstream)
            return [found[name] for name in names]

        def in_operations(*sources: Any) -> list[Any]:
            return dense(head.logits(dict(zip(names, sources, strict=True))), arguments)[: len(differentiable_results)]

        ready = [gradients[name] for name in names] if scalar else None
        differentiable([head.tensors[name] for name in names], differentiable_results, vjp, in_operations, ready)
    return results


def _tensors(arguments: dict[str, Any]) -> list[Any]:
    """The arguments, those of top-k targets and of lists one by one."""
    out: list[Any] = []
    for value in arguments.values():
        if isinstance(value, TopK):
            out += [value.indices, value.values]
        elif isinstance(value, Positives):
            out += [value.classes, value.starts]
        else:
            out.append(value)
    return out


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else given(name, value) for name, value in arguments.items()}


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
    if isinstance(labels, TopK):
        labels = TopK(given("labels.indices", labels.indices), given("labels.values", labels.values))
    else:
        labels = given("labels", labels)
    weights = _given({"class_weight": class_weight, "sample_weight": sample_weight, "normalizer": normalizer})
    soft = labels.values if isinstance(labels, TopK) else labels

    def call(x: Any, w: Any, b: Any, **arguments: Any) -> LinearSoftmaxCall:
        y = arguments.pop("labels")
        return LinearSoftmaxCall(x, w, y, options, bias=b, memory_budget=memory_budget, validate=validate, **arguments)

    def run(made: LinearSoftmaxCall, wanted: frozenset[str]) -> tuple[list[Any], dict[str, Any]]:
        value, stats, gradients = made.run(wanted, return_stats)
        return [value, *(stats or ())], gradients

    def dense(logits: Any, arguments: dict[str, Any]) -> list[Any]:
        rest = {name: value for name, value in arguments.items() if name != "labels"}
        out = softmax_cross_entropy(
            logits, arguments["labels"], options, return_stats=return_stats, validate=validate, **rest
        )
        return [out[0], *out[1]] if return_stats else [out]

    differentiated = [("labels", soft), *((n, weights[n]) for n in ("class_weight", "sample_weight"))]
    loss, *stats = _linear(
        _Head(inputs, weight, bias),
        {"labels": labels, **weights},
        differentiated,
        options.reduction != "none",
        call,
        run,
        dense,
    )
    return (loss, Stats(*stats)) if return_stats else loss


def linear_sigmoid_cross_entropy(
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
) -> Any:
    if isinstance(labels, Positives):
        starts = None if labels.starts is None else given("labels.starts", labels.starts)
        labels = Positives(given("labels.classes", labels.classes), starts)
    else:
        labels = given("labels", labels)
    weights = {"pos_weight": pos_weight, "class_weight": class_weight, "sample_weight": sample_weight}
    arguments = {"labels": labels, **_given({**weights, "normalizer": normalizer})}

    def call(x: Any, w: Any, b: Any, **rest: Any) -> LinearSigmoidCall:
        y = rest.pop("labels")
        return LinearSigmoidCall(x, w, y, options, bias=b, memory_budget=memory_budget, validate=validate, **rest)

    def run(made: LinearSigmoidCall, wanted: frozenset[str]) -> tuple[list[Any], dict[str, Any]]:
        value, gradients = made.run(wanted)
        return [value], gradients

    def dense(logits: Any, given: dict[str, Any]) -> list[Any]:
        rest = {name: value for name, value in given.items() if name != "labels"}
        return [elementwise_loss(logits, given["labels"], options, validate=validate, **rest)]

    differentiated = [(name, arguments[name]) for name in ("labels", *weights)]
    return _linear(
        _Head(inputs, weight, bias), arguments, differentiated, options.reduction != "none", call, run, dense
    )[0]
