"""Softmax cross-entropy on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...formulas import RowFunction
from ...kernels.native import IndexLabels, Memory, address
from ...labels import Positives, TopK, refuse
from ...losses.labels import TopKArrays, int64_labels, topk_arrays
from ...losses.softmax import SoftmaxLoss, Stats
from ...options import SoftmaxOptions
from ...problem import SoftmaxProblem, softmax_problem
from . import gradients
from .arrays import Array, as_array, memory, output_like


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
    function: RowFunction | None = None,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    x = as_array("logits", logits)
    target = (
        TopK(as_array("labels.indices", labels.indices), as_array("labels.values", labels.values))
        if isinstance(labels, TopK)
        else as_array("labels", labels)
    )
    if isinstance(labels, list) and not labels:
        target = np.empty(0, np.int64)  # an empty list has no dtype of its own
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
        function=function,
    )
    recorder = gradients.active.get()
    gradient = into = None
    if recorder is not None and options.reduction != "none":
        gradient, into = output_like(x, problem.axis)
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


def flat_labels(target: Array | TopK, problem: SoftmaxProblem, validate: bool) -> IndexLabels | TopKArrays | Memory:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(target, TopK):
        return topk_arrays(target.indices, target.values, problem.classes, validate)
    if problem.target == "dense":
        return memory(target, problem.axis)
    flat = int64_labels(target)
    return IndexLabels(address(flat), flat, target)
