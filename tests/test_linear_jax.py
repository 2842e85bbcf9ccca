"""Losses of a projection on JAX against the dense loss of its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xent

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
linear, softmax = xent.linear_softmax_cross_entropy, xent.softmax_cross_entropy
RNG = np.random.default_rng(5)
N, D, C = 37, 11, 53
ROW = 2 * C * 4  # bytes of a row of logits and its gradient
X, W, B = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((N, D), (C, D), (C,)))
DOWN, UP = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((2, D), (C, 2)))
LABELS = jnp.asarray(RNG.integers(0, C, N))
SKIPPING = jnp.where(jnp.arange(N) % 5 == 0, -100, LABELS)
SOFT = jnp.asarray(RNG.dirichlet(np.ones(C), N), jnp.float32)
V, S = jnp.asarray(RNG.random(C) + 0.5, jnp.float32), jnp.asarray(RNG.random(N), jnp.float32)
TOPK = xent.TopK(jnp.stack([LABELS, (LABELS + 1) % C], 1), jnp.full((N, 2), 0.5))
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "index": (LABELS, {}),
    "everything": (
        SKIPPING,
        {
            "ignore_index": -100,
            "class_weight": V,
            "sample_weight": S,
            "label_smoothing": 0.1,
            "z_loss": 1e-2,
            "softcap": 5.0,
        },
    ),
    "soft": (SOFT, {"class_weight": V}),
    "top-k": (TOPK, {"sample_weight": S}),
    "normalizer": (np.asarray(LABELS), {"normalizer": 12.5}),
}


def close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.abs(b).max() + 1e-3))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("budget", [None, 8 * ROW])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name: str, reduction: str, budget: int | None, compiled: bool) -> None:
    labels, options = CALLS[name]
    if reduction != "mean":
        options = {k: v for k, v in options.items() if k != "normalizer"}

    def of(function: Callable[..., Any]) -> Any:
        def weighted(*heads: Any) -> Any:
            loss = function(*heads)
            return (loss * jnp.linspace(0.3, 1.7, loss.size).reshape(loss.shape)).sum()

        step = jax.value_and_grad(weighted, (0, 1, 2, 3, 4))
        return (jax.jit(step) if compiled else step)(X, W, B, DOWN, UP)

    found = of(
        lambda x, w, b, down, up: linear(
            x, xent.LowRank(w, down, up, 0.5), labels, bias=b, reduction=reduction, memory_budget=budget, **options
        )
    )
    close(found, of(lambda x, w, b, d, u: softmax(x @ (w + 0.5 * u @ d).T + b, labels, reduction=reduction, **options)))


@pytest.mark.parametrize("budget", [None, 8 * ROW])
def test_transforms(budget: int | None) -> None:
    def ours(x: Any, w: Any) -> Any:
        return linear(x, w, SKIPPING, ignore_index=-100, memory_budget=budget)

    def theirs(x: Any, w: Any) -> Any:
        return softmax(x @ w.T, SKIPPING, ignore_index=-100)

    close(jax.jvp(ours, (X, W), (X * 0.3, W + 1)), jax.jvp(theirs, (X, W), (X * 0.3, W + 1)))
    several = jnp.stack([W, 2 * W])
    close(jax.vmap(jax.grad(ours, 1), (None, 0))(X, several), jax.vmap(jax.grad(theirs, 1), (None, 0))(X, several))

    def scanned(f: Any) -> Any:
        return jax.grad(lambda w: jax.lax.scan(lambda total, x: (total + f(x, w), None), 0.0, jnp.stack([X, -X]))[0])(W)

    close(scanned(ours), scanned(theirs))
    small, two_rows = W[:7], None if budget is None else 2 * 2 * 7 * 4
    curvature = jax.hessian(lambda w: linear(X[:4], w, LABELS[:4] % 7, memory_budget=two_rows))(small)
    close(curvature, jax.hessian(lambda w: softmax(X[:4] @ w.T, LABELS[:4] % 7))(small))


def test_statistics() -> None:
    loss, stats = linear(X, W, SKIPPING, ignore_index=-100, return_stats=True, memory_budget=8 * ROW)
    expected, others = softmax(X @ W.T, SKIPPING, ignore_index=-100, return_stats=True)
    close([loss, stats.lse, stats.entropy], [expected, others.lse, others.entropy])
    np.testing.assert_array_equal(stats.argmax, others.argmax)
    chosen = xent.selective_log_softmax(X, W, LABELS, memory_budget=8 * ROW)
    close(chosen, jnp.take_along_axis(jax.nn.log_softmax(X @ W.T), LABELS[:, None], 1)[:, 0])


def test_half_precision_is_summed_up_in_float32() -> None:
    x, w = X.astype(jnp.bfloat16), W.astype(jnp.bfloat16)
    labels = LABELS
    exact = jax.grad(lambda w: softmax(x.astype(jnp.float32) @ w.T, labels, reduction="sum"))(w.astype(jnp.float32))
    errors = []
    for budget in (None, ROW):
        found = jax.grad(lambda w, b=budget: linear(x, w, labels, reduction="sum", memory_budget=b))(w)
        assert found.dtype == jnp.bfloat16
        errors.append(float(jnp.linalg.norm(found.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)))
    assert errors[1] <= 1.05 * errors[0]


def test_the_program_holds_one_chunk() -> None:
    rows, classes = 512, 4096
    x, w = jnp.ones((rows, 8)), jnp.ones((classes, 8))
    labels = jnp.zeros(rows, int)

    def planned(budget: int) -> int:
        step = jax.jit(jax.grad(lambda w: linear(x, w, labels, memory_budget=budget)))
        return int(step.lower(w).compile().memory_analysis().temp_size_in_bytes)

    assert planned(1 << 20) < rows * classes * 4 / 2 < planned(1 << 30)


def test_chunks_of_which_no_row_counts_are_not_computed() -> None:
    """Ignored rows are spread over the batch; the others fill the first chunks, and a chunk that is left is skipped."""
    made = []

    def counted(logits: Any) -> None:
        made.append(logits.shape[0])

    import xent.frontends.jax.linear_loss as module

    original = module.softmax_cross_entropy

    def watched(logits: Any, *arguments: Any, **options: Any) -> Any:
        jax.debug.callback(counted, logits)
        return original(logits, *arguments, **options)

    labels = jnp.where(jnp.arange(N) % 3 == 0, LABELS, -100)
    kept = int((labels != -100).sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "softmax_cross_entropy", watched)
        jax.clear_caches()
        loss = linear(X, W, labels, ignore_index=-100, memory_budget=4 * ROW)
        jax.effects_barrier()
    jax.clear_caches()
    close([loss], [softmax(X @ W.T, labels, ignore_index=-100)])
    assert kept <= sum(made) < kept + 4


def test_bad_input() -> None:
    bad = LABELS.at[4].set(C)
    with pytest.raises(IndexError, match="label 53 in row 4"):
        linear(X, W, bad)
    rows = jax.jit(lambda y: linear(X, W, y, reduction="none", memory_budget=8 * ROW))(bad)
    np.testing.assert_array_equal(np.isnan(rows), np.arange(N) == 4)
    with pytest.raises(ValueError, match=r"weight: expected shape \(C, 11\)"):
        linear(X, W[:, :3], LABELS)
    with pytest.raises(TypeError, match="weight: expected the dtype of inputs"):
        linear(X, W.astype(jnp.bfloat16), LABELS)
    with pytest.raises(ValueError, match="memory_budget: expected at least"):
        linear(X, W, LABELS, memory_budget=10)
    assert linear(X, W, jnp.full(N, -100), ignore_index=-100) == 0
