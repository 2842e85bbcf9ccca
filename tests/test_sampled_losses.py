"""Sampled losses on all frameworks' arrays against TensorFlow's, given the same candidates, and against definitions."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch

import xent

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
RNG = np.random.default_rng(3)
N, D, C, S = 13, 7, 101, 20
X, W, B = (RNG.normal(size=s).astype(np.float32) for s in ((N, D), (C, D), (C,)))
LABELS = RNG.integers(0, C, (N, 3))
ROWS = (RNG.random(N) + 0.5).astype(np.float32)
LOSSES = {"sampled_softmax_loss": tf.nn.sampled_softmax_loss, "nce_loss": tf.nn.nce_loss}
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")


def drawn(true: np.ndarray, unique: bool = True) -> xent.samplers.Candidates:
    return xent.samplers.LogUniform(C, S, unique=unique, seed=5).sample(true)


def gradients(kind: str, function: Any, *arrays: Any) -> list[np.ndarray]:
    """Loss and gradients of the sum of what a function of arrays returns, times 1.7."""
    if kind == "numpy":
        value, found = xent.value_and_grad(function, argnums=tuple(range(len(arrays))))(*arrays)
        return [1.7 * value, *(1.7 * g for g in found)]
    if kind == "torch":
        leaves = [torch.from_numpy(a).requires_grad_() for a in arrays]
        total = 1.7 * function(*leaves).sum()
        return [total.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(total, leaves))]
    if kind == "jax":
        value, found = jax.value_and_grad(lambda *a: 1.7 * function(*a).sum(), tuple(range(len(arrays))))(
            *map(jnp.asarray, arrays)
        )
        return [np.asarray(value), *map(np.asarray, found)]
    leaves = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        total = 1.7 * tf.reduce_sum(function(*leaves))
    return [total.numpy(), *(tf.convert_to_tensor(g).numpy() for g in tape.gradient(total, leaves))]


def close(found: list[Any], expected: list[Any], tolerance: float = 2e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (np.abs(b).max() + 1e-6))


@pytest.mark.parametrize("kind", FRAMEWORKS)
@pytest.mark.parametrize("hits", [True, False])
@pytest.mark.parametrize("true_classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_tensorflows_values_and_gradients(name: str, true_classes: int, hits: bool, kind: str) -> None:
    labels = LABELS[:, :true_classes].astype(np.int64)
    candidates = drawn(labels)

    def theirs(x: Any, w: Any, b: Any) -> Any:
        return LOSSES[name](
            w, b, tf.constant(labels), x, S, C, true_classes, sampled_values=candidates, remove_accidental_hits=hits
        )

    def ours(x: Any, w: Any, b: Any) -> Any:
        given = labels if true_classes > 1 else labels[:, 0]
        return getattr(xent, name)(
            x, w, given, bias=b, candidates=candidates, remove_accidental_hits=hits, reduction="sum"
        )

    close(gradients(kind, ours, X, W, B), gradients("tensorflow", theirs, X, W, B))


@pytest.mark.parametrize("kind", FRAMEWORKS)
@pytest.mark.parametrize("name", [*LOSSES, "negative_sampling_loss"])
def test_rows_of_their_own_weights_temperature_and_reductions(name: str, kind: str) -> None:
    """Against the definition in float64: one list of candidates a row, classes drawn twice, leading axes."""
    labels = LABELS[:12, :2].reshape(4, 3, 2)
    sampled = RNG.integers(0, 30, (12, S))
    true_count, count = RNG.random((12, 2)) + 0.1, RNG.random((12, S)) + 0.1
    candidates = (sampled, true_count, count)
    x, s = X[:12].reshape(4, 3, D), ROWS[:12].reshape(4, 3)

    def expected(reduction: str) -> Any:
        inputs, w, b = (torch.from_numpy(a).double().requires_grad_() for a in (x, W, B))
        flat = inputs.reshape(12, D)
        ids = torch.from_numpy(np.concatenate([labels.reshape(12, 2), sampled], 1))
        z = ((flat[:, None] * w[ids]).sum(-1) + b[ids]) / 0.7
        if name != "negative_sampling_loss":
            z = z - torch.from_numpy(np.log(np.concatenate([true_count, count], 1)))
        hit = torch.from_numpy((labels.reshape(12, 2)[:, :, None] == sampled[:, None]).any(1))
        z = torch.cat([z[:, :2], z[:, 2:].masked_fill(hit, -torch.inf)], 1)
        t = torch.cat([torch.full((12, 2), 0.5), torch.zeros(12, S)], 1).double()
        if name == "sampled_softmax_loss":
            rows = -(t[:, :2] * torch.log_softmax(z, 1)[:, :2]).sum(1)
        else:
            rows = (torch.nn.functional.softplus(z) - torch.where(t > 0, t * z, 0.0)).sum(1)
        weights = torch.from_numpy(s).double().reshape(-1)
        total = (rows * weights).sum() / (weights.sum() if reduction == "mean" else 1)
        found = torch.autograd.grad(1.7 * total, (inputs, w, b))
        return [1.7 * total.detach().numpy(), *(g.numpy() for g in found)]

    for reduction in ("mean", "sum"):

        def ours(x: Any, w: Any, b: Any, reduction: str = reduction) -> Any:
            return getattr(xent, name)(
                x,
                w,
                labels,
                bias=b,
                candidates=candidates,
                temperature=0.7,
                sample_weight=s,
                reduction=reduction,
                remove_accidental_hits=True,
            )

        close(gradients(kind, ours, x, W, B), expected(reduction), 1e-5)
    rows = getattr(xent, name)(X[:12], W, labels.reshape(12, 2), candidates=candidates, reduction="none")
    assert rows.shape == (12,)
    np.testing.assert_allclose(
        getattr(xent, name)(X[:12], W, labels.reshape(12, 2), candidates=candidates), rows.mean(), rtol=1e-6
    )


def test_a_class_drawn_twice_is_removed_everywhere() -> None:
    candidates = (np.array([5, 8, 5]), np.ones(1), np.ones(3))
    loss = xent.sampled_softmax_loss(X[:1], W, np.array([5]), candidates=candidates)
    alone = xent.sampled_softmax_loss(X[:1], W, np.array([5]), candidates=(np.array([8]), np.ones(1), np.ones(1)))
    np.testing.assert_allclose(loss, alone, rtol=1e-6)


@pytest.mark.parametrize("name", [*LOSSES, "negative_sampling_loss"])
def test_sparse_gradients_are_the_dense_ones(name: str) -> None:
    labels = LABELS[:, 0]
    candidates = drawn(labels)

    def loss(x: Any, w: Any, b: Any, sparse: bool) -> Any:
        return getattr(xent, name)(x, w, labels, bias=b, candidates=candidates, sparse_gradient=sparse)

    expected = gradients("numpy", lambda *a: loss(*a, False), X, W, B)
    _, (of_x, of_w, of_b) = xent.value_and_grad(lambda *a: loss(*a, True), argnums=(0, 1, 2))(X, W, B)
    assert isinstance(of_w, xent.SparseRows)
    assert of_w.rows.shape == (N + S, D)
    close([1.7 * g for g in (of_x, of_w.to_dense(), of_b.to_dense())], expected[1:])

    leaves = [torch.from_numpy(a).clone().requires_grad_() for a in (X, W, B)]
    (1.7 * loss(*leaves, True)).backward()
    assert leaves[1].grad.is_sparse
    assert leaves[2].grad.is_sparse
    assert leaves[1].grad._nnz() == N + S
    close([leaves[0].grad.numpy(), *(t.grad.to_dense().numpy() for t in leaves[1:])], expected[1:])
    torch.optim.SparseAdam(leaves[1:2]).step()

    w = tf.Variable(W)
    with tf.GradientTape() as tape:
        total = 1.7 * loss(tf.constant(X), w, tf.constant(B), True)
    gradient = tape.gradient(total, w)
    assert isinstance(gradient, tf.IndexedSlices)
    close([tf.convert_to_tensor(gradient).numpy()], expected[2:3])


@pytest.mark.parametrize("name", [*LOSSES, "negative_sampling_loss", "rank_sampled_softmax_loss"])
@pytest.mark.parametrize("compiled", [False, True])
def test_sparse_gradients_on_jax_are_the_dense_ones(name: str, compiled: bool) -> None:
    labels = LABELS[:, 0]
    kept = (S // 2,) if name.startswith("rank") else ()

    def gradients_of(sparse: bool, x: Any, w: Any, b: Any) -> Any:
        # the same seed: as many draws whatever the gradient is
        sampler = xent.samplers.LogUniform(C, S, seed=4)
        source = {"candidates": sampler.sample(labels)} if compiled else {"sampler": sampler}

        def loss(x: Any, w: Any, b: Any) -> Any:
            # in two parts, one of them without the bias
            part = getattr(xent, name)(x, w, labels, *kept, bias=b, **source, sparse_gradient=sparse)
            other = getattr(xent, name)(2 * x, w, labels, *kept, **source, sparse_gradient=sparse)
            return 1.7 * part + other, {"part": part}

        return xent.value_and_grad(loss, argnums=(0, 1, -1), has_aux=True)(x, w, b)

    leaves = [jnp.asarray(a) for a in (X, W, B)]
    (loss, aux), expected = gradients_of(False, *leaves)
    run = jax.jit(gradients_of, static_argnums=0) if compiled else gradients_of
    (found_loss, found_aux), found = run(True, *leaves)
    assert isinstance(found[1], xent.SparseRows)
    assert isinstance(found[2], xent.SparseRows)
    assert found[1].rows.shape == (2 * (N + (*kept, S)[0]), D)
    close([found_loss, found_aux["part"]], [loss, aux["part"]])
    close([found[0], found[1].to_dense(), found[2].coalesced().to_dense()], expected)


def test_gradients_on_jax_are_dense_where_a_weight_has_other_uses() -> None:
    labels = LABELS[:, 0]
    candidates = drawn(labels)

    def loss(sparse: bool, x: Any, w: Any, b: Any) -> Any:
        # the weight decays, and the bias is not used as it came
        part = xent.sampled_softmax_loss(x, w, labels, bias=2 * b, candidates=candidates, sparse_gradient=sparse)
        return part + 0.1 * jnp.sum(w * w)

    leaves = [jnp.asarray(a) for a in (X, W, B)]
    _, expected = xent.value_and_grad(partial(loss, False), argnums=(0, 1, 2))(*leaves)
    _, found = xent.value_and_grad(partial(loss, True), argnums=(0, 1, 2))(*leaves)
    assert all(isinstance(g, jax.Array) for g in found)
    close(found, expected)
    _, by_jax = jax.value_and_grad(partial(loss, True), argnums=(0, 1, 2))(*leaves)
    close(by_jax, expected)


def test_sparse_rows_of_jax_are_a_tree() -> None:
    gradient = xent.SparseRows(jnp.array([2, 0, 2]), jnp.array([1.0, 5.0, 3.0]), 4)
    halved = jax.jit(lambda g: jax.tree.map(lambda a: a // 2 if a.dtype == int else a / 2, g))(gradient)
    assert halved.size == 4
    assert halved.coalesced().ids.tolist() == [0, 1]
    assert gradient.plus(gradient).to_dense().tolist() == [10.0, 0.0, 8.0, 0.0]
    with pytest.raises(TypeError, match="specify a concrete value for the size"):
        jax.jit(lambda g: g.coalesced())(gradient)


@pytest.mark.parametrize("num_true", [1, 3])
def test_drawing_inside_transformations(num_true: int) -> None:
    labels = LABELS[:, :num_true]
    sampler = partial(xent.samplers.LogUniform, C, S, seed=3)

    def loss(x: Any, y: Any) -> Any:
        return xent.sampled_softmax_loss(x, W, y, sampler=sampler())

    expected = gradients("numpy", lambda x: loss(x, labels), X)[1]
    found = torch.func.grad(
        lambda x: xent.sampled_softmax_loss(x, torch.from_numpy(W), torch.from_numpy(labels), sampler=sampler())
    )(torch.from_numpy(X))
    close(
        [1.7 * found.numpy(), 1.7 * jax.jit(jax.grad(lambda x: loss(x, labels)))(jnp.asarray(X))], [expected, expected]
    )


def test_samplers_draw_and_learn() -> None:
    sampler = xent.samplers.LearnedUnigram(C, S, seed=1)
    for kind in (np.asarray, torch.from_numpy, jnp.asarray, tf.constant):
        before = sampler.state.calls
        loss = xent.sampled_softmax_loss(kind(X), kind(W), kind(LABELS[:, 0]), sampler=sampler)
        assert np.isfinite(np.asarray(loss))
        assert sampler.state.calls > before
    assert sampler.counts.sum() == C + 4 * N


def test_the_bias_of_the_gradient_falls_as_one_over_the_sample() -> None:
    """Bengio and Senécal 2008: the estimate is self-normalised, so its bias is of order 1/S."""
    labels, x = LABELS[:, 0], 0.3 * X

    def gradient(loss: Any, **options: Any) -> np.ndarray:
        return xent.value_and_grad(lambda x: loss(x, W, labels, bias=B, reduction="sum", **options))(x)[1]

    full = gradient(xent.linear_softmax_cross_entropy)
    biases = []
    for size in (8, 32, 128):
        sampler = xent.samplers.LogUniform(C, size, unique=False, seed=2)
        mean = sum(gradient(xent.sampled_softmax_loss, sampler=sampler) for _ in range(3000)) / 3000
        biases.append(float(np.linalg.norm(mean - full)))
    assert 2.5 < biases[0] / biases[1] < 5.5
    assert 3.0 < biases[1] / biases[2] < 5.5


@pytest.mark.parametrize("kind", FRAMEWORKS)
@pytest.mark.parametrize("calibrated", [False, True])
def test_rank_sampled_softmax(kind: str, calibrated: bool) -> None:
    labels = LABELS[:, 0]
    candidates = drawn(labels[:, None])
    ids, of_true, of_sampled = candidates
    scores = (X.astype(np.float64) @ W[ids].T + B[ids]) / 2.0
    best = np.argsort(-np.log(np.exp(scores).sum(0)))[:6]
    kept = xent.samplers.Candidates(ids[best], of_true, of_sampled[best] * (6 / S if calibrated else 1.0))

    def two_stages(x: Any, w: Any, b: Any) -> Any:
        return xent.rank_sampled_softmax_loss(
            x,
            w,
            labels,
            6,
            bias=b,
            candidates=candidates,
            sampling_temperature=2.0,
            calibrated=calibrated,
            reduction="sum",
        )

    def second(x: Any, w: Any, b: Any) -> Any:
        return xent.sampled_softmax_loss(x, w, labels, bias=b, candidates=kept, reduction="sum")

    close(gradients(kind, two_stages, X, W, B), gradients("torch", second, X, W, B))


@pytest.mark.parametrize("kind", FRAMEWORKS)
def test_in_batch_softmax(kind: str) -> None:
    queries, items = X[:5], W[:8]
    ids, log_q = np.array([3, 4, 3, 5, 6, 4, 9, 9]), np.log(RNG.random(8)).astype(np.float32)

    def ours(q: Any, i: Any) -> Any:
        return xent.in_batch_softmax_loss(q, i, item_ids=ids, log_q=log_q, temperature=0.3, sample_weight=ROWS[:5])

    q, i = (torch.from_numpy(a).double().requires_grad_() for a in (queries, items))
    z = q @ i.T / 0.3 - torch.from_numpy(log_q).double()
    same = torch.from_numpy(ids[:5, None] == ids) & ~torch.eye(5, 8, dtype=torch.bool)
    rows = torch.nn.functional.cross_entropy(z.masked_fill(same, -torch.inf), torch.arange(5), reduction="none")
    weights = torch.from_numpy(ROWS[:5]).double()
    total = 1.7 * (rows * weights).sum() / weights.sum()
    close(
        gradients(kind, ours, queries, items),
        [total.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(total, (q, i)))],
        1e-5,
    )


def test_inside_jit_compiled_programs_and_graphs() -> None:
    labels = LABELS[:, :2]
    candidates = drawn(labels)
    for name in (*LOSSES, "negative_sampling_loss"):
        function = getattr(xent, name)
        options = {"remove_accidental_hits": True}
        expected = function(X, W, labels, bias=B, candidates=candidates, **options)
        found = jax.jit(lambda x, w, b, y, *c, f=function: f(x, w, y, bias=b, candidates=c, **options))(  # noqa: B023
            X, W, B, labels, *candidates
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        graph = tf.function(lambda x, w, b, y, *c, f=function: f(x, w, y, bias=b, candidates=c, **options))  # noqa: B023
        np.testing.assert_allclose(graph(*map(tf.constant, (X, W, B, labels, *candidates))), expected, rtol=1e-6)
        torch._dynamo.reset()
        compiled = torch.compile(
            lambda x, w, b, y, *c, f=function: f(x, w, y, bias=b, candidates=c, **options),  # noqa: B023
            fullgraph=True,
            backend="aot_eager",
        )
        np.testing.assert_allclose(
            compiled(*map(torch.from_numpy, (X, W, B, labels, *candidates))), expected, rtol=1e-6
        )
    sampler = xent.samplers.Uniform(C, S, seed=1)
    with pytest.raises(TypeError, match="labels: expected true classes whose values are known"):
        jax.jit(lambda y: xent.sampled_softmax_loss(jnp.asarray(X), W, y, sampler=sampler))(jnp.asarray(labels))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_other_dtypes(kind: str, dtype: str) -> None:
    candidates = drawn(LABELS[:, :1])
    expected = xent.sampled_softmax_loss(X, W, LABELS[:, 0], candidates=candidates)
    if kind == "torch":
        x, w = (torch.from_numpy(a).to(getattr(torch, dtype)) for a in (X, W))
        loss = xent.sampled_softmax_loss(x, w, LABELS[:, 0], candidates=candidates)
        assert loss.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    else:
        with jax.enable_x64(dtype == "float64"):
            x, w = (jnp.asarray(a, dtype) for a in (X, W))
            loss = xent.sampled_softmax_loss(x, w, LABELS[:, 0], candidates=candidates)
    np.testing.assert_allclose(np.asarray(loss), expected, rtol=1e-6 if dtype == "float64" else 3e-2)


GOOD = (np.arange(4), np.ones((N, 1)), np.ones(4))
BAD: dict[str, tuple[Any, str]] = {
    "neither": (lambda: xent.nce_loss(X, W, LABELS[:, 0]), "sampler: expected a sampler or candidates"),
    "both": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=GOOD, sampler=xent.samplers.Uniform(C, 2)),
        "got both",
    ),
    "no sampler": (lambda: xent.nce_loss(X, W, LABELS[:, 0], sampler=np.ones(3)), "sampler: expected one of"),
    "range": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0], sampler=xent.samplers.Uniform(C + 1, 2)),
        "sampler: expected a sampler of at most 101 classes",
    ),
    "label": (lambda: xent.nce_loss(X, W, LABELS[:, 0] + C, candidates=GOOD), "labels: expected class indices"),
    "label, drawn": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0] + C, sampler=xent.samplers.Uniform(C, 2)),
        r"expected class indices in \[0, 101\)",
    ),
    "sampled": (lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=(GOOD[0] - 1, *GOOD[1:])), "sampled_ids"),
    "rank": (lambda: xent.nce_loss(X, W, LABELS[None], candidates=GOOD), r"labels: expected shape \(13,\) or"),
    "labels' dtype": (lambda: xent.nce_loss(X, W, X[:, 0], candidates=GOOD), "labels: expected true classes as int"),
    "true counts": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=(GOOD[0], np.ones(3), GOOD[2])),
        "true_expected_count: expected the shape",
    ),
    "counts": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=(*GOOD[:2], np.ones(3))),
        "sampled_expected_count: expected the shape",
    ),
    "reserved": (
        lambda: xent.nce_loss(
            X, W, np.zeros(N, int), sampler=xent.samplers.Unigram(np.ones(C - 1), 4, num_reserved_ids=1, seed=1)
        ),
        "true_expected_count: expected positive finite counts, got 0 of class 0",
    ),
    "triple": (lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=GOOD[:2]), "candidates: expected sampled ids"),
    "inner": (lambda: xent.nce_loss(X, W[:, :3], LABELS[:, 0], candidates=GOOD), r"weight: expected shape \(C, 7\)"),
    "dtype": (lambda: xent.nce_loss(X, W.astype(float), LABELS[:, 0], candidates=GOOD), "weight: expected the dtype"),
    "temperature": (
        lambda: xent.nce_loss(X, W, LABELS[:, 0], candidates=GOOD, temperature=0.0),
        "temperature: expected a positive number",
    ),
    "resampled": (
        lambda: xent.rank_sampled_softmax_loss(X, W, LABELS[:, 0], 4, candidates=GOOD),
        r"num_resampled: expected fewer than num_sampled \(4\)",
    ),
    "queries": (lambda: xent.in_batch_softmax_loss(X[0], W), r"queries: expected shape \(N, D\)"),
    "items": (lambda: xent.in_batch_softmax_loss(X, W[:5]), r"items: expected shape \(M, 7\) with M at least 13"),
    "ids": (lambda: xent.in_batch_softmax_loss(X, W, item_ids=np.arange(3)), r"item_ids: expected shape \(101,\)"),
    "log_q": (lambda: xent.in_batch_softmax_loss(X, W, log_q=np.full(C, -np.inf)), "log_q: expected finite numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises((ValueError, TypeError, IndexError), match=text):
        call()


def test_unchecked_labels_give_nan() -> None:
    bad = LABELS[:, 0].copy()
    bad[4] = C
    for sampler in (None, xent.samplers.Uniform(C, 4, seed=1)):
        source = {"candidates": GOOD} if sampler is None else {"sampler": sampler}
        for name in (*LOSSES, "negative_sampling_loss"):
            rows = getattr(xent, name)(X, W, bad, reduction="none", validate=False, **source)
            assert np.isnan(rows).tolist() == [at == 4 for at in range(N)]


def test_nothing_counts() -> None:
    for name in (*LOSSES, "negative_sampling_loss"):
        assert getattr(xent, name)(X, W, LABELS[:, 0], candidates=GOOD, sample_weight=np.zeros(N)) == 0
