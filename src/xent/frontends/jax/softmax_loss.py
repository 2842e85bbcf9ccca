"""Softmax cross-entropy on JAX's arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...formulas import RowFunction, softmax_coefficients, uses_measure
from ...kernels import reference
from ...labels import Positives, TopK, refuse
from ...losses.softmax import Stats
from ...options import SoftmaxOptions
from ...problem import SoftmaxProblem, check_class_weight, check_sample_weight, softmax_problem
from ..numpy.softmax_loss import SoftmaxCall
from . import custom_calls
from .arrays import NAMESPACE, as_array, divisor, is_traced, to_jax, usable
from .differentiable import Arrays, Outputs, evaluate


class _Call:
    """One call of softmax cross-entropy: what does not depend on the arrays' values."""

    def __init__(
        self,
        problem: SoftmaxProblem,
        options: SoftmaxOptions,
        normalizer: float | None,
        return_stats: bool,
        validate: bool,
        function: RowFunction | None,
    ) -> None:
        self.problem, self.options, self.normalizer = problem, options, normalizer
        self.compiled_options = _compiled(options)
        self.return_stats, self.validate, self.function = return_stats, validate, function
        self.constants: Arrays = {}

    def custom_call(self) -> bool:
        return custom_calls.available()

    def on_memory(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        logits = arrays["logits"]
        given = {name: np.asarray(x) for name, x in arrays.items()}
        labels = TopK(given["indices"], given["values"]) if "indices" in given else given["labels"]
        call = SoftmaxCall(
            given["logits"],
            labels,
            self.options,
            class_weight=given.get("class_weight"),
            sample_weight=given.get("sample_weight"),
            normalizer=self.normalizer,
            validate=self.validate,
            function=self.function,
        )
        value, stats, slope = call.run(gradient=slopes, statistics=self.return_stats)
        outputs: list[Any] = [value]
        gradients = [slope]
        if stats is not None:
            outputs += [stats.lse, stats.entropy, stats.argmax.astype(_index_dtype())]
            if slopes:
                one = np.ones(self.problem.batch_shape)
                gradients += [call.vjp(None, lse=one), call.vjp(None, entropy=one)]
        return (
            tuple(to_jax(x, logits) for x in outputs),
            tuple(to_jax(g, logits) for g in gradients) if slopes else (),
        )

    def on_xla(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        options, arrays = self.options, usable(arrays)
        target = self._rows(arrays)

        def rows(coefficients: dict[str, Any], **wanted: Any) -> tuple[Any, ...]:
            return custom_calls.softmax(arrays["logits"], self.problem.axis, coefficients, **target, **wanted)

        k, mass, weighted = self._coefficients(arrays)
        mean: dict[str, Any] = {}
        if options.reduction == "mean":
            given = arrays.get("normalizer", self.normalizer)
            mean = {"mass": mass, "of_dense": weighted} if given is None else {"mass": given}
        per_row = options.reduction == "none"
        if self.function is not None:
            nll = rows({"b": 1.0}, per_row=True)[0]
            weight = k["b"] * jnp.where(mass == 0, 0.0, 1.0)
            loss, slope = (jnp.where(weight == 0, 0.0, weight * part) for part in self.function(jnp, nll))
            value = loss if per_row else jnp.sum(loss)
            if mean:
                total = jnp.sum(mean["mass"])
                value = jnp.where(total == 0, 0.0, value / jnp.where(total == 0, 1.0, total))
            value = NAMESPACE.astype(value, self.problem.accumulate)
            return (value,), (rows({"b": slope}, gradient=True, **mean)[-1],) if slopes else ()
        loss, lse, entropy, argmax, gradient = rows(
            k, per_row=per_row, statistics=self.return_stats, gradient=slopes, **mean
        )
        if not self.return_stats:
            return (loss,), (gradient,) if slopes else ()
        more = [rows({name: 1.0}, gradient=True)[-1] for name in ("l", "h")] if slopes else []
        outputs = (loss, lse, entropy, argmax.astype(_index_dtype()))
        return outputs, (gradient, *more) if slopes else ()

    def _rows(self, arrays: Arrays) -> dict[str, Any]:
        """Targets and transforms of the rows, as the custom call takes them."""
        options, target = self.options, self.problem.target
        rows: dict[str, Any] = {"temperature": options.temperature, "softcap": options.softcap}
        if "class_weight" in arrays:
            rows["class_weight"] = arrays["class_weight"]
        if target == "index":
            rows |= {"labels": arrays["labels"], "ignore_index": options.ignore_index}
        elif target == "dense":
            rows["dense"] = arrays["labels"]
        else:
            rows["topk"] = arrays["indices"], NAMESPACE.astype(arrays["values"], self.problem.accumulate)
        if uses_measure(options, target):
            k = softmax_coefficients(options, target, self.problem.classes)
            rows["measure"] = k.alpha, k.beta
        return rows

    def _coefficients(self, arrays: Arrays) -> tuple[dict[str, Any], Any, bool]:
        """Coefficients of the rows' losses; what each row adds to the denominator of the mean; and whether that is to
        be multiplied with the mass of its soft targets."""
        problem, options, dtype = self.problem, self.compiled_options, self.problem.accumulate
        v, s = (NAMESPACE.astype(arrays[name], dtype) if name in arrays else None for name in _WEIGHTS)
        mass = label_mass(problem, options, arrays, v)
        k = softmax_coefficients(
            options,
            problem.target,
            problem.classes,
            sample_weight=1.0 if s is None else s,
            label_weight=1.0 if v is None or problem.target != "index" else NAMESPACE.take(v, arrays["labels"]),
        )
        of_loss = {"b": k.b, "c": k.c if uses_measure(options, problem.target) else 0.0, "zeta": k.zeta}
        return (
            {
                name: jnp.broadcast_to(x, problem.batch_shape) if jnp.ndim(x) else x
                for name, x in of_loss.items()
                if not (isinstance(x, float) and x == 0.0)
            },
            mass if s is None else s * mass,
            problem.target == "dense",
        )

    def reference(self, arrays: Arrays) -> Outputs:
        problem, arrays = self.problem, usable(arrays)
        dtype = problem.accumulate
        wide = {
            name: x if name in ("labels", "indices") and problem.target != "dense" else NAMESPACE.astype(x, dtype)
            for name, x in arrays.items()
        }
        labels: Any = wide.get("labels")
        if problem.target == "topk":
            labels = (
                wide["indices"],
                reference.topk_or_nan(NAMESPACE, wide["indices"], wide["values"], problem.classes),
            )
        loss, stats = reference.softmax_cross_entropy(
            NAMESPACE,
            problem,
            self.compiled_options,
            wide["logits"],
            labels,
            class_weight=wide.get("class_weight"),
            sample_weight=wide.get("sample_weight"),
            normalizer=wide.get("normalizer", self.normalizer),
            function=self.function,
        )
        loss = NAMESPACE.astype(loss, dtype)
        if not self.return_stats:
            return (loss,)
        return loss, stats.lse, stats.entropy, stats.argmax.astype(_index_dtype())


def label_mass(problem: SoftmaxProblem, options: SoftmaxOptions, arrays: Arrays, v: Any) -> Any:
    """What each row of class indices or top-k targets adds to the denominator of the mean, but for its sample weight;
    1 for a row of dense targets."""
    dtype = problem.accumulate
    if problem.target == "topk":
        values = NAMESPACE.astype(arrays["values"], dtype)
        return jnp.sum(values if v is None else values * NAMESPACE.take(v, arrays["indices"]), axis=-1)
    mass = jnp.ones(problem.batch_shape, jax.dtypes.canonicalize_dtype(dtype))
    if problem.target == "index":
        mass = mass if v is None else NAMESPACE.take(v, arrays["labels"])
        if options.ignore_index is not None:
            mass = jnp.where(arrays["labels"] == options.ignore_index, 0.0, mass)
    return mass


def _compiled(options: SoftmaxOptions) -> SoftmaxOptions:
    """The options without an `ignore_index` that no label can equal, which XLA could not hold."""
    bounds = np.iinfo(_index_dtype())
    if options.ignore_index is None or bounds.min <= options.ignore_index <= bounds.max:
        return options
    return replace(options, ignore_index=None)


_WEIGHTS = ("class_weight", "sample_weight")


def _index_dtype() -> Any:
    return jax.dtypes.canonicalize_dtype(np.int64)


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
    logits = as_array("logits", logits)
    arrays: Arrays = {"logits": logits}
    if isinstance(labels, TopK):
        arrays["indices"] = described = as_array("labels.indices", labels.indices)
        arrays["values"] = as_array("labels.values", labels.values)
    else:
        arrays["labels"] = described = as_array("labels", labels)
    problem = softmax_problem(
        logits.shape, str(logits.dtype), options.axis, described.shape, str(described.dtype), "indices" in arrays
    )
    if class_weight is not None:
        arrays["class_weight"] = as_array("class_weight", class_weight)
        check_class_weight(arrays["class_weight"].shape, problem.classes)
    if sample_weight is not None:
        arrays["sample_weight"] = as_array("sample_weight", sample_weight)
        check_sample_weight(arrays["sample_weight"].shape, problem.batch_shape)
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction)
        if is_traced(normalizer):
            arrays["normalizer"], normalizer = normalizer, None
    call = _Call(problem, options, normalizer, return_stats, validate, function)
    loss, *stats = evaluate(call, arrays)
    return (loss, Stats(*stats)) if return_stats else loss
