"""`value_and_grad`: the way to gradients on NumPy, and the same words on PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import registry
import torch
from registry import CASE_BY_NAME, CASES, Case, make_batch

import xent

X = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 0.5]])
Y = np.array([2, 1])


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_value_and_gradient_are_those_of_the_loss(case: Case) -> None:
    for classes in (3, 65):
        batch = make_batch(case, (11,), classes, dtype="float64", seed=1)
        exact = registry.truth_of(batch)
        for value, gradient in (registry.on_numpy(batch), torch_value_and_grad(batch)):
            assert registry.worst(value, exact.loss, "float32") < 1
            assert registry.gradient_errors(gradient, exact, "float32").max() < 1
        assert registry.on_numpy(batch)[0] == registry.value_on_numpy(batch)


def torch_value_and_grad(batch: registry.Batch) -> tuple[Any, np.ndarray]:
    logits = registry.tensor(batch.logits)
    loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
    loss, gradient = loss_and_grad(logits, registry.torch_labels(batch), **registry.torch_options(batch))
    assert not loss.requires_grad
    assert not gradient.requires_grad
    assert not logits.requires_grad
    return registry.array(loss)[()], registry.array(gradient)


def test_a_function_that_returns_a_loss() -> None:
    def loss_fn(logits: Any, labels: Any) -> Any:
        return xent.softmax_cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")

    expected = xent.value_and_grad(xent.softmax_cross_entropy)(X, Y, label_smoothing=0.1, reduction="sum")
    found = xent.value_and_grad(loss_fn)(X, Y)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    found = xent.value_and_grad(lambda labels, logits: loss_fn(logits, labels), argnums=1)(Y, X)
    np.testing.assert_array_equal(found[1], expected[1])
    found = xent.value_and_grad(lambda labels, logits: loss_fn(logits, labels), argnums=-1)(Y, X)
    np.testing.assert_array_equal(found[1], expected[1])
    (found_gradient,) = xent.value_and_grad(loss_fn, argnums=(0,))(X, Y)[1]
    np.testing.assert_array_equal(found_gradient, expected[1])


def test_the_loss_that_is_returned_is_the_one_that_counts() -> None:
    def loss_fn(logits: Any) -> Any:
        xent.softmax_cross_entropy(logits, np.array([0, 0]))
        wanted = xent.softmax_cross_entropy(logits, Y)
        xent.softmax_cross_entropy(logits, np.array([1, 0]))
        return wanted

    value, gradient = xent.value_and_grad(loss_fn)(X)
    expected = xent.value_and_grad(xent.softmax_cross_entropy)(X, Y)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    assert gradient.any()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_statistics_beside_the_loss(kind: str) -> None:
    x, y = (X, Y) if kind == "numpy" else (torch.from_numpy(X), torch.from_numpy(Y))
    (loss, stats), gradient = xent.value_and_grad(xent.softmax_cross_entropy, has_aux=True)(x, y, return_stats=True)
    expected = xent.value_and_grad(xent.softmax_cross_entropy)(X, Y)
    assert float(loss) == expected[0]
    np.testing.assert_array_equal(np.asarray(gradient), expected[1])
    assert isinstance(stats, xent.Stats)
    assert np.asarray(stats.argmax).tolist() == [2, 1]


def test_torch_differentiates_any_function_and_argument() -> None:
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def loss_fn(logits: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return xent.softmax_cross_entropy(logits * 2, y, class_weight=v) ** 2

    loss, (to_logits, to_weight) = xent.value_and_grad(loss_fn, argnums=(0, 1))(x, weight)
    leaf, v = x.clone().requires_grad_(), weight.clone().requires_grad_()
    rows = -v[y] * torch.log_softmax(leaf * 2, -1)[[0, 1], y]
    expected = (rows.sum() / v[y].sum()) ** 2
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(to_logits, leaf.grad, rtol=1e-9, atol=1e-15)
    assert torch.allclose(to_weight, v.grad, rtol=1e-9, atol=1e-15)
    with torch.no_grad():
        again = xent.value_and_grad(loss_fn, argnums=(0, 1))(x, weight)
    assert torch.equal(again[1][0], to_logits)
    leaf.grad = None
    xent.value_and_grad(loss_fn)(leaf, weight)
    assert leaf.grad is None


@pytest.mark.parametrize("layout", ["last", "first", "channels-last", "strided", "list"])
def test_gradients_have_the_shape_and_dtype_of_the_logits(layout: str) -> None:
    for dtype in registry.DTYPES:
        base = make_batch(CASE_BY_NAME["index"], (4, 5, 6), 7, dtype=dtype, seed=2)
        x, axis = base.logits, -1
        if layout == "first":
            x, axis = np.moveaxis(x, -1, 0).copy(), 0
        elif layout == "channels-last":
            x, axis = np.moveaxis(x, -1, 1), 1
        elif layout == "strided":
            x = np.repeat(x, 2, axis=-1)[..., ::2]
        elif layout == "list":
            x = x.astype(np.float64).tolist()
        _, gradient = xent.value_and_grad(xent.softmax_cross_entropy)(x, base.labels, axis=axis)
        assert gradient.shape == np.shape(x)
        assert gradient.dtype == (np.float64 if layout == "list" else registry.NUMPY_DTYPES[dtype])
        assert gradient.flags.writeable
        total = np.abs(gradient.astype(np.float64)).sum(axis=axis)
        assert (total > 0).all()


def test_results_belong_to_the_caller() -> None:
    """A second call writes into no array of the first, large or small."""
    for shape in ((5, 7), (600, 600)):
        x = np.random.default_rng(3).normal(size=shape)
        y = np.zeros(shape[0], int)
        loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
        _, first = loss_and_grad(x, y)
        kept = first.copy()
        _, second = loss_and_grad(-x, y)
        assert not np.shares_memory(first, second)
        np.testing.assert_array_equal(first, kept)
        part = first[1:3]
        del first
        loss_and_grad(2 * x, y)
        np.testing.assert_array_equal(part, kept[1:3])
        assert (second != kept).any()


def test_value_and_grad_nests_and_survives_errors() -> None:
    loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
    expected = loss_and_grad(X, Y)

    def outer(logits: Any) -> Any:
        inner = loss_and_grad(logits, np.array([0, 0]))
        assert inner[0] != expected[0]
        return xent.softmax_cross_entropy(logits, Y)

    found = xent.value_and_grad(outer)(X)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(IndexError, match="labels: expected class indices"):
        loss_and_grad(X, np.array([0, 9]))
    again = loss_and_grad(X, Y)
    np.testing.assert_array_equal(again[1], expected[1])


def test_what_cannot_be_differentiated_on_numpy_is_refused() -> None:
    loss = xent.softmax_cross_entropy
    cases: list[tuple[Any, dict[str, Any], tuple[Any, ...], Any, str]] = [
        (
            lambda x: 2 * loss(x, Y),
            {},
            (X,),
            TypeError,
            r"^loss_fn: expected a function .*, got float64\. Return the loss",
        ),
        (lambda x: 1.0, {}, (X,), TypeError, r"^loss_fn: expected a function .*, got float\. "),
        (lambda x: loss(2 * x, Y), {}, (X,), ValueError, r"^argnums: expected the position of the logits.*, got 0\. "),
        (loss, {"argnums": 1}, (X, Y), ValueError, r"^argnums: expected the position of the logits.*, got 1\. "),
        (loss, {"argnums": 2}, (X, Y), ValueError, r"^argnums: expected positions among 2 .*, got 2\. "),
        (loss, {"argnums": (0, 5)}, (X, Y), ValueError, r"^argnums: expected positions among 2 .*, got 5\. "),
        (loss, {"argnums": -3}, (X, Y), ValueError, r"^argnums: expected positions among 2 .*, got -3\. "),
        (loss, {}, (), ValueError, r"^argnums: expected positions among 0 .*, got 0\. "),
        (loss, {"argnums": 0.5}, (X, Y), (TypeError, ValueError), r"^argnums: expected .*, got .*\. "),
        (loss, {"argnums": ()}, (X, Y), ValueError, r"^argnums: expected .*, got .*\. "),
        (
            lambda x: loss(x, Y, reduction="none"),
            {},
            (X,),
            ValueError,
            r"^loss_fn: expected a scalar loss, got an array of shape \(2,\)\. Use reduction",
        ),
        (
            lambda x: loss(x, np.array(1), reduction="none"),
            {},
            (X[0],),
            ValueError,
            r"^loss_fn: expected a scalar loss, got .*\. Use reduction",
        ),
        (lambda x: (loss(x, Y), 3), {}, (X,), TypeError, r"^loss_fn: expected .*, got tuple\. .*has_aux"),
        (lambda x: loss(x, Y), {"has_aux": True}, (X,), TypeError, r"^loss_fn: expected .*, got .*\. "),
    ]
    for function, options, arguments, error, match in cases:
        with pytest.raises(error, match=match):
            xent.value_and_grad(function, **options)(*arguments)


def test_what_cannot_be_differentiated_on_torch_is_refused() -> None:
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    loss = xent.softmax_cross_entropy
    cases: list[tuple[Any, dict[str, Any], tuple[Any, ...], Any, str]] = [
        (loss, {"argnums": 1}, (x, y), TypeError, r"^argnums: expected positions of floating-point tensors, got 1\. "),
        (loss, {"argnums": 2}, (x, y), ValueError, r"^argnums: expected positions among 2 .*, got 2\. "),
        (loss, {"argnums": (0, 3)}, (x, y), ValueError, r"^argnums: expected positions among 2 .*, got 3\. "),
        (
            lambda t: loss(t, y, reduction="none"),
            {},
            (x,),
            ValueError,
            r"^loss_fn: expected a scalar loss, got .*shape \(2,\)\. ",
        ),
    ]
    for function, options, arguments, error, match in cases:
        with pytest.raises(error, match=match):
            xent.value_and_grad(function, **options)(*arguments)
