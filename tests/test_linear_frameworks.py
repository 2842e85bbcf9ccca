"""Linear losses on the arrays of NumPy, JAX and TensorFlow against the dense losses on PyTorch's, in float32."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch

import xent

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
RNG = np.random.default_rng(5)
N, D, C = 37, 11, 53
ROW = C * 4  # bytes of a row of logits
X, W, B, DOWN, UP = (RNG.normal(size=s).astype(np.float32) for s in ((N, D), (C, D), (C,), (2, D), (C, 2)))
LABELS = RNG.integers(0, C, N)
SKIPPING = np.where(np.arange(N) % 5 == 0, -100, LABELS)
SOFT = RNG.dirichlet(np.ones(C), N).astype(np.float32)
TOPK = xent.TopK(np.stack([LABELS, (LABELS + 1) % C], 1), np.full((N, 2), 0.5, np.float32))
HARD = (RNG.random((N, C)) < 0.2).astype(np.float32)
PADDED = np.stack([LABELS, np.where(LABELS % 2, (LABELS + 7) % C, -1)], 1)
COUNTS = (PADDED >= 0).sum(1)
STARTS = np.concatenate([[0], np.cumsum(COUNTS)])
V, S = (RNG.random(C) + 0.5).astype(np.float32), RNG.random(N).astype(np.float32)
Call = tuple[str, Any, dict[str, Any]]
CALLS: dict[str, Call] = {
    "index": ("softmax", LABELS, {}),
    "everything": (
        "softmax",
        SKIPPING,
        {
            "ignore_index": -100,
            "class_weight": V,
            "sample_weight": S,
            "label_smoothing": 0.1,
            "z_loss": 1e-2,
            "softcap": 5.0,
            "temperature": 1.3,
        },
    ),
    "soft": ("softmax", SOFT, {"class_weight": V}),
    "top-k": ("softmax", TOPK, {"sample_weight": S}),
    "normalizer": ("softmax", LABELS, {"normalizer": 12.5}),
    "hard": ("sigmoid", HARD, {}),
    "weights": ("sigmoid", HARD, {"pos_weight": V, "class_weight": V, "sample_weight": S, "label_smoothing": 0.1}),
    "elements": ("sigmoid", SOFT, {"sample_weight": S[:, None] * V, "pos_weight": np.float32(2.0)}),
    "rows of pos_weight": ("sigmoid", HARD, {"pos_weight": S[:, None] + 1}),
    "ignored": ("sigmoid", np.where(SOFT < 0.01, -1, HARD), {"ignore_index": -1}),
    "padded lists": ("sigmoid", xent.Positives(PADDED), {"pos_weight": V, "sample_weight": S}),
    "lists": ("sigmoid", xent.Positives(PADDED[PADDED >= 0], STARTS), {"normalizer": 30.0}),
    "nothing counts": ("sigmoid", HARD, {"sample_weight": np.zeros(N, np.float32)}),
}


def converted(value: Any, convert: Any) -> Any:
    if isinstance(value, (xent.TopK, xent.Positives)):
        parts = (value.indices, value.values) if isinstance(value, xent.TopK) else (value.classes, value.starts)
        return type(value)(*(None if part is None else convert(part) for part in parts))
    return convert(value) if isinstance(value, np.ndarray) else value


def arguments(name: str, reduction: str, convert: Any) -> tuple[str, Any, dict[str, Any]]:
    family, labels, options = CALLS[name]
    options = {k: converted(v, convert) for k, v in options.items() if reduction == "mean" or k != "normalizer"}
    return family, converted(labels, convert), options | {"reduction": reduction}


def linear(family: str, x: Any, w: Any, b: Any, down: Any, up: Any, labels: Any, **options: Any) -> Any:
    function = getattr(xent, f"linear_{family}_cross_entropy")
    return function(x, xent.LowRank(w, down, up, 0.5), labels, bias=b, **options)


def weighted(loss: Any, ramp: Any) -> Any:
    """The loss with an upstream gradient that is not 1."""
    return (loss * ramp.reshape(loss.shape)).sum()


def ramp(size: int) -> np.ndarray:
    return np.linspace(0.3, 1.7, size, dtype=np.float32)


def truth(name: str, reduction: str = "mean") -> list[np.ndarray]:
    family, labels, options = arguments(
        name, reduction, lambda a: torch.from_numpy(a.astype(np.float64) if a.dtype == np.float32 else a)
    )
    leaves = [torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in (X, W, B, DOWN, UP)]
    x, w, b, down, up = leaves
    loss = getattr(xent, f"{family}_cross_entropy")(x @ (w + 0.5 * up @ down).T + b, labels, **options)
    total = weighted(loss, torch.from_numpy(ramp(loss.numel()).astype(np.float64)))
    return [loss.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(total, leaves))]


def close(found: list[Any], expected: list[np.ndarray], tolerance: float = 2e-5) -> None:
    for a, b in zip(found, expected, strict=True):
        assert tuple(a.shape) == b.shape
        np.testing.assert_allclose(np.asarray(a), b, rtol=tolerance, atol=tolerance * (np.abs(b).max() + 1e-6))


@pytest.mark.parametrize("budget", [None, 8 * ROW])
@pytest.mark.parametrize("name", CALLS)
def test_numpy(name: str, budget: int | None) -> None:
    family, labels, options = arguments(name, "mean", lambda a: a)
    value, found = xent.value_and_grad(
        lambda *heads: linear(family, *heads, labels, memory_budget=budget, **options), argnums=(0, 1, 2, 3, 4)
    )(X, W, B, DOWN, UP)
    expected = truth(name)
    close([value, *(g * ramp(1) for g in found)], expected)
    rows = (
        linear(family, X, W, B, DOWN, UP, labels, memory_budget=budget, **(options | {"reduction": "sum"}))
        if ("normalizer" not in options)
        else value
    )
    assert np.isfinite(rows)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("budget", [None, 16 * ROW])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", [n for n in CALLS if CALLS[n][0] == "sigmoid"])
def test_jax(name: str, reduction: str, budget: int | None, compiled: bool) -> None:
    family, labels, options = arguments(name, reduction, jnp.asarray)

    def step(*heads: Any) -> Any:
        loss = linear(family, *heads, labels, memory_budget=budget, **options)
        return weighted(loss, jnp.asarray(ramp(loss.size))), loss

    run = jax.value_and_grad(step, (0, 1, 2, 3, 4), has_aux=True)
    (_, loss), found = (jax.jit(run) if compiled else run)(*map(jnp.asarray, (X, W, B, DOWN, UP)))
    close([loss, *found], truth(name, reduction))


def test_jax_with_traced_labels() -> None:
    x, w = jnp.asarray(X), jnp.asarray(W)
    for labels in (xent.Positives(PADDED), xent.Positives(PADDED[PADDED >= 0], STARTS)):
        parts = [jnp.asarray(p) for p in (labels.classes, labels.starts) if p is not None]
        found = jax.jit(lambda *p: xent.linear_sigmoid_cross_entropy(x, w, xent.Positives(*p), memory_budget=16 * ROW))(
            *parts
        )
        close([found], [xent.sigmoid_cross_entropy(X @ W.T, labels)])
    bad = jnp.asarray(PADDED).at[4, 0].set(C)
    with pytest.raises(IndexError, match="row 4"):
        xent.linear_sigmoid_cross_entropy(x, w, xent.Positives(bad))
    each = jax.jit(
        lambda p: xent.linear_sigmoid_cross_entropy(x, w, xent.Positives(p), reduction="none", memory_budget=16 * ROW)
    )(bad)
    np.testing.assert_array_equal(np.isnan(each).all(1), np.arange(N) == 4)
    with pytest.raises(ValueError, match="labels: expected numbers"):
        xent.linear_sigmoid_cross_entropy(x, w, jnp.asarray(HARD) * 2)
    with pytest.raises(ValueError, match="sample_weight"):
        xent.linear_sigmoid_cross_entropy(x, w, jnp.asarray(HARD), sample_weight=-S)


@pytest.mark.parametrize("kind", ["eager", "graph"])
@pytest.mark.parametrize("budget", [None, 8 * ROW])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_tensorflow(name: str, reduction: str, budget: int | None, kind: str) -> None:
    family, labels, options = arguments(name, reduction, tf.constant)

    def step(*heads: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(heads)
            loss = linear(family, *heads, labels, memory_budget=budget, **options)
            total = tf.reduce_sum(loss * tf.reshape(tf.constant(ramp(int(np.prod(loss.shape)))), loss.shape))
        return loss, *tape.gradient(total, heads)

    run = tf.function(step) if kind == "graph" else step
    close([t.numpy() for t in run(*map(tf.constant, (X, W, B, DOWN, UP)))], truth(name, reduction))


def test_tensorflow_statistics_and_what_is_not_watched() -> None:
    x, w = tf.constant(X), tf.Variable(W)
    with tf.GradientTape() as tape:
        loss, stats = xent.linear_softmax_cross_entropy(
            x, w, SKIPPING, ignore_index=-100, return_stats=True, memory_budget=8 * ROW
        )
        total = 0.7 * loss + tf.reduce_sum(stats.lse * ramp(N)) - 0.3 * tf.reduce_sum(stats.entropy)
    found = tape.gradient(total, w)
    wt = torch.from_numpy(W).double().requires_grad_()
    expected, others = xent.softmax_cross_entropy(
        torch.from_numpy(X).double() @ wt.T, torch.from_numpy(SKIPPING), ignore_index=-100, return_stats=True
    )
    value = 0.7 * expected + (others.lse * torch.from_numpy(ramp(N))).sum() - 0.3 * others.entropy.sum()
    close([loss.numpy(), stats.lse.numpy(), found.numpy()], [
        expected.detach().numpy(), others.lse.detach().numpy(), torch.autograd.grad(value, wt)[0].numpy(),
    ])  # fmt: skip
    np.testing.assert_array_equal(stats.argmax, others.argmax)


def test_tensorflow_derivatives_of_gradients_and_of_weights() -> None:
    x, w, v = tf.constant(X), tf.constant(W), tf.constant(V)

    def second(function: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch(w)
            with tf.GradientTape() as inner:
                inner.watch(w)
                loss = function(w)
            total = tf.reduce_sum(inner.gradient(loss, w) ** 2)
        return outer.gradient(total, w)

    close(
        [second(lambda w: xent.linear_softmax_cross_entropy(x, w, LABELS, memory_budget=8 * ROW)).numpy()],
        [second(lambda w: xent.softmax_cross_entropy(tf.matmul(x, w, transpose_b=True), LABELS)).numpy()],
    )
    gradients = []
    for fused in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([v, w])
            if fused:
                loss = xent.linear_softmax_cross_entropy(x, w, LABELS, class_weight=v, memory_budget=8 * ROW)
            else:
                loss = xent.softmax_cross_entropy(tf.matmul(x, w, transpose_b=True), LABELS, class_weight=v)
        gradients.append([g.numpy() for g in tape.gradient(loss, [v, w])])
    close(*gradients)
    with tf.autodiff.ForwardAccumulator(w, tf.ones_like(w)) as tangents:
        loss = xent.linear_softmax_cross_entropy(x, w, LABELS)
    with tf.autodiff.ForwardAccumulator(w, tf.ones_like(w)) as others:
        expected = xent.softmax_cross_entropy(tf.matmul(x, w, transpose_b=True), LABELS)
    close([tangents.jvp(loss).numpy()], [others.jvp(expected).numpy()])


def test_tensorflow_derivatives_of_gradients_beside_statistics() -> None:
    x, w = tf.constant(X), tf.constant(W)
    found = []
    for fused in (True, False):
        with tf.GradientTape() as outer:
            outer.watch(w)
            with tf.GradientTape() as inner:
                inner.watch(w)
                if fused:
                    loss, stats = xent.linear_softmax_cross_entropy(x, w, LABELS, return_stats=True)
                else:
                    loss, stats = xent.softmax_cross_entropy(
                        tf.matmul(x, w, transpose_b=True), LABELS, return_stats=True
                    )
                total = loss + tf.reduce_sum(stats.lse * ramp(N)) - 0.3 * tf.reduce_sum(stats.entropy)
            squares = tf.reduce_sum(inner.gradient(total, w) ** 2)
        found.append([outer.gradient(squares, w).numpy()])
    close(*found)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float64])
def test_tensorflow_dtypes_and_leading_axes(dtype: Any) -> None:
    x, w = tf.cast(tf.reshape(X[:36], (4, 9, D)), dtype), tf.cast(W, dtype)
    with tf.GradientTape() as tape:
        tape.watch([x, w])
        loss = xent.linear_softmax_cross_entropy(x, w, LABELS[:36].reshape(4, 9))
    gradients = tape.gradient(loss, [x, w])
    assert [g.dtype for g in gradients] == [dtype, dtype]
    assert loss.dtype == (tf.float64 if dtype == tf.float64 else tf.float32)
    expected = xent.softmax_cross_entropy(X[:36] @ W.T, LABELS[:36])
    np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-2)


def test_tensorflow_bad_input() -> None:
    bad = LABELS.copy()
    bad[4] = C
    with pytest.raises(IndexError, match="label 53 in row 4"):
        xent.linear_softmax_cross_entropy(tf.constant(X), W, bad)
    with pytest.raises(ValueError, match=r"weight: expected shape \(C, 11\)"):
        xent.linear_softmax_cross_entropy(tf.constant(X), W[:, :3], LABELS)
    with pytest.raises(TypeError, match="weight: expected the dtype of inputs"):
        xent.linear_sigmoid_cross_entropy(tf.constant(X), W.astype(np.float64), HARD)
    with pytest.raises(ValueError, match="memory_budget: expected at least"):
        xent.linear_softmax_cross_entropy(tf.constant(X), W, LABELS, memory_budget=10)
