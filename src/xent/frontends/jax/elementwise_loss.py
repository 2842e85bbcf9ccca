"""Losses of single numbers on JAX's arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels import reference
from ...labels import Positives
from ...losses.elementwise import takes_lists
from ...options import ElementwiseOptions
from ...problem import (
    ElementwiseProblem,
    check_class_weight,
    check_logits_dtype,
    check_pos_weight,
    elementwise_problem,
    elementwise_weight_axes,
    last_axis,
)
from ..numpy import log_sigmoid as numpy_log_sigmoid
from ..numpy import sigmoid as numpy_sigmoid
from ..numpy.elementwise_loss import ElementwiseCall
from . import custom_calls
from .arrays import NAMESPACE, as_array, divisor, is_readable, is_traced, to_jax, usable
from .differentiable import Arrays, Outputs, evaluate


class _Call:
    """One call of a loss of single numbers: what does not depend on the arrays' values."""

    def __init__(
        self,
        problem: ElementwiseProblem,
        options: ElementwiseOptions,
        names: tuple[str, str],
        normalizer: float | None,
        validate: bool,
    ) -> None:
        self.problem, self.options, self.names = problem, options, names
        self.normalizer, self.validate = normalizer, validate
        self.constants: Arrays = {}

    def custom_call(self) -> bool:
        return custom_calls.available()

    def on_memory(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        logits = arrays["logits"]
        given = {name: np.asarray(x) for name, x in arrays.items()}
        labels = Positives(given["classes"], given.get("starts")) if "classes" in given else given["labels"]
        call = ElementwiseCall(
            given["logits"],
            labels,
            self.options,
            names=self.names,
            pos_weight=given.get("pos_weight"),
            class_weight=given.get("class_weight"),
            sample_weight=given.get("sample_weight"),
            normalizer=self.normalizer,
            validate=self.validate,
        )
        value, slope = call.run(gradient=slopes)
        return (to_jax(value, logits),), (to_jax(slope, logits),) if slopes else ()

    def on_xla(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        logits, arrays = arrays["logits"], usable(arrays)
        dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
        labels = _labels(arrays)
        mass, repeats = None, 1.0
        if self.options.reduction == "mean":
            mass, repeats = self._mass(labels, arrays, dtype)
        weights = [arrays[name] for name in ("class_weight", "sample_weight") if name in arrays]
        loss, gradient = custom_calls.elementwise(
            logits,
            labels,
            self.options,
            pos_weight=arrays.get("pos_weight"),
            weights=weights,
            mass=mass,
            repeats=repeats,
            validate=self.validate,
            gradient=slopes,
        )
        return (loss,), (gradient,) if slopes else ()

    def _mass(self, labels: Any, arrays: Arrays, dtype: Any) -> tuple[Any, float]:
        """What elements add to the denominator of the mean, and how often each of these numbers counts."""
        given = arrays.get("normalizer", self.normalizer)
        if given is not None:
            return given, 1.0
        weight = arrays["sample_weight"].astype(dtype) if "sample_weight" in arrays else jnp.ones((), dtype)
        if self.options.ignore_index is not None:
            return jnp.where(labels != self.options.ignore_index, weight, 0.0), 1.0
        return weight, int(np.prod(self.problem.shape)) / max(weight.size, 1)

    def reference(self, arrays: Arrays) -> Outputs:
        dtype, arrays = self.problem.accumulate, usable(arrays)
        labels = NAMESPACE.astype(_labels(arrays), dtype)
        if self.validate:
            labels = reference.labels_or_nan(NAMESPACE, self.options, labels)
        wide = {name: NAMESPACE.astype(x, dtype) for name, x in arrays.items() if name not in ("classes", "starts")}
        weight = None
        for name in ("class_weight", "sample_weight"):
            if name in wide:
                weight = wide[name] if weight is None else weight * wide[name]
        loss = reference.elementwise_loss(
            NAMESPACE,
            self.options,
            wide["logits"],
            labels,
            pos_weight=wide.get("pos_weight"),
            weight=weight,
            mass=wide.get("sample_weight"),
            normalizer=wide.get("normalizer", self.normalizer),
        )
        return (NAMESPACE.astype(loss, dtype),)


def _labels(arrays: Arrays) -> Any:
    """The labels; lists of positive classes as zeros and ones, since a compiled program knows no lengths."""
    if "labels" in arrays:
        return arrays["labels"]
    shape = arrays["logits"].shape
    row, classes, bad = list_entries(jnp.asarray(arrays["classes"]), arrays.get("starts"), shape)
    dense = jnp.zeros((bad.shape[0], shape[-1]), jnp.float32).at[row, classes].set(1.0, mode="drop")
    return jnp.where(bad[:, None], jnp.nan, dense).reshape(shape)


def list_entries(classes: Any, starts: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """The entries of lists of positive classes: their rows, which are beyond the last where an entry is none, and
    classes; and whether a row has a class out of range."""
    rows = prod(shape[:-1])
    if starts is None:
        row = jnp.repeat(jnp.arange(rows), classes.shape[-1])
        classes = classes.reshape(-1)
    else:
        row = jnp.searchsorted(jnp.asarray(starts), jnp.arange(classes.shape[0]), side="right") - 1
    padding = classes == -1
    outside = ((classes < 0) | (classes >= shape[-1])) & ~(padding if starts is None else jnp.zeros_like(padding))
    bad = jnp.zeros(rows, bool).at[row].max(outside)
    return jnp.where(padding | outside, rows, row), classes, bad


def elementwise_loss(
    logits: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    names: tuple[str, str] = ("logits", "labels"),
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
    validate: bool = True,
) -> Any:
    logits = as_array(names[0], logits)
    arrays: Arrays = {"logits": logits}
    described = logits
    if takes_lists(names[1], labels, options):
        arrays["classes"] = as_array("labels.classes", labels.classes)
        if labels.starts is not None:
            arrays["starts"] = as_array("labels.starts", labels.starts)
    else:
        arrays["labels"] = described = as_array(names[1], labels)
    shape = logits.shape
    problem = elementwise_problem(shape, str(logits.dtype), described.shape, str(described.dtype), *names)
    if pos_weight is not None:
        arrays["pos_weight"] = as_array("pos_weight", pos_weight)
        check_pos_weight(arrays["pos_weight"].shape, shape)
    if class_weight is not None:
        arrays["class_weight"] = as_array("class_weight", class_weight)
        check_class_weight(arrays["class_weight"].shape, last_axis(shape))
    if sample_weight is not None:
        sample = as_array("sample_weight", sample_weight)
        arrays["sample_weight"] = (
            sample[..., None] if elementwise_weight_axes(sample.shape, shape) == "rows" else sample
        )
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction)
        if is_traced(normalizer):
            arrays["normalizer"], normalizer = normalizer, None
    return evaluate(_Call(problem, options, names, normalizer, validate), arrays)[0]


@jax.custom_jvp
def _sigmoid(logits: Any) -> Any:
    if is_readable(logits):
        return to_jax(numpy_sigmoid(np.asarray(logits)), logits)
    return jax.nn.sigmoid(_wide(logits)).astype(logits.dtype)


@_sigmoid.defjvp
def _slope_of_sigmoid(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    wide = _wide(x)  # from a rounded p near 1 its complement could not be made
    return _sigmoid(x), (_sigmoid(wide) * _sigmoid(-wide) * t).astype(x.dtype)


@jax.custom_jvp
def _log_sigmoid(logits: Any) -> Any:
    if is_readable(logits):
        return to_jax(numpy_log_sigmoid(np.asarray(logits)), logits)
    return jax.nn.log_sigmoid(_wide(logits)).astype(logits.dtype)


@_log_sigmoid.defjvp
def _slope_of_log_sigmoid(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return _log_sigmoid(x), _sigmoid(-x) * t


def _wide(x: Any) -> Any:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sigmoid(logits: Any) -> Any:
    check_logits_dtype(str(logits.dtype))
    return _sigmoid(logits)


def log_sigmoid(logits: Any) -> Any:
    check_logits_dtype(str(logits.dtype))
    return _log_sigmoid(logits)
