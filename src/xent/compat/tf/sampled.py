"""TensorFlow's sampled losses, on the arrays of any framework: one loss a row, weights first, or shards of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import sampled_losses
from ..arrays import namespace_of
from .random import learned_unigram_candidate_sampler, log_uniform_candidate_sampler

Shards = Any  # an array [C, D], or a list of them


def _rows(xp: Any, shards: Sequence[Any], strategy: str, classes: int, ids: Any) -> Any:
    """The lines of weights or biases that lie in shards, in the order of the ids."""
    count = len(shards)
    quotient, extra = divmod(classes, count)
    if strategy == "mod":
        shard, place = ids % count, ids // count
    else:
        shard = np.maximum(ids // (quotient + 1), (ids - extra) // max(quotient, 1))
        place = np.where(shard < extra, ids % (quotient + 1), (ids - extra) % max(quotient, 1))
    parts = [xp.gather(shards[p], xp.own(np.ascontiguousarray(place[shard == p]), shards[p])) for p in range(count)]
    order = np.argsort(np.argsort(shard, kind="stable"), kind="stable")
    return xp.gather(xp.concat(parts, axis=0), xp.own(order, parts[0]))


def _whole(
    xp: Any, weights: Shards, biases: Shards, labels: Any, candidates: Any, strategy: str, classes: int
) -> tuple[Any, Any, Any, Any]:
    """Weights and biases as one array each, of the lines that are used; labels and candidates with their numbers."""
    if not isinstance(weights, (list, tuple)):
        return weights, biases, labels, candidates
    shards = [xp.as_array("weights", w, weights[0]) for w in weights]
    small = biases if isinstance(biases, (list, tuple)) else [biases]
    true = np.asarray(xp.numpy_of(xp.as_array("labels", labels, shards[0])), np.int64)
    sampled = np.asarray(xp.numpy_of(xp.as_array("sampled_values", candidates[0], shards[0])), np.int64)
    ids, places = np.unique(np.concatenate([true.reshape(-1), sampled]), return_inverse=True)
    w = _rows(xp, shards, strategy, classes, ids)
    b = _rows(xp, [xp.as_array("biases", part, shards[0]) for part in small], strategy, classes, ids)
    return w, b, places[: true.size].reshape(true.shape), (places[true.size :], *candidates[1:])


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
    sampler: Callable[..., Any] = log_uniform_candidate_sampler,
    **options: Any,
) -> Any:
    if strategy not in ("mod", "div"):
        raise ValueError(f"Only mod and div partition strategies are supported. Received: {strategy}")
    xp = namespace_of(inputs)
    y = xp.as_array("labels", labels, inputs)
    y = xp.reshape(y, (-1, num_true))  # TensorFlow flattens them
    if sampled_values is None:
        sampled_values = sampler(
            true_classes=y, num_true=num_true, num_sampled=num_sampled, unique=True, range_max=num_classes, seed=seed
        )
    w, b, y, candidates = _whole(xp, weights, biases, y, sampled_values, strategy, num_classes)
    found = loss(inputs, w, y, bias=b, candidates=candidates, reduction="none", **options)
    return xp.astype(found, xp.dtype_name(inputs))


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
        weights: [C, D], or a list of shards ("div": of successive classes). `biases`: [C], likewise.
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
        remove_accidental_hits=remove_accidental_hits,
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
        remove_accidental_hits=remove_accidental_hits,
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
        learned_unigram_candidate_sampler,
        num_resampled=num_resampled,
        sampling_temperature=resampling_temperature,
        remove_accidental_hits=remove_accidental_hits,
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
