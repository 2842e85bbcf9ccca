"""Softmax focal and poly loss, which are functions of a row's nll: accuracy, identities, gradients, bad input."""

from __future__ import annotations

from functools import cache
from typing import Any

import elementwise_truth
import numpy as np
import pytest
import registry
import torch
import truth
from registry import CASE_BY_NAME, DTYPES, NUMPY_DTYPES, TORCH_DTYPES, Batch, accumulated, make_batch, tensor

import xent

LOSSES = {
    "focal-0": ("focal_cross_entropy", {"gamma": 0.0}),
    "focal-0.5": ("focal_cross_entropy", {"gamma": 0.5}),
    "focal-2": ("focal_cross_entropy", {"gamma": 2.0}),
    "focal-5": ("focal_cross_entropy", {"gamma": 5.0}),
    "poly-0": ("poly_cross_entropy", {"epsilon": 0.0}),
    "poly-2": ("poly_cross_entropy", {"epsilon": 2.0}),
    "poly--1": ("poly_cross_entropy", {"epsilon": -1.0}),
}


def on_torch(name: str, batch: Batch, upstream: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    function, amount = LOSSES[name]
    leaf = tensor(batch.logits).requires_grad_()
    loss = getattr(xent, function)(leaf, tensor(batch.labels), **amount, **registry.torch_options(batch))
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return registry.array(loss), registry.array(gradient)


def on_numpy(name: str, batch: Batch) -> tuple[Any, np.ndarray]:
    function, amount = LOSSES[name]
    return xent.value_and_grad(getattr(xent, function))(batch.logits, batch.labels, **amount, **batch.options)


def truth_of(name: str, batch: Batch, upstream: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(loss of each row, gradient, magnitudes), without options; classes last."""
    function, amount = LOSSES[name]
    a = truth.statistics(truth.extended(batch.logits))
    rows = np.arange(len(batch.labels))
    nll = a.surprise[rows, batch.labels]
    loss, slope = elementwise_truth.row_function(function[:5].strip("_"), nll, next(iter(amount.values())))
    # p - 1 at the label is minus the rest, which does not cancel
    hot = np.zeros(a.p.shape)
    hot[rows, batch.labels] = 1
    wrong = -np.expm1(-nll)
    dz = np.where(hot == 1, -wrong[:, None], a.p)
    factor = (slope * upstream)[:, None]
    return loss, factor * dz, np.abs(factor) * (a.p + hot)


def rival(name: str, batch: Batch, upstream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    function, amount = LOSSES[name]
    leaf = tensor(batch.logits).requires_grad_()
    x = leaf.to(TORCH_DTYPES[accumulated(batch.dtype)])
    nll = torch.nn.functional.cross_entropy(x, tensor(batch.labels), reduction="none")
    value = next(iter(amount.values()))
    if function == "poly_cross_entropy":
        loss = nll + value * (1 - torch.exp(-nll))
    else:
        wrong = -torch.expm1(-nll)
        safe = torch.where(wrong == 0, 1.0, wrong)
        loss = nll if value == 0 else torch.where(wrong == 0, 0.0, safe**value) * nll
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return registry.array(loss), registry.array(gradient)


@cache
def prepared(name: str, dtype: str, classes: int, rows: int, scale: float) -> tuple[Any, ...]:
    """(batch, upstream, truth, rival): the same for every instruction set."""
    batch = make_batch(CASE_BY_NAME["index"], (rows,), classes, dtype=dtype, scale=scale).but(reduction="none")
    upstream = np.random.default_rng(3).normal(size=rows).astype(NUMPY_DTYPES[accumulated(dtype)])
    return batch, upstream, truth_of(name, batch, upstream), rival(name, batch, upstream)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_worse_than_torch(instruction_set: str, dtype: str, name: str) -> None:
    for classes, rows in ((2, 301), (10, 301), (65, 101), (1000, 11)):
        for scale in (1.0, 5.0):
            batch, upstream, exact, other = prepared(name, dtype, classes, rows, scale)
            loss, gradient, terms = exact
            found = on_torch(name, batch, upstream)
            kind = accumulated(dtype)
            error, limit = (registry.typical(truth.ulps(r[0], loss, kind)) for r in (found, other))
            assert error <= limit + 1, f"{classes} classes: loss off by {error} ulps, torch's by {limit}"
            error, limit = (
                registry.typical(np.abs(truth.extended(r[1]) - gradient) / truth.ulp(terms, dtype))
                for r in (found, other)
            )
            assert error <= limit + 1, f"{classes} classes: gradient off by {error} ulps, torch's by {limit}"


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_are_tiny_are_right_to_1e_6(instruction_set: str, name: str) -> None:
    """Rows that are right with a margin of up to 40, in float32."""
    for classes in (2, 10, 100):
        margin = np.linspace(0, 40, 81, dtype=np.float32)
        logits = np.zeros((81, classes), np.float32)
        logits[:, 1] = margin
        batch = Batch(logits, np.ones(81, int), {"reduction": "none"})
        loss, gradient, _ = truth_of(name, batch, np.ones(81))
        found = on_torch(name, batch, np.ones(81))
        for one, right in zip(found, (loss, gradient), strict=True):
            if name == "poly--1" and one is found[0]:
                continue  # -log p - (1 - p) cancels by its nature
            normal = truth.is_normal(right, "float32")
            error = np.abs(truth.extended(one) - right)[normal] / np.abs(right)[normal]
            assert error.max() <= 2e-6, classes


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "normalizer": {"normalizer": 7.0},
    "class-weight": {"class_weight": np.linspace(0.5, 2, 7)},
    "sample-weight": {"sample_weight": np.linspace(0, 2, 12)},
    "ignored": {"ignore_index": 3},
    "temperature": {"temperature": 0.7, "softcap": 5.0},
    "everything": {
        "temperature": 1.5,
        "softcap": 4.0,
        "class_weight": np.linspace(0.5, 2, 7),
        "sample_weight": np.linspace(0, 2, 12),
        "ignore_index": 3,
    },
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["focal-0", "poly-0"])
def test_without_modulation_it_is_plain_cross_entropy(name: str, options: str) -> None:
    for axis, shape in ((-1, (12,)), (0, (12,)), (1, (3, 4))):
        given = dict(OPTIONS[options])
        if "sample_weight" in given:
            given["sample_weight"] = given["sample_weight"].reshape(shape)
        batch = make_batch(CASE_BY_NAME["index"], shape, 7, dtype="float64", axis=axis).but(**given)
        loss, gradient = registry.on_numpy(batch)
        for run in (on_numpy, on_torch):
            found = run(name, batch)
            assert float(found[0]) == pytest.approx(float(loss), rel=1e-14)
            np.testing.assert_allclose(found[1], gradient, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["focal-0.5", "focal-2", "poly-2"])
def test_options_multiply_the_rows(name: str, options: str) -> None:
    """Σ s·v·f(nll) / Σ s·v, from single rows of plain cross-entropy and the formula."""
    function, amount = LOSSES[name]
    given = OPTIONS[options]
    batch = make_batch(CASE_BY_NAME["index"], (12,), 7, dtype="float64").but(**given)
    plain = {k: given[k] for k in ("temperature", "softcap") if k in given}
    nll = xent.softmax_cross_entropy(batch.logits, batch.labels, reduction="none", **plain)
    rows = elementwise_truth.row_function(function[:5].strip("_"), truth.extended(nll), next(iter(amount.values())))[0]
    weight = given.get("sample_weight", np.ones(12)) * given.get("class_weight", np.ones(7))[batch.labels]
    weight = weight * (batch.labels != given.get("ignore_index", -100))
    expected = (weight * rows).sum()
    if given.get("reduction", "mean") == "mean":
        expected = expected / given.get("normalizer", weight.sum())
    for run in (on_numpy, on_torch):
        loss, gradient = run(name, batch)
        assert float(loss) == pytest.approx(float(expected), rel=1e-12)
        assert (gradient[weight == 0] == 0).all()
        assert gradient[weight != 0].all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_differences(name: str) -> None:
    function, amount = LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    y, w = torch.tensor([0, 3, 1, 2, 2]), torch.rand(5, generator=generator, dtype=torch.float64, requires_grad=True)
    v = torch.rand(4, generator=generator, dtype=torch.float64, requires_grad=True)
    for reduction in ("mean", "none"):

        def of_logits(a: torch.Tensor, r: str = reduction) -> Any:
            return getattr(xent, function)(a, y, **amount, reduction=r, class_weight=v.detach())

        def of_all(a: Any, b: Any, c: Any, r: str = reduction) -> Any:
            return getattr(xent, function)(a, y, **amount, sample_weight=b, class_weight=c, reduction=r)

        assert torch.autograd.gradcheck(of_logits, x)
        assert torch.autograd.gradgradcheck(of_logits, x)
        assert torch.autograd.gradcheck(of_all, (x, w, v))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_and_torch_agree_to_the_bit(instruction_set: str, dtype: str, name: str) -> None:
    for classes in (3, 100):
        batch = make_batch(CASE_BY_NAME["index"], (13,), classes, dtype=dtype)
        (loss, gradient), (torch_loss, torch_gradient) = on_numpy(name, batch), on_torch(name, batch)
        assert loss == torch_loss
        assert gradient.tobytes() == torch_gradient.tobytes()
        leaf = tensor(batch.logits).requires_grad_()
        function, amount = LOSSES[name]
        again = getattr(xent, function)(leaf, tensor(batch.labels), **amount)
        first, second = (torch.autograd.grad(again, leaf, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
        assert registry.array(first).tobytes() == gradient.tobytes()


@pytest.mark.parametrize("name", LOSSES)
def test_certain_rows(name: str) -> None:
    """A label that is certain, one that is impossible, ignored rows that hold NaN: no NaN and no warning."""
    logits = np.array([[1000.0, 0, 0], [-np.inf, 1, 2], [np.nan, 1, 2], [0, -np.inf, 0]], np.float32)
    labels = np.array([0, 0, -100, 0])
    for function in (on_numpy, on_torch):
        batch = Batch(logits, labels, {"ignore_index": -100, "reduction": "sum"})
        loss, gradient = function(name, batch)
        assert np.isposinf(loss)
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[2], 0)
        p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
        # p = 0: the slope by the nll is 1, and the gradient that of cross-entropy
        np.testing.assert_allclose(gradient[1], [-1, *p], rtol=1e-6)
        loss, _ = function(name, Batch(logits[[0, 2, 3]], labels[[0, 2, 3]], batch.options))
        assert np.isfinite(loss)


def test_published_numbers() -> None:
    """Of three logits 1, 2, 3 with label 2 by hand: p = 0.66524094."""
    logits, label = np.array([[1.0, 2.0, 3.0]]), np.array([2])
    p = 0.6652409557748219
    assert float(xent.focal_cross_entropy(logits, label)) == pytest.approx((1 - p) ** 2 * -np.log(p), rel=1e-14)
    assert float(xent.poly_cross_entropy(logits, label, epsilon=1.0)) == pytest.approx(1 - p - np.log(p), rel=1e-14)


BAD: list[tuple[str, str, type[Exception], Any, dict[str, Any]]] = [
    (
        "focal_cross_entropy",
        r"^gamma: expected a finite number of at least 0, got -1. ",
        ValueError,
        None,
        {"gamma": -1},
    ),
    ("focal_cross_entropy", r"^gamma: expected a real number, got str. ", TypeError, None, {"gamma": "2"}),
    ("focal_cross_entropy", r"^gamma: expected .*, got nan. ", ValueError, None, {"gamma": float("nan")}),
    ("focal_cross_entropy", r"^gamma: expected .*, got inf. ", ValueError, None, {"gamma": float("inf")}),
    ("poly_cross_entropy", r"^epsilon: expected .*, got -2. ", ValueError, None, {"epsilon": -2}),
    ("poly_cross_entropy", r"^epsilon: expected a real number, got list. ", TypeError, None, {"epsilon": [1]}),
    ("focal_cross_entropy", r"^labels: expected class indices, got soft targets. ", ValueError, np.eye(3)[:2], {}),
    ("poly_cross_entropy", r"^labels: expected class indices, got soft targets. ", ValueError, np.eye(3)[:2], {}),
    (
        "focal_cross_entropy",
        r"^labels: expected class indices in \[0, 3\), got label 3 in row 1. .*ignore_index",
        IndexError,
        np.array([0, 3]),
        {},
    ),
    (
        "poly_cross_entropy",
        r"^reduction: expected 'mean', 'sum' or 'none', got 'avg'. ",
        ValueError,
        None,
        {"reduction": "avg"},
    ),
    (
        "focal_cross_entropy",
        r"^class_weight: expected shape \(3,\).*, got shape \(2,\). ",
        ValueError,
        None,
        {"class_weight": np.ones(2)},
    ),
]


@pytest.mark.parametrize("to", [np.asarray, tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("function", "match", "error", "labels", "options"), BAD, ids=lambda v: str(v)[:30])
def test_bad_input(to: Any, function: str, match: str, error: Any, labels: Any, options: dict[str, Any]) -> None:
    labels = np.array([0, 1]) if labels is None else labels
    given = {k: to(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with pytest.raises(error, match=match):
        getattr(xent, function)(to(np.zeros((2, 3))), to(labels), **given)


@pytest.mark.parametrize("name", ["focal-2", "poly-2"])
def test_topk_labels_are_refused(name: str) -> None:
    function, amount = LOSSES[name]
    with pytest.raises(ValueError, match=r"^labels: expected class indices, got soft targets. "):
        getattr(xent, function)(np.zeros((1, 3)), xent.TopK(np.array([[1]]), np.array([[1.0]])), **amount)


def test_row_loss_takes_a_function_of_ones_own() -> None:
    """The generalized cross-entropy (1 - p^q)/q, against finite differences, with weights and an ignored row of NaN."""

    def generalized(xp: Any, nll: Any) -> tuple[Any, Any]:
        return -xp.expm1(-0.7 * nll) / 0.7 + 1.0, xp.exp(-0.7 * nll)  # f(0) = 1: ignored rows must not add it

    rng = np.random.default_rng(5)
    logits = rng.normal(size=(5, 7))
    logits[2] = np.nan
    labels = np.array([0, 3, -1, 6, 3])
    options: dict[str, Any] = {
        "ignore_index": -1,
        "class_weight": rng.uniform(0.5, 2, 7),
        "sample_weight": rng.uniform(size=5),
    }

    def loss(z: Any) -> Any:
        return xent.row_loss(generalized, z, labels, **options)

    value, gradient = xent.value_and_grad(loss)(logits)
    step = np.zeros_like(logits)
    for at in np.ndindex(logits.shape):
        step[...] = 0
        step[at] = 1e-5
        slope = (loss(logits + step) - loss(logits - step)) / 2e-5
        np.testing.assert_allclose(gradient[at], 0.0 if at[0] == 2 else slope, rtol=1e-6, atol=1e-9)
    kept = labels >= 0
    p = xent.softmax(logits[kept])[np.arange(4), labels[kept]]
    weight = options["sample_weight"][kept] * options["class_weight"][labels[kept]]
    np.testing.assert_allclose(value, np.sum(weight * ((1 - p**0.7) / 0.7 + 1)) / weight.sum(), rtol=1e-12)
    z = torch.from_numpy(logits).requires_grad_()
    (3 * loss(z)).backward()
    np.testing.assert_allclose(z.grad.numpy(), 3 * gradient, rtol=1e-12, atol=1e-18)
    with pytest.raises(ValueError, match=r"^labels: expected class indices, got soft targets\. "):
        xent.row_loss(generalized, np.zeros((2, 3)), np.full((2, 3), 1 / 3))
