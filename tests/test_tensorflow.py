"""TensorFlow: the kernels' own bits in eager mode, every way to differentiate, graphs of unknown size, bad input."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import elementwise_cases
import numpy as np
import pytest
import registry
import torch

import xent
from xent import _native

tf = pytest.importorskip("tensorflow")

# what torch's forward mode says of torch.jit.script, which it uses itself
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

SHAPES = (((7,), 13, -1), ((33,), 1001, -1), ((2, 5), 33, 1))
ELEMENT_SHAPES = ((7, 13), (3, 1001), ())
GRAPHS = pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
UPSTREAM = 0.37


def tensor_labels(labels: Any) -> Any:
    return xent.TopK(*map(tf.constant, labels)) if isinstance(labels, tuple) else tf.constant(labels)


def pull(function: Callable[..., Any], *sources: Any, upstream: Any = None) -> tuple[Any, Any]:
    """A function's value, and its gradients to the sources."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = function(*sources)
    if upstream is not None:
        upstream = tf.broadcast_to(tf.constant(upstream, value.dtype), tf.shape(value))
    gradients = tape.gradient(value, sources, upstream)
    return value, gradients[0] if len(sources) == 1 else gradients


def on_tensorflow(batch: Any, upstream: Any = None, wrap: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of xent on tensors; `wrap` makes a graph of the loss."""
    function = getattr(xent, getattr(batch, "function", "softmax_cross_entropy"))
    options = {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
    labels = tensor_labels(batch.labels)
    loss = (lambda f: f) if wrap is None else wrap
    value, gradient = pull(loss(lambda x: function(x, labels, **options)), tf.constant(batch.logits), upstream=upstream)
    return value.numpy(), gradient.numpy()


def made(name: str, shape: Any, dtype: str = "float32") -> Any:
    batch, classes, axis = shape
    return registry.make_batch(registry.CASE_BY_NAME[name], batch, classes, dtype=dtype, axis=axis)


SOFTMAX = [(name, shape, "float32") for name in registry.CASE_BY_NAME for shape in SHAPES]
SOFTMAX += [(name, SHAPES[0], dtype) for name in registry.CASE_BY_NAME for dtype in registry.DTYPES[1:]]
ELEMENTWISE = [
    (name, shape, dtype)
    for name, case in elementwise_cases.CASE_BY_NAME.items()
    for shape, dtypes in zip(ELEMENT_SHAPES, (registry.DTYPES, ("float32",), ("float32", "bfloat16")), strict=True)
    for dtype in dtypes
    if shape or not (case.class_weight or case.sample_weight or case.pos_weight == "class")
]


def identifier(value: Any) -> str:
    return "x".join(map(str, value)).replace(", ", "-") if isinstance(value, tuple) else str(value)


# -- bits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape", "dtype"), SOFTMAX, ids=identifier)
def test_eager_results_are_numpys_and_torchs_to_the_bit(name: str, shape: Any, dtype: str) -> None:
    batch = made(name, shape, dtype)
    for reduction in ("mean", "sum"):
        reduced = batch.but(reduction=reduction, **({} if reduction == "mean" else {"normalizer": None}))
        found, expected = on_tensorflow(reduced), registry.on_numpy(reduced)
        assert [x.dtype for x in found] == [x.dtype for x in expected]
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
        found, expected = on_tensorflow(reduced, UPSTREAM), registry.on_torch(reduced, UPSTREAM)
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
    rows = batch.but(reduction="none", normalizer=None)
    loss = registry.value_on_numpy(rows)
    upstream = np.linspace(-1, 2, loss.size).astype(loss.dtype).reshape(loss.shape)
    found, expected = on_tensorflow(rows, upstream), registry.on_torch(rows, upstream)
    assert found[0].tobytes() == loss.tobytes()
    assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


@pytest.mark.parametrize(("name", "shape", "dtype"), ELEMENTWISE, ids=identifier)
def test_eager_elementwise_results_are_numpys_and_torchs_to_the_bit(name: str, shape: Any, dtype: str) -> None:
    batch = elementwise_cases.make_batch(elementwise_cases.CASE_BY_NAME[name], shape, dtype=dtype)
    found, expected = on_tensorflow(batch), elementwise_cases.on_numpy(batch)
    assert [x.tobytes() for x in found] == [np.asarray(x).tobytes() for x in expected]
    found, expected = on_tensorflow(batch, UPSTREAM), elementwise_cases.on_torch(batch, UPSTREAM)
    assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
    each = (
        batch.but(reduction="none", normalizer=None) if "normalizer" in batch.options else batch.but(reduction="none")
    )
    upstream = elementwise_cases.upstream_of(batch)
    found, expected = on_tensorflow(each, upstream), elementwise_cases.on_torch(each, upstream)
    assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


@pytest.mark.parametrize("dtype", registry.DTYPES)
def test_statistics_are_numpys_to_the_bit(dtype: str) -> None:
    batch = made("index-everything", SHAPES[2], dtype)
    options = {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
    found = xent.softmax_cross_entropy(
        tf.constant(batch.logits), tf.constant(batch.labels), **options, return_stats=True
    )[1]
    expected = registry.value_on_numpy(batch, return_stats=True)[1]
    for ours, numpys in zip(found, expected, strict=True):
        assert ours.numpy().tobytes() == numpys.tobytes()
    assert found.argmax.dtype == tf.int64


@pytest.mark.parametrize("label_dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("kind", ["tensor", "variable", "numpy", "list"])
def test_labels_of_any_integers(label_dtype: str, kind: str) -> None:
    batch = made("index", SHAPES[0])
    labels = batch.labels.astype(label_dtype)
    convert = {"tensor": tf.constant, "variable": tf.Variable, "numpy": np.asarray, "list": np.ndarray.tolist}[kind]
    value, gradient = pull(
        lambda x: xent.softmax_cross_entropy(x, convert(labels), ignore_index=-100), tf.constant(batch.logits)
    )
    expected = registry.on_numpy(batch)
    assert (value.numpy().tobytes(), gradient.numpy().tobytes()) == (expected[0].tobytes(), expected[1].tobytes())


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "sigmoid", "log_sigmoid"])
@pytest.mark.parametrize("dtype", registry.DTYPES)
def test_activations(name: str, dtype: str) -> None:
    function = getattr(xent, name)
    logits = made("index", SHAPES[0], dtype).logits
    result = np.asarray(function(logits))
    upstream = np.arange(result.size).reshape(result.shape) % 8 / 8 - 0.5  # exact in every dtype
    value, gradient = pull(lambda x: function(x), tf.constant(logits), upstream=upstream)
    assert value.numpy().tobytes() == result.tobytes()
    leaf = registry.tensor(logits).requires_grad_()
    wide = leaf.detach().double().requires_grad_()
    expected, exact = (
        torch.autograd.grad(function(x), x, torch.from_numpy(upstream).to(x.dtype))[0] for x in (leaf, wide)
    )
    no_worse(gradient, registry.array(expected), exact.numpy(), dtype)


def no_worse(found: Any, rival: Any, exact: np.ndarray, dtype: str) -> None:
    """No further from the exact numbers than the rival, plus an ulp of the largest of them."""
    ulp = float(registry.truth.ulp(np.abs(exact).max(initial=0), dtype))
    errors = [registry.typical(np.asarray(x).astype(np.float64) - exact) for x in (found, rival)]
    assert errors[0] <= errors[1] + ulp, f"off by {errors[0] / ulp} ulps, the rival by {errors[1] / ulp}"


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_logits_are_read_where_they_lie(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from xent.frontends.tensorflow import softmax_loss

    seen = []

    class Spy(softmax_loss.SoftmaxCall):  # type: ignore[misc, name-defined]
        def __init__(self, logits: Any, *args: Any, **kwargs: Any) -> None:
            seen.append(logits.ctypes.data)
            super().__init__(logits, *args, **kwargs)

    monkeypatch.setattr(softmax_loss, "SoftmaxCall", Spy)
    x = tf.cast(tf.random.normal((64, 100)), dtype)
    before = np.asarray(x).copy()
    pull(lambda x: xent.softmax_cross_entropy(x, tf.zeros(64, tf.int32)), x)
    assert seen == [np.asarray(x).ctypes.data]
    assert np.asarray(x).tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gradient_lies_in_the_pool_and_goes_back(dtype: str) -> None:
    x = tf.cast(tf.random.normal((1024, 1024)), dtype)
    y = tf.zeros(1024, tf.int64)
    size = 1024 * 1024 * x.dtype.size
    xent.clear_cache()
    gradient = pull(lambda x: xent.softmax_cross_entropy(x, y), x)[1]
    gc.collect()
    assert _native.cached_buffer_bytes() == 0
    kept = np.asarray(gradient).copy()
    other = pull(lambda x: xent.softmax_cross_entropy(x, y + 1), x)[1]
    view = np.asarray(gradient)
    del gradient
    gc.collect()
    assert _native.cached_buffer_bytes() == 0  # the view holds it
    assert view.tobytes() == kept.tobytes()
    del view
    gc.collect()
    assert _native.cached_buffer_bytes() >= size
    assert np.asarray(other)[:, 0].astype(np.float32).min() >= 0


def test_results_may_go_through_tensorflows_operations() -> None:
    """Those demand aligned memory, and may write where nothing else looks."""
    for size in range(1, 130):
        x = tf.random.normal((size, 3))
        rows, gradient = pull(lambda x: xent.softmax_cross_entropy(x, np.zeros(len(x), int), reduction="none"), x)
        found = tf.exp(rows) * rows + tf.reduce_sum(gradient * gradient, 1)
        expected = np.exp(rows.numpy()) * rows.numpy() + (gradient.numpy() ** 2).sum(1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_inference_makes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from xent.frontends.tensorflow import softmax_loss

    asked = []
    run = softmax_loss.SoftmaxCall.run
    monkeypatch.setattr(
        softmax_loss.SoftmaxCall, "run", lambda self, **how: (asked.append(how["gradient"]), run(self, **how))[1]
    )
    x, other = tf.random.normal((4, 5)), tf.Variable([1.0])
    xent.softmax_cross_entropy(x, [0, 1, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(other)
        xent.softmax_cross_entropy(x, [0, 1, 2, 3])
        tape.watch(x)
        with tape.stop_recording():
            xent.softmax_cross_entropy(x, [0, 1, 2, 3])
        xent.softmax_cross_entropy(x, [0, 1, 2, 3])
        xent.softmax_cross_entropy(x, [0, 1, 2, 3], reduction="none")
    assert asked == [False, False, False, True, False]


# -- derivatives -------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(5, 7)) * 2
LABELS = RNG.integers(0, 7, 5)
SOFT = RNG.dirichlet(np.ones(7), 5)
HARD = (RNG.random((5, 7)) < 0.4).astype(np.float64)
WEIGHT = np.linspace(0.5, 2.0, 7)
ROWS = np.linspace(0.1, 1.0, 5)
TANGENT = RNG.normal(size=(5, 7))


def statistics(x: Any, a: Any) -> Any:
    loss, stats = xent.softmax_cross_entropy(x, a(LABELS), return_stats=True)
    return loss + (stats.lse * stats.entropy)[0] + stats.lse[2] * stats.lse[2]


# of the logits, and of a function that turns an array into the framework's
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda x, a: xent.softmax_cross_entropy(x, a(LABELS)),
    "soft": lambda x, a: xent.softmax_cross_entropy(x, a(SOFT)),
    "top-k": lambda x, a: xent.softmax_cross_entropy(x, xent.TopK(a(LABELS[:, None]), a(ROWS[:, None]))),
    "everything": lambda x, a: xent.softmax_cross_entropy(
        x,
        a(LABELS),
        class_weight=a(WEIGHT),
        sample_weight=a(ROWS),
        label_smoothing=0.1,
        ignore_index=int(LABELS[1]),
        softcap=4.0,
        temperature=1.5,
        z_loss=0.1,
    ),
    "statistics": statistics,
    "focal": lambda x, a: xent.focal_cross_entropy(x, a(LABELS)),
    "poly": lambda x, a: xent.poly_cross_entropy(x, a(LABELS)),
    "row": lambda x, a: xent.row_loss(lambda xp, nll: (nll * nll, 2 * nll), x, a(LABELS)),
    "sigmoid": lambda x, a: xent.sigmoid_cross_entropy(x, a(HARD), pos_weight=a(WEIGHT), sample_weight=a(ROWS)),
    "sigmoid focal": lambda x, a: xent.sigmoid_focal_cross_entropy(x, a(HARD)),
    "asymmetric": lambda x, a: xent.asymmetric_sigmoid_cross_entropy(x, a(HARD)),
    "logistic": lambda x, a: xent.logistic_loss(x, a(2 * HARD - 1)),
    "softmax": lambda x, a: xent.softmax(x)[0, 1] + xent.log_softmax(x)[1, 2] * xent.logsumexp(x)[0],
    "sigmoids": lambda x, a: xent.sigmoid(x)[0, 1] * xent.log_sigmoid(x)[0, 1],
}
LOSS = pytest.mark.parametrize("loss", LOSSES)


def of_tensors(loss: str) -> Callable[[Any], Any]:
    return lambda x: LOSSES[loss](x, tf.constant)


def of_torch(loss: str) -> Callable[[Any], Any]:
    return lambda x: LOSSES[loss](x, torch.from_numpy)


def close(found: Any, expected: Any) -> None:
    """Equal in float64 but for the rounding of a few operations."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.0**-44 * max(1.0, np.abs(expected).max(initial=0)))


def torch_gradient(function: Callable[[Any], Any], x: Any) -> Any:
    return torch.autograd.grad(function(x), x, create_graph=True)[0]


@LOSS
def test_nested_tapes_are_torchs_double_backward(loss: str) -> None:
    x = tf.constant(LOGITS)
    with tf.GradientTape() as outer:
        outer.watch(x)
        value, gradient = pull(of_tensors(loss), x)
        penalty = tf.reduce_sum(gradient * TANGENT) + value
    found = outer.gradient(penalty, x)
    leaf = torch.from_numpy(LOGITS).requires_grad_()
    first = torch_gradient(of_torch(loss), leaf)
    (expected,) = torch.autograd.grad((first * torch.from_numpy(TANGENT)).sum() + of_torch(loss)(leaf), leaf)
    close(gradient, first.detach().numpy())
    close(found, expected.numpy())


@pytest.mark.parametrize("loss", ["index", "everything", "sigmoid"])
def test_three_tapes(loss: str) -> None:
    x = tf.constant(LOGITS)
    with tf.GradientTape() as third:
        third.watch(x)
        with tf.GradientTape() as second:
            second.watch(x)
            gradient = pull(of_tensors(loss), x)[1]
            inner = tf.reduce_sum(gradient * gradient)
        again = tf.reduce_sum(second.gradient(inner, x) * TANGENT)
    found = third.gradient(again, x)
    leaf = torch.from_numpy(LOGITS).requires_grad_()
    squares = torch_gradient(lambda x: (torch_gradient(of_torch(loss), x) ** 2).sum(), leaf)
    (expected,) = torch.autograd.grad((squares * torch.from_numpy(TANGENT)).sum(), leaf)
    close(found, expected.numpy())


@LOSS
def test_forward_mode(loss: str) -> None:
    x = tf.constant(LOGITS)
    with tf.autodiff.ForwardAccumulator(x, tf.constant(TANGENT)) as accumulator:
        value = of_tensors(loss)(x)
    gradient = pull(of_tensors(loss), x)[1]
    close(accumulator.jvp(value), (gradient.numpy() * TANGENT).sum())


@LOSS
def test_forward_over_reverse(loss: str) -> None:
    x, v = tf.constant(LOGITS), tf.constant(TANGENT)
    with tf.autodiff.ForwardAccumulator(x, v) as accumulator:
        gradient = pull(of_tensors(loss), x)[1]
    with tf.GradientTape() as outer:
        outer.watch(x)
        product = tf.reduce_sum(pull(of_tensors(loss), x)[1] * v)
    close(accumulator.jvp(gradient), outer.gradient(product, x))


def test_forward_mode_through_a_weight() -> None:
    weight, tangent = tf.constant(WEIGHT), tf.constant(np.cos(WEIGHT))

    def loss(w: Any) -> Any:
        return xent.softmax_cross_entropy(tf.constant(LOGITS), LABELS, class_weight=w)

    with tf.autodiff.ForwardAccumulator(weight, tangent) as accumulator:
        value = loss(weight)
    close(accumulator.jvp(value), tf.reduce_sum(pull(loss, weight)[1] * tangent))


@LOSS
def test_a_persistent_tape(loss: str) -> None:
    x = tf.constant(LOGITS)
    expected = pull(of_tensors(loss), x)[1].numpy()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        value = of_tensors(loss)(x)
        doubled = 2 * value
    for _ in range(2):
        close(tape.gradient(value, x), expected)
        close(tape.gradient(doubled, x), 2 * expected)


@pytest.mark.parametrize(
    ("loss", "pfor"),
    [("index", False), ("index", True), ("everything", True), ("sigmoid", True), ("softmax", True)],
)
def test_hessians(loss: str, pfor: bool) -> None:
    x = tf.constant(LOGITS)
    with tf.GradientTape(persistent=not pfor) as outer:
        outer.watch(x)
        gradient = pull(of_tensors(loss), x)[1]
    found = outer.jacobian(gradient, x, experimental_use_pfor=pfor)
    expected = torch.autograd.functional.hessian(of_torch(loss), torch.from_numpy(LOGITS))
    close(found, expected.numpy())


def test_jacobians_of_rows() -> None:
    x = tf.constant(LOGITS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        rows = xent.softmax_cross_entropy(x, LABELS, reduction="none")
        column = rows[:, None]
    gradient = tape.gradient(rows, x)
    close(tape.jacobian(rows, x), gradient.numpy()[None] * np.eye(5)[:, :, None])
    close(tape.batch_jacobian(column, x), gradient.numpy()[:, None])


WATCHED: dict[str, Callable[..., Any]] = {
    "soft": lambda x, y, t, w, s, **how: xent.softmax_cross_entropy(x, t, class_weight=w, sample_weight=s, **how),
    "top-k": lambda x, y, t, w, s, **how: xent.softmax_cross_entropy(
        x, xent.TopK(y[:, None], t[:, :1]), class_weight=w, sample_weight=s, **how
    ),
    "index": lambda x, y, t, w, s, **how: xent.softmax_cross_entropy(
        x, y, class_weight=w, sample_weight=s + 0 * t[:, 0], label_smoothing=0.1, **how
    ),
    "sigmoid": lambda x, y, t, w, s, **how: xent.sigmoid_cross_entropy(
        x, t, pos_weight=w, class_weight=w, sample_weight=s, **how
    ),
}


@pytest.mark.parametrize("loss", WATCHED)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_to_labels_and_weights(loss: str, reduction: str) -> None:
    function, given = WATCHED[loss], (SOFT, WEIGHT, ROWS)
    found = pull(
        lambda x, *rest: function(x, tf.constant(LABELS), *rest, reduction=reduction),
        *map(tf.constant, (LOGITS, *given)),
    )
    leaves = [torch.from_numpy(a).clone().requires_grad_() for a in (LOGITS, *given)]
    result = function(leaves[0], torch.from_numpy(LABELS), *leaves[1:], reduction=reduction)
    close(found[0], result.detach().numpy())
    for ours, theirs in zip(found[1], torch.autograd.grad(result, leaves), strict=True):
        assert isinstance(ours, tf.Tensor)  # no IndexedSlices
        close(ours, theirs.numpy())


def test_a_weight_alone_is_watched() -> None:
    weight = tf.Variable(WEIGHT)
    with tf.GradientTape() as tape:
        loss = xent.softmax_cross_entropy(tf.constant(LOGITS), tf.constant(LABELS), class_weight=weight)
    leaf = torch.from_numpy(WEIGHT).requires_grad_()
    (expected,) = torch.autograd.grad(
        xent.softmax_cross_entropy(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), class_weight=leaf), leaf
    )
    close(tape.gradient(loss, weight), expected.numpy())


def test_a_variable_and_a_chain() -> None:
    """A projection in front, a factor behind."""
    inputs, weight = tf.constant(RNG.normal(size=(5, 3))), tf.Variable(RNG.normal(size=(3, 7)))
    with tf.GradientTape() as tape:
        loss = 3 * xent.softmax_cross_entropy(inputs @ weight, LABELS)
    with tf.GradientTape() as other:
        rival = 3 * tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, inputs @ weight))
    close(tape.gradient(loss, weight), other.gradient(rival, weight))
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss = xent.softmax_cross_entropy(logits, LABELS)
    expected = xent.value_and_grad(xent.softmax_cross_entropy)(LOGITS, LABELS)[1]
    assert tape.gradient(loss, logits).numpy().tobytes() == expected.tobytes()


def test_a_variable_that_changes_before_the_backward() -> None:
    logits = tf.Variable(LOGITS)
    with tf.GradientTape(persistent=True) as tape:
        rows = xent.softmax_cross_entropy(logits, LABELS, reduction="none")
    before = tape.gradient(rows, logits).numpy()
    logits.assign_sub(tf.ones_like(logits) * [[1.0, 0, 0, 0, 0, 0, 5.0]])
    logits.scatter_nd_update([[0, 0]], [7.0])
    np.testing.assert_array_equal(tape.gradient(rows, logits), before)
    assert not np.array_equal(logits, LOGITS)


@pytest.mark.parametrize("loss", [xent.softmax_cross_entropy, xent.sigmoid_cross_entropy], ids=["softmax", "sigmoid"])
def test_numpy_labels_and_weights_that_change_before_the_backward(loss: Callable[..., Any]) -> None:
    labels = np.random.default_rng(1).dirichlet(np.ones(7), len(LOGITS)).astype(np.float32)
    weight = np.linspace(0.5, 2.0, len(LOGITS)).astype(np.float32)
    x = tf.constant(LOGITS, tf.float32)

    def gradients(change: bool) -> list[np.ndarray]:
        own, s = labels.copy(), weight.copy()
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                rows = loss(x, own, sample_weight=s, reduction="none")
            if change:
                own[...], s[...] = own[::-1].copy(), 9.0
            first = tape.gradient(rows, x, output_gradients=tf.fill(rows.shape, 0.3))
        return [first.numpy(), outer.gradient(first, x).numpy()]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_array_equal(found, expected)


@GRAPHS
@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_weights_of_a_graph_that_would_be_refused_are_nan(bad: float, jit: bool) -> None:
    of_rows = tf.function(
        lambda s: xent.softmax_cross_entropy(tf.constant(LOGITS), LABELS, sample_weight=s, reduction="none"),
        jit_compile=jit,
    )
    weight = np.ones(len(LOGITS), np.float32)
    weight[3] = bad
    np.testing.assert_array_equal(np.isnan(of_rows(weight)), np.arange(len(LOGITS)) == 3)
    of_classes = tf.function(
        lambda v: xent.sigmoid_cross_entropy(
            tf.constant(LOGITS), np.ones_like(LOGITS), class_weight=v, reduction="none"
        ),
        jit_compile=jit,
    )
    found = of_classes(tf.constant([1, 1, bad, 1, 1, 1, 1.0]))
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(np.arange(7) == 2, LOGITS.shape))


def test_unused_statistics_cost_no_bits() -> None:
    x = tf.constant(LOGITS, tf.float32)
    plain = pull(lambda x: xent.softmax_cross_entropy(x, LABELS), x)[1]
    beside = pull(lambda x: xent.softmax_cross_entropy(x, LABELS, return_stats=True)[0], x)[1]
    assert plain.numpy().tobytes() == beside.numpy().tobytes()


def test_value_and_grad() -> None:
    x = tf.constant(LOGITS)
    (value, extra), gradient = xent.value_and_grad(
        lambda x: (xent.softmax_cross_entropy(x, LABELS), tf.reduce_sum(x)), has_aux=True
    )(x)
    expected = xent.value_and_grad(xent.softmax_cross_entropy)(LOGITS, LABELS)
    assert value.numpy() == expected[0]
    assert gradient.numpy().tobytes() == expected[1].tobytes()
    close(extra, LOGITS.sum())
    both = xent.value_and_grad(lambda x, y: tf.reduce_sum(x * x * y), argnums=(0, 1))(x, x)[1]
    close(both[0], 2 * LOGITS**2)
    close(both[1], LOGITS**2)
    with pytest.raises(ValueError, match="loss_fn: expected a scalar loss"):
        xent.value_and_grad(lambda x: xent.softmax_cross_entropy(x, LABELS, reduction="none"))(x)
    with pytest.raises(ValueError, match="argnums: expected arguments that the loss depends on, got 1"):
        xent.value_and_grad(lambda x, y: tf.reduce_sum(x), argnums=(0, 1))(x, x)
    with pytest.raises(TypeError, match="argnums: expected positions of floating-point tensors"):
        xent.value_and_grad(xent.softmax_cross_entropy, argnums=(0, 1))(x, tf.constant(LABELS))


# -- graphs ------------------------------------------------------------------------------------------------------------


def unknown(array: Any, known: tuple[int, ...] = ()) -> Any:
    """A tensor's specification with sizes for the named axes only."""
    array = np.asarray(array)
    shape = [size if at in known or at - array.ndim in known else None for at, size in enumerate(array.shape)]
    return tf.TensorSpec(shape, tf.as_dtype(array.dtype))


def in_graph(batch: Any, known: tuple[int, ...], upstream: Any, jit: bool) -> tuple[np.ndarray, np.ndarray]:
    spec = unknown(batch.logits, known)
    return on_tensorflow(batch, upstream, lambda f: tf.function(f, jit_compile=jit, input_signature=[spec]))


def reference_on_torch(batch: Any, upstream: Any) -> tuple[np.ndarray, np.ndarray]:
    """The reference in torch's operations, which torch.func runs."""
    labels, options = registry.torch_labels(batch), registry.torch_options(batch)
    value, back = torch.func.vjp(
        lambda x: xent.softmax_cross_entropy(x, labels, **options), registry.tensor(batch.logits)
    )
    return registry.array(value), registry.array(back(torch.tensor(upstream, dtype=value.dtype))[0])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in ("index-smoothed-class-weights", "index-z-loss", "dense-class-weights", "topk")]
    + [("dense-smoothed", dtype) for dtype in registry.DTYPES],
)
def test_graphs_are_no_further_from_the_truth_than_torch(name: str, dtype: str) -> None:
    """Cases without a soft cap: TensorFlow's tanh is not torch's."""
    batch = made(name, SHAPES[2], dtype).but(reduction="none", normalizer=None)
    upstream = np.full(SHAPES[2][0], UPSTREAM)
    exact = registry.truth_of(batch, upstream)
    rivals = (registry.rival(batch, upstream), reference_on_torch(batch, upstream))
    errors = [max(pair) for pair in zip(*(registry.errors_of(batch, r, exact) for r in rivals), strict=True)]
    found = in_graph(batch, (1,), UPSTREAM, False)
    registry.assert_no_worse(batch, found, registry.Errors(*errors), exact, "graph")


@pytest.mark.parametrize("name", ["everything", "focal-everything", "asymmetric-everything", "signs", "pinball"])
def test_elementwise_graphs_are_no_further_from_the_truth_than_torch(name: str) -> None:
    batch = elementwise_cases.make_batch(elementwise_cases.CASE_BY_NAME[name], (7, 13))
    found = in_graph(batch, (), UPSTREAM, False)
    exact, rival = elementwise_cases.truth_of(batch, UPSTREAM), elementwise_cases.rival(batch, UPSTREAM)
    elementwise_cases.assert_no_worse(batch, found, rival, exact, "graph")


COMPILED = ("index", "top-k", "everything", "statistics", "focal", "sigmoid focal", "softmax")


@pytest.mark.parametrize(("loss", "jit"), [*((name, False) for name in LOSSES), *((name, True) for name in COMPILED)])
def test_graphs_give_the_eager_numbers(loss: str, jit: bool) -> None:
    """The batch size is unknown, the backward is part of the graph."""
    step = tf.function(lambda x: pull(of_tensors(loss), x), jit_compile=jit, input_signature=[unknown(LOGITS, (1,))])
    found, expected = step(tf.constant(LOGITS)), pull(of_tensors(loss), tf.constant(LOGITS))
    close(found[0], expected[0])
    close(found[1], expected[1])


@GRAPHS
def test_one_graph_for_every_batch_size(jit: bool) -> None:
    """Nothing is known but the classes, and in one argument only."""

    def loss(x: Any, y: Any, w: Any, s: Any) -> Any:
        return pull(lambda x: xent.softmax_cross_entropy(x, y, class_weight=w, sample_weight=s, ignore_index=0), x)

    wide = RNG.normal(size=(3, 4, 7)), RNG.integers(0, 7, (3, 4)), WEIGHT, RNG.random((3, 1))
    step = tf.function(loss, jit_compile=jit, input_signature=[unknown(wide[0], (2,)), *map(unknown, wide[1:])])
    for given in (wide, (wide[0][:2], wide[1][:2], WEIGHT, wide[3][:2])):
        tensors = list(map(tf.constant, given))
        for ours, eager in zip(step(*tensors), loss(*tensors), strict=True):
            close(ours, eager)
    assert step.experimental_get_tracing_count() == 1


@GRAPHS
def test_soft_labels_may_name_the_classes(jit: bool) -> None:
    step = tf.function(
        lambda x, t: xent.softmax_cross_entropy(tf.ensure_shape(x, t.shape), t),
        jit_compile=jit,
        input_signature=[unknown(LOGITS), unknown(SOFT, (1,))],
    )
    close(step(LOGITS, SOFT), xent.softmax_cross_entropy(LOGITS, SOFT))


@GRAPHS
@pytest.mark.parametrize("starts", [None, np.array([0, 2, 2, 3, 5, 6])], ids=["padded", "csr"])
def test_lists_of_positives(starts: Any, jit: bool) -> None:
    classes = np.array([[0, 3], [-1, -1], [6, -1], [2, 4], [5, -1]])
    flat = classes if starts is None else classes[classes >= 0]
    dense = np.zeros((5, 7))
    for row, found in enumerate(classes):
        dense[row, found[found >= 0]] = 1

    def of_lists(x: Any, classes: Any) -> Any:
        return pull(lambda x: xent.sigmoid_cross_entropy(x, xent.Positives(classes, starts), pos_weight=2.0), x)

    x = tf.constant(LOGITS)
    expected = pull(lambda x: xent.sigmoid_cross_entropy(x, dense, pos_weight=2.0), x)
    graph = tf.function(of_lists, jit_compile=jit, input_signature=[unknown(LOGITS, (1,)), unknown(flat)])
    for step in (of_lists, graph):
        for ours, of_dense in zip(step(x, tf.constant(flat)), expected, strict=True):
            close(ours, of_dense)


@GRAPHS
def test_labels_out_of_range_in_a_graph_give_nan(jit: bool) -> None:
    bad = LABELS.copy()
    bad[2], bad[4] = 7, -1
    marked = [False, False, True, False, True]

    def step(x: Any, y: Any) -> Any:
        return pull(lambda x: xent.softmax_cross_entropy(x, y, reduction="none"), x), pull(
            lambda x: xent.softmax_cross_entropy(x, y), x
        )

    rows, mean = tf.function(step, jit_compile=jit)(tf.constant(LOGITS), tf.constant(bad))
    np.testing.assert_array_equal(np.isnan(rows[0]), marked)
    assert np.isnan(mean[0])
    for gradient in (rows[1], mean[1]):
        np.testing.assert_array_equal(np.isnan(gradient).all(1), marked)
        np.testing.assert_array_equal(np.isnan(gradient).any(1), marked)


@GRAPHS
def test_other_labels_without_meaning_give_nan(jit: bool) -> None:
    twice = xent.TopK(tf.constant([[0, 0]] + [[1, 2]] * 4), tf.ones((5, 2)))
    rows = tf.function(lambda x: xent.softmax_cross_entropy(x, twice, reduction="none"), jit_compile=jit)(LOGITS)
    np.testing.assert_array_equal(np.isnan(rows), [True] + [False] * 4)
    step = tf.function(lambda x, y: xent.sigmoid_cross_entropy(x, y, reduction="none"), jit_compile=jit)
    np.testing.assert_array_equal(np.isnan(step(LOGITS, 2 * HARD)), HARD == 1)


@GRAPHS
def test_losses_of_probabilities(jit: bool) -> None:
    p = np.exp(xent.log_softmax(LOGITS))
    losses: list[Callable[[Any, Any], Any]] = [
        lambda p, a: xent.cross_entropy_from_probs(p, a(LABELS.astype(np.uint8)), ignore_index=-100),
        lambda p, a: xent.cross_entropy_from_probs(p, a(SOFT), sample_weight=a(ROWS), class_weight=a(WEIGHT)),
        lambda p, a: xent.binary_cross_entropy_from_probs(p, a(HARD.astype(np.int32)), ignore_index=-100),
        lambda p, a: xent.binary_cross_entropy_from_probs(p, a(HARD > 0), sample_weight=a(ROWS)),
        lambda p, a: xent.kl_divergence(p, a(SOFT), sample_weight=a(ROWS)),
    ]
    for loss in losses:
        expected = xent.value_and_grad(lambda p, f=loss: f(p, np.asarray))(p)
        step = lambda p, f=loss: pull(lambda p: f(p, tf.constant), p)  # noqa: E731
        graph = tf.function(step, jit_compile=jit, input_signature=[unknown(p, (1,))])
        for found in (step(tf.constant(p)), graph(tf.constant(p))):
            close(found[0], expected[0])
            close(found[1], expected[1])


@GRAPHS
def test_a_normalizer_of_the_graph_divides(jit: bool) -> None:
    step = tf.function(lambda x, n: xent.softmax_cross_entropy(x, LABELS, normalizer=n), jit_compile=jit)
    expected = xent.softmax_cross_entropy(LOGITS, LABELS, normalizer=12.5)
    close(step(tf.constant(LOGITS), tf.constant(12.5)), expected)
    close(xent.softmax_cross_entropy(tf.constant(LOGITS), LABELS, normalizer=tf.constant(12.5)), expected)


@GRAPHS
def test_labels_beyond_int64_do_not_wrap_round(jit: bool) -> None:
    step = tf.function(
        lambda x, y: xent.softmax_cross_entropy(x, y, ignore_index=-1, reduction="none"), jit_compile=jit
    )
    rows = step(tf.constant(LOGITS), np.array([2**64 - 1, 0, 2**63, 1, 2], np.uint64))
    np.testing.assert_array_equal(np.isnan(rows), [True, False, True, False, False])


@GRAPHS
def test_value_and_grad_in_a_graph(jit: bool) -> None:
    step = tf.function(lambda x: xent.value_and_grad(xent.softmax_cross_entropy)(x, LABELS), jit_compile=jit)
    expected = xent.value_and_grad(xent.softmax_cross_entropy)(LOGITS, LABELS)
    for found, numpys in zip(step(tf.constant(LOGITS)), expected, strict=True):
        close(found, numpys)


def test_eager_logits_inside_a_graph() -> None:
    """A constant of the graph is no memory to be read."""
    x = tf.constant(LOGITS)
    found = tf.function(lambda: pull(lambda x: xent.softmax_cross_entropy(x, LABELS), x))()
    expected = pull(lambda x: xent.softmax_cross_entropy(x, LABELS), x)
    for ours, eager in zip(found, expected, strict=True):
        close(ours, eager)


def test_loops_and_vectorised_maps() -> None:
    x, y = tf.constant(LOGITS), tf.constant(LABELS)
    expected = xent.softmax_cross_entropy(x, y, reduction="none")

    def one(pair: Any) -> Any:
        return xent.softmax_cross_entropy(pair[0][None], pair[1][None])

    close(tf.map_fn(one, (x, y), fn_output_signature=x.dtype), expected)
    close(tf.vectorized_map(one, (x, y)), expected)


def test_training_in_keras() -> None:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another backend")
    losses = {}
    for eager in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(7)])
        model.compile("sgd", loss=lambda y, z: xent.softmax_cross_entropy(z, tf.cast(y, tf.int32)), run_eagerly=eager)
        history = model.fit(LOGITS.astype(np.float32), LABELS, epochs=3, verbose=0, shuffle=False)
        losses[eager] = history.history["loss"]
    np.testing.assert_allclose(losses[False], losses[True], rtol=1e-5)
    assert losses[True][-1] < losses[True][0]


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_labels_out_of_range() -> None:
    bad = LABELS.copy()
    bad[2] = 7
    for labels in (bad, tf.constant(bad), tf.constant(bad, tf.uint8), tf.Variable(bad)):
        with pytest.raises(IndexError, match=r"label 7 in row 2"):
            xent.softmax_cross_entropy(tf.constant(LOGITS), labels)
        with pytest.raises(IndexError, match=r"label 7 in row 2"):
            pull(lambda x, y=labels: xent.softmax_cross_entropy(x, y), tf.constant(LOGITS))
    rows = xent.softmax_cross_entropy(tf.constant(LOGITS), tf.constant(bad), reduction="none", validate=False)
    np.testing.assert_array_equal(np.isnan(rows), [False, False, True, False, False])
    with pytest.raises(IndexError, match="row 0"):
        xent.softmax_cross_entropy(tf.constant(LOGITS), tf.constant(LABELS) + 2**32)
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\]"):
        xent.sigmoid_cross_entropy(tf.constant(LOGITS), tf.constant(2 * HARD))
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\]"):
        pull(lambda x, t: xent.sigmoid_cross_entropy(x, t), tf.constant(LOGITS), tf.constant(2 * HARD))


X = tf.constant(LOGITS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xent.softmax_cross_entropy(X, LABELS[:3]), ValueError, r"labels: expected shape \(5,\)"),
        (lambda: xent.softmax_cross_entropy(X > 0, LABELS), TypeError, "logits: expected float32"),
        (lambda: xent.softmax_cross_entropy(X, X > 0), TypeError, "labels: expected an integer dtype"),
        (lambda: xent.softmax_cross_entropy(X, tf.constant(["a"] * 5)), TypeError, "labels: expected an integer"),
        (
            lambda: xent.softmax_cross_entropy(X, LABELS, class_weight=tf.constant(ROWS)),
            ValueError,
            "class_weight: expected shape",
        ),
        (lambda: xent.softmax_cross_entropy(X, LABELS, normalizer=0.0), ValueError, "normalizer: expected a positive"),
        (lambda: xent.sigmoid_cross_entropy(X, HARD[:2]), ValueError, "labels: expected the shape of logits"),
        (lambda: xent.softmax(X, axis=2), ValueError, "axis: expected an axis in"),
        (lambda: xent.sigmoid(tf.constant([1])), TypeError, "logits: expected float32"),
        (
            lambda: xent.softmax_cross_entropy(tf.sparse.from_dense(LOGITS), LABELS),
            TypeError,
            "logits: expected a dense tensor, got SparseTensor",
        ),
        (
            lambda: xent.softmax_cross_entropy(tf.ragged.constant([[1.0], [2.0, 3.0]]), [0, 0]),
            TypeError,
            "logits: expected a dense tensor, got RaggedTensor",
        ),
        (
            lambda: xent.softmax_cross_entropy(X, tf.sparse.from_dense(LABELS)),
            TypeError,
            "labels: expected a dense tensor, got SparseTensor",
        ),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_symbols_of_keras() -> None:
    keras = pytest.importorskip("keras")
    with pytest.raises(TypeError, match=r"logits: expected .*KerasTensor"):
        xent.softmax_cross_entropy(keras.Input((7,)), LABELS)
    with pytest.raises(TypeError, match="labels: expected a tensor with values, got a symbolic KerasTensor"):
        xent.softmax_cross_entropy(X, keras.Input((7,)))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda x: xent.softmax_cross_entropy(x, LABELS), [5, None], "logits: expected a static number of classes"),
        (lambda x: xent.softmax_cross_entropy(x, LABELS), None, "logits: expected a known number of axes"),
        (lambda x: xent.cross_entropy_from_probs(x, LABELS), [5, None], "probs: expected a static number of classes"),
        (lambda x: xent.softmax_cross_entropy(x, LABELS), [4, 7], r"labels: expected shape \(4,\)"),
        (lambda x: xent.softmax_cross_entropy(x, LABELS[:, None]), [None, 7], "labels: .* Drop the last axis"),
        (lambda x: xent.sigmoid_cross_entropy(x, HARD[:, :3]), [None, 7], "labels: expected the shape of logits"),
    ],
)
def test_graphs_of_shapes_that_do_not_fit(function: Callable[[Any], Any], shape: Any, message: str) -> None:
    graph = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float64)], autograph=False)
    with pytest.raises(ValueError, match=message):
        graph.get_concrete_function()


@GRAPHS
def test_shapes_that_turn_out_not_to_fit(jit: bool) -> None:
    """Nothing is broadcast by accident when sizes become known."""
    step = tf.function(
        lambda x, y: xent.sigmoid_cross_entropy(x, y), jit_compile=jit, input_signature=[unknown(X), unknown(X)]
    )
    close(step(X, HARD), xent.sigmoid_cross_entropy(LOGITS, HARD))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"labels: expected the shape|Input to reshape"):
        step(X, HARD[:1])


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_rows_that_do_not_count_may_hold_anything(mode: str) -> None:
    logits, labels, weight = LOGITS.copy(), LABELS.copy(), ROWS.copy()
    logits[1], logits[3], labels[1], weight[3] = np.nan, np.inf, -100, 0.0

    def loss(x: Any) -> Any:
        return xent.softmax_cross_entropy(x, labels, ignore_index=-100, sample_weight=weight)

    value, gradient = pull(tf.function(loss) if mode == "graph" else loss, tf.constant(logits))
    close(value, xent.softmax_cross_entropy(logits, labels, ignore_index=-100, sample_weight=weight))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient.numpy()[[1, 3]], 0)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_an_empty_batch(mode: str) -> None:
    def step(x: Any) -> Any:
        return pull(lambda x: xent.softmax_cross_entropy(x, tf.zeros((0,), tf.int32)), x)

    loss, gradient = (step if mode == "eager" else tf.function(step, jit_compile=mode == "xla"))(tf.zeros((0, 7)))
    assert loss == 0
    assert gradient.shape == (0, 7)


# -- hygiene -----------------------------------------------------------------------------------------------------------


def test_importing_xent_does_not_import_tensorflow() -> None:
    use = "xent.softmax_cross_entropy(numpy.zeros((1, 2)), [0])"
    code = f"import sys, numpy, xent; {use}; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_autograph_leaves_the_library_alone(tmp_path: Path) -> None:
    """In a fresh process, so that nothing has been traced before; AutoGraph says on stderr what it cannot convert."""
    script = tmp_path / "step.py"
    script.write_text("""
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
import xent

@tf.function
def step(x, y):
    loss = tf.constant(0.0)
    for _ in tf.range(2):
        if tf.reduce_sum(x) < 1e9:
            loss += xent.softmax_cross_entropy(x, y) + xent.focal_cross_entropy(x, y) + xent.logsumexp(x)[0]
    return loss, xent.value_and_grad(xent.softmax_cross_entropy)(x, y)

loss, (value, gradient) = step(tf.zeros((2, 3)), tf.constant([0, 1]))
print(float(value) > 1, gradient.shape)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True (2, 3)", done.stderr
    assert "AutoGraph" not in done.stderr
