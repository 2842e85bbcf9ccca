"""Worked examples that circulate in tutorials: their published numbers, to the digits given, on both front-ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import xent

Convert = Callable[[Any], Any]


@pytest.fixture(params=["numpy", "torch"])
def convert(request: pytest.FixtureRequest) -> Convert:
    """An array of one framework from a NumPy array; floats in float32."""

    def to_array(value: Any) -> Any:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        return torch.from_numpy(array.copy()) if request.param == "torch" else array

    return to_array


def assert_digits(found: Any, published: Any, digits: int) -> None:
    """Equal to `published`, of which `digits` decimals are printed."""
    found = np.asarray(found, np.float64)
    assert found.shape == np.shape(published)
    # half a unit of the last printed decimal, and two of a float32: the published numbers are float32 results
    slack = 0.5 * 10.0**-digits + 2 * np.spacing(np.abs(np.float32(published)))
    assert (np.abs(found - published) <= slack).all(), found


def test_one_row_three_times(convert: Convert) -> None:
    logits, labels = convert([[1.0, 2.0, 3.0]] * 3), convert(np.array([2, 2, 2]))
    one_hot = convert(np.eye(3)[[2, 2, 2]])
    assert_digits(xent.softmax(logits), [[0.09003057, 0.24472848, 0.66524094]] * 3, 8)
    assert_digits(xent.log_softmax(logits), [[-2.407606, -1.4076059, -0.40760595]] * 3, 6)
    for target in (labels, one_hot):
        assert_digits(xent.softmax_cross_entropy(logits, target, reduction="none"), [0.40760595] * 3, 8)
        assert_digits(xent.softmax_cross_entropy(logits, target, reduction="sum"), 1.2228179, 7)
        assert_digits(xent.softmax_cross_entropy(logits, target), 0.40760595, 8)


def test_the_sum_of_losses_is_minus_the_sum_of_logs(convert: Convert) -> None:
    values = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [3.0, 1.0, 2.0]])
    labels = np.array([2, 1, 2])
    logits = convert(values)
    by_hand = -(np.eye(3)[labels] * (values - np.log(np.exp(values).sum(axis=1, keepdims=True)))).sum()
    assert_digits(by_hand, 0.40760596 + 2.407606 + 1.407606, 6)
    for target in (convert(labels), convert(np.eye(3)[labels])):
        assert_digits(xent.softmax_cross_entropy(logits, target, reduction="sum"), by_hand, 6)
    minus_logs = -(np.eye(3)[labels] * np.asarray(xent.log_softmax(logits))).sum()
    assert_digits(minus_logs, by_hand, 6)


def test_two_classes(convert: Convert) -> None:
    logits = convert([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
    published = [0.43748799, 0.51301527, 0.69314718]
    for target in (convert(np.array([1, 0, 0])), convert(np.eye(2)[[1, 0, 0]])):
        assert_digits(xent.softmax_cross_entropy(logits, target, reduction="none"), published, 8)


def test_class_weights_and_an_ignored_label(convert: Convert) -> None:
    logits, labels = convert([[1.0, 2.0, 3.0], [1.0, 2.0, 0.5]]), convert(np.array([2, 1]))
    first, second = 0.40760596, np.log1p(np.exp(-1.0) + np.exp(-1.5))
    assert_digits(xent.softmax_cross_entropy(logits, labels), (first + second) / 2, 6)
    weight = convert([1.0, 2.0, 0.5])
    weighted = (0.5 * first + 2 * second) / 2.5
    assert_digits(xent.softmax_cross_entropy(logits, labels, class_weight=weight), weighted, 6)
    ignored = convert(np.array([2, -100]))
    assert_digits(xent.softmax_cross_entropy(logits, ignored, ignore_index=-100), first, 6)
    rows = xent.softmax_cross_entropy(logits, ignored, ignore_index=-100, reduction="none")
    assert_digits(rows, [first, 0.0], 6)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_logits_near_1000_overflow_only_by_hand(convert: Convert) -> None:
    values = np.array([1000.0, 1001.0, 1002.0])
    naive = np.exp(values) / np.exp(values).sum()
    assert np.isnan(naive).all()
    assert_digits(xent.softmax(convert(values)), [0.09003057, 0.24472848, 0.66524094], 8)
    assert_digits(xent.softmax_cross_entropy(convert(values), convert(np.array(2))), 0.40760595, 8)
    assert_digits(xent.logsumexp(convert(values)), 1002.4076, 4)


def test_the_curve_of_the_loss_against_the_probability(convert: Convert) -> None:
    """-log p where the label is 1, -log(1 - p) where it is 0: two logits, log p and log(1 - p)."""
    p = np.linspace(0.05, 0.95, 19)
    logits = convert(np.log(np.stack([1 - p, p], axis=1)))
    for label, curve in ((1, -np.log(p)), (0, -np.log1p(-p))):
        labels = convert(np.full(19, label))
        found = np.asarray(xent.softmax_cross_entropy(logits, labels, reduction="none"))
        assert_digits(found, curve, 6)
        assert (np.diff(found) < 0).all() if label else (np.diff(found) > 0).all()


def test_the_curve_of_the_loss_against_the_score(convert: Convert) -> None:
    """log(1 + e^(-y·s)) for signed labels is the two-class loss of the logits (0, s)."""
    s = np.linspace(-6, 6, 25)
    logits = convert(np.stack([np.zeros(25), s], axis=1))
    for sign in (-1, 1):
        labels = convert(np.full(25, (sign + 1) // 2))
        found = xent.softmax_cross_entropy(logits, labels, reduction="none")
        assert_digits(found, np.log1p(np.exp(-sign * s)), 5)


def test_a_linear_model_learns_without_clipping() -> None:
    """A two-layer linear model on 128 points of the unit square, label x1 + x2 < 1: the loss on all data falls."""
    rng = np.random.default_rng(0)
    x = rng.random((128, 2))
    y = (x.sum(axis=1) < 1).astype(int)
    w1, b1, w2, b2 = rng.normal(size=(2, 8)), np.zeros(8), rng.normal(size=(8, 2)), np.zeros(2)
    parameters = [w1, b1, w2, b2]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)

    def loss_of_all() -> float:
        return float(xent.softmax_cross_entropy((x @ w1 + b1) @ w2 + b2, y))

    start = loss_of_all()
    for step in range(1, 5001):
        rows = slice(8 * step % 128, 8 * step % 128 + 8)
        hidden = x[rows] @ w1 + b1
        _, g = loss_and_grad(hidden @ w2 + b2, y[rows])
        back = g @ w2.T
        for p, (m, s), gradient in zip(
            parameters, moments, (x[rows].T @ back, back.sum(0), hidden.T @ g, g.sum(0)), strict=True
        ):
            m += 0.1 * (gradient - m)
            s += 0.001 * (gradient**2 - s)
            p -= 0.001 * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    assert loss_of_all() < start / 2
    assert (((x @ w1 + b1) @ w2 + b2).argmax(axis=1) == y).mean() > 0.9
