"""TensorFlow's names on every framework's arrays, against TensorFlow itself: values, gradients, dtypes, errors."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tensorflow_itself
import torch

import xent
from xent.compat import tf

TF = tensorflow_itself
TF1 = TF.compat.v1
RNG = np.random.default_rng(7)
Z = RNG.normal(size=(6, 9)) * 2
T = RNG.dirichlet(np.ones(9), 6)
LOOSE = T * np.linspace(0.2, 3.0, 6)[:, None]  # does not sum to 1
Y = RNG.integers(0, 9, 6)
B = (RNG.random((6, 9)) < 0.4).astype(np.float64)
S = np.array([0.5, 0.0, 2.0, 1.0, 0.0, 3.0])
Q = np.linspace(0.2, 4.0, 9)

# name: TensorFlow's function, ours, the labels, the other arguments
CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any, dict[str, Any]]] = {
    "softmax": (
        TF.nn.softmax_cross_entropy_with_logits,
        tf.nn.softmax_cross_entropy_with_logits,
        T,
        {},
    ),
    "softmax, loose": (
        TF.nn.softmax_cross_entropy_with_logits,
        tf.nn.softmax_cross_entropy_with_logits,
        LOOSE,
        {},
    ),
    "softmax, axis 0": (
        TF.nn.softmax_cross_entropy_with_logits,
        tf.nn.softmax_cross_entropy_with_logits,
        LOOSE,
        {"axis": 0},
    ),
    "softmax, broadcast": (
        TF.nn.softmax_cross_entropy_with_logits,
        tf.nn.softmax_cross_entropy_with_logits,
        T[:1],
        {},
    ),
    "softmax v1": (
        TF1.nn.softmax_cross_entropy_with_logits,
        tf.v1.nn.softmax_cross_entropy_with_logits,
        LOOSE,
        {},
    ),
    "softmax v2": (
        TF1.nn.softmax_cross_entropy_with_logits_v2,
        tf.v1.nn.softmax_cross_entropy_with_logits_v2,
        LOOSE,
        {},
    ),
    "sparse": (
        TF.nn.sparse_softmax_cross_entropy_with_logits,
        tf.nn.sparse_softmax_cross_entropy_with_logits,
        Y,
        {},
    ),
    "sigmoid": (TF.nn.sigmoid_cross_entropy_with_logits, tf.nn.sigmoid_cross_entropy_with_logits, B, {}),
    "sigmoid, soft": (TF.nn.sigmoid_cross_entropy_with_logits, tf.nn.sigmoid_cross_entropy_with_logits, T, {}),
    "weighted": (
        TF.nn.weighted_cross_entropy_with_logits,
        tf.nn.weighted_cross_entropy_with_logits,
        T,
        {"pos_weight": 2.5},
    ),
    "weighted by class": (
        TF.nn.weighted_cross_entropy_with_logits,
        tf.nn.weighted_cross_entropy_with_logits,
        B,
        {"pos_weight": Q},
    ),
}
LOSSES = {
    "softmax": (TF1.losses.softmax_cross_entropy, tf.losses.softmax_cross_entropy, LOOSE, S),
    "sparse": (TF1.losses.sparse_softmax_cross_entropy, tf.losses.sparse_softmax_cross_entropy, Y, S),
    "sparse, columns": (
        TF1.losses.sparse_softmax_cross_entropy,
        tf.losses.sparse_softmax_cross_entropy,
        Y[:, None],
        S[:, None],
    ),
    "sigmoid": (TF1.losses.sigmoid_cross_entropy, tf.losses.sigmoid_cross_entropy, T, S[:, None]),
}
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


def of_tensorflow(array: Any, dtype: str) -> Any:
    array = np.asarray(array)
    return TF.constant(array) if array.dtype.kind in "iu" else TF.cast(TF.constant(array), dtype)


def of_torch(array: Any, dtype: str) -> Any:
    tensor = torch.as_tensor(np.array(array))
    return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor


def of_jax(array: Any, dtype: str) -> Any:
    array = jnp.asarray(array)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def of_numpy(array: Any, dtype: str) -> Any:
    array = np.asarray(array)
    return array.astype(jnp.dtype(dtype)) if array.dtype.kind == "f" else array


MAKE = {"numpy": of_numpy, "torch": of_torch, "jax": of_jax, "tensorflow": of_tensorflow}


def wide(array: Any) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        return array.detach().double().numpy()
    return np.asarray(TF.cast(array, TF.float64) if isinstance(array, TF.Tensor) else array, np.float64)


def pulled(framework: str, function: Callable[..., Any], inputs: list[Any], upstream: float) -> tuple[Any, list[Any]]:
    """The value, and the gradients to the inputs (None where there is none) for an upstream gradient."""
    if framework == "torch":
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
        value = function(*leaves)
        float_ones = [x for x in leaves if x.requires_grad]
        found = torch.autograd.grad(value, float_ones, torch.full_like(value, upstream), allow_unused=True)
        left = iter(found)
        return value, [next(left) if x.requires_grad else None for x in leaves]
    if framework == "jax":
        at = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating)]

        def of_floats(*some: Any) -> Any:
            given = list(inputs)
            for i, x in zip(at, some, strict=True):
                given[i] = x
            return function(*given)

        value, back = jax.vjp(of_floats, *(inputs[i] for i in at))
        found = dict(zip(at, back(jnp.full_like(value, upstream)), strict=True))
        return value, [found.get(i) for i in range(len(inputs))]
    with TF.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
    cotangent = TF.fill(TF.shape(value), TF.constant(upstream, value.dtype))
    return value, tape.gradient(value, inputs, output_gradients=cotangent)


def close(found: Any, expected: Any, dtype: str, slack: float = 8.0) -> None:
    """Within some roundings of the largest expected number: TensorFlow's own results have as many."""
    found, expected = wide(found), wide(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= slack * EPS[dtype] * (np.abs(expected).max(initial=0) + 1)


COMBINATIONS = [(f, d) for f, d in itertools.product(MAKE, EPS) if (f, d) != ("jax", "float64")]


@pytest.mark.parametrize(("framework", "dtype"), COMBINATIONS)
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name: str, framework: str, dtype: str) -> None:
    theirs, ours, labels, options = CALLS[name]
    made = {k: MAKE[framework](v, dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    their_options = {k: of_tensorflow(v, dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected, slopes = pulled(
        "tensorflow",
        lambda y, z: theirs(labels=y, logits=z, **their_options),
        # labels that are broadcast have no backward pass in TensorFlow
        [
            of_tensorflow(np.broadcast_to(labels, Z.shape) if "broad" in name else labels, dtype),
            of_tensorflow(Z, dtype),
        ],
        0.37,
    )
    inputs = [MAKE[framework](labels, dtype), MAKE[framework](Z, dtype)]
    if framework == "numpy":
        value = ours(labels=inputs[0], logits=inputs[1], **made)
        assert isinstance(value, np.ndarray)
        assert value.dtype == inputs[1].dtype
        close(value, expected, dtype)
        return
    value, found = pulled(framework, lambda y, z: ours(labels=y, logits=z, **made), inputs, 0.37)
    assert value.dtype == inputs[1].dtype
    close(value, expected, dtype)
    close(found[1], slopes[1], dtype)
    if slopes[0] is None:
        assert found[0] is None or not wide(found[0]).any()
    elif "broad" not in name:
        close(found[0], slopes[0], dtype)


def test_the_gradient_of_loose_labels_is_p_minus_t_and_differentiable_again() -> None:
    z = torch.tensor(Z, requires_grad=True)
    loss = tf.nn.softmax_cross_entropy_with_logits(torch.tensor(LOOSE), z)
    (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
    np.testing.assert_allclose(first.detach(), xent.softmax(Z) - LOOSE, atol=1e-14)
    (second,) = torch.autograd.grad((first**2).sum(), z)
    p = torch.softmax(z, -1)
    (expected,) = torch.autograd.grad(((p - torch.tensor(LOOSE)) ** 2).sum(), z)
    np.testing.assert_allclose(second, expected, atol=1e-12)


@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
@pytest.mark.parametrize("name", CALLS)
def test_compiled(name: str, framework: str) -> None:
    _, ours, labels, options = CALLS[name]
    made = {k: MAKE[framework](v, "float32") if isinstance(v, np.ndarray) else v for k, v in options.items()}
    inputs = [MAKE[framework](x, "float32") for x in (labels, Z)]

    def loss(y: Any, z: Any) -> Any:
        return ours(labels=y, logits=z, **made)

    expected = pulled(framework, loss, inputs, 0.37)
    compiled = jax.jit(loss) if framework == "jax" else TF.function(loss)
    found = pulled(framework, compiled, inputs, 0.37)
    close(found[0], expected[0], "float32")
    close(found[1][1], expected[1][1], "float32")


@pytest.mark.parametrize("reduction", sorted(set(tf.losses.Reduction.all())))
@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weights"])
@pytest.mark.parametrize("name", LOSSES)
def test_weighted_losses(name: str, framework: str, weighted: bool, reduction: str) -> None:
    theirs, ours, labels, weights = LOSSES[name]
    options: dict[str, Any] = {"reduction": reduction}
    if not name.startswith("sparse"):
        options["label_smoothing"] = 0.1

    def call(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda y, z, *w: function(y, z, *(w or (2.0,)), **options)

    arrays = [labels, Z, weights] if weighted else [labels, Z]
    expected, slopes = pulled("tensorflow", call(theirs), [of_tensorflow(x, "float32") for x in arrays], 0.37)
    inputs = [MAKE[framework](x, "float32") for x in arrays]
    if framework == "numpy":
        close(call(ours)(*inputs), expected, "float32")
        return
    value, found = pulled(framework, call(ours), inputs, 0.37)
    close(value, expected, "float32")
    for ours_slope, their_slope in zip(found, slopes, strict=True):
        if their_slope is None:
            assert ours_slope is None or not wide(ours_slope).any()
        else:
            close(ours_slope, their_slope, "float32")


@pytest.mark.parametrize("shape", [(), (6, 1), (1, 9), (6, 9)])
def test_compute_weighted_loss(shape: tuple[int, ...]) -> None:
    weights = RNG.random(shape) * (RNG.random(shape) < 0.7)
    for reduction in tf.losses.Reduction.all():
        expected = TF1.losses.compute_weighted_loss(of_tensorflow(Z, "float32"), weights, reduction=reduction)
        found = tf.losses.compute_weighted_loss(Z.astype(np.float32), weights, reduction=reduction)
        close(found, expected, "float32")


def test_published_reductions() -> None:
    losses, weights = np.array([10.0, 10.0, 10.0]), np.array([2.0, 0.0, 0.5])
    names = tf.losses.Reduction
    found = {
        r: round(float(tf.losses.compute_weighted_loss(losses, weights, reduction=r)), 2)
        for r in (names.SUM, names.MEAN, names.SUM_OVER_BATCH_SIZE, names.SUM_BY_NONZERO_WEIGHTS)
    }
    assert list(found.values()) == [25.0, 10.0, 8.33, 12.5]
    assert tf.losses.compute_weighted_loss(losses, 0.0) == 0
    assert names.all() == TF1.losses.Reduction.all()


def test_losses_that_weigh_nothing_are_zero() -> None:
    for reduction in tf.losses.Reduction.all()[1:]:
        assert tf.losses.sparse_softmax_cross_entropy(Y, Z, np.zeros(6), reduction=reduction) == 0


@pytest.mark.parametrize("framework", MAKE)
def test_contrib(framework: str) -> None:
    z, t, y, b, s = (MAKE[framework](x, "float32") for x in (Z, T, Y, B, S))
    pairs = [
        (lambda: tf.contrib.losses.softmax_cross_entropy(z, t, s, 0.1), tf.losses.softmax_cross_entropy(t, z, s, 0.1)),
        (lambda: tf.contrib.losses.sparse_softmax_cross_entropy(z, y), tf.losses.sparse_softmax_cross_entropy(y, z)),
        (
            lambda: tf.contrib.losses.sigmoid_cross_entropy(z, b, s),
            tf.losses.sigmoid_cross_entropy(b, z, MAKE[framework](S[:, None], "float32")),
        ),
        (
            lambda: tf.contrib.losses.compute_weighted_loss(z, s[:, None]),
            tf.losses.compute_weighted_loss(z, s[:, None]),
        ),
        (
            lambda: tf.contrib.losses.compute_weighted_loss(z[:, 0], s[:, None]),
            tf.losses.compute_weighted_loss(z[:, 0], s),
        ),
        (
            lambda: tf.contrib.losses.compute_weighted_loss(z, s),
            tf.losses.compute_weighted_loss(z, MAKE[framework](S[:, None], "float32")),
        ),
        (
            lambda: tf.contrib.nn.deprecated_flipped_softmax_cross_entropy_with_logits(z, t),
            tf.nn.softmax_cross_entropy_with_logits(t, z),
        ),
        (
            lambda: tf.contrib.nn.deprecated_flipped_sparse_softmax_cross_entropy_with_logits(z, y),
            tf.nn.sparse_softmax_cross_entropy_with_logits(y, z),
        ),
        (
            lambda: tf.contrib.nn.deprecated_flipped_sigmoid_cross_entropy_with_logits(z, b),
            tf.nn.sigmoid_cross_entropy_with_logits(b, z),
        ),
    ]
    for old, today in pairs:
        with pytest.warns(DeprecationWarning, match=r"Call xent\.compat\.tf\.") as warned:
            found = old()
        assert warned[0].filename == __file__
        np.testing.assert_array_equal(wide(found), wide(today))


def test_activations() -> None:
    for name, options in (("softmax", {"axis": 0}), ("log_softmax", {}), ("sigmoid", {})):
        expected = getattr(TF.nn, name)(TF.constant(Z), **options)
        np.testing.assert_allclose(getattr(tf.nn, name)(Z, **options), expected, rtol=1e-13)
    np.testing.assert_array_equal(tf.nn.softmax(Z, dim=0), tf.nn.softmax(Z, axis=0))


def test_the_limits() -> None:
    empty = tf.nn.softmax_cross_entropy_with_logits(np.zeros((0, 3)), np.zeros((0, 3)))
    assert empty.shape == (0,)
    assert not tf.nn.softmax_cross_entropy_with_logits(np.zeros((2, 0)), np.zeros((2, 0))).any()
    one = tf.nn.sparse_softmax_cross_entropy_with_logits(np.int32(1), np.array([0.0, 0.0]))
    np.testing.assert_allclose(one, np.log(2))
    finite = tf.nn.softmax_cross_entropy_with_logits(np.array([[0.0, 1.0]]), np.array([[-np.inf, 0.0]]))
    np.testing.assert_array_equal(finite, [0.0])
    lost = tf.nn.sparse_softmax_cross_entropy_with_logits(np.array([0]), np.array([[-np.inf, 0.0]]))
    assert np.isposinf(lost)
    with pytest.raises(ValueError, match="pos_weight"):
        tf.nn.weighted_cross_entropy_with_logits(B, Z, -1.0)
    bad = jnp.asarray([0, 9, 1, 2, 3, -1])
    rows = jax.jit(tf.nn.sparse_softmax_cross_entropy_with_logits)(bad, jnp.asarray(Z))
    np.testing.assert_array_equal(np.isnan(rows), [False, True, False, False, False, True])


# a call of TensorFlow's or of ours, by the functions' names, which fails
BAD: dict[str, Callable[[Any, Any, Callable[..., Any]], Any]] = {
    "axis of softmax": lambda nn, losses, a: nn.softmax(a(Z), axis=5),
    "axis of log_softmax": lambda nn, losses, a: nn.log_softmax(a(Z), axis=-3),
    "shapes": lambda nn, losses, a: nn.softmax_cross_entropy_with_logits(a(T[:, :2]), a(Z)),
    "label": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(np.array([0, 9, 1, 2, 3, 4])), a(Z)),
    "label -1": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(Y * 0 - 1), a(Z)),
    "rank": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(Y[:, None]), a(Z)),
    "rows": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(Y[:3]), a(Z)),
    "float labels": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(S), a(Z)),
    "small labels": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(Y.astype(np.int8)), a(Z)),
    "no classes": lambda nn, losses, a: nn.sparse_softmax_cross_entropy_with_logits(a(Y), a(Z[:, :0])),
    "no labels": lambda nn, losses, a: nn.sigmoid_cross_entropy_with_logits(None, a(Z)),
    "sigmoid's shapes": lambda nn, losses, a: nn.sigmoid_cross_entropy_with_logits(a(B[:2]), a(Z)),
    "sigmoid's dtypes": lambda nn, losses, a: nn.sigmoid_cross_entropy_with_logits(a(B.astype(np.int32)), a(Z)),
    "positive weights": lambda nn, losses, a: nn.weighted_cross_entropy_with_logits(a(B), a(Z), a(Q[:2])),
    "positive weights without labels": lambda nn, losses, a: nn.weighted_cross_entropy_with_logits(None, a(Z), 2.0),
    "missing labels": lambda nn, losses, a: losses.softmax_cross_entropy(None, a(Z)),
    "missing logits": lambda nn, losses, a: losses.sparse_softmax_cross_entropy(a(Y), None),
    "loss's shapes": lambda nn, losses, a: losses.sigmoid_cross_entropy(a(B[:2]), a(Z)),
    "weights' rank": lambda nn, losses, a: losses.softmax_cross_entropy(a(T), a(Z), a(S[:, None])),
    "weights' shape": lambda nn, losses, a: losses.softmax_cross_entropy(a(T), a(Z), a(S[:3])),
    "columns of weights": lambda nn, losses, a: losses.sparse_softmax_cross_entropy(a(Y), a(Z), a(Z)),
    "no weights": lambda nn, losses, a: losses.sparse_softmax_cross_entropy(a(Y), a(Z), None),
    "no weights of sigmoid": lambda nn, losses, a: losses.sigmoid_cross_entropy(a(B), a(Z), None),
    "no losses": lambda nn, losses, a: losses.compute_weighted_loss(None, a(S)),
    "reduction": lambda nn, losses, a: losses.softmax_cross_entropy(a(T), a(Z), reduction="average"),
}


def essence(error: Exception) -> str:
    """The part of a message that says what is wrong: without the operation's name, dumps of values and remedies."""
    text = str(error).partition("}} ")[2] or str(error)
    for end in (" [Op:", "\n", ". Received weights", "Received: labels=None", ". Reshape", " Convert the", "; NodeDef"):
        text = text.partition(end)[0]
    return text.strip().rstrip(".")


@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize("name", BAD)
def test_errors_have_tensorflows_class_and_text(name: str, framework: str) -> None:
    call = BAD[name]
    theirs = raised(lambda: call(TF.nn, TF1.losses, lambda x: of_tensorflow(x, "float32")))
    kind: type[Exception] = type(theirs)
    if kind is TF.errors.InvalidArgumentError and framework != "tensorflow":
        kind = tf.InvalidArgumentError
    with pytest.raises(kind, match=re.escape(essence(theirs))):
        call(tf.nn, tf.losses, lambda x: MAKE[framework](x, "float32"))


def raised(call: Callable[[], Any]) -> Exception:
    """What TensorFlow raises."""
    try:
        call()
    except (ValueError, TF.errors.InvalidArgumentError) as error:
        return error
    raise AssertionError("TensorFlow raised nothing")


def test_missing_arguments_of_old_forms() -> None:
    with pytest.raises(ValueError, match="Both `labels` and `logits` must be provided"):
        tf.v1.nn.softmax_cross_entropy_with_logits(logits=Z)
    with pytest.raises(ValueError, match="Cannot specify both 'targets' and 'labels'"):
        tf.nn.weighted_cross_entropy_with_logits(labels=B, logits=Z, pos_weight=2.0, targets=B)
    with pytest.raises(TypeError, match="pos_weight"):
        tf.nn.weighted_cross_entropy_with_logits(B, Z)
    np.testing.assert_array_equal(
        tf.nn.weighted_cross_entropy_with_logits(logits=Z, pos_weight=2.0, targets=B),
        tf.nn.weighted_cross_entropy_with_logits(B, Z, 2.0),
    )


def test_imports_no_framework() -> None:
    code = "import sys, xent.compat.tf; print({'tensorflow', 'torch', 'jax', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("framework", MAKE)
def test_worked_examples(framework: str) -> None:
    def a(values: Any) -> Any:
        return MAKE[framework](np.asarray(values), "float32")

    rows, last = [[1.0, 2.0, 3.0]] * 3, [[0.0, 0.0, 1.0]] * 3
    close(tf.nn.softmax(a(rows)), [[0.09003057, 0.24472848, 0.66524094]] * 3, "float32", 1.0)
    close(tf.nn.log_softmax(a(rows)), [[-2.407606, -1.4076059, -0.40760595]] * 3, "float32", 4.0)
    dense = tf.nn.softmax_cross_entropy_with_logits(a(last), a(rows))
    close(dense, [0.40760595] * 3, "float32", 1.0)
    close(tf.nn.sparse_softmax_cross_entropy_with_logits(a([2, 2, 2]), a(rows)), dense, "float32", 0.0)
    total = tf.losses.softmax_cross_entropy(a(last), a(rows), reduction=tf.losses.Reduction.SUM)
    close(total, 1.2228179, "float32", 1.0)
    two = tf.nn.sparse_softmax_cross_entropy_with_logits(a([1, 0, 0]), a([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]))
    close(two, [0.43748799, 0.51301527, 0.69314718], "float32", 1.0)
    labels = [[0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]]
    each = tf.nn.sigmoid_cross_entropy_with_logits(a(labels), a([[0.2] * 5, [0.3, 0.3, 0.2, 0.1, 0.1]]))
    expected = [
        [0.7981388, 0.7981388, 0.7981388, 0.59813893, 0.7981388],
        [0.55435514, 0.85435514, 0.7981388, 0.74439663, 0.74439663],
    ]
    close(each, expected, "float32", 1.0)


@pytest.mark.parametrize("framework", [name for name in MAKE if name != "numpy"])
def test_positive_weights_are_differentiable(framework: str) -> None:
    def both(function: Callable[..., Any], of: str) -> Any:
        labels, logits = MAKE[of](B, "float32"), MAKE[of](Z, "float32")
        return pulled(of, lambda q: function(labels, logits, q), [MAKE[of](Q, "float32")], 0.37)[1][0]

    expected = both(TF.nn.weighted_cross_entropy_with_logits, "tensorflow")
    close(both(tf.nn.weighted_cross_entropy_with_logits, framework), expected, "float32")


@pytest.mark.parametrize("framework", [name for name in MAKE if name != "numpy"])
def test_a_class_of_mass_zero_may_have_no_logit(framework: str) -> None:
    z, t = Z.copy(), LOOSE.copy()
    z[1, 4], t[1, 4] = -np.inf, 0.0
    inputs = [MAKE[framework](x, "float32") for x in (t, z)]
    value, (_, slope) = pulled(framework, tf.nn.softmax_cross_entropy_with_logits, inputs, 0.37)
    assert np.isfinite(wide(value)).all()
    close(slope, 0.37 * (xent.softmax(z) - t), "float32")


@pytest.mark.parametrize("framework", [name for name in MAKE if name != "numpy"])
def test_gradients_of_no_rows(framework: str) -> None:
    for function, labels in ((tf.losses.softmax_cross_entropy, T), (tf.losses.sparse_softmax_cross_entropy, Y)):
        inputs = [MAKE[framework](x[:0], "float32") for x in (labels, Z)]
        value, (_, slope) = pulled(framework, function, inputs, 0.37)
        assert wide(value) == 0
        assert wide(slope).shape == (0, 9)


def test_the_gradient_of_loose_labels_is_differentiable_by_labels_of_fixed_mass() -> None:
    mass = torch.tensor(LOOSE.sum(-1, keepdims=True))
    teacher = torch.tensor(np.log(T), requires_grad=True)
    t, z = teacher.softmax(-1) * mass, torch.tensor(Z, requires_grad=True)
    loss = tf.nn.softmax_cross_entropy_with_logits(t, z)
    (first,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), teacher, retain_graph=True)
    (expected,) = torch.autograd.grad(((z.softmax(-1) - t) ** 2).sum(), teacher)
    np.testing.assert_allclose(second, expected, atol=1e-13)


@pytest.mark.parametrize("framework", MAKE)
def test_smoothing_below_zero_is_none(framework: str) -> None:
    z, t = (MAKE[framework](x, "float32") for x in (Z, T))
    for name in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        theirs = getattr(TF1.losses, name)(of_tensorflow(T, "float32"), of_tensorflow(Z, "float32"), 1.0, -0.3)
        close(getattr(tf.losses, name)(t, z, 1.0, -0.3), theirs, "float32")


@pytest.mark.parametrize("framework", MAKE)
def test_last_axes_of_one_are_dropped(framework: str) -> None:
    arrays = ((Y, Z[..., None], S[:, None]), (Y[:, None], Z, S), (Y[:1], Z[0], S[:1]), (Y[0], Z[0], S[:1]))
    for some in arrays:
        expected = TF1.losses.sparse_softmax_cross_entropy(*(of_tensorflow(x, "float32") for x in some))
        found = tf.losses.sparse_softmax_cross_entropy(*(MAKE[framework](x, "float32") for x in some))
        close(found, expected, "float32")


def test_graphs_of_unknown_sizes() -> None:
    def compiled(*specs: Any) -> Any:
        return TF.function(tf.losses.sparse_softmax_cross_entropy, input_signature=specs)

    call = compiled(TF.TensorSpec([None, None], TF.int64), TF.TensorSpec([None, 9]), TF.TensorSpec([None, None]))
    y, z, s = Y[:, None], of_tensorflow(Z, "float32"), of_tensorflow(S[:, None], "float32")
    close(call(y, z, s), TF1.losses.sparse_softmax_cross_entropy(y, z, s), "float32")
    fits_nothing = r"should be equal|ncompatible shapes|Unable to broadcast|required broadcastable"
    for wrong in ((np.repeat(y, 2, axis=1), z, s), (y, z, TF.repeat(s, 2, axis=1))):
        with pytest.raises(TF.errors.InvalidArgumentError, match=fits_nothing):
            call(*wrong)
    one = compiled(TF.TensorSpec([None], TF.int64), TF.TensorSpec([9]))
    close(one(Y[:1], z[0]), TF1.losses.sparse_softmax_cross_entropy(Y[:1], z[0]), "float32")
    with pytest.raises(TF.errors.InvalidArgumentError, match=fits_nothing):
        one(Y[:2], z[0])


SHAPES = [
    ((1, 3, 4), (3, 4)), ((2, 3, 4), (3, 4)), ((3, 4), (2, 3, 4)), ((3, 4), (1, 3, 4)), ((1, 4), (3, 4)),
    ((3, 1), (3, 4)), ((4,), (3, 4)), ((3, 4), (4,)), ((1, 2, 3, 4), (2, 3, 4)), ((2, 1, 4), (2, 3, 4)),
    ((6, 4), (2, 3, 4)), ((2, 3, 4), (6, 4)), ((3, 4), (3, 1)), ((2, 3, 4), (2, 3, 4)),
    ((), ()), ((0, 4), (0, 4)), ((3, 0), (3, 0)),
]  # fmt: skip


@pytest.mark.parametrize("framework", MAKE)
def test_shapes_and_axes_are_tensorflows(framework: str) -> None:
    rng = np.random.default_rng(11)
    for (of_labels, of_logits), axis in itertools.product(SHAPES, (-1, 0, 1, 2, 3, -2)):
        t, z = np.asarray(rng.random(of_labels)), np.asarray(rng.normal(size=of_logits))
        arrays = [MAKE[framework](x, "float32") for x in (t, z)]
        try:
            given = [of_tensorflow(x, "float32") for x in (t, z)]
            expected = TF.nn.softmax_cross_entropy_with_logits(*given, axis=axis)
        except TF.errors.InvalidArgumentError as error:
            text = re.escape(re.sub(r"{{.*?}} | \[Op.*", "", error.message))
            kind = tf.InvalidArgumentError if framework != "tensorflow" else TF.errors.InvalidArgumentError
            with pytest.raises(kind, match=text):
                tf.nn.softmax_cross_entropy_with_logits(*arrays, axis=axis)
        else:
            close(tf.nn.softmax_cross_entropy_with_logits(*arrays, axis=axis), expected, "float32")


def test_shapes_of_a_graph_must_be_known_to_be_broadcast() -> None:
    call = TF.function(
        tf.nn.softmax_cross_entropy_with_logits, input_signature=[TF.TensorSpec([4]), TF.TensorSpec([None, 4])]
    )
    with pytest.raises(TF.errors.InvalidArgumentError, match="Give both shapes"):
        call(np.ones(4, np.float32), np.ones((3, 4), np.float32))


def test_weights_of_unknown_size_never_spread_the_losses() -> None:
    call = TF.function(tf.losses.compute_weighted_loss, input_signature=[TF.TensorSpec([None]), TF.TensorSpec([None])])
    one, three = np.ones(1, np.float32), np.ones(3, np.float32)
    assert call(three, one) == call(three, three) == 1
    with pytest.raises(TF.errors.InvalidArgumentError, match=r"ncompatible shapes|broadcast"):
        call(one, three)


def test_under_xla() -> None:
    logits, labels = of_tensorflow(Z, "float32"), of_tensorflow(LOOSE, "float32")

    @TF.function(jit_compile=True)
    def step(t: Any, z: Any) -> Any:
        with TF.GradientTape() as tape:
            tape.watch(z)
            loss = tf.nn.softmax_cross_entropy_with_logits(t, z)
        return loss, tape.gradient(loss, z)

    loss, slope = step(labels, logits)
    close(loss, tf.nn.softmax_cross_entropy_with_logits(labels, logits), "float32")
    close(slope, xent.softmax(Z) - LOOSE, "float32")
    lost = TF.function(tf.nn.sparse_softmax_cross_entropy_with_logits, jit_compile=True)(np.array([0, 9]), logits[:2])
    np.testing.assert_array_equal(np.isnan(lost), [False, True])


def test_numpy_warns_of_nothing() -> None:
    with warnings.catch_warnings(action="error"):
        lost = tf.nn.softmax_cross_entropy_with_logits(LOOSE[:3], np.array([[-np.inf] * 9, [np.inf] * 9, [np.nan] * 9]))
    assert np.isnan(lost).all()


def test_numpy_gives_no_gradient_that_would_not_be_tensorflows() -> None:
    with pytest.raises(TypeError, match="loss_fn"):
        xent.value_and_grad(lambda z: tf.nn.softmax_cross_entropy_with_logits(LOOSE[0], z))(Z[0])


RECORDED = {
    "narrow labels": (
        lambda nn, z: nn.sparse_softmax_cross_entropy_with_logits(Y.astype(np.int16), z),
        "parameter 'labels' has DataType int16 not in list of allowed values: int32, int64",
    ),
    "float labels": (
        lambda nn, z: nn.sparse_softmax_cross_entropy_with_logits(Y * 1.0, z),
        "parameter 'labels' has DataType float64 not in list of allowed values: int32, int64",
    ),
    "integer logits": (
        lambda nn, z: nn.softmax_cross_entropy_with_logits(T, TF.cast(z, "int32")),
        "parameter 'features' has DataType int32 not in list of allowed values: float16, bfloat16, float32, float64",
    ),
    "softmax": (
        lambda nn, z: nn.softmax(TF.cast(z, "int32")),
        "parameter 'logits' has DataType int32 not in list of allowed values: float16, bfloat16, float32, float64",
    ),
    "sigmoid": (
        lambda nn, z: nn.sigmoid(TF.cast(z, "int32")),
        "parameter 'x' has DataType int32 not in list of allowed values: bfloat16, float16, float32, float64, complex",
    ),
    "integer targets": (
        lambda nn, z: nn.sigmoid_cross_entropy_with_logits(B.astype(np.int32), z),
        "Input 'y' of 'Mul' Op has type int32 that does not match type float32 of argument 'x'",
    ),
    "boolean targets": (
        lambda nn, z: nn.sigmoid_cross_entropy_with_logits(B > 0, z),
        "Input 'y' of 'Sub' Op has type bool that does not match type float32 of argument 'x'",
    ),
    "weighted integers": (
        lambda nn, z: nn.weighted_cross_entropy_with_logits(B.astype(np.int32), z, 0.5),
        "Expected int32, but got -0.5 of type 'float'",
    ),
    "weighted doubles": (
        lambda nn, z: nn.weighted_cross_entropy_with_logits(B, z, 0.5),
        "Input 'y' of 'Mul' Op has type float32 that does not match type float64 of argument 'x'",
    ),
    "positive weights": (
        lambda nn, z: nn.weighted_cross_entropy_with_logits(B.astype(np.float32), z, np.ones(3, np.float32)),
        "Dimensions must be equal, but are 3 and 9",
    ),
    "rows": (lambda nn, z: nn.softmax_cross_entropy_with_logits(T[:2], z), "Dimensions must be equal, but are 6 and 2"),
    "axis": (lambda nn, z: nn.softmax_cross_entropy_with_logits(T, z, axis=-2), "Requires start <= limit"),
    "large axis": (lambda nn, z: nn.softmax_cross_entropy_with_logits(T, z, axis=4), "Requires start <= limit"),
    "label": (
        lambda nn, z: nn.sparse_softmax_cross_entropy_with_logits(Y + 5, z),
        r"Received a label value .*which is outside the valid range of \[0, 9\).  Label values:",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_errors_of_graphs_have_tensorflows_class_and_text(name: str) -> None:
    call, text = RECORDED[name]
    for nn in (TF.nn, tf.nn):

        def recorded(z: Any, nn: Any = nn) -> Any:
            return call(nn, z)

        kind: Any = {"label": TF.errors.InvalidArgumentError}.get(name, TypeError)
        if name in ("positive weights", "rows", "axis", "large axis"):
            kind = ValueError
        with pytest.raises(kind, match=text):
            TF.function(recorded)(of_tensorflow(Z, "float32"))


def test_labels_of_a_graph_are_checked_but_not_by_xla() -> None:
    """In range nothing changes; and what is compiled gives NaN, as TensorFlow's own operation does on other devices."""
    z, y = of_tensorflow(Z, "float32"), Y + np.where(np.arange(6) == 2, 9, 0)
    call = tf.nn.sparse_softmax_cross_entropy_with_logits
    close(TF.function(call)(Y, z), call(Y, z), "float32")
    np.testing.assert_array_equal(np.isnan(TF.function(call, jit_compile=True)(y, z)), np.arange(6) == 2)


@pytest.mark.parametrize("framework", MAKE)
def test_eager_errors_of_mixed_dtypes(framework: str) -> None:
    z, kind = MAKE[framework](Z, "float32"), tf.InvalidArgumentError
    if framework == "tensorflow":
        kind = TF.errors.InvalidArgumentError
    for wrong in (np.int32, bool):
        labels = MAKE[framework](B, "float32") if wrong is float else np.asarray(B).astype(wrong)
        with pytest.raises(TypeError, match=f"Cannot convert -0.5 to EagerTensor of dtype {np.dtype(wrong).name}"):
            tf.nn.weighted_cross_entropy_with_logits(labels, z, 0.5)
    with pytest.raises(kind, match=r"cannot compute Sub as .* expected to be a float tensor but is a bool tensor"):
        tf.nn.sigmoid_cross_entropy_with_logits(B > 0, z)
    half = MAKE[framework](Z, "float16")
    with pytest.raises(kind, match="expected to be a float tensor but is a half tensor"):
        tf.nn.weighted_cross_entropy_with_logits(MAKE[framework](B, "float32"), half, 0.5)
    with pytest.raises(kind, match=r"Must have at least one class, but got logits shape \[6,0\]"):
        tf.nn.sparse_softmax_cross_entropy_with_logits(
            np.reshape(Y, (2, 3)), MAKE[framework](np.zeros((2, 3, 0)), "float32")
        )


@pytest.mark.parametrize("framework", MAKE)
def test_no_classes(framework: str) -> None:
    for shape, axis in (((3, 0), -1), ((0, 2, 3), 0)):
        nothing = MAKE[framework](np.zeros(shape), "float32")
        assert tuple(tf.nn.softmax(nothing, axis).shape) == tuple(tf.nn.log_softmax(nothing, axis).shape) == shape
        assert (
            float(
                tf.nn.softmax_cross_entropy_with_logits(nothing, nothing, axis).sum()
                if framework != "tensorflow"
                else 0
            )
            == 0
        )


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow"])
def test_numbers_of_python_are_not_rounded_to_float32(framework: str) -> None:
    labels, logits = (MAKE[framework](x, "float64") for x in (B, Z))
    expected = TF.nn.weighted_cross_entropy_with_logits(of_tensorflow(B, "float64"), of_tensorflow(Z, "float64"), 0.7)
    np.testing.assert_allclose(
        tf.nn.weighted_cross_entropy_with_logits(labels, logits, 0.7), expected, rtol=1e-15, atol=1e-15
    )
    for weights in (0.7, [[0.7] * 9]):
        found = tf.losses.compute_weighted_loss(logits, weights, reduction=tf.losses.Reduction.SUM)
        np.testing.assert_allclose(found, 0.7 * Z.sum(), rtol=1e-14)


IN_SESSIONS = """
import sys
import numpy as np
import tensorflow as tensorflow_itself
import xent
from xent.compat import tf
TF = tensorflow_itself
v1 = TF.compat.v1
if "v1" in sys.argv:
    v1.disable_v2_behavior()
rng = np.random.default_rng(0)
z0, t0 = rng.normal(size=(3, 4)).astype("f"), rng.dirichlet(np.ones(4), 3).astype("f")
y0, w0 = np.array([0, 3, 1], "i"), np.array([1.0, 0, 2], "f")
t0[1] = 0, 0, 1, 0
calls = {
    "index": lambda m, z, y, w, t: xent.softmax_cross_entropy(z, y, sample_weight=w),
    "soft": lambda m, z, y, w, t: xent.softmax_cross_entropy(z, t),
    "ignored": lambda m, z, y, w, t: xent.softmax_cross_entropy(z, y, ignore_index=3, reduction="sum"),
    "sigmoid": lambda m, z, y, w, t: xent.sigmoid_cross_entropy(z, t, ignore_index=0, reduction="sum"),
    "kl": lambda m, z, y, w, t: xent.kl_divergence(xent.softmax(z), t),
    "sparse": lambda m, z, y, w, t: m.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z),
    "dense": lambda m, z, y, w, t: m.nn.softmax_cross_entropy_with_logits(labels=t, logits=z),
    "binary": lambda m, z, y, w, t: m.nn.sigmoid_cross_entropy_with_logits(labels=t, logits=z),
    "softmax": lambda m, z, y, w, t: m.nn.softmax(z),
}
for r in tf.losses.Reduction.all():
    calls["losses " + r] = lambda m, z, y, w, t, r=r: m.losses.sparse_softmax_cross_entropy(y, z, w, reduction=r)
    calls["onehot " + r] = lambda m, z, y, w, t, r=r: m.losses.softmax_cross_entropy(t, z, w, reduction=r)
for name, call in calls.items():
    for rows in (3, None):
        results = []
        for module in (tf, v1):  # xent's own losses ask for no module
            with TF.Graph().as_default():
                sizes = (("float32", [rows, 4]), ("int32", [rows]), ("float32", [rows]), ("float32", [rows, 4]))
                fed = [v1.placeholder(*size) for size in sizes]
                loss = call(module, *fed)
                with v1.Session() as session:
                    feed = dict(zip(fed, (z0, y0, w0, t0)))
                    results.append(session.run([loss, v1.gradients(loss, fed[0])[0]], feed))
        if name == "kl":
            results = [results[0][:1], [call(None, z0, y0, w0, t0)]]
        elif name in ("index", "soft", "ignored", "sigmoid"):
            results[1] = xent.value_and_grad(lambda z: call(None, z, y0, w0, t0))(z0)
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6, err_msg=name)
"""


@pytest.mark.parametrize("behaviour", ["v2", "v1"])
def test_sessions_of_tensorflow_1(behaviour: str) -> None:
    """Where `==` of tensors is the identity, and sizes are objects."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_SESSIONS, behaviour], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
