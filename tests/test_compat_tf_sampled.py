"""compat.tf's sampled losses against TensorFlow's own, on all frameworks' arrays."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch

from xent.compat.tf import contrib, nn, v1

RNG = np.random.default_rng(1)
N, D, C, S = 9, 5, 41, 12
X, W, B = (RNG.normal(size=s).astype(np.float32) for s in ((N, D), (C, D), (C,)))
LABELS = RNG.integers(0, C, (N, 2))
KINDS: dict[str, Any] = {"numpy": np.asarray, "torch": torch.from_numpy, "jax": jnp.asarray, "tensorflow": tf.constant}
VALUES = tf.random.log_uniform_candidate_sampler(LABELS, 2, S, True, C, seed=4)
CANDIDATES = tuple(np.array(part) for part in VALUES)


def shards(array: np.ndarray, strategy: str, count: int) -> list[np.ndarray]:
    if strategy == "mod":
        return [np.ascontiguousarray(array[p::count]) for p in range(count)]
    return [np.ascontiguousarray(part) for part in np.array_split(array, count)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hits", [True, False])
@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
def test_the_losses_of_today(name: str, hits: bool, kind: str) -> None:
    convert = KINDS[kind]
    arguments: dict[str, Any] = {
        "num_sampled": S,
        "num_classes": C,
        "num_true": 2,
        "remove_accidental_hits": hits,
    }
    expected = getattr(tf.nn, name)(W, B, LABELS, X, sampled_values=VALUES, **arguments)
    found = getattr(nn, name)(
        *map(convert, (W, B, LABELS, X)), sampled_values=tuple(map(convert, CANDIDATES)), **arguments
    )
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-6)
    assert type(found) is type(convert(X))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("strategy", ["mod", "div"])
def test_shards_and_their_gradients(strategy: str, count: int, kind: str) -> None:
    weights, biases = shards(W, strategy, count), shards(B, strategy, count)
    tensors = [tf.constant(w) for w in weights]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        expected = tf.compat.v1.nn.sampled_softmax_loss(
            tensors, [tf.constant(b) for b in biases], LABELS, X, S, C, 2, VALUES, partition_strategy=strategy
        )
    slopes = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(expected, tensors)]
    convert = KINDS[kind]
    arguments = (LABELS, convert(X), S, C, 2, CANDIDATES)
    ours = [convert(w) for w in weights]
    if kind == "torch":
        ours = [w.requires_grad_() for w in ours]
        found = v1.nn.sampled_softmax_loss(ours, list(map(convert, biases)), *arguments, partition_strategy=strategy)
        for gradient, slope in zip(torch.autograd.grad(found.sum(), ours), slopes, strict=True):
            np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)
        found = found.detach()
    else:
        found = v1.nn.sampled_softmax_loss(ours, list(map(convert, biases)), *arguments, partition_strategy=strategy)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-6)
    noise = v1.nn.nce_loss(ours, list(map(convert, biases)), *arguments, partition_strategy=strategy)
    theirs = tf.compat.v1.nn.nce_loss(weights, biases, LABELS, X, S, C, 2, VALUES, partition_strategy=strategy)
    np.testing.assert_allclose(np.asarray(noise.detach() if kind == "torch" else noise), theirs, rtol=2e-6)


def test_the_default_sampler_draws_what_tensorflows_does() -> None:
    seed = 77123
    expected = tf.nn.sampled_softmax_loss(W, B, LABELS, X, S, C, 2, seed=seed)
    np.testing.assert_allclose(nn.sampled_softmax_loss(W, B, LABELS, X, S, C, 2, seed=seed), expected, rtol=2e-6)


def test_contrib() -> None:
    one = LABELS[:, :1]
    values = tf.random.log_uniform_candidate_sampler(one, 1, S, True, C, seed=4)
    ids, true_count, count = (np.asarray(part) for part in values)
    found = contrib.nn.rank_sampled_softmax_loss(W, B, one, X, S, 4, C, 1, (ids, true_count, count), 0.5, True, "mod")
    scores = np.log(np.exp((X.astype(float) @ W[ids].T + B[ids]) / 0.5).sum(0))
    best = np.argsort(-scores)[:4]
    expected = tf.nn.sampled_softmax_loss(W, B, one, X, 4, C, 1, (ids[best], true_count, count[best]))
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    sparse = contrib.nn.sampled_sparse_softmax_loss(W, B, one[:, 0], X, S, C, values, partition_strategy="div")
    np.testing.assert_allclose(sparse, tf.nn.sampled_softmax_loss(W, B, one, X, S, C, 1, values), rtol=2e-6)


@pytest.mark.parametrize(
    ("sizes", "strategy", "text"),
    [
        ((C + 1, 2), "mod", rf"num_sampled \({C + 1}\) cannot be greater than num_classes \({C}\)"),
        ((5, 5), "mod", r"num_resampled \(5\) must be less than num_sampled \(5\)"),
        ((5, 2), "rows", r"unsupported partition_strategy \(rows\)"),
    ],
)
def test_contrib_refuses_in_tensorflows_words(sizes: tuple[int, int], strategy: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        contrib.nn.rank_sampled_softmax_loss(W, B, LABELS, X, *sizes, C, 2, CANDIDATES, 1.0, True, strategy)


def test_another_strategy() -> None:
    with pytest.raises(ValueError, match="Only mod and div"):
        v1.nn.nce_loss(W, B, LABELS, X, S, C, 2, partition_strategy="rows")
