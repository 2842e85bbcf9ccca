"""Accuracy of the losses of single numbers: no further from the truth than torch, plus an ulp; absolute bounds.

Sizes: 1 and 3 are shorter than a vector, 33 is off every vector, 1023 to 1025 straddle a block.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import elementwise_cases as cases
import elementwise_truth
import numpy as np
import pytest
import registry
import torch
import truth
from elementwise_cases import CASE_BY_NAME, CASES, Batch, Case, make_batch, upstream_of
from registry import DTYPES, NUMPY_DTYPES, accumulated

import xent

SHAPES = ((1, 1), (7, 3), (5, 33), (1, 1023), (1, 1024), (2, 1025), (201, 2))
SCALES = (3.0, 30.0)


@cache
def prepared(name: str, dtype: str, shape: tuple[int, ...], scale: float, reduction: str) -> tuple[Any, ...]:
    """(batch, upstream, truth, rival): the same for every instruction set."""
    batch = make_batch(CASE_BY_NAME[name], shape, dtype=dtype, scale=scale)
    if reduction != "mean":
        batch.options.pop("normalizer", None)
    batch = batch.but(reduction=reduction)
    upstream = upstream_of(batch) if reduction == "none" else np.float64(1.75)
    return batch, upstream, cases.truth_of(batch, upstream), cases.rival(batch, upstream)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_worse_than_torch(instruction_set: str, dtype: str, case: Case) -> None:
    for scale in SCALES:
        pooled: list[list[np.ndarray]] = [[], [], [], []]
        for shape in SHAPES:
            batch, upstream, exact, rival = prepared(case.name, dtype, shape, scale, "none")
            found = cases.on_torch(batch, upstream)
            assert found[0].dtype == NUMPY_DTYPES[accumulated(dtype)]
            assert found[1].dtype == NUMPY_DTYPES[dtype]
            assert found[0].shape == found[1].shape == shape
            for at, result in enumerate((found, rival)):
                pooled[at].append(cases.loss_errors(result[0], exact, dtype).ravel())
                pooled[2 + at].append(cases.gradient_errors(result[1], exact, dtype).ravel())
        error, rival_error, of_gradient, of_rival = (registry.typical(np.concatenate(p)) for p in pooled)
        assert error <= rival_error + 1, f"scale {scale}: loss off by {error} ulps, torch's by {rival_error}"
        assert of_gradient <= of_rival + 1, f"scale {scale}: gradient off by {of_gradient} ulps, torch's by {of_rival}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_means_in_one_pass_are_no_worse_than_torch(instruction_set: str, dtype: str, case: Case) -> None:
    losses, gradients, typical_of_rival = [], [], []
    for shape in SHAPES:
        batch, upstream, exact, rival = prepared(case.name, dtype, shape, 3.0, "mean")
        found = cases.on_torch(batch, upstream)
        losses.append([cases.loss_errors(r[0], exact, dtype) for r in (found, rival)])
        gradients.append([cases.gradient_errors(r[1], exact, dtype).ravel() for r in (found, rival)])
        each = prepared(case.name, dtype, shape, 3.0, "none")
        typical_of_rival.append(cases.loss_errors(each[3][0], each[2], dtype).ravel())
        assert not np.isnan(found[0])
    errors, rival_errors = (registry.typical(np.array([pair[i] for pair in losses])) for i in (0, 1))
    # a mean may be as lucky as a single number is: what counts is the rival's error in the elements it is made of
    assert errors <= max(rival_errors, registry.typical(np.concatenate(typical_of_rival))) + 1
    errors, rival_errors = (registry.typical(np.concatenate([pair[i] for pair in gradients])) for i in (0, 1))
    assert errors <= rival_errors + 1


@cache
def many(dtype: str, size: int, scale: float) -> tuple[Any, ...]:
    batch = make_batch(CASE_BY_NAME["hard"], (size,), dtype=dtype, scale=scale).but(reduction="sum")
    return batch, cases.truth_of(batch), cases.rival(batch)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_many_are_no_worse_than_torch(instruction_set: str, dtype: str) -> None:
    """Equal terms, whose roundings add up, and random ones."""
    errors, rival_errors = [], []
    for size in (1000, 1024, 4097, 65537, 150_001):
        for scale in (0.0, 3.0):
            batch, exact, rival = many(dtype, size, scale)
            errors.append(cases.loss_errors(cases.value_on_numpy(batch), exact, dtype))
            rival_errors.append(cases.loss_errors(rival, exact, dtype))
    assert registry.typical(np.array(errors)) <= registry.typical(np.array(rival_errors)) + 1


def relative(found: Any, exact: Any) -> np.ndarray:
    found, exact = truth.extended(found), truth.extended(exact)
    return np.where(found == exact, 0, np.abs(found - exact) / np.where(exact == 0, 1, np.abs(exact)))


GRID = np.concatenate(
    [np.linspace(-88, 88, 1761), [60.0, -60.0, 60.2345, -60.2345, 88.0, -88.0, 1e-30, -1e-30, 0.0, 0.4054651, 1e-4]]
).astype(np.float32)


def test_losses_that_are_tiny_are_right_to_1e_6(instruction_set: str) -> None:
    """Certain and right up to a margin of 88, where the loss is e^-88."""
    for label in (0, 1):
        labels = np.full(GRID.shape, label)
        for function, y in (("sigmoid_cross_entropy", labels), ("logistic_loss", 2 * labels - 1)):
            batch = Batch(function, GRID, y, {"reduction": "none"})
            exact = cases.truth_of(batch, np.ones(GRID.shape))
            loss, gradient = cases.on_torch(batch, np.ones(GRID.shape, np.float32))
            assert relative(loss, exact.loss).max() <= 1e-6
            assert relative(gradient, exact.logits_grad).max() <= 1e-6
    exact = -elementwise_truth.softplus(-truth.extended(GRID))
    assert relative(xent.log_sigmoid(GRID), exact).max() <= 1e-6
    assert relative(xent.sigmoid(GRID), elementwise_truth.sigmoid(truth.extended(GRID))).max() <= 1e-6


@pytest.mark.parametrize("soft", [1e-6, 0.01, 0.3, 0.5, 0.999, 1 - 2.0**-24])
def test_losses_of_soft_labels_are_right_to_1e_6(instruction_set: str, soft: float) -> None:
    labels = np.full(GRID.shape, soft, np.float32)
    batch = Batch("sigmoid_cross_entropy", GRID, labels, {"reduction": "none"})
    exact = cases.truth_of(batch, np.ones(GRID.shape))
    loss, _ = cases.on_torch(batch, np.ones(GRID.shape, np.float32))
    assert relative(loss, exact.loss).max() <= 1e-6


@pytest.mark.parametrize("smoothing", [1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0])
def test_losses_of_smoothed_labels_are_right_to_1e_6(instruction_set: str, smoothing: float) -> None:
    """The share of the other side, ε/2, must not be made as 1 - t, which cancels."""
    for label in (0, 1):
        batch = Batch("sigmoid_cross_entropy", GRID, np.full(GRID.shape, label), {"reduction": "none"})
        batch = batch.but(label_smoothing=smoothing)
        exact = cases.truth_of(batch, np.ones(GRID.shape))
        loss, _ = cases.on_torch(batch, np.ones(GRID.shape, np.float32))
        assert relative(loss, exact.loss).max() <= 1e-6, label


MODULATED = (
    ("sigmoid_focal_cross_entropy", {"gamma": 2.0}),
    ("sigmoid_focal_cross_entropy", {"gamma": 5.0, "alpha": None}),
    ("sigmoid_focal_cross_entropy", {"gamma": 0.5}),
    ("sigmoid_focal_cross_entropy", {"gamma": 1.0, "alpha": 0.9}),
    ("asymmetric_sigmoid_cross_entropy", {"clip": 0.0}),
    ("asymmetric_sigmoid_cross_entropy", {}),
)


@pytest.mark.parametrize(("function", "options"), MODULATED, ids=lambda v: str(v))
def test_modulated_losses_that_are_tiny_are_right(instruction_set: str, function: str, options: dict[str, Any]) -> None:
    """To 1e-6 where p is not next to the clip, as long as the loss is a normal number."""
    for label in (0, 1):
        batch = Batch(function, GRID, np.full(GRID.shape, label), {**options, "reduction": "none"})
        exact = cases.truth_of(batch, np.ones(GRID.shape))
        loss, gradient = cases.on_torch(batch, np.ones(GRID.shape, np.float32))
        assert (loss >= 0).all()
        away = np.ones(GRID.shape, bool)
        if options == {} and label == 0:
            away = np.abs(elementwise_truth.sigmoid(truth.extended(GRID)) - 0.05) > 0.1 * (GRID > -2.944439)
        for found, right in ((loss, exact.loss), (gradient, exact.logits_grad)):
            normal = truth.is_normal(right, "float32") & away
            assert relative(found, right)[normal].max() <= 1e-6, label
            small = ~truth.is_normal(right, "float32") & away
            assert (np.abs(truth.extended(found))[small] <= np.ldexp(truth.Real(1), -125)).all(), label


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("function", "options"), MODULATED, ids=lambda v: str(v))
def test_modulated_losses_in_half_precision(
    instruction_set: str, dtype: str, function: str, options: dict[str, Any]
) -> None:
    """|x| up to 60, where e^x overflows and 1 - p vanishes in half precision: both stay finite and right."""
    x = np.linspace(-60, 60, 2401).astype(NUMPY_DTYPES[dtype])
    for label in (0, 1):
        batch = Batch(function, x, np.full(x.shape, label), {**options, "reduction": "none"})
        exact = cases.truth_of(batch, np.ones(x.shape))
        loss, gradient = cases.on_torch(batch, np.ones(x.shape, np.float32))
        assert np.isfinite(loss).all()
        assert truth.ulps(gradient, exact.logits_grad, dtype).max() <= 1
        rival = cases.rival(batch, np.ones(x.shape))
        normal = truth.is_normal(exact.loss, "float32")
        error, rival_error = (
            registry.typical(cases.loss_errors(r[0], exact, dtype)[normal]) for r in ((loss, gradient), rival)
        )
        assert error <= rival_error + 1


EXTREMES = np.array([-np.inf, -1000.0, -104.0, -88.0, -0.0, 0.0, 88.0, 104.0, 1000.0, np.inf])
PLAIN = [c for c in CASES if c.function != "pinball_loss"]


@pytest.mark.parametrize("case", PLAIN, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_at_the_extremes(instruction_set: str, dtype: str, case: Case) -> None:
    """At ±inf, ±1000 and 0 gradients are finite and right; the loss is infinite only where the formula says so."""
    for repeat in (1, 40):
        x = np.repeat(EXTREMES, 2 * repeat)[None].astype(NUMPY_DTYPES[dtype])
        batch = make_batch(case, x.shape, dtype=dtype)
        labels = np.tile([0, 1], EXTREMES.size * repeat)[None].astype(batch.labels.dtype)
        batch = batch.on(x, labels * 2 - 1 if case.labels == "signs" else labels)
        for reduction in ("none", "sum"):
            one = Batch(
                batch.function,
                batch.logits,
                batch.labels,
                {**batch.options, "reduction": reduction, "normalizer": None},
            )
            upstream = np.ones(x.shape, np.float32) if reduction == "none" else 1.0
            exact = cases.truth_of(one, upstream)
            loss, gradient = cases.on_torch(one, upstream)
            assert np.isfinite(gradient.astype(np.float64)).all()
            error = cases.gradient_errors(gradient, exact, dtype)
            # numbers made of subnormal ones have no digits to compare
            error = np.where(exact.logits_grad_terms < 2.0**-100, 0, error)
            assert error.max() <= 4, (reduction, x.ravel()[error.argmax()])
            np.testing.assert_array_equal(np.isposinf(loss), np.isposinf(exact.loss))
            assert not np.isnan(loss).any()
            if reduction == "sum":
                assert cases.on_numpy(one)[1].tobytes() == gradient.tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_nan_is_seen(instruction_set: str, case: Case) -> None:
    """A NaN logit gives a NaN loss and gradient, in the middle of a vector and in a tail."""
    for size, at in ((40, 3), (40, 39), (1, 0)):
        batch = make_batch(replace(case, ignore=False, sample_weight=""), (1, size)).but(reduction="none")
        batch.options.pop("normalizer", None)
        batch.logits[0, at] = np.nan
        loss, gradient = cases.on_torch(batch, np.ones((1, size), np.float32))
        expected = np.arange(size)[None] == at
        np.testing.assert_array_equal(np.isnan(loss), expected)
        if case.function != "pinball_loss":
            np.testing.assert_array_equal(np.isnan(gradient), expected)
        assert np.isnan(cases.value_on_numpy(batch, reduction="mean"))


ACTIVATIONS = {
    "sigmoid": (elementwise_truth.sigmoid, torch.sigmoid),
    "log_sigmoid": (lambda x: -elementwise_truth.softplus(-x), torch.nn.functional.logsigmoid),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_no_worse_than_torch(instruction_set: str, dtype: str, name: str) -> None:
    oracle, torch_function = ACTIVATIONS[name]
    function = getattr(xent, name)
    for scale in (1e-3, 3.0, 30.0):
        for shape in ((), (1,), (33,), (5, 1025)):
            x = np.asarray(np.random.default_rng(1).normal(size=shape) * scale).astype(NUMPY_DTYPES[dtype])
            exact = oracle(truth.extended(x))
            found = function(x)
            assert found.shape == shape
            assert found.dtype == NUMPY_DTYPES[dtype]
            leaf = registry.tensor(x).requires_grad_()
            rival = torch_function(leaf)
            normal = truth.is_normal(exact, dtype)
            error, rival_error = (
                registry.typical(truth.ulps(r, exact, dtype)[normal]) for r in (found, registry.array(rival))
            )
            assert error <= rival_error + 1
            own = registry.tensor(x).requires_grad_()
            on_torch = function(own)
            assert registry.array(on_torch).tobytes() == np.asarray(found).tobytes()
            upstream = registry.tensor(np.random.default_rng(2).normal(size=shape).astype(NUMPY_DTYPES[dtype]))
            z = truth.extended(x)
            p, wrong = elementwise_truth.sigmoid(z), elementwise_truth.sigmoid(-z)
            slope = truth.extended(registry.array(upstream)) * (p * wrong if name == "sigmoid" else wrong)
            gradient, rival_gradient = (
                registry.array(torch.autograd.grad(y, at, upstream)[0]) for y, at in ((on_torch, own), (rival, leaf))
            )
            normal = truth.is_normal(slope, dtype)
            error, rival_error = (
                registry.typical(truth.ulps(r, slope, dtype)[normal]) for r in (gradient, rival_gradient)
            )
            assert error <= rival_error + 1, f"gradient at scale {scale}: {error} ulps, torch's {rival_error}"


def test_activations_at_the_extremes(instruction_set: str) -> None:
    x = np.array([-np.inf, -1000.0, 0.0, 1000.0, np.inf, np.nan])
    for dtype in DTYPES:
        at = x.astype(NUMPY_DTYPES[dtype])
        np.testing.assert_array_equal(xent.sigmoid(at).astype(float), [0, 0, 0.5, 1, 1, np.nan])
        found = xent.log_sigmoid(at).astype(np.float64)
        np.testing.assert_array_equal(found[[0, 1, 3, 4, 5]], [-np.inf, -1000.0, 0, 0, np.nan])
        leaf = registry.tensor(at).requires_grad_()
        (gradient,) = torch.autograd.grad(xent.log_sigmoid(leaf).sum(), leaf)
        np.testing.assert_array_equal(gradient.double().numpy(), [1, 1, 0.5, 0, 0, np.nan])
        (gradient,) = torch.autograd.grad(xent.sigmoid(leaf).sum(), leaf)
        np.testing.assert_array_equal(gradient.double().numpy(), [0, 0, 0.25, 0, 0, np.nan])


def test_labels_of_every_dtype() -> None:
    """0/1 labels are the same numbers whatever they are stored as."""
    for dtype in DTYPES:
        batch = make_batch(CASE_BY_NAME["hard"], (5, 67), dtype=dtype)
        loss, gradient = cases.on_numpy(batch)
        kinds = [
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float32",
            "float64",
            "float16",
            "bfloat16",
        ]
        for kind in kinds:
            other = batch.on(batch.logits, batch.labels.astype(NUMPY_DTYPES.get(kind) or np.dtype(kind)))
            for run in (cases.on_numpy, cases.on_torch):
                found = run(other)
                assert found[0] == loss, kind
                assert found[1].tobytes() == gradient.tobytes(), kind


@pytest.mark.parametrize("label_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_labels_of_another_dtype(instruction_set: str, dtype: str, label_dtype: str) -> None:
    for name in ("soft", "everything", "asymmetric-everything", "pinball"):
        batch = make_batch(CASE_BY_NAME[name], (9, 131), dtype=dtype, label_dtype=label_dtype).but(reduction="none")
        upstream = upstream_of(batch)
        cases.assert_no_worse(
            batch, cases.on_torch(batch, upstream), cases.rival(batch, upstream), cases.truth_of(batch, upstream), name
        )


@pytest.mark.parametrize("weight_dtype", ["float16", "float32", "float64", "bfloat16", "int32", "uint8", "bool"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_weights_of_another_dtype(dtype: str, weight_dtype: str) -> None:
    kind = NUMPY_DTYPES.get(weight_dtype) or np.dtype(weight_dtype)
    rng = np.random.default_rng(8)
    batch = make_batch(CASE_BY_NAME["soft"], (9, 131), dtype=dtype).but(
        reduction="none",
        pos_weight=rng.uniform(1, 5, 131).astype(kind),
        class_weight=rng.uniform(1, 5, 131).astype(kind),
        sample_weight=rng.uniform(1, 5, 9).astype(kind),
    )
    upstream = upstream_of(batch)
    exact, rival = cases.truth_of(batch, upstream), cases.rival(batch, upstream)
    found = cases.on_torch(batch, upstream)
    cases.assert_no_worse(batch, found, rival, exact, weight_dtype)
    np.testing.assert_array_equal(cases.value_on_numpy(batch), found[0])


def layouts(dtype: str) -> dict[str, np.ndarray]:
    """Logits of every memory layout."""
    rng = np.random.default_rng(3)

    def x(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 3).astype(NUMPY_DTYPES[dtype])

    misaligned = np.zeros(7 * 90 * 8 + 8, np.uint8)[1:][: 7 * 90 * NUMPY_DTYPES[dtype].itemsize]
    misaligned = misaligned.view(NUMPY_DTYPES[dtype]).reshape(7, 90)
    misaligned[...] = x(7, 90)
    found = {
        "scalar": x(),
        "vector": x(33),
        "matrix": x(5, 1025),
        "images": x(2, 3, 5, 33),
        "transposed": x(90, 7).T,
        "channels-last": np.moveaxis(x(2, 6, 7, 19), -1, 1),
        "permuted": x(3, 4, 5, 6).transpose(2, 0, 3, 1),
        "sliced-rows": x(12, 50)[::2],
        "sliced-both": x(12, 200)[::3, 5:105:2],
        "reversed": x(1030)[::-1],
        "reversed-rows": x(7, 90)[::-1],
        "reversed-both": x(7, 90)[::-1, ::-1],
        "broadcast-rows": np.broadcast_to(x(1, 90), (7, 90)),
        "broadcast-classes": np.broadcast_to(x(7, 1), (7, 90)),
        "broadcast-inside": np.broadcast_to(x(3, 1, 8), (3, 5, 8)),
        "misaligned": misaligned,
        "fortran": np.asfortranarray(x(4, 5, 6)),
        "windows": np.lib.stride_tricks.sliding_window_view(x(100), 70),
        "read-only": x(5, 9),
    }
    found["read-only"].flags.writeable = False
    if dtype != "bfloat16":
        found["big-endian"] = x(6, 70).astype(NUMPY_DTYPES[dtype].newbyteorder(">"))
    return found


LAYOUTS = tuple(layouts("float32"))
LAYOUT_CASES = ("hard", "everything", "asymmetric-everything", "pinball-weights", "weights-with-ones", "row-weights")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_layout_gives_the_same_bits(instruction_set: str, dtype: str, layout: str) -> None:
    """Memory order decides nothing about an element; labels and weights as they come, or laid out like the logits."""
    logits = layouts(dtype)[layout]
    plain = np.ascontiguousarray(logits).astype(NUMPY_DTYPES[dtype]).reshape(logits.shape)
    before = logits.copy()
    errors: dict[str, list[np.ndarray]] = {"layout": [], "plain": []}
    for name in LAYOUT_CASES:
        if logits.ndim == 0 and name not in ("hard", "pinball-weights"):
            continue
        batch = make_batch(CASE_BY_NAME[name], logits.shape, dtype=dtype)
        turned = np.asfortranarray(batch.labels).reshape(logits.shape) if logits.ndim else batch.labels
        for labels in (batch.labels, turned):
            one = batch.on(logits, labels)
            like = batch.on(plain)
            each, expected = (cases.value_on_numpy(b, reduction="none", normalizer=None) for b in (one, like))
            assert each.tobytes() == expected.tobytes(), name
            loss, gradient = cases.on_numpy(one)
            right, right_gradient = cases.on_numpy(like)
            exact = cases.truth_of(like)
            errors["layout"].append(cases.loss_errors(loss, exact, dtype))
            errors["plain"].append(cases.loss_errors(right, exact, dtype))
            assert gradient.shape == logits.shape
            assert gradient.dtype == NUMPY_DTYPES[dtype]
            assert gradient.tobytes() == right_gradient.tobytes(), name
    error, plain_error = (registry.typical(np.array(errors[side])) for side in ("layout", "plain"))
    assert error <= plain_error + 1
    np.testing.assert_array_equal(logits, before)


TORCH_LAYOUTS = {
    "scalar": lambda x: x(),
    "channels-last": lambda x: x(2, 19, 6, 7).contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x(90, 7).T,
    "sliced": lambda x: x(12, 200)[::2, 5:105],
    "strided": lambda x: x(12, 201)[:, ::3],
    "expanded-rows": lambda x: x(1, 90).expand(7, 90),
    "expanded-classes": lambda x: x(7, 1).expand(7, 90),
    "unfolded": lambda x: x(100).unfold(0, 70, 1),
    "permuted": lambda x: x(3, 4, 5, 66).permute(2, 0, 1, 3),
    "offset": lambda x: x(501)[1:].view(5, 100),
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layout_of_tensors(instruction_set: str, dtype: str, layout: str) -> None:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(registry.TORCH_DTYPES[dtype])

    logits = TORCH_LAYOUTS[layout](draw)
    before, values = logits.clone(), registry.array(logits.clone(memory_format=torch.contiguous_format))
    for name in LAYOUT_CASES:
        if logits.ndim == 0 and name != "hard":
            continue
        batch = make_batch(CASE_BY_NAME[name], values.shape, dtype=dtype).on(values)
        for reduction in ("none", "mean"):
            one = batch.but(reduction=reduction)
            upstream: Any = upstream_of(one) if reduction == "none" else 1.5
            found, expected = cases.on_torch(one, upstream, logits), cases.on_torch(one, upstream)
            assert found[0].tobytes() == expected[0].tobytes() or reduction == "mean", name
            assert truth.ulps(found[0], expected[0], "float32").max() <= 1, name
            assert found[1].tobytes() == expected[1].tobytes(), name
    assert torch.equal(logits, before)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_and_torch_agree_to_the_bit(instruction_set: str, dtype: str, case: Case) -> None:
    for shape in ((1,), (33,), (5, 1025), (3, 4, 7)):
        batch = make_batch(case, shape, dtype=dtype)
        (loss, gradient), (torch_loss, torch_gradient) = cases.on_numpy(batch), cases.on_torch(batch)
        assert loss == torch_loss
        assert gradient.tobytes() == torch_gradient.tobytes()
        assert loss.dtype == torch_loss.dtype
        each = cases.value_on_numpy(batch, reduction="none", normalizer=None)
        once = cases.on_torch(batch.but(reduction="none", normalizer=None), np.ones(shape))
        assert each.tobytes() == once[0].tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_an_element_does_not_depend_on_its_batch(instruction_set: str, case: Case) -> None:
    """Alone (in a tail) or among others (in a vector) an element's loss and gradient are the same bits."""
    batch = make_batch(case, (3, 1030)).but(reduction="none", normalizer=None)
    ones = np.ones((3, 1030), np.float32)
    loss, gradient = cases.on_torch(batch, ones)
    for rows, columns in ((slice(1, 2), slice(5, 6)), (slice(0, 3), slice(1, 20)), (slice(2, 3), slice(17, 1030))):
        options = dict(batch.options)
        for name in ("pos_weight", "sample_weight"):
            if isinstance(options.get(name), np.ndarray):
                w = options[name]
                if name == "sample_weight" and w.ndim == 1:
                    options[name] = w[rows]
                else:
                    index = {0: (), 1: (columns,), 2: (rows, columns)}[w.ndim]
                    options[name] = w[rows] if w.shape == (3, 1) else w[index]
        if "class_weight" in options:
            options["class_weight"] = options["class_weight"][columns]
        part = Batch(case.function, batch.logits[rows, columns], batch.labels[rows, columns], options)
        found = cases.on_torch(part, ones[rows, columns])
        assert found[0].tobytes() == loss[rows, columns].tobytes()
        assert found[1].tobytes() == gradient[rows, columns].tobytes()


@pytest.mark.parametrize("name", ["everything", "asymmetric", "pinball", "row-weights"])
def test_results_do_not_depend_on_threads(instruction_set: str, keep_threads: None, name: str) -> None:
    for shape in ((7, 3), (401, 300), (2, 70_001)):
        results = []
        for count in (1, 2, 3):
            xent.set_num_threads(count)
            batch = make_batch(CASE_BY_NAME[name], shape)
            results.append((*cases.on_numpy(batch), *cases.on_torch(batch.but(reduction="none"), upstream_of(batch))))
        first = [np.asarray(r).tobytes() for r in results[0]]
        assert all([np.asarray(r).tobytes() for r in other] == first for other in results[1:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_is_no_worse_than_torch(dtype: str) -> None:
    """The oracle of the kernels, on NumPy's own array API."""
    from xent.kernels import reference
    from xent.options import sigmoid_options

    for scale in SCALES:
        batch = make_batch(CASE_BY_NAME["soft"], (5, 1025), dtype=dtype, scale=scale).but(reduction="none")
        ones = np.ones((5, 1025))
        exact, rival = cases.truth_of(batch, ones), cases.rival(batch, ones)
        loss = reference.elementwise_loss(np, sigmoid_options(reduction="none"), batch.logits, batch.labels)
        error = registry.typical(cases.loss_errors(loss, exact, dtype))
        assert error <= registry.typical(cases.loss_errors(rival[0], exact, dtype)) + 1
