"""Losses of probabilities: against extended precision and torch, at 0 and 1, and where the logarithm is cut off."""

from __future__ import annotations

from typing import Any

import elementwise_truth
import numpy as np
import pytest
import registry
import torch
import truth
from registry import DTYPES, NUMPY_DTYPES, TORCH_DTYPES, accumulated, tensor
from torch.nn import functional

import xent

TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}


def distributions(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    p = rng.dirichlet(np.full(shape[-1], 0.3), shape[:-1])
    return p.astype(NUMPY_DTYPES[dtype])


def torch_call(function: str, p: np.ndarray, *args: Any, upstream: Any = 1.0, **options: Any) -> tuple[Any, np.ndarray]:
    leaf = tensor(p).requires_grad_()
    given = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    loss = getattr(xent, function)(leaf, *map(tensor, args), **given)
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return registry.array(loss), registry.array(gradient)


def errors(found: Any, exact: Any, dtype: str) -> float:
    """Typical error where there are digits to compare."""
    return registry.typical(truth.ulps(found, exact, dtype)[truth.is_normal(exact, dtype) | (exact == 0)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_is_no_worse_than_torch(dtype: str) -> None:
    """Near 0 and near 1, where log(1 - p) has digits only as log1p(-p)."""
    rng = np.random.default_rng(1)
    for p in (rng.random(1001), 2.0 ** -rng.uniform(0, 12 if dtype == "float16" else 60, 1001), np.linspace(0, 1, 257)):
        p = p.astype(NUMPY_DTYPES[dtype])
        for labels in (rng.integers(0, 2, p.shape), rng.random(p.shape).astype(NUMPY_DTYPES[accumulated(dtype)])):
            pos_weight = NUMPY_DTYPES[accumulated(dtype)].type(2.5)
            options: dict[str, Any] = {"pos_weight": np.asarray(pos_weight), "reduction": "none"}
            exact, _, slope = elementwise_truth.from_probabilities(
                p, labels, clamp=TINY[dtype], **options, upstream=np.ones(p.shape)
            )
            compute = TORCH_DTYPES[accumulated(dtype)]
            x, y = tensor(p).to(compute), tensor(labels).to(compute)
            parts = functional.binary_cross_entropy(x, y, reduction="none")
            rival = parts - (2.5 - 1) * y * torch.log(x.clamp(min=TINY[dtype]))
            fine = (truth.extended(p) > 1e-30) & (truth.extended(p) < 1)
            on_numpy = xent.binary_cross_entropy_from_probs(p, labels, **options)
            on_torch, gradient = torch_call(
                "binary_cross_entropy_from_probs", p, labels, **options, upstream=np.ones(p.shape)
            )
            limit = errors(rival.numpy()[fine], exact[fine], accumulated(dtype)) + 1
            for found in (on_numpy, on_torch):
                assert found.dtype == NUMPY_DTYPES[accumulated(dtype)]
                assert errors(found[fine], exact[fine], accumulated(dtype)) <= limit
            inside = fine & (np.abs(slope) > 1e-3) & (np.abs(slope) < 60000)
            wide = p.astype(float)
            terms = np.abs(2.5 * labels / wide.clip(1e-30)) + np.abs((1 - labels) / (1 - wide).clip(1e-9))
            error = np.abs(truth.extended(gradient) - slope) / truth.ulp(terms, dtype)
            assert registry.typical(error[inside]) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", ["index", "dense"])
def test_cross_entropy_is_no_worse_than_torch(dtype: str, target: str) -> None:
    for shape in ((5, 1), (301, 7), (11, 1025)):
        p = np.maximum(distributions(shape, dtype), NUMPY_DTYPES[dtype].type(TINY[dtype]))
        rng = np.random.default_rng(2)
        dense = distributions(shape, dtype, 3)
        labels: np.ndarray = rng.integers(0, shape[-1], shape[0]) if target == "index" else dense
        hot: np.ndarray = (labels[:, None] == np.arange(shape[-1])) if target == "index" else dense
        weight = rng.uniform(0.5, 2, shape[-1]).astype(NUMPY_DTYPES[accumulated(dtype)])
        measure = truth.extended(hot.astype(NUMPY_DTYPES[dtype])) * truth.extended(weight)
        exact = -(measure * np.log(truth.extended(p))).sum(axis=-1)
        compute = TORCH_DTYPES[accumulated(dtype)]
        x = tensor(p).to(compute).log()
        rival = -(tensor(hot.astype(NUMPY_DTYPES[dtype])).to(compute) * tensor(weight) * x).sum(-1).numpy()
        for found in (
            xent.cross_entropy_from_probs(p, labels, class_weight=weight, reduction="none"),
            registry.array(
                xent.cross_entropy_from_probs(tensor(p), tensor(labels), class_weight=tensor(weight), reduction="none")
            ),
        ):
            assert errors(found, exact, accumulated(dtype)) <= errors(rival, exact, accumulated(dtype)) + 1
        mass = measure.sum()
        loss, gradient = torch_call("cross_entropy_from_probs", p, labels, class_weight=weight)
        right = -measure / truth.extended(p) / mass
        normal = truth.is_normal(right, dtype)
        assert truth.ulps(loss, exact.sum() / mass, accumulated(dtype)) <= 4
        small = normal & (np.abs(right) < 60000)
        assert truth.ulps(gradient, right, dtype)[small].max(initial=0) <= 4


@pytest.mark.parametrize("log_targets", [False, True])
@pytest.mark.parametrize("log_predictions", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_divergence_is_no_worse_than_torch(dtype: str, log_predictions: bool, log_targets: bool) -> None:
    options = {"log_predictions": log_predictions, "log_targets": log_targets}
    kind = NUMPY_DTYPES[dtype]
    with np.errstate(divide="ignore"):
        for shape in ((5, 1), (301, 7), (11, 1025)):
            q = np.maximum(distributions(shape, "float64"), 1e-4)
            t = distributions(shape, "float64", 4)
            t = np.where(t < 1e-4, 0, t)
            q, t = (np.log(q) if log_predictions else q).astype(kind), (np.log(t) if log_targets else t).astype(kind)
            exact, slope = elementwise_truth.divergence(q, t, clamp=TINY[dtype], **options)
            compute = TORCH_DTYPES[accumulated(dtype)]
            x, y = tensor(q).to(compute), tensor(t).to(compute)
            parts = functional.kl_div(
                x if log_predictions else x.log(), torch.exp(y) if log_targets else y, reduction="none"
            )
            rival = parts.nan_to_num().sum(-1).numpy()
            terms = np.abs(exact) + 1
            ones = np.ones(shape[0])
            found = xent.kl_divergence(q, t, reduction="none", **options)
            on_torch, gradient = torch_call("kl_divergence", q, t, reduction="none", upstream=ones, **options)
            limit = registry.typical(np.abs(truth.extended(rival) - exact) / truth.ulp(terms, accumulated(dtype)))
            for one in (found, on_torch):
                error = np.abs(truth.extended(one) - exact) / truth.ulp(terms, accumulated(dtype))
                assert registry.typical(error) <= limit + 1
            normal = truth.is_normal(slope, dtype)
            assert truth.ulps(gradient, slope, dtype)[normal].max(initial=0) <= (4 if not log_targets else 8)
            assert (gradient[slope == 0] == 0).all()
            mean = xent.kl_divergence(q, t, **options)
            assert float(mean) == pytest.approx(float(exact.mean()), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_times_log_zero_is_zero(frontend: str, dtype: str) -> None:
    """In value and gradient; with mass on a class of probability 0 the clamp bounds the loss and the slope."""
    kind = NUMPY_DTYPES[dtype]
    p = np.array([[1, 0], [0.5, 0.5], [0, 1]], kind)
    t = np.array([[1, 0], [0.5, 0.5], [0, 1]], kind)
    calls: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("cross_entropy_from_probs", p, t, {}),
        ("cross_entropy_from_probs", p, np.array([0, 1, 1]), {}),
        ("binary_cross_entropy_from_probs", p, t, {}),
        ("kl_divergence", p, t, {}),
    ]
    for function, probs, target, options in calls:
        each, loss, gradient = run(frontend, function, probs, target, **options)
        assert np.isfinite(each).all(), function
        assert np.isfinite(gradient.astype(float)).all(), function
        assert float(np.abs(each.astype(float)[..., [0, 2]] if each.ndim == 1 else each[[0, 2]]).max()) == 0, function
        assert np.isfinite(loss)
        if function != "binary_cross_entropy_from_probs":
            assert gradient[0, 1] == 0, function
    with np.errstate(divide="ignore"):
        logs = np.log(p.astype(np.float64)).astype(kind)
    for options in ({"log_predictions": True}, {"log_predictions": True, "log_targets": True}, {"log_targets": True}):
        probs = logs if options.get("log_predictions") else p
        target = logs if options.get("log_targets") else t
        each, loss, gradient = run(frontend, "kl_divergence", probs, target, **options)
        assert float(np.abs(each.astype(float)).max()) <= 1e-2
        assert abs(float(loss)) <= 1e-2
        assert gradient[0, 1] == 0
        assert gradient[2, 0] == 0
        assert np.isfinite(gradient.astype(float)).all()


def run(frontend: str, function: str, probs: np.ndarray, target: np.ndarray, **options: Any) -> tuple[Any, Any, Any]:
    """(losses, loss, gradient of the loss)"""
    each = {k: v for k, v in options.items() if k != "normalizer"} | {"reduction": "none"}
    if frontend == "numpy":
        loss, gradient = xent.value_and_grad(getattr(xent, function))(probs, target, **options)
        return getattr(xent, function)(probs, target, **each), loss, gradient
    loss, gradient = torch_call(function, probs, target, **options)
    given = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in each.items()}
    losses = getattr(xent, function)(tensor(probs), tensor(target), **given)
    return registry.array(losses), loss, gradient


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
def test_the_clamp_bounds_loss_and_slope(frontend: str) -> None:
    """log max(p, clamp), and -t / max(p, clamp) below it too, so that a probability of 0 can recover."""
    p = np.array([[0.0, 1.0], [1e-9, 1 - 1e-9], [0.25, 0.75]])
    for clamp in (1e-7, 1e-3, 0.3):
        high = np.maximum(p, clamp)
        each, _, gradient = run(frontend, "cross_entropy_from_probs", p, np.array([0, 0, 0]), clamp=clamp)
        np.testing.assert_allclose(each, -np.log(high[:, 0]), rtol=1e-14)
        np.testing.assert_allclose(gradient[:, 0], -1 / high[:, 0] / 3, rtol=1e-14)
        assert (gradient[:, 1] == 0).all()
        each, _, gradient = run(frontend, "kl_divergence", p, np.array([[1.0, 0], [1, 0], [0.5, 0.5]]), clamp=clamp)
        np.testing.assert_allclose(gradient[:, 0], -np.array([1, 1, 0.5]) / high[:, 0] / 3, rtol=1e-14)
        np.testing.assert_allclose(each[:2], -np.log(high[:2, 0]), rtol=1e-14)
        each, _, gradient = run(frontend, "binary_cross_entropy_from_probs", p, np.ones(p.shape), clamp=clamp)
        np.testing.assert_allclose(each, -np.log(high), rtol=1e-14)
        np.testing.assert_allclose(gradient, -1 / high / 6, rtol=1e-14)
        each, _, gradient = run(frontend, "binary_cross_entropy_from_probs", p, np.zeros(p.shape), clamp=clamp)
        low = np.maximum(1 - p, clamp)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(each, -np.maximum(np.log1p(-p), np.log(clamp)), rtol=1e-14)
        np.testing.assert_allclose(gradient, 1 / low / 6, rtol=1e-14)
    for dtype, tiny in TINY.items():
        zero = np.array([[0, 1]], NUMPY_DTYPES[dtype])
        each, _, gradient = run(frontend, "cross_entropy_from_probs", zero, np.array([0]))
        assert float(each[0]) == pytest.approx(-np.log(tiny), rel=1e-6)
        assert float(gradient[0, 0]) == -1 / tiny


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
def test_a_slope_beyond_half_precision_is_infinite_without_a_warning(frontend: str) -> None:
    zero = np.array([[0, 1]], np.float16)
    _, _, gradient = run(frontend, "cross_entropy_from_probs", zero, np.array([0]), clamp=1e-7)
    assert gradient[0, 0] == -np.inf
    _, _, gradient = run(frontend, "kl_divergence", zero, zero[:, ::-1], clamp=1e-7)
    assert gradient[0, 0] == -np.inf


OPTIONS: list[dict[str, Any]] = [
    {},
    {"reduction": "sum"},
    {"normalizer": 7.5},
    {"class_weight": np.array([1.0, 2.0, 0.5])},
    {"sample_weight": np.array([1.0, 0.0, 3.0, 0.5])},
    {"ignore_index": -100},
    {"ignore_index": 0},
    {"ignore_index": 1, "sample_weight": np.array([1.0, 0.5, 3.0, 0.5]), "class_weight": np.array([1.0, 2.0, 0.5])},
]


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_probabilities_of_logits_give_the_loss_of_logits(frontend: str, options: dict[str, Any]) -> None:
    """Every option, in value; and in the gradient through the softmax and the sigmoid."""
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(4, 3))
    index = np.array([0, 1, 2, 1])
    if options.get("ignore_index") == -100:
        index[2] = -100
    dense = rng.dirichlet(np.ones(3), 4)
    p = xent.softmax(logits)
    targets = [index] if "ignore_index" in options else [index, dense]
    for target in targets:
        _, loss, gradient = run(frontend, "cross_entropy_from_probs", p, target, **options)
        right, right_gradient = xent.value_and_grad(xent.softmax_cross_entropy)(logits, target, **options)
        assert float(loss) == pytest.approx(float(right), rel=1e-13)
        through = p * (gradient - (p * gradient).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(through, right_gradient, rtol=1e-12, atol=1e-15)
    labels = (rng.random((4, 3)) < 0.5).astype(int)
    if options.get("ignore_index") == -100:
        labels[1, 1] = -100
    s = xent.sigmoid(logits)
    _, loss, gradient = run(
        frontend, "binary_cross_entropy_from_probs", s, labels, pos_weight=np.ones(3) * 2, **options
    )
    right, right_gradient = xent.value_and_grad(xent.sigmoid_cross_entropy)(
        logits, labels, pos_weight=np.ones(3) * 2, **options
    )
    assert float(loss) == pytest.approx(float(right), rel=1e-13)
    np.testing.assert_allclose(gradient * s * (1 - s), right_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
def test_ignored_and_nothing(frontend: str) -> None:
    p = np.array([[np.nan, 2.0], [0.25, 0.75]])
    _, loss, gradient = run(
        frontend, "cross_entropy_from_probs", p, np.array([-100, 1]), ignore_index=-100, validate=False
    )
    assert float(loss) == pytest.approx(-np.log(0.75))
    np.testing.assert_array_equal(gradient[0], [0, 0])
    _, loss, gradient = run(
        frontend,
        "binary_cross_entropy_from_probs",
        p,
        np.array([[-1, -1], [0, 1]]),
        ignore_index=-1,
        validate=False,
    )
    assert float(loss) == pytest.approx(-np.log(0.75))
    np.testing.assert_array_equal(gradient[0], [0, 0])
    p = np.full((2, 2), 0.5)
    _, loss, gradient = run(frontend, "cross_entropy_from_probs", p, np.array([-100, -100]), ignore_index=-100)
    assert loss == 0
    assert not gradient.any()
    _, loss, gradient = run(frontend, "binary_cross_entropy_from_probs", p, np.full((2, 2), -1), ignore_index=-1)
    assert loss == 0
    assert not gradient.any()
    none = np.zeros((0, 3))
    for function, target in (
        ("cross_entropy_from_probs", np.zeros(0, int)),
        ("cross_entropy_from_probs", none),
        ("binary_cross_entropy_from_probs", none),
        ("kl_divergence", none),
    ):
        each, loss, gradient = run(frontend, function, none, target)
        assert loss == 0
        assert gradient.shape == (0, 3)
        assert each.size == 0


def test_divergence_identities() -> None:
    """KL = cross-entropy minus entropy; KL(t, t) = 0; never negative; weights and the mean are over rows."""
    q, t = distributions((50, 6), "float64"), distributions((50, 6), "float64", 5)
    q = np.maximum(q, 1e-6)
    kl = xent.kl_divergence(q, t, reduction="none")
    entropy = -np.where(t == 0, 0, t * np.log(np.where(t == 0, 1, t))).sum(axis=-1)
    np.testing.assert_allclose(
        kl, xent.cross_entropy_from_probs(q, t, reduction="none") - entropy, rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(xent.kl_divergence(t, t, reduction="none"), 0, atol=1e-15)
    weight = np.random.default_rng(1).uniform(size=50)
    mean = xent.kl_divergence(q, t, sample_weight=weight)
    assert float(mean) == pytest.approx((kl * weight).sum() / weight.sum(), rel=1e-13)
    assert float(xent.kl_divergence(q, t, normalizer=3.0)) == pytest.approx(kl.sum() / 3, rel=1e-13)
    assert float(xent.kl_divergence(q.T, t.T, axis=0)) == pytest.approx(kl.mean(), rel=1e-13)
    leaf = tensor(q.T.copy()).requires_grad_()
    (gradient,) = torch.autograd.grad(xent.kl_divergence(leaf, tensor(t.T), axis=0), leaf)
    np.testing.assert_allclose(gradient.numpy().T, -t / q / 50, rtol=1e-13)


def test_gradients_by_differences() -> None:
    p = tensor(distributions((3, 4), "float64")).clamp(min=0.05).requires_grad_()
    t = tensor(distributions((3, 4), "float64", 8)).clamp(0.05, 0.9).requires_grad_()
    w = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    for function in (xent.cross_entropy_from_probs, xent.binary_cross_entropy_from_probs, xent.kl_divergence):
        for reduction in ("mean", "none"):

            def loss(a: Any, b: Any, c: Any, f: Any = function, r: str = reduction) -> Any:
                return f(a, b, sample_weight=c, reduction=r, validate=False)

            assert torch.autograd.gradcheck(loss, (p, t, w))
            assert torch.autograd.gradgradcheck(loss, (p, t, w))

    def of_logs(a: torch.Tensor, b: torch.Tensor) -> Any:
        return xent.kl_divergence(a, b, log_predictions=True, log_targets=True, validate=False)

    a, b = (x.detach().log().requires_grad_() for x in (p, t))
    assert torch.autograd.gradcheck(of_logs, (a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_and_torch_agree(dtype: str) -> None:
    p, t = distributions((7, 9), dtype), distributions((7, 9), dtype, 6)
    for function in ("cross_entropy_from_probs", "binary_cross_entropy_from_probs", "kl_divergence"):
        one, other = (run(frontend, function, p, t, clamp=1e-4) for frontend in ("numpy", "torch"))
        for found, right in zip(one, other, strict=True):
            assert found.dtype == right.dtype
            tolerance = {"float64": 1e-12, "float32": 1e-4}.get(dtype, 2e-2)
            np.testing.assert_allclose(found.astype(float), right.astype(float), rtol=tolerance, atol=1e-5)


P = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
BAD: dict[str, tuple[type[Exception], str, str, tuple[Any, Any], dict[str, Any]]] = {
    "above": (
        ValueError,
        r"^probs: expected probabilities in \[0, 1\], got 1.5 at \(0, 1\). .*softmax_cross_entropy",
        "cross_entropy_from_probs",
        (np.array([[0.5, 1.5], [0.5, 0.5]], np.float32), np.array([0, 1])),
        {},
    ),
    "below": (
        ValueError,
        r"^probs: expected probabilities in \[0, 1\], got -0.5 at \(1, 0\). .*sigmoid_cross_entropy",
        "binary_cross_entropy_from_probs",
        (np.array([[0.5, 0.5], [-0.5, 0.5]], np.float32), P),
        {},
    ),
    "nan": (
        ValueError,
        r"^probs: expected probabilities in \[0, 1\], got nan at \(0, 0\). ",
        "cross_entropy_from_probs",
        (np.array([[np.nan, 0.5], [0.5, 0.5]], np.float32), np.array([0, 1])),
        {},
    ),
    "predictions": (
        ValueError,
        r"^predictions: expected probabilities in \[0, 1\], got 3.0 at \(0, 0\). ",
        "kl_divergence",
        (np.array([[3.0, 0.5], [0.5, 0.5]], np.float32), P),
        {},
    ),
    "targets": (
        ValueError,
        r"^targets: expected probabilities in \[0, 1\], got -1.0 at \(1, 1\). ",
        "kl_divergence",
        (P, np.array([[0.5, 0.5], [0.5, -1.0]], np.float32)),
        {},
    ),
    "log-predictions": (
        ValueError,
        r"^predictions: expected log-probabilities, at most 0, got 0.5 at \(0, 0\). ",
        "kl_divergence",
        (P, P),
        {"log_predictions": True},
    ),
    "labels": (
        ValueError,
        r"^labels: expected numbers in \[0, 1\], got 2.0 at \(0, 0\). .*validate=False",
        "binary_cross_entropy_from_probs",
        (P, np.array([[2.0, 0], [0, 1]])),
        {},
    ),
    "label-out-of-range": (
        IndexError,
        r"^labels: expected class indices in \[0, 2\), got label 2 in row 1. .*ignore_index",
        "cross_entropy_from_probs",
        (P, np.array([0, 2])),
        {},
    ),
    "shape": (
        ValueError,
        r"^targets: expected the shape of predictions, \(2, 2\), got shape \(2, 3\). ",
        "kl_divergence",
        (P, np.zeros((2, 3), np.float32)),
        {},
    ),
    "integer-probs": (
        TypeError,
        r"^probs: expected float32 or .*, got int64. ",
        "cross_entropy_from_probs",
        (np.ones((2, 2), int), np.array([0, 1])),
        {},
    ),
    "integer-probs-binary": (
        TypeError,
        r"^probs: expected float32 or .*, got int64. ",
        "binary_cross_entropy_from_probs",
        (np.ones((2, 2), int), P),
        {},
    ),
    "integer-targets": (
        TypeError,
        r"^targets: expected float32 or .*, got int64. ",
        "kl_divergence",
        (P, np.ones((2, 2), int)),
        {},
    ),
    "pos-weight": (
        ValueError,
        r"^pos_weight: expected a number or shape \(2,\): one weight a class, got shape \(3,\). ",
        "binary_cross_entropy_from_probs",
        (P, P),
        {"pos_weight": np.ones(3)},
    ),
    "class-weight-nan": (
        ValueError,
        r"^class_weight: expected finite numbers, got inf or NaN. ",
        "cross_entropy_from_probs",
        (P, np.array([0, 1])),
        {"class_weight": np.array([np.nan, 1.0])},
    ),
    "sample-weight-nan": (
        ValueError,
        r"^sample_weight: expected finite numbers, got inf or NaN. ",
        "kl_divergence",
        (P, P),
        {"sample_weight": np.array([np.nan, 1.0])},
    ),
}
for _name, _function in (
    ("ce", "cross_entropy_from_probs"),
    ("bce", "binary_cross_entropy_from_probs"),
    ("kl", "kl_divergence"),
):
    BAD |= {
        f"clamp-zero-{_name}": (
            ValueError,
            r"^clamp: expected a number in \(0, 1\), got 0.0. ",
            _function,
            (P, P),
            {"clamp": 0.0},
        ),
        f"clamp-nan-{_name}": (
            ValueError,
            r"^clamp: expected a number in \(0, 1\), got nan. ",
            _function,
            (P, P),
            {"clamp": float("nan")},
        ),
        f"clamp-text-{_name}": (
            TypeError,
            r"^clamp: expected a number or None, got str. ",
            _function,
            (P, P),
            {"clamp": "1e-7"},
        ),
        f"normalizer-of-a-sum-{_name}": (
            ValueError,
            r"^normalizer: expected None with reduction='sum', got 3. ",
            _function,
            (P, P),
            {"normalizer": 3, "reduction": "sum"},
        ),
        f"normalizer-of-none-{_name}": (
            ValueError,
            r"^normalizer: expected None with reduction='none', got 3. ",
            _function,
            (P, P),
            {"normalizer": 3, "reduction": "none"},
        ),
        f"reduction-{_name}": (
            ValueError,
            r"^reduction: expected 'mean', 'sum' or 'none', got 'avg'. ",
            _function,
            (P, P),
            {"reduction": "avg"},
        ),
    }


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
@pytest.mark.parametrize("bad", BAD)
def test_bad_input(frontend: str, bad: str) -> None:
    error, match, function, arguments, options = BAD[bad]
    if frontend == "torch":
        arguments = tuple(tensor(a) for a in arguments)
        options = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with pytest.raises(error, match=match):
        getattr(xent, function)(*arguments, **options)


def test_without_validation_anything_goes() -> None:
    for function in (xent.cross_entropy_from_probs, xent.binary_cross_entropy_from_probs, xent.kl_divergence):
        for to in (np.asarray, tensor):
            loss = function(to(np.array([[2.0, 0.5]])), to(np.array([[0.5, 0.5]])), validate=False)
            assert np.isfinite(float(loss))


def test_rounding_past_one_is_accepted() -> None:
    p = np.array([[1 + 2.0**-23, 0.0]], np.float32)
    for to in (np.asarray, tensor):
        assert float(xent.cross_entropy_from_probs(to(p), to(np.array([0])))) == pytest.approx(0, abs=1e-6)
        assert np.isfinite(float(xent.binary_cross_entropy_from_probs(to(p), to(np.array([[1, 0]])))))
