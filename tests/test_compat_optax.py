"""Optax' names on every framework's arrays, against Optax itself and, where it is wrong, against what is right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as optax_itself
import pytest
import tensorflow as tf
import torch

import xent
from xent.compat import optax

THEIRS = optax_itself.losses
RNG = np.random.default_rng(11)
Z = (RNG.normal(size=(4, 5, 6)) * 2).astype(np.float32)
T = RNG.dirichlet(np.ones(6), (4, 5)).astype(np.float32)
LOG_Q = np.log(RNG.dirichlet(np.ones(6), (4, 5))).astype(np.float32)
Y = RNG.integers(0, 6, (4, 5))
B = (RNG.random((4, 5, 6)) < 0.4).astype(np.float32)
KEPT = RNG.random((4, 5, 6)) < 0.7
ROWS = np.array([[True, False, True, True, False]] * 4)
COLUMNS = np.array([True, False, True, True, False, True])
MAKE: dict[str, Callable[[Any], Any]] = {
    "numpy": np.asarray,
    "torch": torch.tensor,
    "jax": jnp.asarray,
    "tensorflow": tf.constant,
}

# name of the function: arguments
CALLS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "soft": ("softmax_cross_entropy", [Z, T], {}),
    "soft, axis": ("softmax_cross_entropy", [Z, T], {"axis": 0}),
    "soft, axes": ("softmax_cross_entropy", [Z, T], {"axis": (0, 2)}),
    "soft, axis of NumPy": ("softmax_cross_entropy", [Z, T], {"axis": np.int64(1)}),
    "soft, all axes": ("softmax_cross_entropy", [Z, T], {"axis": None}),
    "soft, where": ("softmax_cross_entropy", [Z, T], {"where": KEPT}),
    "soft, where and axes": ("softmax_cross_entropy", [Z, T], {"where": KEPT, "axis": (2, 1)}),
    "soft, rows and axes": ("softmax_cross_entropy", [Z, T], {"where": ROWS[0], "axis": (0, 2)}),
    "soft, no rows": ("softmax_cross_entropy", [Z[:0], T[:0]], {"axis": (1, 2)}),
    "soft, one row": ("softmax_cross_entropy", [Z, T[0, 0]], {}),
    "soft, one row of logits": ("softmax_cross_entropy", [Z[0, 0], T], {}),
    "safe": ("safe_softmax_cross_entropy", [Z, T], {}),
    "index": ("softmax_cross_entropy_with_integer_labels", [Z, Y], {}),
    "index, int8": ("softmax_cross_entropy_with_integer_labels", [Z, Y.astype(np.int8)], {}),
    "index, axis": ("softmax_cross_entropy_with_integer_labels", [Z, Y[:, :1].repeat(6, 1) % 5], {"axis": 1}),
    "index, axes": ("softmax_cross_entropy_with_integer_labels", [Z, Y[0]], {"axis": (0, 2)}),
    "index, where": ("softmax_cross_entropy_with_integer_labels", [Z, Y], {"where": KEPT}),
    "index, one row": ("softmax_cross_entropy_with_integer_labels", [Z, Y[:1]], {}),
    "index, one row of logits": ("softmax_cross_entropy_with_integer_labels", [Z[:1], Y], {"where": KEPT[:1]}),
    "index, rows": ("softmax_cross_entropy_with_integer_labels", [Z, Y], {"where": ROWS}),
    "sigmoid": ("sigmoid_binary_cross_entropy", [Z, B], {}),
    "sigmoid, broadcast": ("sigmoid_binary_cross_entropy", [Z, B[0, 0]], {}),
    "poly": ("poly_loss_cross_entropy", [Z, T], {"epsilon": 1.5}),
    "poly, where": ("poly_loss_cross_entropy", [Z, T], {"where": KEPT, "axis": (1, 2)}),
    "focal": ("sigmoid_focal_loss", [Z, B], {"alpha": 0.3}),
    "focal, soft": ("sigmoid_focal_loss", [Z, T], {"gamma": 1.5}),
    "kl": ("kl_divergence", [LOG_Q, T], {}),
    "kl, where": ("kl_divergence", [LOG_Q, T], {"where": KEPT, "axis": (0, 2)}),
    "kl, columns": ("kl_divergence", [LOG_Q, T], {"where": COLUMNS}),
    "kl of logarithms": ("kl_divergence_with_log_targets", [LOG_Q, np.log(T)], {}),
    "generalized kl": ("generalized_kl_divergence", [LOG_Q, T], {"where": KEPT}),
    "smooth": ("smooth_labels", [T, 0.1], {}),
    "smooth, axes": ("smooth_labels", [T, 0.1], {"axis": (0, 1)}),
    "smooth, where": ("smooth_labels", [T, 0.1], {"where": KEPT}),
    "smooth, columns": ("smooth_labels", [T, 0.1], {"where": COLUMNS}),
}


def wide(array: Any) -> np.ndarray:
    return np.asarray(array.detach() if isinstance(array, torch.Tensor) else array, np.float64)


def pair(name: str, framework: str) -> tuple[Callable[..., Any], Callable[..., Any], list[Any], dict[str, Any]]:
    function, arguments, options = CALLS[name]
    make = MAKE[framework]
    given = [make(a) if isinstance(a, np.ndarray) else a for a in arguments]
    options = {k: make(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return getattr(optax, function), getattr(THEIRS, function), given, options


@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize("name", CALLS)
def test_values(name: str, framework: str) -> None:
    ours, theirs, given, options = pair(name, framework)
    found = ours(*given, **options)
    assert type(found).__module__.partition(".")[0] in {
        framework,
        "numpy" if framework == "numpy" else framework + "lib",
    }
    _, _, arrays, their_options = pair(name, "jax")
    expected = theirs(*arrays, **their_options)
    np.testing.assert_allclose(wide(found), wide(expected), rtol=3e-6, atol=3e-6)
    assert str(found.dtype).endswith("float32") or "float32" in str(found.dtype)


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("smooth")])
def test_gradients_and_tangents(name: str) -> None:
    ours, theirs, given, options = pair(name, "jax")
    at = tuple(i for i, x in enumerate(given) if jnp.issubdtype(x.dtype, jnp.floating))
    if name == "focal":  # Optax' gradient to labels of 0 and 1 leaves out the modulating factor's
        at = (0,)

    def loss(function: Callable[..., Any], *arrays: Any) -> Any:
        return (function(*arrays, **options) * 0.37).sum()

    def both(function: Callable[..., Any]) -> list[Any]:
        def derivatives(*arrays: Any) -> Any:
            tangent = jax.jvp(lambda x: loss(function, x, *arrays[1:]), arrays[:1], arrays[:1])[1]
            return jax.grad(partial(loss, function), at)(*arrays), tangent

        return jax.tree.leaves(jax.jit(derivatives)(*given))

    expected = both(theirs)
    if "where" in options:  # Optax' gradients to labels that are left out are NaN
        expected = [jnp.nan_to_num(x) for x in expected]
    eager = jax.grad(partial(loss, ours))(*given)
    for a, b in zip([*both(ours), eager], [*expected, expected[0]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", ["soft", "index", "sigmoid", "focal, soft", "kl", "poly, where", "index, where"])
def test_gradients_on_other_frameworks(name: str, framework: str) -> None:
    ours, _, given, options = pair(name, framework)
    _, theirs, arrays, their_options = pair(name, "jax")
    expected = jax.grad(lambda x: (theirs(x, *arrays[1:], **their_options) * 0.37).sum())(arrays[0])
    if framework == "torch":
        leaf = given[0].requires_grad_()
        (found,) = torch.autograd.grad((ours(leaf, *given[1:], **options) * 0.37).sum(), leaf)
    else:
        with tf.GradientTape() as tape:
            tape.watch(given[0])
            value = tf.reduce_sum(ours(*given, **options) * 0.37)
        found = tape.gradient(value, given[0])
    np.testing.assert_allclose(wide(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["soft", "safe", "index", "sigmoid", "focal, soft", "kl", "kl of logarithms", "poly"])
def test_one_example_at_a_time(name: str) -> None:
    ours, theirs, given, options = pair(name, "jax")
    expected = theirs(*given, **options)
    for transformed in (jax.vmap(partial(ours, **options)), jax.jit(jax.vmap(partial(ours, **options)))):
        np.testing.assert_allclose(transformed(*given), expected, rtol=3e-6, atol=3e-6)
    on_torch = [torch.tensor(np.asarray(x)) for x in given]
    np.testing.assert_allclose(torch.func.vmap(partial(ours, **options))(*on_torch), expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize(
    "name", ["soft", "index", "sigmoid", "focal, soft", "kl", "poly", "soft, where", "index, where"]
)
def test_graphs_of_tensorflow_for_any_batch(name: str) -> None:
    ours, theirs, given, options = pair(name, "jax")
    arrays = [tf.constant(np.asarray(x)) for x in given]
    masks = [tf.constant(np.asarray(options["where"]))] if "where" in options else []
    signature = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in (*arrays, *masks)]
    rest = {key: value for key, value in options.items() if key != "where"}

    def loss(*inputs: Any) -> Any:
        return ours(*inputs[: len(arrays)], **rest, **dict(zip(["where"], inputs[len(arrays) :], strict=False)))

    found = tf.function(loss, input_signature=signature)(*arrays, *masks)
    np.testing.assert_allclose(found, theirs(*given, **options), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("name", ["soft", "safe", "sigmoid", "focal, soft", "poly", "kl", "generalized kl"])
@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "float16"), ("float16", "bfloat16")])
def test_two_dtypes_give_the_one_that_optax_returns(name: str, dtypes: tuple[str, str]) -> None:
    ours, theirs, given, options = pair(name, "jax")
    mixed = [jnp.asarray(x, dtype) for x, dtype in zip(given, dtypes, strict=True)]
    found, expected = ours(*mixed, **options), theirs(*mixed, **options)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(wide(found), wide(expected), rtol=0.03, atol=0.1)


def test_the_dtype_of_what_is_converted_does_not_count() -> None:
    loss = optax.softmax_cross_entropy(torch.zeros(2, 3), [[0.0, 1.0, 0.0]] * 2)
    assert loss.dtype == torch.float32
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_and_is_nearer_to_the_truth(dtype: str) -> None:
    z, t = jnp.asarray(Z, dtype), jnp.asarray(T, dtype)
    exact = np.asarray(
        xent.softmax_cross_entropy(np.asarray(z, np.float64), np.asarray(t, np.float64), reduction="none")
    )
    found, theirs = optax.softmax_cross_entropy(z, t), THEIRS.softmax_cross_entropy(z, t)
    assert found.dtype == theirs.dtype == dtype
    assert np.abs(wide(found) - exact).mean() <= np.abs(wide(theirs) - exact).mean()


def test_labels_out_of_range() -> None:
    for bad in (-1, 6, 100):
        labels = jnp.asarray(Y).at[1, 2].set(bad)
        with pytest.raises(IndexError, match=f"label {bad} in row 7"):
            optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(Z), labels)
        rows, back = jax.vjp(
            jax.jit(lambda z, y=labels: optax.softmax_cross_entropy_with_integer_labels(z, y)), jnp.asarray(Z)
        )
        slope = back(jnp.ones_like(rows))[0]
        assert np.argwhere(np.isnan(rows)).tolist() == [[1, 2]]
        assert np.isnan(slope[1, 2]).all()
        assert np.isnan(slope).sum() == 6


def test_labels_out_of_range_are_not_hidden_by_a_mask() -> None:
    where = jnp.asarray(KEPT).at[1, 2].set(jnp.array([False, True, True, True, True, True]))
    labels = jnp.asarray(Y).at[1, 2].set(6)
    call = partial(optax.softmax_cross_entropy_with_integer_labels, where=where)
    rows, back = jax.vjp(jax.jit(lambda z: call(z, labels)), jnp.asarray(Z))
    assert np.argwhere(np.isnan(rows)).tolist() == [[1, 2]]
    assert np.isnan(back(jnp.ones_like(rows))[0][1, 2]).tolist() == [False, True, True, True, True, True]
    with pytest.raises(IndexError, match="label 6 in row 7"):
        call(jnp.asarray(Z), labels)


def test_the_labels_of_rows_left_out_are_not_read() -> None:
    labels = jnp.where(jnp.asarray(ROWS), jnp.asarray(Y), -1)
    expected = THEIRS.softmax_cross_entropy_with_integer_labels(jnp.asarray(Z), jnp.asarray(Y), where=jnp.asarray(ROWS))
    call = partial(optax.softmax_cross_entropy_with_integer_labels, where=jnp.asarray(ROWS))
    for function in (call, jax.jit(call)):
        np.testing.assert_allclose(function(jnp.asarray(Z), labels), expected, rtol=1e-6, atol=1e-6)


def test_a_label_that_does_not_fit_the_integers_of_jax_is_out_of_range() -> None:
    with pytest.raises(IndexError, match="in row 0"):
        optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(Z[0]), np.full(5, 2**32))


@pytest.mark.parametrize("name", ["soft", "poly", "kl", "generalized kl"])
def test_elements_left_out_may_be_nan(name: str) -> None:
    ours, _, (x, t), _ = pair(name, "jax")
    where = jnp.asarray(KEPT)
    spoilt = jnp.where(where, x, jnp.nan), jnp.where(where, t, jnp.nan)
    found = jax.value_and_grad(lambda *a: ours(*a, where=where).sum(), (0, 1))(*spoilt)
    expected = jax.value_and_grad(lambda *a: ours(*a, where=where).sum(), (0, 1))(x, t)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_without_mass_adds_nothing() -> None:
    z, t = jnp.array([[0.0, 1.0, -jnp.inf]]), jnp.array([[0.3, 0.7, 0.0]])
    for function in (optax.softmax_cross_entropy, optax.safe_softmax_cross_entropy):
        loss, slope = jax.value_and_grad(lambda z, f=function: f(z, t).sum())(z)
        expected = jax.value_and_grad(lambda z: THEIRS.softmax_cross_entropy(z, t[:, :2]).sum())(z[:, :2])
        np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
        np.testing.assert_allclose(slope[:, :2], expected[1], rtol=1e-6)
        assert slope[0, 2] == 0
        assert np.isfinite(jax.jvp(lambda z, f=function: f(z, t), (z,), (jnp.ones_like(z),))[1]).all()


def test_the_divergence_of_a_target_of_zero() -> None:
    log_q, t = jnp.log(jnp.array([[0.2, 0.8, 0.0]])), jnp.array([[0.0, 1.0, 0.0]])
    value, slopes = jax.value_and_grad(lambda q, t: optax.kl_divergence(q, t).sum(), (0, 1))(log_q, t)
    np.testing.assert_allclose(value, -np.log(0.8), rtol=1e-6)
    np.testing.assert_allclose(slopes[0], [[0.0, -1.0, 0.0]], atol=1e-7)
    assert not np.isnan(slopes[1]).any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: optax.softmax_cross_entropy(Y, T), TypeError, "logits: expected float32"),
        (lambda: optax.softmax_cross_entropy_with_integer_labels(Z, T), TypeError, "labels: expected integers"),
        (
            lambda: optax.softmax_cross_entropy_with_integer_labels(Z, Y, axis=None),
            ValueError,
            "Keyword argument 'axis'",
        ),
        (lambda: optax.softmax_cross_entropy(Z, T, axis=3), ValueError, "axis: expected axes"),
        (lambda: optax.softmax_cross_entropy(Z, T[:, :, :4]), ValueError, "broadcast"),
        (lambda: optax.poly_loss_cross_entropy(Z, Y), TypeError, "labels: expected float32"),
        (lambda: optax.kl_divergence(LOG_Q, Y), TypeError, "targets: expected float32"),
        (lambda: optax.smooth_labels(Y, 0.1), TypeError, "labels: expected float32"),
        (lambda: optax.sigmoid_focal_loss(Z, B, 0.25), TypeError, "positional arguments"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_a_mask_of_more_axes_than_the_logits() -> None:
    where = np.array([[True, True, False], [True, True, True]])
    loss = optax.softmax_cross_entropy(Z[0, 0, :3], T[0, 0, :3], where=where)
    each = [optax.softmax_cross_entropy(Z[0, 0, :3], T[0, 0, :3], where=mask) for mask in where]
    np.testing.assert_array_equal(loss, each)
    smooth = optax.smooth_labels(T[0, 0, :3], 0.3, where=where)
    np.testing.assert_allclose(smooth, [(1 - 0.3) * T[0, 0, :3] + 0.3 / n for n in (2, 3)], rtol=1e-6)


def test_an_axis_named_twice() -> None:
    with pytest.raises(ValueError, match=r"axis: expected different axes, got \(2, -1\)"):
        optax.softmax_cross_entropy(Z, T, axis=(2, -1))


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy", "poly_loss_cross_entropy", "kl_divergence", "generalized_kl_divergence"]
)
def test_no_classes_add_nothing(name: str) -> None:
    nothing = jnp.zeros((3, 0))
    np.testing.assert_array_equal(getattr(optax, name)(nothing, nothing), np.zeros(3))
    if name != "poly_loss_cross_entropy":  # which Optax refuses
        np.testing.assert_array_equal(getattr(THEIRS, name)(nothing, nothing), np.zeros(3))
