"""Losses of single numbers on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.native import DTYPE_CODES, Memory, address
from ...labels import Positives
from ...losses.elementwise import ElementwiseLoss, PositiveLists, activation, bad_label, positive_lists, takes_lists
from ...losses.weights import check_normalizer, finite_weights, kept_mass
from ...options import ElementwiseOptions
from ...problem import (
    check_class_weight,
    check_logits_dtype,
    check_pos_weight,
    elementwise_problem,
    elementwise_weight_axes,
    last_axis,
)
from . import gradients
from .arrays import Array, as_array, empty_like, walked_together


class ElementwiseCall:
    """One call of a loss of single numbers on NumPy arrays: checked, and ready to run; as `SoftmaxCall` is."""

    def __init__(
        self,
        logits: Array,
        labels: Any,
        options: ElementwiseOptions,
        *,
        names: tuple[str, str] = ("logits", "labels"),
        pos_weight: Any = None,
        class_weight: Any = None,
        sample_weight: Any = None,
        normalizer: Any = None,
        validate: bool = True,
    ) -> None:
        x = logits
        lists = takes_lists(names[1], labels, options)
        y = x if lists else as_array(names[1], labels)
        problem = elementwise_problem(x.shape, x.dtype.name, y.shape, y.dtype.name, *names)
        pos = None if pos_weight is None else positive_weight(pos_weight, x)
        weights, sample = weight_factors(x, class_weight, sample_weight)
        denominator = 1.0
        if normalizer is not None:
            denominator = check_normalizer(normalizer, options.reduction)
        elif options.reduction == "mean":
            denominator = kept_mass(x.shape, None if lists else y, sample, options.ignore_index)

        lists_of_rows = read_lists(labels, x) if lists else None
        # logits, then what is there of labels, positive weight and weights
        given = [a for a in (x, None if lists else y, pos, *weights) if a is not None]
        self._like, (at_x, *placed), self._output = walked_together(given, x.shape, by_rows=lists)
        targets = placed.pop(0) if lists_of_rows is None else lists_of_rows
        self.options, self.dtype = options, np.dtype(problem.accumulate)
        self._labels, self._labels_name = y, names[1]
        self._loss = ElementwiseLoss(
            options,
            at_x,
            targets,
            pos_weight=None if pos is None else placed.pop(0),
            weights=placed,
            denominator=denominator,
            validate=validate,
        )

    def run(self, *, gradient: bool = False) -> tuple[Any, Array | None]:
        """The loss, and the gradient of the sum of what is returned, if asked for."""
        slope = empty_like(self._like) if gradient else None
        each = empty_like(self._like, self.dtype) if self.options.reduction == "none" else None
        total, bad = self._loss.run(self._memory(each), self._memory(slope))
        if bad:
            raise bad_label(self._labels_name, self._labels, self.options)
        return self.dtype.type(total) if each is None else each[()], slope

    def vjp(self, upstream: Any) -> Array:
        """The gradient for the cotangent of the loss: a number for a scalar loss, or one an element."""
        slope = empty_like(self._like)
        cotangent: Any = float(upstream) if self.options.reduction != "none" else empty_like(self._like, self.dtype)
        if not isinstance(cotangent, float):
            cotangent[...] = upstream  # walked as the logits are: laid out like them
            cotangent = self._memory(cotangent)
        self._loss.gradient(self._memory(slope), cotangent)
        return slope

    def _memory(self, array: Array | None) -> Any:
        return None if array is None else Memory(address(array), DTYPE_CODES[array.dtype.name], self._output, array)


def elementwise_loss(
    logits: Any, labels: Any, options: ElementwiseOptions, *, names: tuple[str, str] = ("logits", "labels"), **rest: Any
) -> Any:
    call = ElementwiseCall(as_array(names[0], logits), labels, options, names=names, **rest)
    recorder = gradients.active.get()
    value, gradient = call.run(gradient=recorder is not None and options.reduction != "none")
    if recorder is not None:
        recorder.add(value, logits, gradient)
    return value


def read_lists(labels: Positives, x: Array) -> PositiveLists:
    starts = None if labels.starts is None else as_array("labels.starts", labels.starts)
    return positive_lists(as_array("labels.classes", labels.classes), starts, x.shape)


def positive_weight(pos_weight: Any, x: Array) -> Array:
    weight = as_array("pos_weight", pos_weight)
    check_pos_weight(weight.shape, x.shape)
    return finite_weights("pos_weight", weight)


def weight_factors(x: Array, class_weight: Any, sample_weight: Any) -> tuple[list[Array], Array | None]:
    """The factors of an element's loss, and among them the sample weights."""
    weights = []
    if class_weight is not None:
        by_class = as_array("class_weight", class_weight)
        check_class_weight(by_class.shape, last_axis(x.shape))
        weights.append(finite_weights("class_weight", by_class))
    if sample_weight is None:
        return weights, None
    sample = as_array("sample_weight", sample_weight)
    if elementwise_weight_axes(sample.shape, x.shape) == "rows":
        sample = sample[..., None]
    sample = finite_weights("sample_weight", sample)
    return [*weights, sample], sample


def elementwise_operands(
    x: Array, labels: Any, options: ElementwiseOptions, validate: bool, weights: dict[str, Any]
) -> tuple[Array, Array, Array, Array, str]:
    """Labels, positive weight, factor and mass of each element in float64, for losses without a kernel; and the dtype
    of the loss. Ignored elements have factor and mass 0."""
    y = as_array("labels", labels)
    problem = elementwise_problem(x.shape, x.dtype.name, y.shape, y.dtype.name, "probs")
    wide = y.astype(np.float64)
    kept = np.ones(x.shape)
    if options.ignore_index is not None:
        kept = (y != options.ignore_index).astype(np.float64)
    if validate and not (((wide >= options.low) & (wide <= options.high)) | (kept == 0)).all():
        raise bad_label("labels", y, options)
    pos = np.ones(()) if weights["pos_weight"] is None else positive_weight(weights["pos_weight"], x)
    factors, sample = weight_factors(x, weights["class_weight"], weights["sample_weight"])
    factor = kept
    for part in factors:
        factor = factor * part
    mass = kept if sample is None else kept * sample
    return np.where(kept == 0, 0.0, wide), pos, factor, mass, problem.accumulate


def _activation(logits: Any, *, log: bool) -> Any:
    x = as_array("logits", logits)
    check_logits_dtype(x.dtype.name)
    first, (at_x,), layout = walked_together([x], x.shape)
    out = empty_like(first)
    activation(at_x, Memory(address(out), DTYPE_CODES[out.dtype.name], layout, out), log)
    return out[()]


def sigmoid(logits: Any) -> Any:
    return _activation(logits, log=False)


def log_sigmoid(logits: Any) -> Any:
    return _activation(logits, log=True)
