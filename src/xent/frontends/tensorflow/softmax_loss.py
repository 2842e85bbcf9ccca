"""Softmax cross-entropy on tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...formulas import RowFunction
from ...kernels import reference
from ...labels import Positives, TopK, refuse
from ...losses.softmax import Stats
from ...options import SoftmaxOptions
from ...plan import loss_plan
from ...problem import check_class_weight, check_logits_dtype, check_same_shape, check_sample_weight, softmax_problem
from ..numpy.softmax_loss import SoftmaxCall
from .arrays import (
    NAMESPACE,
    all_readable,
    as_int64,
    as_tensor,
    check_class_axis,
    divisor,
    given,
    has_tangents,
    is_readable,
    kept,
    numpy_of,
    on_numpy,
    recording,
    static_shape,
    tensor_of,
    wanted_gradients,
    weight_tensor,
    with_shape,
)
from .gradients import differentiable


class _Reference:
    """A call of softmax cross-entropy in TensorFlow's operations, on arguments that are checked by their shapes."""

    def __init__(
        self,
        logits: Any,
        labels: Any,
        options: SoftmaxOptions,
        *,
        class_weight: Any,
        sample_weight: Any,
        normalizer: Any,
        function: RowFunction | None,
    ) -> None:
        self.options, self.function = options, function
        check_class_axis(logits, options.axis, "logits")
        topk = isinstance(labels, TopK)
        if topk:
            indices = as_tensor("labels.indices", labels.indices)
            values = as_tensor("labels.values", labels.values)
            check_logits_dtype(values.dtype.name, "labels.values")
            check_same_shape("labels.values", static_shape(values), static_shape(indices), "labels.indices")
        else:
            indices = as_tensor("labels", labels)
        name = logits.dtype.name
        self.problem = problem = softmax_problem(
            static_shape(logits), name, options.axis, static_shape(indices, "labels"), indices.dtype.name, topk
        )
        dtype = problem.accumulate
        if topk:
            values = with_shape("labels.values", values, tf.shape(indices))
            indices, values = as_int64(indices), tf.cast(values, dtype)
            self.labels: Any = indices, reference.topk_or_nan(NAMESPACE, indices, values, problem.classes)
        elif problem.target == "index":
            self.labels = as_int64(indices)
        else:
            self.labels = tf.cast(with_shape("labels", indices, _dynamic_shape(logits)), dtype)
        self.weights: dict[str, Any] = {"class_weight": None, "sample_weight": None, "normalizer": None}
        if class_weight is not None:
            weight = self.weights["class_weight"] = weight_tensor("class_weight", class_weight, dtype)
            check_class_weight(static_shape(weight, "class_weight"), problem.classes)
        if sample_weight is not None:
            weight = self.weights["sample_weight"] = weight_tensor("sample_weight", sample_weight, dtype)
            check_sample_weight(static_shape(weight, "sample_weight"), problem.batch_shape)
        if normalizer is not None:
            self.weights["normalizer"] = divisor(normalizer, options.reduction, dtype)

    def __call__(self, logits: Any) -> tuple[Any, Stats]:
        loss, stats = reference.softmax_cross_entropy(
            NAMESPACE,
            self.problem,
            self.options,
            tf.cast(logits, self.problem.accumulate),
            self.labels,
            function=self.function,
            **self.weights,
        )
        return loss, Stats(stats.lse, stats.entropy, stats.argmax)


def _dynamic_shape(logits: Any) -> Any:
    return logits.shape if logits.shape.is_fully_defined() else tf.shape(logits)


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
    function: RowFunction | None = None,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    if isinstance(labels, TopK):
        labels = TopK(given("labels.indices", labels.indices), given("labels.values", labels.values))
        parts = [labels.indices, labels.values]
    else:
        labels = given("labels", labels)
        parts = [labels]
    arguments = {
        "class_weight": None if class_weight is None else given("class_weight", class_weight),
        "sample_weight": None if sample_weight is None else given("sample_weight", sample_weight),
        "normalizer": None if normalizer is None else given("normalizer", normalizer),
        "function": function,
    }
    others = [("labels", parts[-1]), *((name, arguments[name]) for name in ("class_weight", "sample_weight"))]
    tensors = [logits, *parts, *arguments.values()]
    plain = is_readable(logits) and all_readable(tensors[1:])
    wants = wanted_gradients([("logits", logits), *others]) if recording() else frozenset()
    if wants:
        labels, arguments = kept(labels), kept(arguments)
    call = None
    if plain:
        call = SoftmaxCall(numpy_of(logits), on_numpy(labels), options, validate=validate, **on_numpy(arguments))
    # forward mode differentiates the reference's operations
    plan = loss_plan("native" if plain and not has_tangents(tensors) else None, wants, options.reduction != "none")
    if call is None or plan.kernel == "reference":
        loss, stats = _Reference(logits, labels, options, **arguments)(logits)
        return (loss, stats) if return_stats else loss

    value, statistics, gradient = call.run(gradient=plan.gradient_in_forward, statistics=return_stats)
    results = [tensor_of(value)]
    if statistics is not None:
        results += [tensor_of(statistics.lse), tensor_of(statistics.entropy)]
    if wants:

        def in_operations(x: Any) -> list[Any]:
            loss, stats = _Reference(logits, labels, options, **arguments)(x)
            return [loss, stats.lse, stats.entropy][: len(results)]

        ready = None if gradient is None else [gradient]
        differentiable([logits], results, lambda *upstream: [call.vjp(*upstream)], in_operations, ready)
    if statistics is None:
        return results[0]
    return results[0], Stats(results[1], results[2], tensor_of(statistics.argmax))
