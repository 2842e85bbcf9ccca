"""Accuracy of softmax cross-entropy: no further from extended precision than torch, plus an ulp; and absolute bounds.

Sizes: 1 to 3 classes are degenerate, 10 and 17 are short and odd, 63 to 65 straddle the longest short row, 100 and 1000
are off every vector, 4096 and 4097 straddle a block, 5000, 32001 and 128257 are vocabularies off every block, 300007 no
longer keeps its exponentials. Numbers of rows are off every tile, and large enough that neither side wins by luck.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import registry
import torch
import truth
from registry import CASE_BY_NAME, CASES, DTYPES, NUMPY_DTYPES, Batch, Case, accumulated, make_batch

import xent

SHORT = (1, 2, 3, 10, 17, 63, 64, 65, 100)
LONG = (1000, 4096, 4097, 5000, 32001)
EVERYTHING = ("index-everything", "dense-everything", "topk-everything")
# Half precision differs from float32 where memory is read and written, and nowhere else: a few cases say it all.
CASES_OF_DTYPES = [
    (dtype, case)
    for dtype in DTYPES
    for case in CASES
    if dtype in ("float32", "float64") or case.name in ("index", "index-ignored", "dense", "topk", *EVERYTHING)
]


def upstream_of(batch: Batch) -> np.ndarray:
    """An upstream gradient for each row, exact in the dtype of the loss."""
    rng = np.random.default_rng(99)
    rows = np.moveaxis(batch.logits, batch.axis, -1).shape[:-1]
    return rng.normal(size=rows).astype(NUMPY_DTYPES[accumulated(batch.dtype)])


def rows_for(classes: int) -> int:
    return 301 if classes <= 17 else 101 if classes <= 100 else 37 if classes <= 1000 else 11 if classes <= 5000 else 5


@cache
def prepared(name: str, dtype: str, classes: int, reduction: str) -> tuple[Any, ...]:
    """(batch, upstream, truth, rival's errors, rival's loss): the same for every instruction set."""
    batch = make_batch(CASE_BY_NAME[name], (rows_for(classes),), classes, dtype=dtype)
    if reduction != "mean":
        batch.options.pop("normalizer", None)
    batch = batch.but(reduction=reduction)
    upstream = upstream_of(batch) if reduction == "none" else np.float64(1.75)
    exact, rival = registry.truth_of(batch, upstream), registry.rival(batch, upstream)
    return batch, upstream, exact, registry.errors_of(batch, rival, exact), rival[0]


@pytest.mark.parametrize(("dtype", "case"), CASES_OF_DTYPES, ids=lambda x: getattr(x, "name", x))
def test_short_rows_are_no_worse_than_torch(instruction_set: str, dtype: str, case: Case) -> None:
    for classes in SHORT:
        batch, upstream, exact, rival, _ = prepared(case.name, dtype, classes, "none")
        found = registry.on_torch(batch, upstream)
        registry.assert_no_worse(batch, found, rival, exact, f"{classes} classes")


@pytest.mark.parametrize(
    ("dtype", "case"), [x for x in CASES_OF_DTYPES if x[0] != "float16"], ids=lambda x: getattr(x, "name", x)
)
def test_means_in_one_pass_are_no_worse_than_torch(instruction_set: str, dtype: str, case: Case) -> None:
    losses = []
    for classes in SHORT:
        batch, upstream, exact, rival, rival_loss = prepared(case.name, dtype, classes, "mean")
        found = registry.on_torch(batch, upstream)
        registry.assert_no_worse(batch, (exact.loss, found[1]), rival, exact, f"{classes} classes")
        losses.append((found[0], rival_loss, exact.loss))
    errors, rival_errors = (
        np.array([truth.ulps(loss[i], loss[2], accumulated(dtype)) for loss in losses]) for i in (0, 1)
    )
    # a mean may be as lucky as a single number is: what counts is the rival's error in the rows it is made of
    rows = max(prepared(case.name, dtype, classes, "none")[3].loss for classes in SHORT)
    assert registry.typical(errors) <= max(registry.typical(rival_errors), rows) + 1


@pytest.mark.parametrize("name", ["index", "index-smoothed-class-weights", "one-hot-smoothed", *EVERYTHING])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_are_no_worse_than_torch(instruction_set: str, dtype: str, name: str) -> None:
    for classes in LONG:
        batch, upstream, exact, rival, _ = prepared(name, dtype, classes, "none")
        found = registry.on_torch(batch, upstream)
        registry.assert_no_worse(batch, found, rival, exact, f"{classes} classes")


@cache
def demanding_batch(condition: str, classes: int) -> tuple[Batch, np.ndarray, truth.Truth]:
    """float32 logits as the conditions of the absolute bounds ask for them, with truth."""
    rows = 1 if classes > 200_000 else 3 if classes > 20_000 else 7
    scale = {"small": 1e-3, "large": 40.0}.get(condition, 1.0)
    batch = make_batch(CASE_BY_NAME["index"], (rows,), classes, scale=scale, seed=3).but(reduction="none")
    logits = batch.logits.copy()
    if "margin" in condition:  # right with a margin of 60, at classes that are first, last and in between
        labels = np.linspace(0, classes - 1, rows).astype(np.int64)
        batch = registry.Batch(batch.logits, labels, batch.options)
        logits[np.arange(rows), labels] = 60 + logits.max(axis=1)
    if condition == "deep":  # e^(z - max) near the smallest normal numbers
        logits = np.random.default_rng(12).uniform(-86, -64, logits.shape).astype(np.float32)
        logits[:, classes // 2] = np.float32(0.7)
    if "offset" in condition:
        logits += np.float32(3e4)
    if condition == "equal":
        logits[:] = np.float32(0.3)
    batch = batch.on(logits)
    upstream = upstream_of(batch)
    return batch, upstream, registry.truth_of(batch, upstream)


def relative(result: Any, exact: Any) -> np.ndarray:
    """Relative errors of the entries that are normal numbers of float32; exact zeros must be zeros."""
    result, exact = truth.extended(result), truth.extended(exact)
    normal = truth.is_normal(exact, "float32")
    assert (np.abs(result[~normal]) < np.finfo(np.float32).tiny).all()
    return np.abs(result[normal] / exact[normal] - 1)


@pytest.mark.parametrize("condition", ["plain", "small", "large", "deep", "equal", "margin", "offset", "margin-offset"])
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17, 63, 64, 65, 100, 1000, 4096, 4097, 5000, 32001, 128257, 300007])
def test_absolute_bounds_in_float32(instruction_set: str, classes: int, condition: str) -> None:
    batch, upstream, exact = demanding_batch(condition, classes)
    loss, gradient = registry.on_torch(batch, upstream)
    assert relative(loss, exact.loss).max(initial=0) < 1e-6
    # where p itself is no normal number, an upstream gradient cannot bring its digits back
    readable = truth.is_normal(exact.logits_grad / upstream[:, None].astype(truth.Real), "float32")
    assert relative(gradient[readable], exact.logits_grad[readable]).max(initial=0) < 4e-6

    total, one_pass = registry.on_torch(batch.but(reduction="sum"), 3.0)
    exact_sum = registry.truth_of(batch.but(reduction="sum"), 3.0) if classes < 5000 else None
    if exact_sum is not None:
        assert relative(total, exact_sum.loss).max(initial=0) < 1e-6
        readable = truth.is_normal(exact_sum.logits_grad / 3, "float32")
        assert relative(one_pass[readable], exact_sum.logits_grad[readable]).max(initial=0) < 4e-6
    else:
        row_truth = exact.logits_grad / upstream[:, None].astype(truth.Real) * 3
        readable = truth.is_normal(row_truth / 3, "float32")
        assert relative(one_pass[readable], row_truth[readable]).max(initial=0) < 4e-6


def layouts(dtype: str) -> dict[str, tuple[np.ndarray, int]]:
    """Logits [rows and classes in many orders] as (array, class axis), none of them simply contiguous rows."""
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 2).astype(NUMPY_DTYPES[dtype])

    item = NUMPY_DTYPES[dtype].itemsize
    packed = np.zeros(5 * 33 * item + 1, np.uint8)
    misaligned = packed[1:].view(NUMPY_DTYPES[dtype]).reshape(5, 33)
    misaligned[...] = draw(5, 33)
    records = np.zeros((6, 70), [("flag", "i1"), ("x", NUMPY_DTYPES[dtype])])
    records["x"] = draw(6, 70)
    return {
        "first": (draw(17, 90), 0),
        "first-narrow": (draw(130, 5), 0),
        "middle": (draw(3, 21, 70), 1),
        "middle-narrow": (draw(3, 70, 5), 1),
        "middle-long": (draw(2, 1100, 70), 1),
        "images": (draw(2, 21, 9, 13), 1),
        "channels-last": (draw(2, 9, 13, 21).transpose(0, 3, 1, 2), 1),
        "channels-last-long": (draw(2, 3, 3, 100).transpose(0, 3, 1, 2), 1),
        "transposed": (draw(70, 33).T, -1),
        "transposed-first": (draw(70, 33).T, 0),
        "sliced": (draw(20, 200)[::3, 10:150], 1),
        "sliced-classes": (draw(9, 300)[:, ::3], 1),
        "sliced-images": (draw(2, 10, 12, 14)[:, :, 1:9, ::2], 1),
        "reversed-rows": (draw(9, 100)[::-1], 1),
        "reversed-classes": (draw(9, 100)[:, ::-1], 1),
        "reversed-both": (draw(80, 9)[::-1, ::-1], 0),
        "reversed-images": (draw(2, 5, 7, 11)[:, ::-1, ::-1, ::-1], 1),
        "same-rows": (np.broadcast_to(draw(1, 90), (7, 90)), 1),
        "same-pixels": (np.broadcast_to(draw(2, 13, 1, 1), (2, 13, 9, 9)), 1),
        "same-classes": (np.broadcast_to(draw(9, 1), (9, 66)), 1),
        "same-everything": (np.broadcast_to(draw(1, 1), (9, 66)), 1),
        "uneven": (draw(4, 5, 6, 70)[:, ::2, :, :].transpose(2, 1, 0, 3), 3),
        "windows": (np.lib.stride_tricks.sliding_window_view(draw(120), 70), 1),
        "misaligned": (misaligned, 1),
        "records": (records["x"], 1),
        "fortran": (np.asfortranarray(draw(4, 6, 9)), 1),
        "one-row": (draw(90), 0),
        "one-row-reversed": (draw(90)[::-1], 0),
        "foreign-bytes": (
            draw(5, 77).astype(draw(1).dtype.newbyteorder(">")) if dtype != "bfloat16" else draw(5, 77),
            1,
        ),
    }


def plain_rows(batch: Batch) -> Batch:
    """The same numbers as contiguous rows, class axis last: what the tests above compare with torch."""
    labels = batch.labels
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "iu":
        labels = np.ascontiguousarray(np.moveaxis(labels, batch.axis, -1))
    logits = np.ascontiguousarray(np.moveaxis(batch.logits, batch.axis, -1))
    return Batch(logits, labels, {**batch.options, "axis": -1})


def on_plain_rows(batch: Batch) -> tuple[Any, np.ndarray]:
    loss, gradient = registry.on_numpy(plain_rows(batch))
    return loss, np.moveaxis(gradient, -1, batch.axis)


LAYOUTS = tuple(layouts("float32"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layout(instruction_set: str, dtype: str, layout: str) -> None:
    logits, axis = layouts(dtype)[layout]
    before = logits.copy()
    pooled: dict[tuple[str, str], list[np.ndarray]] = {}
    rows, classes = np.moveaxis(logits, axis, -1).shape[:-1], logits.shape[axis]
    for name in ("index-ignored", "index-everything", "dense-everything", "topk-everything"):
        batch = make_batch(CASE_BY_NAME[name], rows, classes, dtype=dtype, axis=axis, seed=4).on(logits)
        native = batch.on(logits.astype(logits.dtype.newbyteorder("=")))
        exact = registry.truth_of(native)
        loss, gradient = registry.on_numpy(batch)
        assert gradient.shape == logits.shape
        assert gradient.dtype == NUMPY_DTYPES[dtype]
        plain_loss, plain_gradient = on_plain_rows(native)
        found, plain_found = (
            registry.value_on_numpy(b, reduction="none", normalizer=None) for b in (batch, plain_rows(native))
        )
        for kind, errors in (
            ("gradient", [registry.gradient_errors(g, exact, dtype) for g in (gradient, plain_gradient)]),
            ("loss", [truth.ulps(x, exact.rows, accumulated(dtype)) for x in (found, plain_found)]),
        ):
            for side, error in zip(("layout", "plain"), errors, strict=True):
                pooled.setdefault((kind, side), []).append(error.ravel())
        assert registry.worst(loss, plain_loss, "float32") <= 1, name
    for kind in ("gradient", "loss"):
        error, plain_error = (np.concatenate(pooled[kind, side]) for side in ("layout", "plain"))
        assert registry.typical(error) <= plain_error.max() + 1, kind
    np.testing.assert_array_equal(logits, before)


TORCH_LAYOUTS = {
    "channels-last": lambda x: (x(2, 19, 6, 7).contiguous(memory_format=torch.channels_last), 1),
    "images": lambda x: (x(2, 19, 8, 9), 1),
    "tokens-transposed": lambda x: (x(2, 11, 70).transpose(1, 2), 1),
    "first": lambda x: (x(70, 11), 0),
    "sliced": lambda x: (x(12, 200)[::2, 5:105], 1),
    "sliced-classes": lambda x: (x(12, 201)[:, ::3], 1),
    "expanded-rows": lambda x: (x(1, 90).expand(7, 90), 1),
    "expanded-classes": lambda x: (x(7, 1).expand(7, 90), 1),
    "unfolded": lambda x: (x(100).unfold(0, 70, 1), 1),
    "permuted": lambda x: (x(3, 4, 5, 66).permute(2, 0, 1, 3), 3),
    "offset": lambda x: (x(501)[1:].view(5, 100), 1),
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layout_of_tensors(instruction_set: str, dtype: str, layout: str) -> None:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(registry.TORCH_DTYPES[dtype])

    logits, axis = TORCH_LAYOUTS[layout](draw)
    before = logits.clone()
    values = registry.array(logits.contiguous())
    rows, classes = np.moveaxis(values, axis, -1).shape[:-1], values.shape[axis]
    for name in ("index-everything", "dense-everything"):
        batch = make_batch(CASE_BY_NAME[name], rows, classes, dtype=dtype, axis=axis, seed=6).on(values)
        for reduction in ("none", "mean"):
            batch = batch.but(reduction=reduction)
            upstream = upstream_of(batch) if reduction == "none" else 1.5
            exact, rival = registry.truth_of(batch, upstream), registry.rival(batch, upstream)
            loss, gradient = registry.on_torch(batch, upstream, logits)
            found = (loss if reduction == "none" else exact.loss, gradient)
            registry.assert_no_worse(batch, found, rival, exact, f"{name} {reduction}")
    assert torch.equal(logits, before)


@cache
def mixed(name: str, dtype: str, target_dtype: str, classes: int) -> tuple[Any, ...]:
    """(batch, upstream, truth, rival's errors) with targets of another dtype than the logits."""
    batch = make_batch(CASE_BY_NAME[name], (11,), classes, dtype=dtype, target_dtype=target_dtype).but(reduction="none")
    upstream = upstream_of(batch)
    exact = registry.truth_of(batch, upstream)
    return batch, upstream, exact, registry.errors_of(batch, registry.rival(batch, upstream), exact)


@pytest.mark.parametrize("classes", [7, 65, 1500])
@pytest.mark.parametrize("target_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_targets_of_another_dtype(instruction_set: str, dtype: str, target_dtype: str, classes: int) -> None:
    for name in ("dense", "dense-everything", "topk"):
        batch, upstream, exact, rival = mixed(name, dtype, target_dtype, classes)
        registry.assert_no_worse(batch, registry.on_torch(batch, upstream), rival, exact, name)


@pytest.mark.parametrize("weight_dtype", ["float16", "float32", "float64", "bfloat16", "int32"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_weights_of_another_dtype(dtype: str, weight_dtype: str) -> None:
    kind = NUMPY_DTYPES.get(weight_dtype) or np.dtype(weight_dtype)
    for classes in (9, 200):
        batch = make_batch(CASE_BY_NAME["index-smoothed"], (23,), classes, dtype=dtype).but(reduction="none")
        rng = np.random.default_rng(8)
        batch = batch.but(
            class_weight=rng.uniform(1, 5, classes).astype(kind), sample_weight=rng.uniform(1, 5, 23).astype(kind)
        )
        upstream = upstream_of(batch)
        exact, rival = registry.truth_of(batch, upstream), registry.rival(batch, upstream)
        registry.assert_no_worse(batch, registry.on_torch(batch, upstream), rival, exact, f"{classes} classes")
        on_numpy = registry.value_on_numpy(batch)
        np.testing.assert_array_equal(on_numpy, registry.on_torch(batch, upstream)[0])


@pytest.mark.parametrize("label_dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_labels_of_every_integer_dtype(label_dtype: str) -> None:
    for classes in (5, 100):
        batch = make_batch(CASE_BY_NAME["index"], (29,), classes)
        same = registry.Batch(batch.logits, batch.labels.astype(label_dtype), batch.options)
        loss, gradient = registry.on_numpy(batch)
        assert gradient.any()
        for run in (registry.on_numpy, registry.on_torch):
            found = run(same)
            np.testing.assert_array_equal(found[0], loss)
            np.testing.assert_array_equal(found[1], gradient)
        topk = make_batch(CASE_BY_NAME["topk"], (29,), classes)
        expected = registry.on_numpy(topk)
        indices, values = topk.labels
        for run in (registry.on_numpy, registry.on_torch):
            found = run(registry.Batch(topk.logits, (indices.astype(label_dtype), values), topk.options))
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_and_torch_agree_to_the_bit(instruction_set: str, dtype: str, case: Case) -> None:
    for classes in (3, 64, 100, 5000):
        batch = make_batch(case, (13,), classes, dtype=dtype)
        (loss, gradient), (torch_loss, torch_gradient) = registry.on_numpy(batch), registry.on_torch(batch)
        assert loss == torch_loss
        assert gradient.tobytes() == torch_gradient.tobytes()
        assert np.abs(gradient.astype(np.float64)).max() > 0 or classes == 1


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_are_no_worse_than_torch(instruction_set: str, dtype: str, name: str) -> None:
    oracle, torch_function = registry.FUNCTIONS[name]
    function = getattr(xent, name)
    for shape, axis in (
        ((37, 17), -1),
        ((33, 100), -1),
        ((65, 9), 0),
        ((2, 21, 70), 1),
        ((2, 5000), 1),
        ((7, 1), 1),
        ((9,), 0),
    ):
        rng = np.random.default_rng(10)
        for scale in (1e-3, 3.0, 30.0):
            logits = (rng.normal(size=shape) * scale).astype(NUMPY_DTYPES[dtype])
            exact = oracle(logits, axis)
            found = function(logits, axis=axis)
            assert found.dtype == NUMPY_DTYPES[dtype]
            assert found.shape == exact.shape
            compute = registry.TORCH_DTYPES[accumulated(dtype)]
            rival = torch_function(registry.tensor(logits).to(compute), axis).to(registry.TORCH_DTYPES[dtype])
            # entries that are no normal numbers have no digits to compare
            normal = truth.is_normal(exact, dtype)
            errors = truth.ulps(found, exact, dtype)[normal]
            rival_errors = truth.ulps(registry.array(rival), exact, dtype)[normal]
            assert registry.typical(errors) <= registry.typical(rival_errors) + 1, (shape, scale)
            on_torch = function(registry.tensor(logits), axis)
            assert on_torch.dtype == registry.TORCH_DTYPES[dtype]
            np.testing.assert_array_equal(registry.array(on_torch), found)


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_functions_in_every_layout(name: str, layout: str) -> None:
    logits, axis = layouts("float32")[layout]
    oracle, torch_function = registry.FUNCTIONS[name]
    found = getattr(xent, name)(logits, axis)
    exact = oracle(logits, axis)
    rival = torch_function(registry.tensor(logits.astype(logits.dtype.newbyteorder("="))), axis)
    errors = truth.ulps(found, exact, "float32")
    rival_errors = truth.ulps(registry.array(rival), exact, "float32")
    assert registry.typical(errors) <= registry.typical(rival_errors) + 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_are_right(instruction_set: str, dtype: str) -> None:
    for classes in (1, 2, 10, 64, 65, 1000, 5000):
        for axis in (-1, 0):
            batch = make_batch(CASE_BY_NAME["index"], (rows_for(classes),), classes, dtype=dtype, axis=axis)
            exact = registry.truth_of(batch.but(reduction="none"))
            _, stats = registry.value_on_numpy(batch, return_stats=True)
            kind = accumulated(dtype)
            assert stats.lse.dtype == stats.entropy.dtype == np.dtype(kind)
            np.testing.assert_array_equal(stats.argmax, exact.argmax)
            z = registry.tensor(batch.logits).to(registry.TORCH_DTYPES[kind]).movedim(axis, -1)
            p, log_p = torch.softmax(z, -1), torch.log_softmax(z, -1)
            for found, right, rival in (
                (stats.lse, exact.lse, torch.logsumexp(z, -1)),
                (stats.entropy, exact.entropy, -(p * log_p).sum(-1)),
            ):
                error = registry.typical(truth.ulps(found, right, kind))
                rival_error = registry.typical(truth.ulps(registry.array(rival), right, kind))
                assert error <= rival_error + 1, (classes, axis)


def test_argmax_is_the_first_of_several() -> None:
    for classes in (5, 64, 65, 9000):
        logits = np.zeros((4, classes), np.float32)
        logits[1, classes // 2 :] = 1.0
        logits[2, -1] = 2.0
        logits[3] = -np.inf
        logits[3, 3] = -5.0
        _, stats = xent.softmax_cross_entropy(logits, np.zeros(4, int), return_stats=True, reduction="none")
        assert stats.argmax.tolist() == [0, classes // 2, classes - 1, 3]
        assert stats.argmax.dtype == np.int64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_many_rows_are_no_worse_than_torch(instruction_set: str, dtype: str) -> None:
    """Numbers of rows that are below, at and off the 65536 sums that are added up."""
    errors, rival_errors = [], []
    for rows in (401, 5000, 65536, 65537, 200_001):
        batch = make_batch(CASE_BY_NAME["index"], (rows,), 3, dtype=dtype, seed=rows)
        each = registry.truth_of(batch.but(reduction="none")).rows
        rival_rows = torch.nn.functional.cross_entropy(
            registry.tensor(batch.logits), registry.tensor(batch.labels), reduction="sum"
        )
        found = registry.value_on_numpy(batch, reduction="sum")
        errors.append(truth.ulps(found, each.sum(), dtype))
        rival_errors.append(truth.ulps(rival_rows.numpy(), each.sum(), dtype))
    assert registry.typical(np.array(errors)) <= registry.typical(np.array(rival_errors)) + 1


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_reference_is_no_worse_than_torch(case: Case) -> None:
    """The oracle of the kernels, in float64 on NumPy's own array API."""
    from xent.kernels import reference
    from xent.options import softmax_options
    from xent.problem import softmax_problem

    losses = []
    for classes in (1, 2, 3, 17, 65, 1000):
        rows = rows_for(classes)
        batch = make_batch(case, (rows,), classes, dtype="float64")
        options = dict(batch.options)
        weights = {k: options.pop(k, None) for k in ("class_weight", "sample_weight", "normalizer")}
        described = batch.labels[0] if isinstance(batch.labels, tuple) else batch.labels
        problem = softmax_problem(
            batch.logits.shape,
            "float64",
            options.get("axis", -1),
            described.shape,
            described.dtype.name,
            isinstance(batch.labels, tuple),
        )
        for reduction in ("none", "mean"):
            if reduction == "none":
                weights["normalizer"] = None
            one = batch.but(reduction=reduction, normalizer=weights["normalizer"])
            exact = registry.truth_of(one)
            rival = registry.rival(one, 1.0 if reduction == "mean" else np.ones(rows))[0]
            checked = softmax_options(**{**options, "reduction": reduction})
            loss, stats = reference.softmax_cross_entropy(np, problem, checked, batch.logits, batch.labels, **weights)
            if reduction == "mean":
                losses.append((loss, rival, exact.loss))
                continue
            error = registry.typical(truth.ulps(loss, exact.loss, "float64"))
            assert error <= registry.typical(truth.ulps(rival, exact.loss, "float64")) + 1
            if checked.temperature == 1.0 and checked.softcap is None:
                kept = exact.rows != 0
                error = registry.typical(truth.ulps(stats.lse, exact.lse, "float64")[kept])
                rival = torch.logsumexp(torch.from_numpy(batch.logits), -1).numpy()
                assert error <= registry.typical(truth.ulps(rival, exact.lse, "float64")[kept]) + 1
    errors, rival_errors = (
        registry.typical(np.array([truth.ulps(loss[i], loss[2], "float64") for loss in losses])) for i in (0, 1)
    )
    assert errors <= rival_errors + 1
