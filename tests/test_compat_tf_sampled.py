"""compat.tf's sampled losses against TensorFlow's own, on all frameworks' arrays."""

from __future__ import annotations

from typing import Any

import jax
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


def slopes(tape: tf.GradientTape, loss: Any, tensors: list[Any]) -> list[np.ndarray]:
    found = tape.gradient(loss, tensors)
    assert all(isinstance(g, tf.IndexedSlices) for g in found)  # as TensorFlow's
    return [tf.convert_to_tensor(g).numpy() for g in found]


@pytest.mark.parametrize("kind", KINDS)
def test_div_cuts_by_the_lines_of_the_shards(kind: str) -> None:
    """There may be more of them than classes, and biases have shards of their own."""
    classes = C - 7
    labels, values = LABELS % classes, (CANDIDATES[0] % classes, *CANDIDATES[1:])
    convert = KINDS[kind]
    for weights, biases in (
        (shards(W, "div", 2), shards(B, "div", 2)),
        ([W], shards(B, "div", 3)),
        (W, shards(B, "div", 3)),
        (shards(W, "div", 3), B),
    ):
        expected = tf.nn.nce_loss(weights, biases, labels, X, S, classes, 2, values)
        given = [list(map(convert, part)) if isinstance(part, list) else convert(part) for part in (weights, biases)]
        found = nn.nce_loss(*given, convert(labels), convert(X), S, classes, 2, values)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-6)


@pytest.mark.parametrize("rows", [N, None])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("strategy", ["mod", "div"])
@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
def test_graphs(name: str, strategy: str, count: int, rows: int | None) -> None:
    """With whole weights (a count of 0) and shards, batches of any size, classes drawn twice, and the gradients."""
    values = (np.repeat(CANDIDATES[0][::2], 2), *CANDIDATES[1:])
    weights = [tf.Variable(w) for w in (shards(W, strategy, count) if count else [W])]
    biases = [tf.Variable(b) for b in (shards(B, strategy, count) if count else [B])]
    spec = [tf.TensorSpec((rows, D), tf.float32), tf.TensorSpec((rows, 2), tf.int64)]

    def of(module: Any) -> Any:
        def loss(x: Any, y: Any) -> Any:
            w, b = (weights, biases) if count else (weights[0], biases[0])
            return getattr(module, name)(w, b, y, x, S, C, 2, values, partition_strategy=strategy)

        return loss

    with tf.GradientTape() as tape:
        expected = of(tf.compat.v1.nn)(tf.constant(X), tf.constant(LABELS))
    theirs = slopes(tape, expected, [*weights, *biases])
    # ours removes a class that was drawn twice at both places
    with tf.GradientTape() as tape:
        eager = of(v1.nn)(tf.constant(X), tf.constant(LABELS))
    ours = slopes(tape, eager, [*weights, *biases])
    if name == "nce_loss":  # which removes none
        np.testing.assert_allclose(eager, expected, rtol=2e-6)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    with tf.GradientTape() as tape:
        found = tf.function(of(v1.nn), input_signature=spec)(tf.constant(X), tf.constant(LABELS))
    np.testing.assert_allclose(found, eager, rtol=2e-6)
    for a, b in zip(slopes(tape, found, [*weights, *biases]), ours, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", ["mod", "div"])
def test_shards_in_programs_of_jax_and_torch(strategy: str) -> None:
    weights, biases = shards(W, strategy, 3), shards(B, strategy, 3)
    expected = v1.nn.sampled_softmax_loss(weights, biases, LABELS, X, S, C, 2, CANDIDATES, partition_strategy=strategy)

    def loss(x: Any, y: Any, w: Any, b: Any, values: Any) -> Any:
        return v1.nn.sampled_softmax_loss(w, b, y, x, S, C, 2, values, partition_strategy=strategy)

    np.testing.assert_allclose(jax.jit(loss)(X, LABELS, weights, biases, CANDIDATES), expected, rtol=2e-6)
    bad = LABELS.copy()
    bad[2, 0], bad[3, 1] = -1, C
    rows = jax.jit(loss)(X, bad, weights, biases, CANDIDATES)
    assert np.isnan(rows).tolist() == [at in (2, 3) for at in range(N)]
    torch._dynamo.reset()
    tensors = [[torch.from_numpy(a) for a in part] for part in (weights, biases, CANDIDATES)]
    program = torch.compile(loss, backend="aot_eager", fullgraph=True)
    np.testing.assert_allclose(program(torch.from_numpy(X), torch.from_numpy(LABELS), *tensors), expected, rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", ["mod", "div"])
def test_classes_outside_the_shards(strategy: str, kind: str) -> None:
    convert = KINDS[kind]
    weights, biases = (list(map(convert, shards(part, strategy, 2))) for part in (W, B))
    for label in (-1, -3, C, 2 * C):
        for place in ("label", "sampled"):
            labels, ids = LABELS.copy(), CANDIDATES[0].copy()
            if place == "label":
                labels[3] = label
            else:
                ids[3] = label
            values = (ids, *CANDIDATES[1:])
            with pytest.raises(IndexError, match=f"expected classes that lie in the shards of .*, got class {label}"):
                v1.nn.nce_loss(
                    weights, biases, convert(labels), convert(X), S, C, 2, values, partition_strategy=strategy
                )


SHARDED: dict[str, tuple[Any, str]] = {
    "widths": (([W[:20], W[20:, :3]], [B[:20], B[20:]]), r"weights: expected shards \[rows, D\] of one width D"),
    "bias": (([W[:21], W[21:]], [B[:21, None], B[21:, None]]), r"biases: expected shards \[rows\]"),
    "short": (([W[:3], W[3:]], [B[:20], B[20:]]), "shards of weights, of .3, 38. lines"),
    "none": (([], []), "Length of params is currently 0. Need at least one param"),
}


@pytest.mark.parametrize("name", SHARDED)
def test_shards_that_are_refused(name: str) -> None:
    (weights, biases), text = SHARDED[name]
    with pytest.raises((ValueError, IndexError), match=text):
        nn.nce_loss(weights, biases, LABELS, X, S, C, 2, CANDIDATES)


@pytest.mark.parametrize("values", [CANDIDATES, None])
@pytest.mark.parametrize(
    ("num_true", "text"),
    [
        (0, "Value for attr 'num_true' of 0 must be at least minimum 1"),
        (-1, "Value for attr 'num_true' of -1 must be at least minimum 1"),
        ("1", "Expected int for argument 'num_true' not '1'"),
        (1, "true_classes must have num_true columns, expected: 2 was: 1"),
        (3, "true_classes must have num_true columns, expected: 2 was: 3"),
    ],
)
def test_numbers_of_true_classes_that_are_refused(num_true: Any, text: str, values: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        nn.nce_loss(W, B, LABELS, X, S, C, num_true, values)


def test_labels_of_floats_and_shards_without_biases() -> None:
    expected = nn.nce_loss(W, np.zeros(C, np.float32), LABELS, X, S, C, 2, CANDIDATES)
    np.testing.assert_allclose(nn.nce_loss(W, None, LABELS.astype(float), X, S, C, 2, CANDIDATES), expected, rtol=1e-6)
    found = nn.nce_loss(shards(W, "div", 2), None, LABELS, X, S, C, 2, CANDIDATES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
