"""The elementary functions of each instruction set, seen through public results: exp, log1p, tanh, half precision."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import torch
import truth
from registry import NUMPY_DTYPES

import xent

# Domains of the exponential: near 0, ordinary, where range reduction turns over, down to the smallest normal number.
DOMAINS = {
    "tiny": (-1e-3, 0.0),
    "ordinary": (-20.0, 0.0),
    "deep": (-87.0, -60.0),
}


def relative(found: np.ndarray, exact: np.ndarray, dtype: str) -> float:
    """The largest relative error, in units of the machine epsilon: an ulp is one at most."""
    error = np.abs(truth.extended(found) / exact - 1)
    return float(error.max() / truth.Real(np.finfo(NUMPY_DTYPES[dtype]).eps))


def pairs(dtype: str, low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [0, d], and d as it is in `dtype`: their softmax is e^d / (1 + e^d) at class 1."""
    d = np.random.default_rng(0).uniform(low, high, count).astype(NUMPY_DTYPES[dtype])
    d[: count // 4] = np.linspace(low, high, count // 4).astype(NUMPY_DTYPES[dtype])
    d = np.minimum(d, NUMPY_DTYPES[dtype].type(0))
    return np.stack([np.zeros_like(d), d], axis=1), d


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp(instruction_set: str, dtype: str, domain: str) -> None:
    """At most an ulp for e^d, and half of one for the sum, its reciprocal and the product."""
    low, high = DOMAINS[domain]
    if dtype == "float64" and domain == "deep":
        low, high = -708.0, -500.0
    logits, d = pairs(dtype, low, high, 20_000)
    exact = np.exp(truth.extended(d)) / (1 + np.exp(truth.extended(d)))
    found = xent.softmax(logits)[:, 1]
    assert relative(found, exact, dtype) <= 1 + 3 * 0.5
    wide = np.full((200, 100), -np.inf, dtype)  # the long sweep, the rest of the row hidden
    wide[:, 7] = 0
    wide[:, 50:100] = d[: 200 * 50].reshape(200, 50)
    z = truth.softmax(wide)
    found = xent.softmax(wide)
    shown = truth.is_normal(z, dtype)
    assert relative(found[shown], z[shown], dtype) <= 1 + 3 * 0.5
    assert (found[:, :7] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_underflows_gradually(instruction_set: str, dtype: str) -> None:
    """Between the smallest normal number and 0 there are subnormal numbers, and beyond them exactly 0."""
    info = np.finfo(NUMPY_DTYPES[dtype])
    least = float(np.log(truth.Real(info.smallest_subnormal)))
    normal = float(np.log(truth.Real(info.smallest_normal)))
    for low, high in ((least, normal), (1.5 * least, least - 1)):
        logits, d = pairs(dtype, low, high, 4000)
        exact = np.exp(truth.extended(d))
        found = xent.softmax(logits)[:, 1]
        # a subnormal number has no digits to spare: an ulp is the spacing of all of them
        assert registry.worst(found, exact, dtype) <= 1 + 3 * 0.5
        assert (found[d < least - 1] == 0).all()
    assert (xent.softmax(np.array([[0.0, -1e30], [0.0, -np.inf]], dtype))[:, 1] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log1p(instruction_set: str, dtype: str) -> None:
    """log1p of sums from far below 1 to a million: the loss of a leading class is nothing else."""
    for shown, classes in ((2, 2), (3, 3), (2, 100), (3, 100)):
        d = -np.geomspace(1e-4, 80, 2001).astype(dtype)
        logits = np.full((len(d), classes), -np.inf, dtype)
        logits[:, 0] = 0
        logits[:, classes - shown + 1 :] = d[:, None]
        exact = np.log1p((shown - 1) * np.exp(truth.extended(d)))
        found = xent.softmax_cross_entropy(logits, np.zeros(len(d), int), reduction="none")
        # an ulp of e^d, one of log1p, the rounding of the result
        assert relative(found, exact, dtype) <= 1 + 1 + 0.5
        assert relative(xent.logsumexp(logits), exact, dtype) <= 1 + 1 + 0.5
    for gap in (0.0, 1e-30, 1e-8, 0.5, 2.0):
        logits = np.array([[gap, 0.0]], dtype)
        exact = np.log1p(np.exp(-truth.extended(logits[:, 0])))
        found = xent.softmax_cross_entropy(logits, np.array([0]), reduction="none")
        assert relative(found, exact, dtype) <= 1 + 1 + 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [2, 100])
def test_tanh_and_its_derivative(instruction_set: str, dtype: str, classes: int) -> None:
    """The soft cap through the loss of [x, 0]: -z of class 1 plus a softplus, from 1e-6 to far beyond the cap."""
    x = np.concatenate([np.geomspace(1e-6, 300, 3000), -np.geomspace(1e-6, 300, 3000)]).astype(dtype)
    logits = np.full((len(x), classes), -np.inf, dtype)
    logits[:, 0], logits[:, 1] = x, 0
    for cap in (1.0, 30.0):
        # with -inf capped to -cap, classes beyond the second are hidden by hand
        shown = logits[:, :2] if classes == 2 else np.where(np.isinf(logits), np.finfo(dtype).min, logits)
        batch = registry.Batch(shown, np.ones(len(x), int), {"softcap": cap, "reduction": "none"})
        upstream = np.linspace(0.5, 1.5, len(x)).astype(dtype)
        exact, rival = registry.truth_of(batch, upstream), registry.rival(batch, upstream)
        registry.assert_no_worse(batch, registry.on_torch(batch, upstream), rival, exact, f"cap {cap}")


def every_half(dtype: str) -> np.ndarray:
    bits = np.arange(2**16, dtype=np.uint16)
    return bits.view(NUMPY_DTYPES[dtype])


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # signalling NaNs, in ml_dtypes
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_half_precision_number_is_read_right(instruction_set: str, dtype: str, axis: int) -> None:
    """Each of the 65536 as the only logit of a row: its log-sum-exp is itself."""
    for classes in (1, 100):
        values = every_half(dtype)
        finite = np.isfinite(values.astype(np.float64))
        logits = np.full((len(values), classes), -np.inf).astype(values.dtype)
        logits[:, classes // 2] = values
        found = xent.softmax_cross_entropy(
            np.ascontiguousarray(np.moveaxis(logits, -1, axis)),
            np.full(len(values), classes // 2),
            axis=axis,
            return_stats=True,
            reduction="none",
        )[1].lse
        np.testing.assert_array_equal(found[finite], values[finite].astype(np.float32))
        assert np.isnan(found[np.isnan(values.astype(np.float64))]).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_to_the_nearest(instruction_set: str, dtype: str) -> None:
    """Gradients in half precision are the float32 gradients, rounded to nearest even as torch rounds."""
    rng = np.random.default_rng(1)
    for shape in ((500, 3), (50, 300)):
        logits = (rng.normal(size=shape) * 4).astype(NUMPY_DTYPES[dtype])
        labels = rng.integers(0, shape[1], shape[0])
        upstream = torch.from_numpy((rng.normal(size=shape[0]) * np.geomspace(1e-9, 1e6, shape[0])).astype(np.float32))
        gradients = []
        for kind in (registry.TORCH_DTYPES[dtype], torch.float32):
            leaf = registry.tensor(logits).to(kind).requires_grad_()
            loss = xent.softmax_cross_entropy(leaf, torch.from_numpy(labels), reduction="none")
            gradients.append(torch.autograd.grad(loss, leaf, upstream)[0])
        assert torch.equal(gradients[0], gradients[1].to(registry.TORCH_DTYPES[dtype]))
        assert gradients[0].isinf().any() == (dtype == "float16")  # overflow is infinite, as in torch
        assert (gradients[0] == 0).any() or dtype == "bfloat16"


def test_the_sets_agree_to_the_accuracy_they_promise() -> None:
    """Whatever the width of the vectors, results differ by rounding alone."""
    from xent import _native

    batch = registry.make_batch(registry.CASE_BY_NAME["index-smoothed"], (33,), 777)
    exact = registry.truth_of(batch)
    results = {}
    for name in _native.instruction_sets():
        assert _native.use_instruction_set(name)
        results[name] = registry.on_numpy(batch)
    assert _native.use_instruction_set("")
    for loss, gradient in results.values():
        assert registry.worst(loss, exact.loss, "float32") <= 1
        assert np.abs(gradient - results["portable"][1]).max() <= 4 * np.spacing(np.abs(gradient).max())
