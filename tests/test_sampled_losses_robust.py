"""Sampled losses where precision, ids, shapes or programs are unusual: the same answer, or the same refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import torch

import xent

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
RNG = np.random.default_rng(6)
N, D, C, S = 4, 3, 9, 5
X, W, B = (RNG.normal(size=s).astype(np.float32) for s in ((N, D), (C, D), (C,)))
LABELS = np.array([1, 2, 3, 4])
GOOD = xent.samplers.LogUniform(C, S, seed=1).sample(LABELS)
PLAIN = ("sampled_softmax_loss", "nce_loss", "negative_sampling_loss")
KINDS: dict[str, Callable[..., Any]] = {
    "numpy": np.asarray,
    "torch": lambda a: torch.from_numpy(np.array(a)),
    "jax": jnp.asarray,
    "tensorflow": tf.constant,
}


def compiled(kind: str, function: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """What a function gives inside a compiled program, to which all arrays are arguments."""
    if kind == "jax":
        return np.asarray(jax.jit(function)(*map(jnp.asarray, arrays)))
    if kind == "torch":
        torch._dynamo.reset()
        program = torch.compile(function, backend="aot_eager", fullgraph=True)
        return program(*(torch.from_numpy(np.array(a)) for a in arrays)).numpy()
    return tf.function(function, jit_compile=kind == "xla")(*map(tf.constant, arrays)).numpy()


PROGRAMS = ("jax", "torch", "tensorflow", "xla")


# Weights of rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (N,)])
@pytest.mark.parametrize("name", ["nce_loss", "negative_sampling_loss"])
def test_weights_of_binary_losses_are_those_of_rows(name: str, shape: tuple[int, ...], kind: str) -> None:
    lead = (2, 2) if shape == () else (N,)
    weight = (RNG.random((2, 1) if shape == () else shape) + 0.5).astype(np.float32)
    x, y = X.reshape(*lead, D), LABELS.reshape(lead)
    loss = partial(getattr(xent, name), *map(KINDS[kind], (x, W, y)), candidates=GOOD)
    rows = np.asarray(loss(reduction="none"), np.float64)
    full = np.broadcast_to(weight, lead)
    np.testing.assert_allclose(loss(sample_weight=KINDS[kind](weight)), (rows * full).sum() / full.sum(), rtol=1e-6)
    np.testing.assert_allclose(loss(sample_weight=weight, reduction="sum"), (rows * full).sum(), rtol=1e-6)
    np.testing.assert_allclose(loss(sample_weight=weight, reduction="none"), rows * full, rtol=1e-6)
    np.testing.assert_allclose(loss(sample_weight=weight, normalizer=2.0), (rows * full).sum() / 2, rtol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (np.ones((N, 1)), r"sample_weight: expected shape \(4,\), or 1 .* got shape \(4, 1\)"),
        (np.ones(3), r"sample_weight: expected shape \(4,\)"),
        (np.ones((N, S + 1)), r"sample_weight: expected shape \(4,\)"),
        (np.array(["a"] * N), "sample_weight: expected real numbers"),
        (np.full(N, np.nan), "sample_weight: expected finite numbers"),
    ],
    ids=["column", "short", "elements", "words", "nan"],
)
def test_weights_that_are_refused(name: str, reduction: str, weight: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        getattr(xent, name)(X, W, LABELS, candidates=GOOD, sample_weight=weight, reduction=reduction)


# Precision


def of_many_rows(dtype: str) -> tuple[list[np.ndarray], Any]:
    """4096 rows of one label, whose gradients in half precision would add up to no more than 256 or 2048."""
    rows = 4096
    arrays = [np.ones((rows, D)), np.zeros((50, D)), np.zeros(50)]
    kind = getattr(ml_dtypes, dtype, None) or dtype
    candidates = np.arange(1, 9), np.ones(rows), np.ones(8)

    def loss(x: Any, w: Any, b: Any, sparse: bool, per_row: bool = False) -> Any:
        given = (np.tile(candidates[0], (rows, 1)), candidates[1], np.ones((rows, 8))) if per_row else candidates
        labels = np.zeros(rows, int)
        return xent.sampled_softmax_loss(
            x, w, labels, bias=b, candidates=given, reduction="sum", sparse_gradient=sparse
        )

    return [a.astype(kind) for a in arrays], loss


def sums(*found: Any) -> None:
    for gradient in found:
        dense = np.asarray(gradient, np.float64).reshape(50, -1)
        np.testing.assert_allclose(dense[0], -8 / 9 * 4096, rtol=5e-3)
        np.testing.assert_allclose(dense[1:9], 4096 / 9, rtol=5e-3)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_a_frequent_class_add_up_in_float32(dtype: str, sparse: bool, per_row: bool) -> None:
    arrays, loss = of_many_rows(dtype)
    loss = partial(loss, sparse=sparse, per_row=per_row)
    _, found = xent.value_and_grad(loss, argnums=(1, 2))(*arrays)
    sums(*(g.to_dense() for g in found) if sparse else found)
    if sparse:
        sums(*(g.coalesced().to_dense() for g in found))

    leaves = [torch.from_numpy(a.astype(np.float32)).to(getattr(torch, dtype)).requires_grad_() for a in arrays]
    loss(*leaves).backward()
    sums(*(leaf.grad.to_dense().double() for leaf in leaves[1:]))
    if not sparse:
        sums(*(g.double() for g in torch.func.grad(loss, argnums=(1, 2))(*(t.detach() for t in leaves))))
        torch._dynamo.reset()
        program = torch.compile(loss, backend="aot_eager", fullgraph=True)
        sums(*(g.double() for g in torch.autograd.grad(program(*leaves), leaves[1:])))

    _, found = xent.value_and_grad(loss, argnums=(1, 2))(*map(jnp.asarray, arrays))
    sums(*(g.to_dense() for g in found) if sparse else found)
    sums(*jax.jit(jax.grad(loss, argnums=(1, 2)))(*map(jnp.asarray, arrays)))

    tensors = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = loss(*tensors)
    found = tape.gradient(total, tensors[1:])
    assert all(isinstance(g, tf.IndexedSlices) == sparse for g in found)
    sums(*(tf.cast(tf.convert_to_tensor(g), tf.float64).numpy() for g in found))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_second_derivatives_and_forward_mode_in_half_precision(dtype: str) -> None:
    x, w = (torch.from_numpy(a).to(getattr(torch, dtype)) for a in (X, W))
    wide = (x.float(), w.float())
    # lists of each row's own, which are gathered in torch's operations
    given = (np.tile(GOOD[0], (N, 1)), GOOD[1], np.tile(GOOD[2], (N, 1)))

    def loss(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return xent.sampled_softmax_loss(x, w, LABELS, candidates=given)

    for made in (
        lambda x, w: torch.func.jvp(loss, (x, w), (x, w))[1],
        lambda x, w: torch.func.grad(lambda v: torch.func.grad(loss, 1)(x, v).square().sum())(w),
        lambda x, w: torch.func.vmap(torch.func.grad(loss, 1), (0, None))(torch.stack([x, 2 * x]), w),
    ):
        found, expected = made(x, w), made(*wide)
        np.testing.assert_allclose(found.float(), expected, rtol=0.1, atol=0.03 * float(expected.abs().max()))
    jx, jw = (jnp.asarray(a, dtype) for a in (X, W))
    _, found = jax.jvp(lambda w: xent.sampled_softmax_loss(jx, w, LABELS, candidates=given), (jw,), (jw,))
    expected = torch.func.jvp(lambda w: loss(wide[0], w), (wide[1],), (wide[1],))[1]
    np.testing.assert_allclose(float(found), expected, rtol=0.1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("per_row", [False, True])
def test_sparse_gradients_of_torch_in_all_dtypes(dtype: str, per_row: bool) -> None:
    x, w, b = (torch.from_numpy(a).to(getattr(torch, dtype)).requires_grad_() for a in (X, W, B))
    given = (np.tile(GOOD[0], (N, 1)), GOOD[1], np.tile(GOOD[2], (N, 1))) if per_row else GOOD
    loss = xent.nce_loss(x, w, LABELS, bias=b, candidates=given, sparse_gradient=True)
    for gradient, leaf in zip(torch.autograd.grad(loss, (w, b)), (w, b), strict=True):
        assert gradient.is_sparse
        assert gradient.dtype == leaf.dtype
        assert set(gradient.coalesce().indices()[0].tolist()) == {*LABELS, *GOOD[0]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLAIN)
def test_float64_with_three_true_classes(name: str, kind: str) -> None:
    labels = RNG.integers(0, C, (N, 3))
    x, w = X.astype(float), W.astype(float)
    sampled, true_count, count = RNG.integers(0, C, S), RNG.random((N, 3)) + 0.1, RNG.random(S) + 0.1
    z = np.concatenate([(x[:, None] * w[labels]).sum(-1), x @ w[sampled].T], 1)
    if name != "negative_sampling_loss":
        z = z - np.log(np.concatenate([true_count, np.tile(count, (N, 1))], 1))
    if name == "sampled_softmax_loss":
        expected = np.log(np.exp(z).sum(1)) - z[:, :3].mean(1)
    else:
        expected = np.log1p(np.exp(z)).sum(1) - z[:, :3].sum(1) / 3
    with jax.enable_x64():
        arrays = [KINDS[kind](a) for a in (x, w, labels)]
        found = getattr(xent, name)(
            *arrays, candidates=(sampled, true_count, count), reduction="none", remove_accidental_hits=False
        )
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-14)


def test_calibrated_counts_are_scaled_in_float64() -> None:
    arrays = X.astype(float), W.astype(float), LABELS
    counts = GOOD[2].astype(np.float32)
    loss = partial(xent.rank_sampled_softmax_loss, *arrays, 3, calibrated=True)
    found = loss(candidates=(GOOD[0], GOOD[1], counts))
    np.testing.assert_allclose(found, loss(candidates=(GOOD[0], GOOD[1], counts.astype(float))), rtol=1e-15)


@pytest.mark.parametrize("name", PLAIN)
def test_tensorflow_in_float64_with_weights_of_any_kind(name: str) -> None:
    expected = getattr(xent, name)(X.astype(float), W.astype(float), LABELS, candidates=GOOD, sample_weight=LABELS)
    for dtype, tolerance in ((tf.float64, 1e-14), (tf.float32, 1e-6), (tf.float16, 1e-2)):
        for weight in (LABELS.tolist(), LABELS.astype(float), tf.constant(LABELS, tf.float64)):
            x, w = tf.cast(X, dtype), tf.cast(W, dtype)
            call = partial(getattr(xent, name), labels=LABELS, candidates=GOOD, sample_weight=weight)
            np.testing.assert_allclose(call(x, w), expected, rtol=tolerance)
            np.testing.assert_allclose(tf.function(call)(x, w), expected, rtol=tolerance)


@pytest.mark.parametrize("narrow", [True, False])
def test_autocast(narrow: bool) -> None:
    weight, bias = torch.from_numpy(W).requires_grad_(), torch.from_numpy(B).requires_grad_()
    hidden = torch.from_numpy(X).bfloat16() if narrow else torch.from_numpy(X)
    expected = xent.sampled_softmax_loss(hidden.float(), weight, LABELS, bias=bias, candidates=GOOD)
    for per_row in (False, True):
        given = (np.tile(GOOD[0], (N, 1)), GOOD[1], np.tile(GOOD[2], (N, 1))) if per_row else GOOD
        with torch.autocast("cpu", torch.bfloat16):
            loss = xent.sampled_softmax_loss(hidden, weight, LABELS, bias=bias, candidates=given)
        assert loss.dtype == torch.float32
        np.testing.assert_allclose(loss.detach(), expected.detach(), rtol=1e-6)
        assert torch.autograd.grad(loss, weight)[0].dtype == torch.float32


# Ids and counts that do not belong to the weight


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("name", [*PLAIN, "rank_sampled_softmax_loss"])
def test_ids_out_of_range_are_nan_in_compiled_programs(name: str, kind: str) -> None:
    kept = (2,) if name.startswith("rank") else ()

    def loss(x: Any, w: Any, y: Any, *candidates: Any) -> Any:
        return getattr(xent, name)(x, w, y, *kept, candidates=candidates, reduction="none", remove_accidental_hits=True)

    for bad in (-1, -C, C, C + 1):
        labels, ids = LABELS.copy(), GOOD[0].copy()
        labels[1] = bad
        found = compiled(kind, loss, X, W, labels, *GOOD)
        # the other rows of the ranking loss see the bad one in nothing but its place
        assert np.isnan(found).tolist() == [False, True, False, False]
        ids[2] = bad
        zero = LABELS.copy()
        zero[0] = 0  # the class that stands for one that is none
        assert np.isnan(compiled(kind, loss, X, W, zero, ids, *GOOD[1:])).all()


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("count", [0.0, -1.0, np.inf])
@pytest.mark.parametrize("name", PLAIN)
def test_counts_that_are_none_are_nan_in_compiled_programs(name: str, count: float, kind: str) -> None:
    counts = GOOD[1].copy()
    counts[2] = count

    def loss(x: Any, w: Any, y: Any, *candidates: Any) -> Any:
        return getattr(xent, name)(x, w, y, candidates=candidates, reduction="none")

    found = compiled(kind, loss, X, W, LABELS, GOOD[0], counts, GOOD[2])
    assert np.isnan(found).tolist() == [at == 2 and name != "negative_sampling_loss" for at in range(N)]


TRUE = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 2, 4]])
SHAPES: dict[str, tuple[Any, str]] = {
    "counts turned round": (
        (GOOD[0], np.ones((3, N)), GOOD[2]),
        r"true_expected_count: expected the shape of the labels, \(4, 3\), got shape \(3, 4\)",
    ),
    "flat counts": ((GOOD[0], np.ones(3 * N), GOOD[2]), r"true_expected_count: expected the shape .* \(12,\)"),
    "sampled counts turned round": (
        (np.tile(GOOD[0], (N, 1)), np.ones((N, 3)), np.ones((S, N))),
        r"sampled_expected_count: expected the shape of the sampled ids, \(4, 5\), got shape \(5, 4\)",
    ),
    "one count": ((GOOD[0], np.ones((N, 3)), np.ones(1)), r"sampled_expected_count: expected .* got shape \(1,\)"),
    "too many counts": ((GOOD[0], np.ones((N, 3)), np.ones(2 * S)), r"sampled_expected_count: .* got shape \(10,\)"),
    "rows": ((np.tile(GOOD[0], (3, 1)), np.ones((N, 3)), np.ones((3, S))), r"sampled_ids: expected shape \(S,\) or"),
    "float ids": ((GOOD[0] + 0.5, np.ones((N, 3)), GOOD[2]), "sampled_ids: expected integers, got float64"),
}


@pytest.mark.parametrize("rank", [False, True])
@pytest.mark.parametrize("kind", ["eager", "jax", "torch", "tensorflow"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_candidates_are_checked_everywhere(name: str, kind: str, rank: bool) -> None:
    candidates, text = SHAPES[name]
    text = text.replace("float64", "float(32|64)")

    def loss(x: Any, w: Any, y: Any, *candidates: Any) -> Any:
        if rank:
            return xent.rank_sampled_softmax_loss(x, w, y, 2, candidates=candidates)
        return xent.sampled_softmax_loss(x, w, y, candidates=candidates)

    def run() -> Any:
        if kind == "eager":
            return loss(X, W, TRUE, *candidates)
        return compiled(kind, loss, X, W, TRUE, *candidates)

    with pytest.raises((ValueError, TypeError, torch._dynamo.exc.Unsupported), match=text):
        run()


def test_counts_may_have_the_shape_of_the_labels() -> None:
    expected = xent.nce_loss(X, W, LABELS, candidates=GOOD)
    counts = GOOD[1].reshape(2, 2)
    x, y = X.reshape(2, 2, D), LABELS.reshape(2, 2)
    for shape in ((2, 2), (4,), (4, 1), (2, 2, 1)):
        assert xent.nce_loss(x, W, y, candidates=(GOOD[0], counts.reshape(shape), GOOD[2])) == expected
    plain = xent.negative_sampling_loss(X, W, LABELS, candidates=GOOD)
    assert xent.negative_sampling_loss(X, W, LABELS, candidates=(GOOD[0], None, None)) == plain


RANK = partial(xent.rank_sampled_softmax_loss, X, W, LABELS, 2)
BAD: dict[str, tuple[Any, str]] = {
    "number": (lambda: RANK(candidates=3), "candidates: expected sampled ids, .* got int"),
    "nothing": (lambda: RANK(candidates=()), "candidates: expected sampled ids, .* got tuple"),
    "dict": (lambda: RANK(candidates={"a": 1, "b": 2, "c": 3}), "candidates.sampled_ids: expected integers"),
    "ids alone": (lambda: RANK(candidates=GOOD[0]), "candidates: expected sampled ids, .* got ndarray"),
    "words": (
        lambda: RANK(candidates=(GOOD[0], np.array(["a"] * N), GOOD[2])),
        "candidates.true_expected_count: expected numbers, got str",
    ),
    "negative id": (
        lambda: RANK(candidates=(GOOD[0] - C, *GOOD[1:])),
        r"candidates.sampled_ids: expected class indices in \[0, 9\)",
    ),
    "large id": (lambda: RANK(candidates=(GOOD[0] + C, *GOOD[1:])), "candidates.sampled_ids: expected class indices"),
    "label": (
        lambda: xent.rank_sampled_softmax_loss(X, W, LABELS + C, 2, candidates=GOOD),
        r"labels: expected class indices in \[0, 9\), got label 10 in row 0",
    ),
    "lists": (
        lambda: RANK(candidates=(np.tile(GOOD[0], (N, 1)), GOOD[1], np.tile(GOOD[2], (N, 1)))),
        r"candidates.sampled_ids: expected shape \(S,\): one list for all rows",
    ),
    "calibrated": (lambda: RANK(candidates=GOOD, calibrated="x"), "calibrated: expected True or False"),
    "flag": (
        lambda: xent.nce_loss(X, W, LABELS, candidates=GOOD, remove_accidental_hits="no"),
        "remove_accidental_hits: expected True or False",
    ),
    "sparse": (
        lambda: xent.nce_loss(X, W, LABELS, candidates=GOOD, sparse_gradient="False"),
        "sparse_gradient: expected True or False",
    ),
    "drawn": (
        lambda: xent.nce_loss(X, W, LABELS + 5, sampler=xent.samplers.Uniform(C, 2)),
        r"labels: expected class indices in \[0, 9\), got label 9 in row 3",
    ),
    "small sampler": (
        lambda: xent.nce_loss(X, W, LABELS, sampler=xent.samplers.Uniform(4, 2)),
        r"labels: expected class indices in \[0, 4\), got label 4 in row 3. The sampler draws from 4 of 9 classes",
    ),
    "complex": (lambda: xent.in_batch_softmax_loss(X, X, log_q=np.ones(N, complex)), "log_q: expected real numbers"),
    "log_q": (lambda: xent.in_batch_softmax_loss(X, X, log_q=np.array(["a"] * N)), "log_q: expected real numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises((ValueError, TypeError, IndexError), match=text):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_unchecked_labels_are_nan(kind: str) -> None:
    labels = LABELS.copy()
    labels[1] = C
    x, w, y = map(KINDS[kind], (X, W, labels))
    for name in (*PLAIN, "rank_sampled_softmax_loss"):
        kept = (2,) if name.startswith("rank") else ()
        for source in ({"candidates": GOOD}, {"sampler": xent.samplers.Uniform(C, 4, seed=1)}):
            rows = getattr(xent, name)(x, w, y, *kept, reduction="none", validate=False, **source)
            assert np.isnan(np.asarray(rows)).tolist() == [False, True, False, False]
    # a class that a sampler does not reach has no expected count
    rows = xent.nce_loss(
        x, w, KINDS[kind](LABELS), sampler=xent.samplers.Uniform(4, 2, seed=1), reduction="none", validate=False
    )
    assert np.isnan(np.asarray(rows)).tolist() == [False, False, False, True]


@pytest.mark.parametrize("kind", ["jax", "torch", "tensorflow"])
def test_ranking_with_a_sampler_in_compiled_programs(kind: str) -> None:
    sampler = xent.samplers.Uniform(C, S, seed=1)
    with pytest.raises((TypeError, torch._dynamo.exc.Unsupported), match="labels: expected true classes whose values"):
        compiled(kind, lambda x, w, y: xent.rank_sampled_softmax_loss(x, w, y, 2, sampler=sampler), X, W, LABELS)


# Equal scores, no rows, rows of unknown number


@pytest.mark.parametrize("kind", KINDS)
def test_of_classes_that_rank_alike_the_first_stay(kind: str) -> None:
    ids, counts = np.arange(20), np.arange(1.0, 21)
    x, w, y = np.ones((N, D), np.float32), np.zeros((50, D), np.float32), np.array([40, 41, 42, 43])
    loss = xent.rank_sampled_softmax_loss(*map(KINDS[kind], (x, w, y)), 3, candidates=(ids, np.ones(N), counts))
    np.testing.assert_allclose(loss, np.log(1 + 1 + 1 / 2 + 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*PLAIN, "rank_sampled_softmax_loss"])
def test_no_rows(name: str, kind: str) -> None:
    kept = (2,) if name.startswith("rank") else ()
    x, w, y = map(KINDS[kind], (X[:0], W, LABELS[:0]))
    for source in ({"candidates": (GOOD[0], np.ones(0), GOOD[2])}, {"sampler": xent.samplers.Uniform(C, 3)}):
        assert float(getattr(xent, name)(x, w, y, *kept, **source)) == 0
        assert np.asarray(getattr(xent, name)(x, w, y, *kept, reduction="none", **source)).shape == (0,)
        if kind == "torch":
            leaf = w.clone().requires_grad_()
            loss = getattr(xent, name)(x.clone().requires_grad_(), leaf, y, *kept, **source)
            assert not torch.autograd.grad(loss, leaf)[0].any()


@pytest.mark.parametrize("lead", [(N,), (2, 2)])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", [*PLAIN, "rank_sampled_softmax_loss"])
def test_graphs_of_any_number_of_rows(name: str, count: int, lead: tuple[int, ...]) -> None:
    kept = (2,) if name.startswith("rank") else ()
    labels = RNG.integers(0, C, (N, count))
    candidates = xent.samplers.LogUniform(C, S, seed=1).sample(labels)
    some = (None,) * len(lead)
    signature = [
        tf.TensorSpec((*some, D), tf.float32),
        tf.TensorSpec((*some, count), tf.int64),
        tf.TensorSpec((S,), tf.int64),
        tf.TensorSpec((None, count), tf.float32),
        tf.TensorSpec((S,), tf.float32),
    ]

    def loss(x: Any, y: Any, *candidates: Any, reduction: str = "mean") -> Any:
        return getattr(xent, name)(x, W, y, *kept, bias=B, candidates=candidates, reduction=reduction)

    arrays = X.reshape(*lead, D), labels.reshape(*lead, count), *candidates
    for reduction in ("mean", "none"):
        graph = tf.function(partial(loss, reduction=reduction), input_signature=signature)
        np.testing.assert_allclose(graph(*map(tf.constant, arrays)), loss(*arrays, reduction=reduction), rtol=2e-6)


# Arrays of other kinds


def test_lists() -> None:
    expected = xent.nce_loss(X, W, LABELS, candidates=GOOD)
    given = tuple(part.tolist() for part in GOOD)
    np.testing.assert_allclose(
        xent.nce_loss(X.tolist(), W.tolist(), LABELS.tolist(), candidates=given), expected, rtol=1e-6
    )
    sampler = xent.samplers.Uniform(C, 2, seed=1)
    assert np.isfinite(xent.nce_loss(X.tolist(), W.tolist(), LABELS.tolist(), sampler=sampler))
    plain = xent.in_batch_softmax_loss(X.astype(float), X.astype(float))
    assert xent.in_batch_softmax_loss(X.tolist(), X.tolist()) == pytest.approx(plain, rel=1e-6)


def test_candidates_of_numpy_in_programs_of_torch() -> None:
    torch._dynamo.reset()
    program = torch.compile(
        lambda x, w, y: xent.nce_loss(x, w, y, candidates=GOOD), backend="aot_eager", fullgraph=True
    )
    found = program(*(torch.from_numpy(a) for a in (X, W, LABELS)))
    np.testing.assert_allclose(found, xent.nce_loss(X, W, LABELS, candidates=GOOD), rtol=1e-6)


def test_sparse_rows_refuse_numbers_that_are_no_lines() -> None:
    for number in (-1, 3):
        gradient = xent.SparseRows(np.array([number]), np.ones((1, 2)), 3)
        with pytest.raises(IndexError, match=f"ids: expected class indices in .0, 3., got label {number}"):
            gradient.to_dense()
        of_jax = xent.SparseRows(jnp.array([number, 1]), jnp.ones((2, 2)), 3)
        assert of_jax.to_dense().tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
