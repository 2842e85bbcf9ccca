"""Identities of the losses of single numbers: what holds whatever the numbers are; policies; published examples."""

from __future__ import annotations

from typing import Any

import elementwise_cases as cases
import numpy as np
import pytest
import torch
from elementwise_cases import CASE_BY_NAME, CASES, Batch, Case, make_batch
from registry import tensor

import xent

FRONTENDS: dict[str, Any] = {"numpy": np.asarray, "torch": tensor}


def each(batch: Batch, **options: Any) -> np.ndarray:
    options = {**options, "reduction": "none", "normalizer": None}
    return np.asarray(cases.value_on_numpy(batch, **options))


def with_gradient(function: str, logits: np.ndarray, labels: Any, **options: Any) -> tuple[Any, np.ndarray]:
    return cases.on_numpy(Batch(function, logits, labels, options))


def assert_equal_losses(one: tuple[Any, np.ndarray], other: tuple[Any, np.ndarray], rel: float = 1e-13) -> None:
    assert float(one[0]) == pytest.approx(float(other[0]), rel=rel)
    np.testing.assert_allclose(one[1], other[1], rtol=10 * rel, atol=1e-17)
    assert np.abs(other[1]).max() > 0


def numbers(shape: tuple[int, ...] = (7, 33), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(logits, hard labels, soft labels)"""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * 3, (rng.random(shape) < 0.4).astype(int), rng.random(shape)


def test_without_modulation_focal_is_plain(instruction_set: str) -> None:
    x, hard, soft = numbers()
    for y in (hard, soft):
        plain = with_gradient("sigmoid_cross_entropy", x, y)
        assert_equal_losses(with_gradient("sigmoid_focal_cross_entropy", x, y, gamma=0.0, alpha=None), plain)
        half = with_gradient("sigmoid_focal_cross_entropy", x, y, gamma=0.0, alpha=0.5)
        assert_equal_losses((2 * half[0], 2 * half[1]), plain)
        balanced = with_gradient("sigmoid_focal_cross_entropy", x, y, gamma=0.0, alpha=0.8)
        weighted = with_gradient("sigmoid_cross_entropy", x, y, pos_weight=4.0)
        assert_equal_losses((5 * balanced[0], 5 * balanced[1]), weighted)
        bare = with_gradient("asymmetric_sigmoid_cross_entropy", x, y, gamma_pos=0.0, gamma_neg=0.0, clip=0.0)
        assert_equal_losses(bare, plain)


def test_asymmetric_without_clip_is_focal(instruction_set: str) -> None:
    x, hard, soft = numbers()
    for y in (hard, soft):
        for gamma in (0.5, 1.0, 2.0, 3.7):
            one = with_gradient("asymmetric_sigmoid_cross_entropy", x, y, gamma_pos=gamma, gamma_neg=gamma, clip=0.0)
            assert_equal_losses(one, with_gradient("sigmoid_focal_cross_entropy", x, y, gamma=gamma, alpha=None))
    # each exponent belongs to its side
    both = {"gamma_pos": 1.0, "gamma_neg": 3.0, "clip": 0.0}
    for label, gamma in ((1, 1.0), (0, 3.0)):
        y = np.full(x.shape, label)
        one = with_gradient("asymmetric_sigmoid_cross_entropy", x, y, **both)
        assert_equal_losses(one, with_gradient("sigmoid_focal_cross_entropy", x, y, gamma=gamma, alpha=None))


def test_a_small_clip_is_next_to_none(instruction_set: str) -> None:
    """The two ways through the kernel meet."""
    x, hard, _ = numbers()
    one = with_gradient("asymmetric_sigmoid_cross_entropy", x, hard, clip=1e-13)
    other = with_gradient("asymmetric_sigmoid_cross_entropy", x, hard, clip=0.0)
    assert float(one[0]) == pytest.approx(float(other[0]), rel=1e-9)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-7, atol=1e-12)


def test_easy_negatives_cost_nothing(instruction_set: str) -> None:
    """p below the clip: loss and gradient are 0, and the loss is continuous there and never negative."""
    clip = 0.05
    edge = np.log(clip / (1 - clip))
    x = np.concatenate([[-np.inf, -60.0, edge - 1e-3], edge + np.linspace(1e-9, 1e-3, 500)])
    for gamma in (0.0, 0.5, 4.0):
        for dtype in (np.float32, np.float64):
            loss, gradient = cases.on_torch(
                Batch(
                    "asymmetric_sigmoid_cross_entropy",
                    x.astype(dtype),
                    np.zeros(x.size, int),
                    {"gamma_neg": gamma, "clip": clip, "reduction": "none"},
                ),
                np.ones(x.size),
            )
            assert (loss[:3] == 0).all()
            assert (gradient[:3] == 0).all()
            assert (loss >= 0).all(), (gamma, dtype)
            assert (loss[3:] <= 1e-1).all()
            assert np.isfinite(gradient).all()
            assert (gradient >= 0).all()


def test_logistic_loss_is_sigmoid_cross_entropy_of_shifted_labels(instruction_set: str) -> None:
    for dtype in ("float32", "float64", "float16"):
        batch = make_batch(CASE_BY_NAME["signs"], (7, 131), dtype=dtype)
        other = Batch("sigmoid_cross_entropy", batch.logits, (batch.labels + 1) // 2, {})
        for run in (cases.on_numpy, cases.on_torch):
            one, right = run(batch), run(other)
            assert float(one[0]) == float(right[0])
            assert one[1].tobytes() == right[1].tobytes()
        np.testing.assert_array_equal(each(batch), each(other))


def test_symmetries(instruction_set: str) -> None:
    """Turning logits and labels round turns the gradient; the difference of both labels' losses is the logit."""
    x, hard, soft = numbers()
    for y in (hard, soft):
        for function in ("sigmoid_cross_entropy", "sigmoid_focal_cross_entropy"):
            options = {"alpha": 0.5} if "focal" in function else {}
            one = with_gradient(function, x, y, **options)
            other = with_gradient(function, -x, 1 - y, **options)
            assert_equal_losses((other[0], -other[1]), one)
        signs = with_gradient("logistic_loss", x, 2 * hard - 1)
        turned = with_gradient("logistic_loss", -x, 1 - 2 * hard)
        assert_equal_losses((turned[0], -turned[1]), signs)
    ones = np.ones(x.shape, int)
    difference = each(Batch("sigmoid_cross_entropy", x, 0 * ones, {})) - each(
        Batch("sigmoid_cross_entropy", x, ones, {})
    )
    np.testing.assert_allclose(difference, x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(xent.sigmoid(x) + xent.sigmoid(-x), 1, rtol=1e-15)
    np.testing.assert_allclose(xent.log_sigmoid(x) - xent.log_sigmoid(-x), x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.exp(xent.log_sigmoid(x)), xent.sigmoid(x), rtol=1e-13)
    np.testing.assert_array_equal(each(Batch("sigmoid_cross_entropy", x, ones, {})), -xent.log_sigmoid(x))


def test_linear_in_labels_and_weights(instruction_set: str) -> None:
    """Soft labels mix hard ones; smoothing is a mixture; weights multiply; pos_weight multiplies one part."""
    x, hard, soft = numbers()
    ones = np.ones(x.shape, int)
    for function in ("sigmoid_cross_entropy", "sigmoid_focal_cross_entropy", "asymmetric_sigmoid_cross_entropy"):

        def loss(y: Any, f: str = function, **options: Any) -> np.ndarray:
            return each(Batch(f, x, y, options))

        positive, negative = loss(ones), loss(0 * ones)
        np.testing.assert_allclose(loss(soft), soft * positive + (1 - soft) * negative, rtol=1e-12, atol=1e-16)
        smooth = 0.7 * soft + 0.15
        np.testing.assert_allclose(loss(soft, label_smoothing=0.3), loss(smooth), rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(loss(hard, label_smoothing=1.0), (positive + negative) / 2, rtol=1e-12, atol=1e-16)
        for weight in (np.float64(3.5), np.linspace(0.1, 4, 33), np.random.default_rng(1).random(x.shape)):
            expected = weight * soft * positive + (1 - soft) * negative
            np.testing.assert_allclose(loss(soft, pos_weight=weight), expected, rtol=1e-12, atol=1e-16)
        by_row, by_class = np.linspace(0, 2, 7), np.linspace(0.5, 1.5, 33)
        expected = loss(soft) * by_row[:, None] * by_class
        for s in (by_row, by_row[:, None], np.broadcast_to(by_row[:, None], x.shape)):
            found = loss(soft, sample_weight=s, class_weight=by_class)
            np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reductions(instruction_set: str, case: Case) -> None:
    """Sum, mean and normalizer from single losses: Σ s·loss / Σ s, other weights outside the denominator."""
    batch = make_batch(case, (7, 33), dtype="float64")
    batch.options.pop("normalizer", None)
    rows = each(batch)
    s = batch.options.get("sample_weight", np.ones(()))
    s = np.broadcast_to(s[:, None] if s.ndim == 1 else s, rows.shape)
    mass = s[batch.labels != -100].sum()
    for options, expected in (
        ({"reduction": "sum"}, rows.sum()),
        ({}, rows.sum() / mass),
        ({"normalizer": 17.0}, rows.sum() / 17),
        ({"normalizer": np.float32(0.5)}, rows.sum() / 0.5),
    ):
        one = batch.but(**options)
        (loss, gradient), (torch_loss, torch_gradient) = cases.on_numpy(one), cases.on_torch(one)
        assert float(loss) == pytest.approx(expected, rel=1e-13)
        assert float(torch_loss) == pytest.approx(expected, rel=1e-13)
        total = cases.on_torch(batch.but(reduction="sum"))[1]
        np.testing.assert_allclose(gradient, total * (float(loss) / rows.sum()), rtol=1e-12)
        np.testing.assert_allclose(torch_gradient, gradient, rtol=1e-15)
    parts = [make_batch(case, (7, 33), dtype="float64")]
    assert parts[0].logits.tobytes() == batch.logits.tobytes()


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_the_mean_of_nothing_is_zero(instruction_set: str, frontend: str) -> None:
    to = FRONTENDS[frontend]
    for shape in ((2, 3), (1,), (3, 1030)):
        x = np.full(shape, np.nan)
        labels = np.full(shape, -1)
        for function in ("sigmoid_cross_entropy", "sigmoid_focal_cross_entropy", "asymmetric_sigmoid_cross_entropy"):
            run = cases.on_numpy if frontend == "numpy" else cases.on_torch
            loss, gradient = run(Batch(function, x, labels, {"ignore_index": -1}))
            assert loss == 0
            np.testing.assert_array_equal(gradient, 0)
            loss, gradient = run(Batch(function, x, abs(labels), {"sample_weight": np.zeros(shape)}))
            assert loss == 0
            np.testing.assert_array_equal(gradient, 0)
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 4)):
        none = to(np.zeros(shape))
        calls: list[tuple[Any, Any]] = [
            (xent.sigmoid_cross_entropy, none),
            (xent.sigmoid_focal_cross_entropy, none),
            (xent.asymmetric_sigmoid_cross_entropy, none),
            (xent.logistic_loss, none),
            (lambda a, b, **o: xent.pinball_loss(a, b, over=1.0, under=2.0, **o), none),
        ]
        for function, labels in calls:
            for reduction in ("mean", "sum"):
                loss, gradient = xent.value_and_grad(function)(none, labels, reduction=reduction)
                assert float(loss) == 0
                assert tuple(gradient.shape) == shape
            assert tuple(function(none, labels, reduction="none").shape) == shape
        assert tuple(xent.sigmoid(none).shape) == shape
        assert tuple(xent.log_sigmoid(none).shape) == shape


@pytest.mark.parametrize("case", [c for c in CASES if c.ignore], ids=lambda c: c.name)
def test_ignored_elements_do_not_count(instruction_set: str, case: Case) -> None:
    """As if they were not there: NaN logits, value, gradient and denominator."""
    batch = make_batch(case, (7, 33), dtype="float64")
    kept = batch.labels != -100
    options = {k: v for k, v in batch.options.items() if k != "ignore_index"}
    for name in ("pos_weight", "class_weight", "sample_weight"):
        if name in options:
            weight = options[name]
            weight = weight[:, None] if name == "sample_weight" and weight.ndim == 1 else weight
            options[name] = np.broadcast_to(weight, kept.shape)[kept]
    if "class_weight" in options:
        options["sample_weight"] = options.get("sample_weight", np.ones(kept.sum()))
    part = Batch(case.function, batch.logits[kept], batch.labels[kept], options)
    logits = np.where(kept, batch.logits, np.nan)
    for run in (cases.on_numpy, cases.on_torch):
        loss, gradient = run(batch.on(logits))
        right, right_gradient = run(part)
        assert float(loss) == pytest.approx(float(right), rel=1e-13)
        np.testing.assert_allclose(gradient[kept], right_gradient, rtol=1e-12)
        np.testing.assert_array_equal(gradient[~kept], 0)
    losses = each(batch.on(logits))
    np.testing.assert_array_equal(losses[~kept], 0)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("ignore_index", [0, 1, -1, -100, 255])
def test_any_label_may_be_ignored(ignore_index: int) -> None:
    x, hard, _ = numbers()
    y = np.where(np.random.default_rng(2).random(x.shape) < 0.3, ignore_index, hard)
    kept = y != ignore_index
    for labels in (y, y.astype(np.int16), y.astype(np.float32)):
        for run in (cases.on_numpy, cases.on_torch):
            loss, gradient = run(Batch("sigmoid_cross_entropy", x, labels, {"ignore_index": ignore_index}))
            right = xent.sigmoid_cross_entropy(x[kept], hard[kept])
            assert float(loss) == pytest.approx(float(right), rel=1e-13)
            assert (gradient[~kept] == 0).all()
    if ignore_index == 255:
        found = xent.sigmoid_cross_entropy(x, y.astype(np.uint8), ignore_index=255)
        assert float(found) == pytest.approx(float(xent.sigmoid_cross_entropy(x[kept], hard[kept])), rel=1e-13)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("frontend", FRONTENDS)
def test_inputs_are_not_written(frontend: str, case: Case) -> None:
    batch = make_batch(case, (5, 1030))
    arrays = [batch.logits, batch.labels, *(v for v in batch.options.values() if isinstance(v, np.ndarray))]
    before = [a.copy() for a in arrays]
    if frontend == "numpy":
        for a in arrays:
            a.flags.writeable = False
        cases.on_numpy(batch)
        assert each(batch).shape == (5, 1030)
    else:
        tensors = {
            k: torch.from_numpy(v) if isinstance(v, np.ndarray) and v.ndim else v for k, v in batch.options.items()
        }
        leaf = torch.from_numpy(batch.logits).requires_grad_()
        loss = getattr(xent, batch.function)(leaf, torch.from_numpy(batch.labels), **tensors)
        loss.backward()
        assert leaf.grad is not None
    for a, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, copy)


def test_pinball() -> None:
    """0 at 0, its slopes on both sides, the sum of both costs, and the quantile as its minimiser."""
    rng = np.random.default_rng(4)
    pred, target = rng.normal(size=(5, 9)), rng.normal(size=(5, 9))
    d = pred - target
    for over, under in ((1.0, 10.0), (0.0, 2.0), (0.3, 0.7)):
        batch = Batch("pinball_loss", pred, target, {"over": over, "under": under})
        np.testing.assert_allclose(each(batch), np.where(d > 0, over * d, -under * d), rtol=1e-14)
        _, gradient = cases.on_numpy(batch.but(reduction="sum"))
        np.testing.assert_array_equal(gradient, np.where(d > 0, over, -under))
        swapped = Batch("pinball_loss", target, pred, {"over": under, "under": over})
        np.testing.assert_allclose(each(swapped), each(batch), rtol=1e-15)
    _, gradient = cases.on_numpy(Batch("pinball_loss", pred, pred.copy(), {"over": 1.0, "under": 2.0}))
    np.testing.assert_array_equal(gradient, 0)
    sample = rng.normal(size=1001)
    grid = np.linspace(-3, 3, 2001)
    costs = [float(xent.pinball_loss(np.full(1001, q), sample, over=0.2, under=0.8)) for q in grid]
    assert grid[int(np.argmin(costs))] == pytest.approx(np.quantile(sample, 0.8), abs=0.01)
    both = Batch("pinball_loss", pred, target, {"over": 1.0, "under": 1.0})
    np.testing.assert_array_equal(each(both), np.abs(d))


def test_gradients_by_differences_on_numpy() -> None:
    for case in CASES:
        batch = make_batch(case, (3, 5), dtype="float64", scale=1.5)
        _, gradient = cases.on_numpy(batch)
        found = np.zeros_like(gradient)
        h = 1e-6
        for at in np.ndindex(*gradient.shape):
            moved = []
            for sign in (1, -1):
                x = batch.logits.copy()
                x[at] += sign * h
                moved.append(float(cases.value_on_numpy(batch.on(x))))
            found[at] = (moved[0] - moved[1]) / (2 * h)
        away = np.abs(batch.logits - batch.labels) > 1e-5 if case.labels == "real" else np.ones(gradient.shape, bool)
        np.testing.assert_allclose(found[away], gradient[away], rtol=1e-5, atol=1e-9, err_msg=case.name)


def test_overflow_in_a_sum_is_infinite_without_a_warning() -> None:
    for to in FRONTENDS.values():
        x = to(np.full(20, 3e38, np.float32))
        assert float(xent.sigmoid_cross_entropy(x, to(np.zeros(20, int)), reduction="sum")) == np.inf


def test_a_single_number() -> None:
    """0-d logits with every option."""
    for to in FRONTENDS.values():
        x, y = to(np.array(0.7)), to(np.array(1))
        expected = np.log1p(np.exp(-0.7))
        for weights, factor in (
            ({}, 1.0),
            ({"pos_weight": 2.0}, 2.0),
            ({"pos_weight": to(np.array(2.0))}, 2.0),
            ({"sample_weight": to(np.array(3.0)), "reduction": "sum"}, 3.0),
            ({"sample_weight": 3.0}, 1.0),
            ({"reduction": "none"}, 1.0),
        ):
            found = xent.sigmoid_cross_entropy(x, y, **weights)
            assert float(found) == pytest.approx(expected * factor, rel=1e-14), weights
            assert tuple(found.shape) == ()


def test_worked_examples() -> None:
    """Numbers that circulate in tutorials."""
    labels = np.array([[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]])
    logits = np.array([[0.2] * 5, [0.3, 0.3, 0.2, 0.1, 0.1]])
    expected = [
        [0.7981388, 0.7981388, 0.7981388, 0.59813893, 0.7981388],
        [0.55435514, 0.85435514, 0.7981388, 0.74439663, 0.74439663],
    ]
    for dtype in (np.float32, np.float64):
        for to in FRONTENDS.values():
            x, y = to(logits.astype(dtype)), to(labels)
            found = np.asarray(xent.sigmoid_cross_entropy(x, y, reduction="none"))
            np.testing.assert_allclose(found, expected, rtol=3e-7)  # single precision, as printed
            # the formula of the softmax on sigmoids is a different loss
            p = np.asarray(xent.sigmoid(x))
            np.testing.assert_allclose(-(labels * np.log(p)).sum(axis=1), [0.59813893, 0.55435514], rtol=3e-7)
    # two classes by one logit: the difference of both
    two = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
    single = two[:, 1] - two[:, 0]
    for to in FRONTENDS.values():
        found = np.asarray(xent.sigmoid_cross_entropy(to(single), to(np.array([1, 0, 0])), reduction="none"))
        np.testing.assert_allclose(found, [0.43748799, 0.51301527, 0.69314718], rtol=1e-7)
        s = np.linspace(-3, 3, 61)
        for sign in (-1, 1):
            curve = np.asarray(xent.logistic_loss(to(s), to(np.full(61, sign)), reduction="none"))
            np.testing.assert_allclose(curve, np.log(1 + np.exp(-sign * s)), rtol=1e-13)


@pytest.mark.parametrize(("weight", "better", "worse"), [(8.0, "recall", "precision"), (1 / 8, "precision", "recall")])
def test_pos_weight_trades_recall_for_precision(weight: float, better: str, worse: str) -> None:
    """On a trained model: above 1 it raises recall, below 1 precision."""
    rng = np.random.default_rng(5)
    y = (rng.random(2000) < 0.3).astype(int)
    features = np.stack([rng.normal(size=2000) + y, np.ones(2000)], axis=1)

    def trained(pos_weight: float) -> dict[str, float]:
        theta = np.zeros(2)
        for _ in range(300):
            _, gradient = with_gradient("sigmoid_cross_entropy", features @ theta, y, pos_weight=pos_weight)
            theta = theta - 1.0 * features.T @ gradient
        said = features @ theta > 0
        hits = float((said & (y == 1)).sum())
        return {"recall": hits / y.sum(), "precision": hits / max(said.sum(), 1)}

    plain, weighted = trained(1.0), trained(weight)
    assert weighted[better] > plain[better] + 0.05
    assert weighted[worse] < plain[worse] - 0.05


def test_asymmetric_cost_moves_the_fit() -> None:
    """Ten times the cost of too low: the fitted weights exceed 1; of too high: they fall below."""
    rng = np.random.default_rng(6)
    features = rng.random((500, 2))
    target = features.sum(axis=1) + rng.uniform(-0.05, 0.05, 500)

    def fitted(over: float, under: float) -> np.ndarray:
        theta = np.zeros(2)
        for step in range(3000):
            pred = features @ theta
            _, gradient = with_gradient("pinball_loss", pred, target, over=over, under=under)
            theta = theta - 0.1 / (1 + step / 100) * features.T @ gradient
        return theta

    assert (fitted(1.0, 10.0) > 1).all()
    assert (fitted(10.0, 1.0) < 1).all()


def test_every_case_is_of_a_public_loss() -> None:
    assert set(cases.KINDS) <= set(xent.__all__)
    assert {c.function for c in CASES} == set(cases.KINDS)
