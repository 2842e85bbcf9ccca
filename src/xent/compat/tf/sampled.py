"""TensorFlow's sampled losses, on the arrays of any framework: one loss a row, weights first, or shards of them.

Gradients to the weights and biases of TensorFlow are indexed slices, as its own losses give them; those of others are
dense (`xent.sampled_softmax_loss` has a choice).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import sampled_losses
from ...errors import message, value_error
from ...problem import check_logits_dtype
from ...sampling.logits import running_shape
from ..arrays import namespace_of
from . import operations
from .errors import invalid_argument
from .random import learned_unigram_candidate_sampler, log_uniform_candidate_sampler

Shards = Any  # an array [C, D], or a list of them


def _shards(xp: Any, argument: str, given: Shards, rank: int, like: Any) -> list[Any]:
    parts = given if isinstance(given, list | tuple) else [given]
    if not parts:
        raise ValueError(f"Length of params is currently 0. Need at least one param. Pass {argument}.")
    arrays = [xp.as_array(argument, part, like) for part in parts]
    shapes = [xp.shape(array) for array in arrays]
    if any(len(shape) != rank or shape[1:] != shapes[0][1:] for shape in shapes):
        expected = "shards [rows, D] of one width D" if rank == 2 else "shards [rows]: one number a class"
        raise value_error(argument, expected, f"shapes {', '.join(map(str, shapes))}", "Cut them by their rows.")
    return arrays


def _located(xp: Any, sizes: list[int], strategy: str, ids: Any) -> tuple[Any, Any]:
    """The shards in which classes lie, and their lines there. TensorFlow cuts "div" by the lines of all shards."""
    if strategy == "mod":
        return ids % len(sizes), ids // len(sizes)
    rows, extra = divmod(sum(sizes), len(sizes))
    shard = xp.maximum(ids // (rows + 1), (ids - extra) // max(rows, 1))
    return shard, xp.where(shard < extra, ids % (rows + 1), (ids - extra) % max(rows, 1))


def _rows(xp: Any, argument: str, shards: list[Any], strategy: str, ids: Any) -> Any:
    """The lines of weights or biases that lie in shards, in the order of the ids."""
    sizes = [int(xp.shape(shard)[0]) for shard in shards]
    if not isinstance(ids, np.ndarray):
        return _traced_rows(xp, shards, sizes, strategy, ids)
    shard, place = _located(np, sizes, strategy, ids)
    fits = [(shard == p) & (place >= 0) & (place < size) for p, size in enumerate(sizes)]
    outside = ids[~np.logical_or.reduce(fits)]
    if outside.size:
        expected = f"classes that lie in the shards of {argument}, of {sizes} lines, by {strategy!r}"
        remedy = "Map them into the range of the classes."
        raise IndexError(message("labels and sampled_values", expected, f"class {outside[0]}", remedy))
    parts = [xp.gather(part, xp.own(place[fit], part)) for part, fit in zip(shards, fits, strict=True)]
    order = np.argsort(np.argsort(shard, kind="stable"), kind="stable")
    dtype = xp.dtype_name(parts[0])
    return xp.lines(xp.concat(parts, axis=0), xp.own(order, parts[0]), dtype)


def _traced_rows(xp: Any, shards: list[Any], sizes: list[int], strategy: str, ids: Any) -> Any:
    """The same where ids have no values: from each shard a line for every id, NaN for an id that is none."""
    shard, place = _located(xp, sizes, strategy, ids)
    dtype, sparse = xp.dtype_name(shards[0]), _gives_slices(xp)
    found: Any = None
    for p, part in enumerate(shards):
        own = xp.equal(shard, p) & (place >= 0) & (place < sizes[p])
        lines = xp.lines(part, xp.where(own, place, xp.zeros_like(place)), check_logits_dtype(dtype, "weights"), sparse)
        mask = own if len(xp.shape(part)) == 1 else own[:, None]
        found = xp.where(mask, lines, np.nan * xp.ones_like(lines) if found is None else found)
    return xp.astype(found, dtype)


def _gives_slices(xp: Any) -> bool:
    """Whether lookups in this framework have gradients of the used lines only, as TensorFlow's."""
    return getattr(xp, "gives_slices", False)


def _whole(
    xp: Any, weights: Shards, biases: Shards, labels: Any, candidates: Any, strategy: str, like: Any
) -> tuple[Any, Any, Any, Any]:
    """Weights and biases as one array each, of the lines that are used; labels and candidates with their numbers."""
    sampled = xp.as_array("sampled_values", candidates[0], like)
    parts = [xp.reshape(part, (-1,)) for part in (labels, sampled)]
    if all(xp.is_readable(part) for part in parts):
        every = np.concatenate([np.asarray(xp.numpy_of(part), np.int64) for part in parts])
        ids, places = np.unique(every, return_inverse=True)
        count = every.size - xp.shape(parts[1])[0]
    else:
        every = xp.astype(xp.concat(parts, axis=0), "int64")
        ids = xp.sort(every)
        places, count = xp.searchsorted(ids, every), running_shape(xp, parts[0])[0]
    w = _rows(xp, "weights", _shards(xp, "weights", weights, 2, like), strategy, ids)
    b = None if biases is None else _rows(xp, "biases", _shards(xp, "biases", biases, 1, like), strategy, ids)
    true = xp.reshape(xp.own(places[:count], like), xp.shape(labels))
    return w, b, true, (xp.reshape(xp.own(places[count:], like), xp.shape(sampled)), *candidates[1:])


def _true_classes(xp: Any, labels: Any, num_true: int, like: Any) -> Any:
    """[batch, num_true]; of one true class a row also [batch]."""
    y = xp.as_array("labels", labels, like)
    if xp.dtype_name(y).startswith("float"):
        y = xp.astype(y, "int64")
    shape = xp.shape(y)
    if len(shape) == 1 and num_true == 1:
        return xp.reshape(y, (-1, 1))
    if len(shape) != 2:
        raise invalid_argument(xp, f"true_classes must be a matrix, got labels of shape {shape}")
    if shape[1] != num_true:
        text = f"true_classes must have num_true columns, expected: {shape[1]} was: {num_true}"
        raise invalid_argument(xp, f"{text}. Pass labels [batch, num_true].")
    return y


def _loss(
    loss: Callable[..., Any],
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Any,
    strategy: str,
    seed: Any,
    remove_accidental_hits: Any,
    sampler: Callable[..., Any] = log_uniform_candidate_sampler,
    **options: Any,
) -> Any:
    if strategy not in ("mod", "div"):
        raise ValueError(f"Only mod and div partition strategies are supported. Received: {strategy}")
    xp = namespace_of(inputs)
    x = xp.as_array("inputs", inputs, inputs)
    columns = operations.integer("num_true", num_true)
    operations.at_least(xp, 1, num_true=columns)
    y = _true_classes(xp, labels, columns, x)
    if sampled_values is None:
        sampled_values = sampler(
            true_classes=y, num_true=columns, num_sampled=num_sampled, unique=True, range_max=num_classes, seed=seed
        )
    sharded = any(isinstance(part, list | tuple) for part in (weights, biases))
    if sharded:
        weights, biases, y, sampled_values = _whole(xp, weights, biases, y, sampled_values, strategy, x)
    found = loss(
        x,
        weights,
        y,
        bias=biases,
        candidates=sampled_values,
        reduction="none",
        remove_accidental_hits=bool(remove_accidental_hits),
        sparse_gradient=_gives_slices(xp) and not sharded,  # the lines of shards were looked up already
        **options,
    )
    return xp.astype(found, xp.dtype_name(x))


def sampled_softmax_loss(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: Any = None,
    name: str | None = None,
) -> Any:
    """Softmax cross-entropy over the true classes and a sample, one loss a row; `xent.sampled_softmax_loss`.

    Args:
        weights: [C, D], or a list of shards ("div": of successive classes, as many in each as in the others or one
            more). `biases`: [C], likewise, or None.
        labels: integers [N, num_true]. `inputs`: [N, D].
        num_sampled, num_classes, num_true: numbers of classes: drawn, in all, true of a row.
        sampled_values: what a candidate sampler returned. None: log-uniform, unique, from `seed`.
        remove_accidental_hits: sampled classes that are true ones do not count, each time that they were drawn
            (TensorFlow removes the last time only). `name` is ignored.

    Returns:
        [N] losses in the dtype of the inputs.

    Raises:
        ValueError, IndexError, TypeError: as `xent.sampled_softmax_loss`; InvalidArgumentError: as the sampler.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import nn
        >>> candidates = np.array([4, 7]), np.ones((2, 1)), np.ones(2)
        >>> nn.sampled_softmax_loss(np.eye(9, 3), np.zeros(9), np.array([[1], [5]]), np.ones((2, 3)), 2, 9,
        ...                         sampled_values=candidates).round(6)
        array([0.551445, 1.098612])

    Source: `tf.nn.sampled_softmax_loss` of TensorFlow 2.21.
    """
    return sampled_softmax_loss_v1(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
        seed=seed,
    )


def nce_loss(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str | None = None,
) -> Any:
    """Noise-contrastive estimation, one loss a row; `xent.nce_loss`.

    Args:
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            name: as in `sampled_softmax_loss`.

    Returns:
        [N] losses in the dtype of the inputs.

    Raises:
        ValueError, IndexError, TypeError, InvalidArgumentError: as `sampled_softmax_loss`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf import nn
        >>> candidates = np.array([4, 7]), np.ones((2, 1)), np.ones(2)
        >>> nn.nce_loss(np.eye(9, 3), np.zeros(9), np.array([[1], [5]]), np.ones((2, 3)), 2, 9,
        ...             sampled_values=candidates).round(6)
        array([1.699556, 2.079442])

    Source: `tf.nn.nce_loss` of TensorFlow 2.21.
    """
    return nce_loss_v1(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
    )


def sampled_softmax_loss_v1(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str | None = None,
    seed: Any = None,
) -> Any:
    """`sampled_softmax_loss` of TensorFlow 1: lists of weights hold every so many-th class ("mod"), or "div".

    Args:
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            name, seed: as there.
        partition_strategy: "mod" or "div".

    Returns:
        [N] losses.

    Raises:
        ValueError: another strategy; and as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf.v1 import nn
        >>> candidates, w = (np.array([4, 7]), np.ones((2, 1)), np.ones(2)), np.eye(9, 3)
        >>> biases, labels = [np.zeros(5), np.zeros(4)], np.array([[1], [5]])
        >>> nn.sampled_softmax_loss([w[::2], w[1::2]], biases, labels, np.ones((2, 3)), 2, 9,
        ...                         sampled_values=candidates).round(6)
        array([0.551445, 1.098612])

    Source: `tf.compat.v1.nn.sampled_softmax_loss` of TensorFlow 2.21.
    """
    return _loss(
        sampled_losses.sampled_softmax_loss,
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        partition_strategy,
        seed,
        remove_accidental_hits,
    )


def nce_loss_v1(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str | None = None,
) -> Any:
    """`nce_loss` of TensorFlow 1: lists of weights hold every so many-th class ("mod"), or "div".

    Args:
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            name: as there.
        partition_strategy: "mod" or "div".

    Returns:
        [N] losses.

    Raises:
        ValueError: another strategy; and as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf.v1 import nn
        >>> candidates, w = (np.array([4, 7]), np.ones((2, 1)), np.ones(2)), np.eye(9, 3)
        >>> nn.nce_loss([w[:5], w[5:]], [np.zeros(5), np.zeros(4)], np.array([[1], [5]]), np.ones((2, 3)), 2, 9,
        ...             sampled_values=candidates, partition_strategy="div").round(6)
        array([1.699556, 2.079442])

    Source: `tf.compat.v1.nn.nce_loss` of TensorFlow 2.21.
    """
    return _loss(
        sampled_losses.nce_loss,
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        partition_strategy,
        None,
        remove_accidental_hits,
    )


def rank_sampled_softmax_loss(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_resampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Any,
    resampling_temperature: float,
    remove_accidental_hits: bool,
    partition_strategy: str,
    name: str | None = None,
) -> Any:
    """Sampled softmax in two stages, one loss a row; `xent.rank_sampled_softmax_loss`.

    Args:
        num_resampled: how many of the sampled classes stay.
        resampling_temperature: divides the logits that rank them.
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits,
            partition_strategy, name: as in `tf.compat.v1.nn.sampled_softmax_loss`; None for sampled_values draws by a
            learned unigram distribution.

    Returns:
        [N] losses.

    Raises:
        ValueError: in TensorFlow's words, numbers of classes that do not belong together, another strategy.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf.contrib import nn
        >>> candidates = np.array([4, 7, 2]), np.ones((2, 1)), np.ones(3)
        >>> nn.rank_sampled_softmax_loss(np.eye(9, 3), np.zeros(9), np.array([[1], [5]]), np.ones((2, 3)), 3, 1, 9, 1,
        ...                              candidates, 1.0, True, "div").round(6)
        array([0.693147, 1.313262])

    Source: `tf.contrib.nn.rank_sampled_softmax_loss` of TensorFlow 1.15.
    """
    if num_sampled > num_classes:
        raise ValueError(f"num_sampled ({num_sampled}) cannot be greater than num_classes ({num_classes})")
    if num_sampled <= num_resampled:
        raise ValueError(f"num_resampled ({num_resampled}) must be less than num_sampled ({num_sampled})")
    if partition_strategy not in ("mod", "div"):
        raise ValueError(f"unsupported partition_strategy ({partition_strategy})")
    return _loss(
        sampled_losses.rank_sampled_softmax_loss,
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        partition_strategy,
        None,
        remove_accidental_hits,
        learned_unigram_candidate_sampler,
        num_resampled=num_resampled,
        sampling_temperature=resampling_temperature,
    )


def sampled_sparse_softmax_loss(
    weights: Shards,
    biases: Shards,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str | None = None,
) -> Any:
    """`tf.compat.v1.nn.sampled_softmax_loss` for one true class a row, labels [N, 1] or [N].

    Args:
        weights, biases, labels, inputs, num_sampled, num_classes, sampled_values, remove_accidental_hits,
            partition_strategy, name: as there.

    Returns:
        [N] losses.

    Raises:
        ValueError, IndexError, TypeError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat.tf.contrib import nn
        >>> candidates = np.array([4, 7]), np.ones((2, 1)), np.ones(2)
        >>> nn.sampled_sparse_softmax_loss(np.eye(9, 3), np.zeros(9), np.array([1, 5]), np.ones((2, 3)), 2, 9,
        ...                                sampled_values=candidates).round(6)
        array([0.551445, 1.098612])

    Source: `tf.contrib.nn.sampled_sparse_softmax_loss` of TensorFlow 1.15.
    """
    return sampled_softmax_loss_v1(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        1,
        sampled_values,
        remove_accidental_hits,
        partition_strategy,
    )
