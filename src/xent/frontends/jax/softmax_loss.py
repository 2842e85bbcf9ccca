"""Softmax cross-entropy on JAX's arrays."""

from __future__ import annotations

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
from .arrays import NAMESPACE, as_array, divisor, is_traced, to_jax
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
        self.return_stats, self.validate, self.function = return_stats, validate, function

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
        problem, options = self.problem, self.options
        logits = arrays["logits"]
        dtype = jnp.float64 if problem.accumulate == "float64" else jnp.float32
        v = arrays.get("class_weight")
        s = arrays.get("sample_weight", 1.0)
        of_rows: dict[str, Any] = {
            "temperature": options.temperature,
            "softcap": options.softcap,
            "class_weight": None if v is None else v.astype(dtype),
        }
        label_weight = mass = jnp.ones(problem.batch_shape, dtype)
        target: dict[str, Any] = {}
        if problem.target == "index":
            labels = arrays["labels"]
            target = {"labels": labels, "ignore_index": options.ignore_index}
            if v is not None:
                label_weight = mass = jnp.take(v.astype(dtype), labels, mode="clip")
            if options.ignore_index is not None:
                mass = jnp.where(labels == options.ignore_index, 0.0, mass)
        elif problem.target == "dense":
            target = {"dense": arrays["labels"]}
        else:
            indices, values = arrays["indices"], arrays["values"].astype(dtype)
            target = {"topk": (indices, values)}
            mass = jnp.sum(values if v is None else values * jnp.take(v.astype(dtype), indices, mode="clip"), axis=-1)
        k = softmax_coefficients(
            options, problem.target, problem.classes, sample_weight=s, label_weight=1.0 if v is None else label_weight
        )
        of_loss = {"b": k.b, "zeta": k.zeta} if problem.target == "index" else {"zeta": k.zeta}
        if uses_measure(options, problem.target):
            target["measure"] = (k.alpha, k.beta)
            of_loss["c"] = k.c
        of_loss = {name: self._per_row(x) for name, x in of_loss.items() if not (isinstance(x, float) and x == 0.0)}
        divisor = None  # what the rows add to the denominator of the mean
        if options.reduction == "mean":
            divisor = arrays.get("normalizer", self.normalizer)
            if divisor is None:
                divisor = s * mass * jnp.ones(problem.batch_shape, dtype)
                target["of_dense"] = problem.target == "dense"
        per_row = options.reduction == "none"

        if self.function is not None:
            nll = custom_calls.softmax(logits, problem.axis, {"b": 1.0}, per_row=True, **of_rows, **target)[0]
            weight = k.b * jnp.where(mass == 0, 0.0, 1.0)
            loss, slope = (jnp.where(weight == 0, 0.0, weight * part) for part in self.function(jnp, nll))
            value = loss if per_row else jnp.sum(loss)
            if divisor is not None:
                total = jnp.sum(divisor)
                value = jnp.where(total == 0, 0.0, value / jnp.where(total == 0, 1.0, total))
            if not slopes:
                return (value.astype(dtype),), ()
            of_nll = {"b": self._per_row(slope)}
            out = custom_calls.softmax(logits, problem.axis, of_nll, mass=divisor, gradient=True, **of_rows, **target)
            return (value.astype(dtype),), (out[-1],)

        loss, lse, entropy, argmax, gradient = custom_calls.softmax(
            logits,
            problem.axis,
            of_loss,
            mass=divisor,
            per_row=per_row,
            statistics=self.return_stats,
            gradient=slopes,
            **of_rows,
            **target,
        )
        if not self.return_stats:
            return (loss,), (gradient,) if slopes else ()
        outputs = (loss, lse, entropy, argmax.astype(_index_dtype()))
        if not slopes:
            return outputs, ()
        more = [
            custom_calls.softmax(logits, problem.axis, {name: 1.0}, gradient=True, **of_rows, **target)[-1]
            for name in ("l", "h")
        ]
        return outputs, (gradient, *more)

    def _per_row(self, x: Any) -> Any:
        """A coefficient as one number, or one a row."""
        return jnp.broadcast_to(x, self.problem.batch_shape) if jnp.ndim(x) else x

    def reference(self, arrays: Arrays) -> Outputs:
        problem = self.problem
        dtype = problem.accumulate
        wide = {
            name: x if name in ("labels", "indices") and problem.target != "dense" else NAMESPACE.astype(x, dtype)
            for name, x in arrays.items()
        }
        labels: Any = wide.get("labels")
        if problem.target == "topk":
            labels = (wide["indices"], _checked(wide["indices"], wide["values"], problem.classes))
        loss, stats = reference.softmax_cross_entropy(
            NAMESPACE,
            problem,
            self.options,
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


def _checked(indices: Any, values: Any, classes: int) -> Any:
    """Masses of top-k targets, NaN in a row with a class out of range or twice."""
    ordered = jnp.sort(indices, axis=-1)
    bad = jnp.any((indices < 0) | (indices >= classes), axis=-1)
    bad = bad | jnp.any(ordered[..., 1:] == ordered[..., :-1], axis=-1)
    return jnp.where(bad[..., None], jnp.nan, values)


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
