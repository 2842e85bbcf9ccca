"""JAX: the kernels' accuracy under jit, every transformation, bad input. Eager bits are in test_same_bits.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import elementwise_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
import torch
from frameworks import ELEMENTWISE, SOFTMAX, elementwise_batch, identifier, on_jax, softmax_batch

import xent
from xent.frontends.jax import custom_calls

# torch's forward mode warns of torch.jit.script, which it uses itself
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("name", "shape", "dtype"), SOFTMAX[::3], ids=identifier)
def test_compiled_results_are_no_further_from_the_truth_than_torchs(
    name: str, shape: Any, dtype: str, reduction: str
) -> None:
    batch = softmax_batch(name, shape, dtype)
    if reduction == "none":
        batch = batch.but(reduction=reduction, normalizer=None)
    found = on_jax(batch, 0.37, compiled=True)
    upstream = np.full(found[0].shape, 0.37, found[0].dtype)
    registry.assert_no_worse(
        batch, found, registry.rival(batch, upstream), registry.truth_of(batch, upstream), "compiled"
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("name", "shape", "dtype"), ELEMENTWISE[::3], ids=identifier)
def test_compiled_elementwise_results_are_no_further_from_the_truth_than_torchs(
    name: str, shape: Any, dtype: str, reduction: str
) -> None:
    batch = elementwise_batch(name, shape, dtype)
    if reduction == "none":
        batch = batch.but(reduction=reduction, normalizer=None)
    found = on_jax(batch, 0.37, compiled=True)
    upstream = np.full(found[0].shape, 0.37, found[0].dtype)
    exact = elementwise_cases.truth_of(batch, upstream)
    elementwise_cases.assert_no_worse(batch, found, elementwise_cases.rival(batch, upstream), exact, "compiled")


# -- transformations ---------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
LOGITS = jnp.asarray(RNG.normal(size=(5, 7)), jnp.float32) * 2
LABELS = jnp.asarray(RNG.integers(0, 7, 5))
SOFT = jnp.asarray(RNG.dirichlet(np.ones(7), 5), jnp.float32)
HARD = jnp.asarray(RNG.random((5, 7)) < 0.4, jnp.float32)
WEIGHT = jnp.linspace(0.5, 2.0, 7)
ROWS = jnp.linspace(0.1, 1.0, 5)


def statistics(x: Any, t: Any) -> Any:
    loss, stats = xent.softmax_cross_entropy(x, t, return_stats=True)
    return loss + (stats.lse * stats.entropy).sum()


LOSSES: dict[str, tuple[Callable[..., Any], Any]] = {
    "index": (xent.softmax_cross_entropy, LABELS),
    "soft": (xent.softmax_cross_entropy, SOFT),
    "everything": (
        lambda x, y: xent.softmax_cross_entropy(
            x,
            y,
            class_weight=WEIGHT,
            sample_weight=ROWS,
            label_smoothing=0.1,
            ignore_index=3,
            softcap=4.0,
            temperature=1.5,
            z_loss=0.1,
        ),
        LABELS,
    ),
    "statistics": (statistics, LABELS),
    "focal": (xent.focal_cross_entropy, LABELS),
    "sigmoid": (lambda x, y: xent.sigmoid_cross_entropy(x, y, pos_weight=WEIGHT, sample_weight=ROWS), HARD),
    "sigmoid focal": (xent.sigmoid_focal_cross_entropy, HARD),
}


def twin(name: str) -> Callable[[Any], Any]:
    """The same loss of tensors of torch, whose reference runs under torch.func."""
    function, labels = LOSSES[name]

    def loss(x: torch.Tensor) -> Any:
        return function(x, torch.from_numpy(np.array(labels)))

    return loss


def named_options_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "WEIGHT", torch.linspace(0.5, 2.0, 7))
    monkeypatch.setitem(globals(), "ROWS", torch.linspace(0.1, 1.0, 5))


TRANSFORMS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "grad": (jax.grad, torch.func.grad),
    "jacrev of grad": (lambda f: jax.jacrev(jax.grad(f)), lambda f: torch.func.jacrev(torch.func.grad(f))),
    "hessian": (jax.hessian, torch.func.hessian),
    "jacfwd": (jax.jacfwd, torch.func.jacfwd),
    "jvp of grad": (
        lambda f: lambda x: jax.jvp(jax.grad(f), (x,), (x,))[1],
        lambda f: lambda x: torch.func.jvp(torch.func.grad(f), (x,), (x,))[1],
    ),
    "grad of jvp": (
        lambda f: jax.grad(lambda x: jax.jvp(f, (x,), (x,))[1]),
        lambda f: torch.func.grad(lambda x: torch.func.jvp(f, (x,), (x,))[1]),
    ),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", LOSSES)
def test_transformations(name: str, transform: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    function, labels = LOSSES[name]
    ours, theirs = TRANSFORMS[transform]
    of_logits = ours(lambda x: function(x, labels))
    found = (jax.jit(of_logits) if compiled else of_logits)(LOGITS)
    named_options_for_torch(monkeypatch)
    expected = theirs(twin(name))(torch.from_numpy(np.array(LOGITS)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", ["index", "soft", "sigmoid focal"])
def test_vmap_is_a_loop(name: str, compiled: bool) -> None:
    function, labels = LOSSES[name]
    mapped = jax.vmap(jax.value_and_grad(lambda x, y: function(x, y)))
    values, gradients = (jax.jit(mapped) if compiled else mapped)(LOGITS, labels)
    for row in range(5):
        value, gradient = jax.value_and_grad(function)(LOGITS[row], labels[row])
        np.testing.assert_allclose(values[row], value, rtol=1e-6)
        np.testing.assert_allclose(gradients[row], gradient, rtol=1e-5, atol=1e-7)


def test_vmap_over_labels_and_weights_alone() -> None:
    many = jnp.stack([LABELS, (LABELS + 1) % 7])
    found = jax.jit(jax.vmap(lambda y: xent.softmax_cross_entropy(LOGITS, y)))(many)
    expected = jnp.stack([xent.softmax_cross_entropy(LOGITS, y) for y in many])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    weights = jnp.stack([ROWS, 2 * ROWS**2])
    of_weight = jax.vmap(lambda s: xent.softmax_cross_entropy(LOGITS, LABELS, sample_weight=s))
    expected = jnp.stack([xent.softmax_cross_entropy(LOGITS, LABELS, sample_weight=s) for s in weights])
    np.testing.assert_allclose(jax.jit(of_weight)(weights), expected, rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_gradients_reach_labels_and_weights(compiled: bool) -> None:
    def loss(x: Any, t: Any, v: Any, s: Any) -> Any:
        return 0.37 * xent.softmax_cross_entropy(x, t, class_weight=v, sample_weight=s, label_smoothing=0.1)

    gradient = jax.grad(loss, argnums=(0, 1, 2, 3))
    found = (jax.jit(gradient) if compiled else gradient)(LOGITS, SOFT, WEIGHT, ROWS)
    leaves = [torch.from_numpy(np.array(x)).requires_grad_() for x in (LOGITS, SOFT, WEIGHT, ROWS)]
    out = 0.37 * xent.softmax_cross_entropy(
        leaves[0], leaves[1], class_weight=leaves[2], sample_weight=leaves[3], label_smoothing=0.1
    )
    for ours, theirs in zip(found, torch.autograd.grad(out, leaves), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-7)


def test_gradients_reach_positive_weights() -> None:
    loss = lambda w: xent.sigmoid_cross_entropy(LOGITS, HARD, pos_weight=w)  # noqa: E731
    leaf = torch.from_numpy(np.array(WEIGHT)).requires_grad_()
    of_torch = xent.sigmoid_cross_entropy(
        torch.from_numpy(np.array(LOGITS)), torch.from_numpy(np.array(HARD)), pos_weight=leaf
    )
    (expected,) = torch.autograd.grad(of_torch, leaf)
    np.testing.assert_allclose(jax.grad(loss)(WEIGHT), expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(WEIGHT), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint, jax.jit], ids=["plain", "checkpoint", "jit"])
@pytest.mark.parametrize("loss", [xent.softmax_cross_entropy, xent.sigmoid_cross_entropy, xent.focal_cross_entropy])
def test_second_derivatives_of_loops(loss: Callable[..., Any], wrap: Callable[..., Any]) -> None:
    """Where JAX drops what a custom_jvp says."""
    x = jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32)
    labels: Any = jnp.asarray([[0, 1, 2], [3, 1, 1]])
    if loss is xent.sigmoid_cross_entropy:
        labels = (x > 0).astype(jnp.float32)

    def looped(x: Any) -> Any:
        return jax.lax.map(wrap(lambda some: loss(*some)), (x, labels)).sum()

    def unrolled(x: Any) -> Any:
        return sum(loss(x[i], labels[i]) for i in range(2))

    expected = jax.hessian(unrolled)(x)
    for derivative in (jax.hessian(looped), jax.jit(jax.hessian(looped)), jax.jacrev(jax.grad(looped))):
        np.testing.assert_allclose(derivative(x), expected, rtol=1e-4, atol=1e-6)
    per_row = jax.vmap(jax.hessian(lambda row, y: loss(row[None], y[None])))(x[0], labels[0])
    assert per_row.shape == (3, 4, 4)
    assert jnp.isfinite(per_row).all()


def test_scan_and_checkpoint() -> None:
    def summed(x: Any) -> Any:
        def step(total: Any, row: Any) -> tuple[Any, None]:
            return total + xent.softmax_cross_entropy(row[0][None], row[1][None]), None

        return jax.lax.scan(jax.checkpoint(step), 0.0, (x, LABELS))[0]

    expected = jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS, reduction="sum"))(LOGITS)
    for found in (jax.value_and_grad(summed)(LOGITS), jax.jit(jax.value_and_grad(summed))(LOGITS)):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_donated_logits_and_eval_shape() -> None:
    step = jax.jit(jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS)), donate_argnums=0)
    expected = step(LOGITS + 0)
    given = LOGITS + 0
    value, gradient = step(given)
    assert given.is_deleted()
    np.testing.assert_array_equal(gradient, expected[1])
    shape = jax.eval_shape(lambda x: xent.softmax_cross_entropy(x, LABELS, reduction="none"), LOGITS)
    assert (shape.shape, shape.dtype) == ((5,), jnp.float32)
    assert np.isfinite(value)


def test_the_gradient_lies_where_the_logits_were() -> None:
    """A jitted step holds one buffer of the logits' size: the peak of its temporaries says so."""

    def step(w: Any, h: Any, y: Any) -> Any:
        return xent.softmax_cross_entropy(h @ w, y)

    w, h, y = jnp.zeros((16, 4096)), jnp.zeros((512, 16)), jnp.zeros(512, jnp.int32)
    compiled = jax.jit(jax.value_and_grad(step)).lower(w, h, y).compile()
    logits = 512 * 4096 * 4
    assert logits <= compiled.memory_analysis().temp_size_in_bytes < 1.1 * logits


def test_inputs_are_not_written() -> None:
    before = np.array(LOGITS)
    kept, gradient = jax.jit(lambda x: (x * 1.0, jax.grad(lambda x: xent.softmax_cross_entropy(x, LABELS))(x)))(LOGITS)
    np.testing.assert_array_equal(LOGITS, before)
    np.testing.assert_array_equal(kept, before)
    assert np.abs(np.asarray(gradient)).max() > 0


def test_a_compiled_loss_holds_the_kernel() -> None:
    assert custom_calls.available()
    text = jax.jit(jax.grad(lambda x: xent.softmax_cross_entropy(x, LABELS))).lower(LOGITS).as_text()
    assert "xent_softmax" in text
    text = jax.jit(jax.grad(lambda x: xent.sigmoid_cross_entropy(x, HARD))).lower(LOGITS).as_text()
    assert "xent_elementwise" in text


def test_other_platforms_get_the_reference() -> None:
    """A program exported for an accelerator holds XLA's own operations only."""
    step = jax.jit(jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS, label_smoothing=0.1)))
    exported = jax.export.export(step, platforms=["cuda"])(LOGITS)
    assert "xent_softmax" not in exported.mlir_module()


@pytest.mark.parametrize("name", LOSSES)
def test_the_reference_gives_the_kernels_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, labels = LOSSES[name]
    expected = jax.jit(jax.value_and_grad(lambda x: 0.37 * function(x, labels)))(LOGITS)
    monkeypatch.setattr(custom_calls, "available", lambda: False)
    found = jax.jit(jax.value_and_grad(lambda x: 0.37 * function(x, labels)))(LOGITS)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=2e-5, atol=1e-7)


# -- other labels and functions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [None, np.array([0, 2, 2, 3, 5, 6])], ids=["padded", "csr"])
def test_lists_of_positives(starts: Any) -> None:
    classes = np.array([[0, 3], [-1, -1], [6, -1], [2, 4], [5, -1]])
    lists = xent.Positives(jnp.asarray(classes if starts is None else classes[classes >= 0]), starts)
    dense = np.zeros((5, 7), np.float32)
    for row, found in enumerate(classes):
        dense[row, found[found >= 0]] = 1
    expected = jax.value_and_grad(lambda x: xent.sigmoid_cross_entropy(x, dense))(LOGITS)
    of_lists = jax.value_and_grad(lambda x: xent.sigmoid_cross_entropy(x, lists))
    for found in (of_lists(LOGITS), jax.jit(of_lists)(LOGITS)):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "sigmoid", "log_sigmoid"])
def test_activations(name: str, compiled: bool) -> None:
    function = getattr(xent, name)
    of_logits = jax.value_and_grad(lambda x: (function(x) ** 2).sum())
    value, gradient = (jax.jit(of_logits) if compiled else of_logits)(LOGITS)
    leaf = torch.from_numpy(np.array(LOGITS)).requires_grad_()
    expected = (function(leaf) ** 2).sum()
    (slope,) = torch.autograd.grad(expected, leaf)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-5, atol=1e-6)
    if not compiled:
        assert np.asarray(function(LOGITS)).tobytes() == np.asarray(function(np.asarray(LOGITS))).tobytes()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_losses_of_probabilities(compiled: bool) -> None:
    p = jax.nn.softmax(LOGITS)
    losses: list[Callable[[Any], Any]] = [
        lambda p: xent.cross_entropy_from_probs(p, LABELS, ignore_index=3),
        lambda p: xent.binary_cross_entropy_from_probs(p, HARD, sample_weight=ROWS),
        lambda p: xent.kl_divergence(p, SOFT),
    ]
    others: list[Callable[[Any], Any]] = [
        lambda p: xent.cross_entropy_from_probs(p, np.asarray(LABELS), ignore_index=3),
        lambda p: xent.binary_cross_entropy_from_probs(p, np.asarray(HARD), sample_weight=np.asarray(ROWS)),
        lambda p: xent.kl_divergence(p, np.asarray(SOFT)),
    ]
    for ours, theirs in zip(losses, others, strict=True):
        found = (jax.jit(jax.value_and_grad(ours)) if compiled else jax.value_and_grad(ours))(p)
        expected = xent.value_and_grad(theirs)(np.asarray(p))
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_value_and_grad() -> None:
    (value, extra), gradient = xent.value_and_grad(
        lambda x: (xent.softmax_cross_entropy(x, LABELS), x.sum()), has_aux=True
    )(LOGITS)
    expected = jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS))(LOGITS)
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])
    np.testing.assert_array_equal(extra, LOGITS.sum())
    with pytest.raises(ValueError, match="loss_fn: expected a scalar loss"):
        xent.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS, reduction="none"))(LOGITS)


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_labels_out_of_range() -> None:
    bad = LABELS.at[2].set(7)
    with pytest.raises(IndexError, match=r"label 7 in row 2"):
        xent.softmax_cross_entropy(LOGITS, bad)
    with pytest.raises(IndexError, match=r"label 7 in row 2"):
        jax.grad(lambda x: xent.softmax_cross_entropy(x, bad))(LOGITS)
    rows, back = jax.vjp(jax.jit(lambda x: xent.softmax_cross_entropy(x, bad, reduction="none")), LOGITS)
    (gradient,) = back(jnp.ones(5))
    np.testing.assert_array_equal(np.isnan(rows), [False, False, True, False, False])
    np.testing.assert_array_equal(np.isnan(gradient).all(1), [False, False, True, False, False])
    np.testing.assert_array_equal(np.isnan(gradient).any(1), [False, False, True, False, False])
    loss, gradient = jax.jit(jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, bad)))(LOGITS)
    assert np.isnan(loss)
    np.testing.assert_array_equal(np.isnan(gradient).any(1), [False, False, True, False, False])


def test_labels_beyond_int32_do_not_wrap_round() -> None:
    bad = np.asarray(LABELS, np.int64) + 2**32
    with pytest.raises(IndexError, match="row 0"):
        xent.softmax_cross_entropy(LOGITS, bad)
    with pytest.raises(IndexError, match=f"label {bad[0]} in row 0"):
        jax.grad(lambda x: xent.softmax_cross_entropy(x, bad))(LOGITS)
    assert np.isnan(jax.jit(lambda x: xent.softmax_cross_entropy(x, bad))(LOGITS))


@pytest.mark.parametrize("ignored", [2**31 - 1, 2**31, 2**40, -(2**40)])
def test_numbers_to_ignore_beyond_int32(ignored: int) -> None:
    labels = np.asarray(LABELS, np.int64)
    skipping = np.where(np.arange(5) == 2, ignored, labels)

    def rows(x: Any, y: Any) -> Any:
        return xent.softmax_cross_entropy(x, y, ignore_index=ignored, reduction="none")

    for call in (rows, jax.jit(rows)):
        np.testing.assert_allclose(call(LOGITS, LABELS), rows(np.asarray(LOGITS), labels), rtol=1e-6)
    expected = rows(np.asarray(LOGITS), skipping)
    assert expected[2] == 0
    np.testing.assert_array_equal(rows(LOGITS, skipping), expected)
    if ignored == 2**31 - 1:
        np.testing.assert_allclose(jax.jit(lambda x: rows(x, skipping))(LOGITS), expected, rtol=1e-6)
    else:
        with pytest.raises(ValueError, match="ignore_index: expected a number of int32"):
            jax.jit(lambda x: rows(x, skipping))(LOGITS)
    beyond = np.where(np.arange(5) == 2, 2**33, labels)
    lost = jax.jit(lambda x: rows(x, beyond))(LOGITS)
    np.testing.assert_array_equal(np.isnan(lost), np.arange(5) == 2)


@pytest.mark.parametrize(
    "classes", [[[0, 7], [1, 2], [1, 2], [1, 2], [1, 2]], [[0, 0], [1, 2], [1, 2], [1, 2], [1, 2]]]
)
def test_top_k_targets_without_meaning(classes: Any) -> None:
    bad = xent.TopK(jnp.asarray(classes), jnp.full((5, 2), 0.5))
    with pytest.raises((IndexError, ValueError), match=r"labels.indices: .* row 0"):
        xent.softmax_cross_entropy(LOGITS, bad)
    rows = jax.jit(lambda x: xent.softmax_cross_entropy(x, bad, reduction="none"))(LOGITS)
    np.testing.assert_array_equal(np.isnan(rows), [True, False, False, False, False])


def test_soft_labels_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\]"):
        xent.sigmoid_cross_entropy(LOGITS, 2 * HARD)
    loss, gradient = jax.jit(jax.value_and_grad(lambda x: xent.sigmoid_cross_entropy(x, 2 * HARD)))(LOGITS)
    assert np.isnan(loss)
    np.testing.assert_array_equal(np.isnan(gradient), HARD == 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: xent.softmax_cross_entropy(LOGITS, LABELS[:3]), r"labels: expected shape \(5,\)"),
        (
            lambda: jax.jit(lambda x: xent.softmax_cross_entropy(x, LABELS[:3]))(LOGITS),
            r"labels: expected shape \(5,\)",
        ),
        (lambda: xent.softmax_cross_entropy(LOGITS > 0, LABELS), "logits: expected float32"),
        (lambda: xent.softmax_cross_entropy(LOGITS, LABELS, class_weight=ROWS), "class_weight: expected shape"),
        (lambda: xent.softmax_cross_entropy(LOGITS, LABELS, normalizer=0.0), "normalizer: expected a positive"),
        (lambda: xent.softmax_cross_entropy(LOGITS, jax.random.key(0)), "labels: expected"),
        (lambda: xent.sigmoid_cross_entropy(LOGITS, HARD[:2]), "labels: expected the shape of logits"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_traced_normalizer_divides() -> None:
    of_count = jax.jit(lambda x, n: xent.softmax_cross_entropy(x, LABELS, normalizer=n))
    expected = xent.softmax_cross_entropy(LOGITS, LABELS, normalizer=12.5)
    np.testing.assert_allclose(of_count(LOGITS, 12.5), expected, rtol=1e-6)
    for bad in (0.0, -1.0, np.nan, 1e-20):
        assert np.isnan(of_count(LOGITS, bad))
    with pytest.raises(ValueError, match=r"normalizer: expected a number, got shape \(2,\)"):
        of_count(LOGITS, jnp.ones(2))


@pytest.mark.parametrize("bad", [-1.0, np.inf, np.nan, 1e-20])
def test_traced_weights_that_would_be_refused_are_nan(bad: float) -> None:
    weight = ROWS.at[3].set(bad)
    at_row = np.arange(5) == 3
    rows = jax.jit(lambda s: xent.softmax_cross_entropy(LOGITS, LABELS, sample_weight=s, reduction="none"))
    np.testing.assert_array_equal(np.isnan(rows(weight)), at_row)
    of_logits = jax.jit(jax.grad(lambda x, s: xent.sigmoid_cross_entropy(x, HARD, sample_weight=s, reduction="sum")))
    np.testing.assert_array_equal(np.isnan(of_logits(LOGITS, weight)).all(1), at_row)
    np.testing.assert_array_equal(np.isnan(of_logits(LOGITS, weight)).any(1), at_row)
    of_class = jax.jit(lambda q: xent.sigmoid_cross_entropy(LOGITS, HARD, pos_weight=q, reduction="none"))
    at_class = np.broadcast_to(np.arange(7) == 1, HARD.shape)
    np.testing.assert_array_equal(np.isnan(of_class(jnp.ones(7).at[1].set(bad))), at_class)


def test_export() -> None:
    step = jax.jit(jax.value_and_grad(xent.softmax_cross_entropy))
    allowed = [jax.export.DisabledSafetyCheck.custom_call("xent_softmax")]
    written = jax.export.export(step, disabled_checks=allowed)(LOGITS, LABELS).serialize()
    found = jax.export.deserialize(written).call(LOGITS, LABELS)
    for a, b in zip(found, step(LOGITS, LABELS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_logits_of_another_framework_than_traced_labels() -> None:
    with pytest.raises(TypeError, match=r"labels: expected an array.*logits as an array of jax"):
        jax.jit(lambda y: xent.softmax_cross_entropy(np.asarray(LOGITS), y))(LABELS)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_rows_that_do_not_count_may_hold_anything(compiled: bool) -> None:
    logits = LOGITS.at[1].set(jnp.nan).at[3].set(jnp.inf)
    labels = LABELS.at[1].set(-100)
    weight = ROWS.at[3].set(0.0)
    of_logits = jax.value_and_grad(
        lambda x: xent.softmax_cross_entropy(x, labels, ignore_index=-100, sample_weight=weight)
    )
    loss, gradient = (jax.jit(of_logits) if compiled else of_logits)(logits)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[[1, 3]], 0)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_an_empty_batch(compiled: bool) -> None:
    of_logits = jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, jnp.zeros((0,), jnp.int32)))
    loss, gradient = (jax.jit(of_logits) if compiled else of_logits)(jnp.zeros((0, 7)))
    assert loss == 0
    assert gradient.shape == (0, 7)
    of_elements = lambda x: xent.sigmoid_cross_entropy(x, jnp.zeros_like(x))  # noqa: E731
    assert (jax.jit(of_elements) if compiled else of_elements)(jnp.zeros((0, 7))) == 0


def test_sharded_arrays_and_shard_map() -> None:
    """Two devices of the CPU: needs a process of its own."""
    code = """
import jax, jax.numpy as jnp, numpy as np, xent
from jax.sharding import AxisType, NamedSharding, PartitionSpec
mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 9)), jnp.float32)
y = jnp.arange(6)
whole = jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, y))(x)
placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("rows")))
for step in (jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, y)),
             jax.jit(jax.value_and_grad(lambda x: xent.softmax_cross_entropy(x, y)))):
    found = step(placed)
    np.testing.assert_allclose(found[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-5, atol=1e-8)
rows = PartitionSpec("rows")
for loss, labels in ((lambda z, y: xent.softmax_cross_entropy(z, y, label_smoothing=0.1), y),
                     (lambda z, y: xent.sigmoid_cross_entropy(z, y, pos_weight=2.0), (x > 0).astype(x.dtype))):
    whole = jax.value_and_grad(loss)(x, labels)
    shards = jax.shard_map(lambda z, y: jax.lax.pmean(loss(z, y), "rows"), mesh=mesh, in_specs=(rows, rows),
                           out_specs=PartitionSpec())
    found = jax.jit(jax.value_and_grad(shards))(x, labels)
    np.testing.assert_allclose(found[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-5, atol=1e-8)
print("agree")
"""
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "agree", done.stderr
