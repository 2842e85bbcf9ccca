"""Cross-entropy of a projection, on JAX's arrays: a loop over chunks of rows, compiled as one program.

A chunk's logits are made, go through the dense loss, and are made again for the backward pass (`jax.checkpoint`), so
that the program holds no others. JAX differentiates and transforms the loop like any other. A batch of one chunk is no
loop.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...heads import LowRank
from ...labels import Positives, TopK, refuse
from ...losses.labels import check_index
from ...losses.softmax import Stats
from ...losses.weights import check_normalizer
from ...options import SoftmaxOptions
from ...plan import linear_rows
from ...problem import (
    check_class_weight,
    check_head,
    check_sample_weight,
    softmax_problem,
)
from .arrays import as_array, compilable, divisor, is_readable, usable
from .softmax_loss import softmax_cross_entropy


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
    head = weight if isinstance(weight, LowRank) else LowRank(weight, None, None)
    named = {"inputs": inputs, "weight": head.weight, "bias": bias, "weight.down": head.down, "weight.up": head.up}
    heads = {name: compilable(name, as_array(name, x)) for name, x in named.items() if x is not None}
    x, w = heads["inputs"], heads["weight"]
    check_head({name: (a.shape, str(a.dtype)) for name, a in heads.items()})
    topk = isinstance(labels, TopK)
    given = [("labels.indices", labels.indices), ("labels.values", labels.values)] if topk else [("labels", labels)]
    targets = [as_array(name, y) for name, y in given]
    shape = (*x.shape[:-1], w.shape[0])
    problem = softmax_problem(
        shape, str(x.dtype), -1, targets[0].shape, str(targets[0].dtype), topk, "inputs @ weight.T"
    )
    if validate and problem.target == "index" and is_readable(targets[0]):
        check_index(np.asarray(targets[0]), problem, options.ignore_index)
    targets = [compilable(name, y, options.ignore_index) for (name, _), y in zip(given, targets, strict=True)]
    weights: dict[str, Any] = {}
    if class_weight is not None:
        weights["class_weight"] = as_array("class_weight", class_weight)
        check_class_weight(weights["class_weight"].shape, problem.classes)
    if sample_weight is not None:
        weights["sample_weight"] = as_array("sample_weight", sample_weight)
        check_sample_weight(weights["sample_weight"].shape, problem.batch_shape)
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction)
        check_normalizer(1.0, options.reduction)
    rows = problem.rows
    chunk = linear_rows(rows, 2 * problem.classes * max(x.dtype.itemsize, 4), memory_budget)
    dtype = problem.accumulate
    s = jnp.broadcast_to(jnp.asarray(weights.get("sample_weight", 1.0), dtype), problem.batch_shape)
    loss, *stats = _rows(
        {name: jnp.asarray(a) for name, a in heads.items()},
        tuple(jnp.reshape(y, (rows, *y.shape[len(problem.batch_shape) :])) for y in map(jnp.asarray, targets)),
        None if "class_weight" not in weights else jnp.asarray(weights["class_weight"], dtype),
        usable({"sample_weight": s.reshape(rows)})["sample_weight"],
        float(head.scale),
        replace(options, reduction="none"),
        chunk,
        return_stats,
    )
    loss, *stats = (jnp.reshape(a, problem.batch_shape) for a in (loss, *stats))
    if options.reduction != "none":
        loss = jnp.sum(loss)
    if options.reduction == "mean":
        total = jnp.sum(s * _mass(problem.target, targets, options, weights.get("class_weight"), dtype))
        total = total if normalizer is None else jnp.asarray(normalizer, dtype)
        loss = jnp.where(total == 0, 0.0, loss / jnp.where(total == 0, 1.0, total))
    return (loss, Stats(*stats)) if return_stats else loss


def _mass(target: str, targets: list[Any], options: SoftmaxOptions, class_weight: Any, dtype: str) -> Any:
    """What each row adds to the denominator of the mean, without its sample weight."""
    v = None if class_weight is None else jnp.asarray(class_weight, dtype)
    labels = jnp.asarray(targets[0])
    if target == "index":
        mass = jnp.ones(labels.shape, dtype) if v is None else jnp.take(v, labels, mode="clip")
        return mass if options.ignore_index is None else jnp.where(labels == options.ignore_index, 0.0, mass)
    soft = jnp.asarray(targets[-1], dtype)
    if v is None:
        return jnp.sum(soft, axis=-1)
    return jnp.sum(soft * (v if target == "dense" else jnp.take(v, labels, mode="clip")), axis=-1)


@partial(jax.jit, static_argnames=("scale", "options", "chunk", "statistics"))
def _rows(
    heads: dict[str, Any],
    targets: tuple[Any, ...],
    class_weight: Any,
    sample_weight: Any,
    scale: float,
    options: SoftmaxOptions,
    chunk: int,
    statistics: bool,
) -> tuple[Any, ...]:
    """The loss of each row, with its sample weight; and lse, entropy and argmax."""
    x, w, b = heads["inputs"], heads["weight"], heads.get("bias")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    w = w.astype(wide)  # half precision: in which the loop would sum up its gradient
    x = x.reshape(-1, x.shape[-1]).astype(wide)
    products = [(x, w)]
    if "weight.down" in heads:
        products.append((x @ (scale * heads["weight.down"].astype(wide)).T, heads["weight.up"].astype(wide)))
    count = x.shape[0]
    padding = -count % chunk

    def chunks(array: Any) -> Any:
        padded = jnp.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(-1, chunk, *array.shape[1:])

    def body(some: Any) -> Any:
        inputs, labels, s = some
        logits = sum(part @ weight.T for part, (_, weight) in zip(inputs, products, strict=True))
        if b is not None:
            logits = logits + b.astype(wide)
        out = softmax_cross_entropy(
            logits.astype(heads["inputs"].dtype),
            TopK(*labels) if len(labels) == 2 else labels[0],
            options,
            class_weight=class_weight,
            sample_weight=s,
            normalizer=None,
            return_stats=statistics,
            validate=True,
        )
        return (out[0], *out[1]) if statistics else (out,)

    if chunk >= count:
        return body(([part for part, _ in products], targets, sample_weight))  # type: ignore[no-any-return]
    parts = [chunks(part) for part, _ in products], tuple(chunks(y) for y in targets), chunks(sample_weight)
    return tuple(a.reshape(-1)[:count] for a in jax.lax.map(jax.checkpoint(body), parts))
