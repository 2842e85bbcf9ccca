"""Losses of a projection on JAX's arrays: a loop over chunks of rows, compiled as one program.

A chunk's logits are made, go through the dense loss, and are made again for the backward pass (`jax.checkpoint`), so
that the program holds no others. JAX differentiates and transforms the loop like any other. A batch of one chunk is no
loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...heads import head_parts
from ...labels import Positives, TopK, refuse
from ...losses.elementwise import check_labels, takes_lists
from ...losses.labels import check_index
from ...losses.softmax import Stats
from ...losses.weights import check_normalizer, finite_weights
from ...options import ElementwiseOptions, SoftmaxOptions
from ...plan import linear_rows
from ...problem import (
    check_class_weight,
    check_head,
    check_pos_weight,
    check_sample_weight,
    elementwise_problem,
    elementwise_weight_axes,
    softmax_problem,
)
from ..numpy.elementwise_loss import read_lists
from .arrays import as_array, compilable, divisor, is_readable, usable
from .elementwise_loss import elementwise_loss, list_entries
from .softmax_loss import label_mass, softmax_cross_entropy

Arrays = dict[str, Any]


class _Head(NamedTuple):
    """What makes the logits, checked: arrays by the names of the arguments; the logits' shape; an update's scale."""

    arrays: Arrays
    shape: tuple[int, ...]
    scale: float

    def chunk(self, budget: int | None) -> int:
        """Rows of logits that exist at the same time, with their gradient."""
        number_bytes = max(self.arrays["inputs"].dtype.itemsize, 4)
        return linear_rows(prod(self.shape[:-1]), 2 * self.shape[-1] * number_bytes, budget)


def _checked_head(inputs: Any, weight: Any, bias: Any) -> _Head:
    parts, scale = head_parts(inputs, weight, bias)
    arrays = {name: compilable(name, as_array(name, x)) for name, x in parts.items()}
    check_head({name: (a.shape, str(a.dtype)) for name, a in arrays.items()})
    shape = (*arrays["inputs"].shape[:-1], arrays["weight"].shape[0])
    return _Head({name: jnp.asarray(a) for name, a in arrays.items()}, shape, scale)


def _usable_weights(weights: Arrays, dtype: Any) -> Arrays:
    """Weights in a dtype; one that cannot be used is refused where its values are known, else NaN."""
    for name, weight in weights.items():
        if is_readable(weight):
            finite_weights(name, np.asarray(weight))
    return usable({name: jnp.asarray(weight, dtype) for name, weight in weights.items()})


@dataclass(frozen=True)
class _SoftmaxRows:
    """The loss of each row of a chunk, with its sample weight; and lse, entropy and argmax."""

    options: SoftmaxOptions
    statistics: bool
    of_classes: int = 3  # which of its results is a class, -1 in rows that do not count

    def __call__(self, logits: Any, some: Arrays, shared: Arrays) -> tuple[Any, ...]:
        labels = TopK(some["indices"], some["values"]) if "indices" in some else some["labels"]
        out = softmax_cross_entropy(
            logits,
            labels,
            replace(self.options, reduction="none"),
            class_weight=shared.get("class_weight"),
            sample_weight=some["sample_weight"],
            normalizer=None,
            return_stats=self.statistics,
            validate=True,
        )
        return (out[0], *out[1]) if self.statistics else (out,)


@dataclass(frozen=True)
class _SigmoidRows:
    """The loss of each number of a chunk, or their sum."""

    options: ElementwiseOptions
    of_classes: int = -1

    def __call__(self, logits: Any, some: Arrays, shared: Arrays) -> tuple[Any, ...]:
        labels = some.get("labels")
        if labels is None:
            labels = self._zeros_and_ones(logits.shape, some["number"], shared)
        per_element = self.options.reduction == "none"
        loss = elementwise_loss(
            logits,
            labels,
            replace(self.options, reduction="none" if per_element else "sum"),
            pos_weight=some.get("pos_weight"),
            class_weight=shared.get("class_weight"),
            sample_weight=some["sample_weight"],
        )
        return (loss if per_element else jnp.reshape(loss, 1),)

    def _zeros_and_ones(self, shape: tuple[int, ...], number: Any, shared: Arrays) -> Any:
        """The chunk's labels, from the lists of all rows; `number`: of its rows, from 1, or 0 where there is none."""
        outside, bad = shape[0], shared["bad"]
        places = jnp.full(len(bad) + 2, outside).at[number].set(jnp.arange(outside)).at[0].set(outside)
        at = jnp.take(places, shared["row"] + 1)
        dense = jnp.zeros(shape, jnp.float32).at[at, shared["classes"]].set(1.0, mode="drop")
        return jnp.where(jnp.take(jnp.pad(bad, (1, 0)), number)[:, None], jnp.nan, dense)


@partial(jax.jit, static_argnames=("loss", "scale", "chunk"))
def _chunked(heads: Arrays, rows: Arrays, shared: Arrays, loss: Any, scale: float, chunk: int) -> tuple[Any, ...]:
    """A loss of chunks of rows; `rows` are arrays with a line for each row, of which the loss gets the chunk's."""
    x, w, b = heads["inputs"], heads["weight"], heads.get("bias")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    w = w.astype(wide)  # half precision: in which the loop would sum up its gradient
    x = jnp.where(rows["counted"][:, None], x.reshape(-1, x.shape[-1]).astype(wide), 0.0)
    products = [(x, w)]
    if "weight.down" in heads:
        products.append((x @ (scale * heads["weight.down"].astype(wide)).T, heads["weight.up"].astype(wide)))
    count = x.shape[0]
    padding = -count % chunk

    def body(some: Any) -> Any:
        inputs, parts = some
        logits = sum(part @ weight.T for part, (_, weight) in zip(inputs, products, strict=True))
        if b is not None:
            logits = logits + b.astype(wide)
        return loss(logits.astype(heads["inputs"].dtype), parts, shared)

    inputs = [part for part, _ in products]
    if chunk >= count:
        return body((inputs, rows))  # type: ignore[no-any-return]

    # The rows that count come first, and a chunk without any is not computed.
    order = jnp.argsort(~rows["counted"], stable=True)
    inputs, rows = jax.tree.map(lambda a: a[order], (inputs, rows))

    def unless_nothing_counts(some: Any) -> Any:
        shapes = jax.eval_shape(body, some)
        nothing = tuple(jnp.zeros(s.shape, s.dtype) - (i == loss.of_classes) for i, s in enumerate(shapes))
        return jax.lax.cond(jnp.any(some[1]["counted"]), lambda: body(some), lambda: nothing)

    def chunks(array: Any) -> Any:
        padded = jnp.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(-1, chunk, *array.shape[1:])

    found = jax.lax.map(jax.checkpoint(unless_nothing_counts), jax.tree.map(chunks, (inputs, rows)))
    flat = [a.reshape(-1, *a.shape[2:])[:count] for a in found]
    back = jnp.argsort(order)
    return tuple(a[back] if len(a) == count else a for a in flat)


def _divided(total: Any, denominator: Any) -> Any:
    """A mean, of which that of nothing is 0."""
    return jnp.where(denominator == 0, 0.0, total / jnp.where(denominator == 0, 1.0, denominator))


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
    head = _checked_head(inputs, weight, bias)
    if isinstance(labels, TopK):
        targets = {"indices": as_array("labels.indices", labels.indices)}
        targets["values"] = as_array("labels.values", labels.values)
    else:
        targets = {"labels": as_array("labels", labels)}
    described = next(iter(targets.values()))
    dtype_name = str(head.arrays["inputs"].dtype)
    problem = softmax_problem(
        head.shape, dtype_name, -1, described.shape, str(described.dtype), "indices" in targets, "inputs @ weight.T"
    )
    if validate and problem.target == "index" and is_readable(described):
        check_index(np.asarray(described), problem, options.ignore_index)
    targets = {name: jnp.asarray(compilable(name, y, options.ignore_index)) for name, y in targets.items()}
    weights = {}
    if class_weight is not None:
        weights["class_weight"] = as_array("class_weight", class_weight)
        check_class_weight(weights["class_weight"].shape, problem.classes)
    if sample_weight is not None:
        weights["sample_weight"] = as_array("sample_weight", sample_weight)
        check_sample_weight(weights["sample_weight"].shape, problem.batch_shape)
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction)
        check_normalizer(1.0, options.reduction)
    dtype, rows = problem.accumulate, problem.rows
    weights = _usable_weights(weights, dtype)
    s = jnp.broadcast_to(weights.get("sample_weight", jnp.ones((), dtype)), problem.batch_shape)
    lines = {name: jnp.reshape(y, (rows, *y.shape[len(problem.batch_shape) :])) for name, y in targets.items()}
    counted = jnp.ones(problem.batch_shape, bool) if return_stats else s != 0
    if problem.target == "index" and options.ignore_index is not None:
        counted &= targets["labels"] != options.ignore_index
    found = _chunked(
        head.arrays,
        lines | {"sample_weight": s.reshape(rows), "counted": counted.reshape(rows)},
        {name: v for name, v in weights.items() if name == "class_weight"},
        _SoftmaxRows(options, return_stats),
        head.scale,
        head.chunk(memory_budget),
    )
    loss, *stats = (jnp.reshape(a, problem.batch_shape) for a in found)
    if options.reduction != "none":
        loss = jnp.sum(loss)
    if options.reduction == "mean":
        total = normalizer
        if total is None and problem.target == "dense":
            soft = jnp.asarray(targets["labels"], dtype)
            total = jnp.sum(s * jnp.sum(soft * weights.get("class_weight", 1.0), axis=-1))
        elif total is None:
            total = jnp.sum(s * label_mass(problem, options, targets, weights.get("class_weight")))
        loss = _divided(loss, jnp.asarray(total, dtype))
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
    head = _checked_head(inputs, weight, bias)
    shape, matrix = head.shape, (prod(head.shape[:-1]), head.shape[-1])
    x = head.arrays["inputs"]
    lists = takes_lists("labels", labels, options)
    nowhere = np.broadcast_to(np.empty((), x.dtype), shape)  # logits that are not there
    y = nowhere if lists else as_array("labels", labels)
    problem = elementwise_problem(shape, str(x.dtype), y.shape, str(y.dtype))
    dtype = problem.accumulate
    lines: Arrays = {"number": 1 + jnp.arange(matrix[0])}
    shared: Arrays = {}
    if lists:
        shared = _entries(labels, nowhere)
    else:
        if validate and is_readable(y):
            check_labels("labels", np.asarray(y).reshape(matrix), options, np.asarray)
        lines["labels"] = jnp.asarray(compilable("labels", y, options.ignore_index)).reshape(matrix)
    given = {"pos_weight": pos_weight, "class_weight": class_weight, "sample_weight": sample_weight}
    weights = {name: as_array(name, value) for name, value in given.items() if value is not None}
    if "pos_weight" in weights:
        check_pos_weight(weights["pos_weight"].shape, shape)
    if "class_weight" in weights:
        check_class_weight(weights["class_weight"].shape, shape[-1])
    if "sample_weight" in weights and elementwise_weight_axes(weights["sample_weight"].shape, shape) == "rows":
        weights["sample_weight"] = weights["sample_weight"][..., None]
    weights = _usable_weights(weights, dtype)
    if "class_weight" in weights:
        shared["class_weight"] = weights.pop("class_weight")
    weights.setdefault("sample_weight", jnp.ones((), dtype))
    for name, value in weights.items():
        last = value.shape[-1] if value.ndim else 1
        lines[name] = jnp.broadcast_to(value, (*shape[:-1], last)).reshape(-1, last)
    lines["counted"] = jnp.broadcast_to((lines["sample_weight"] != 0).any(1), matrix[:1])
    if normalizer is not None:
        normalizer = divisor(normalizer, options.reduction)
        check_normalizer(1.0, options.reduction)
    (loss,) = _chunked(head.arrays, lines, shared, _SigmoidRows(options), head.scale, head.chunk(memory_budget))
    if options.reduction == "none":
        return loss.reshape(shape)
    loss = jnp.sum(loss)
    if options.reduction == "sum":
        return loss
    total, sample = normalizer, lines["sample_weight"]
    if total is None and options.ignore_index is not None:
        total = jnp.sum(jnp.where(lines["labels"] != options.ignore_index, sample, 0.0))
    elif total is None:
        total = jnp.sum(sample) * (prod(shape) / max(sample.size, 1))
    return _divided(loss, jnp.asarray(total, dtype))


def _entries(labels: Positives, nowhere: Any) -> Arrays:
    """The entries of lists of positive classes: rows, classes, and which rows are bad; read and checked if known."""
    classes, starts = as_array("labels.classes", labels.classes), labels.starts
    starts = None if starts is None else as_array("labels.starts", starts)
    if is_readable(classes) and is_readable(starts):
        known = Positives(np.asarray(classes), None if starts is None else np.asarray(starts))
        read = read_lists(known, nowhere)
        classes, starts = read.classes, read.starts
    row, classes, bad = list_entries(jnp.asarray(classes), starts, nowhere.shape)
    return {"row": row, "classes": classes, "bad": bad}
