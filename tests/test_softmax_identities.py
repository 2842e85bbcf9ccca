"""What holds between results, whatever the numbers: identities, finite differences, independence of batch and threads.

Identities of exact arithmetic are computed in float64 and must hold to an ulp of float32: nine digits of slack for
rounding, none for a wrong formula. What the library promises to the bit is compared to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import registry
import torch
import truth
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import CASE_BY_NAME, CASES, NUMPY_DTYPES, Batch, Case, make_batch

import xent

SIZES = (1, 2, 3, 17, 64, 65, 100, 4097)


def gradient_of(logits: np.ndarray, labels: Any, **options: Any) -> tuple[Any, np.ndarray]:
    return xent.value_and_grad(xent.softmax_cross_entropy)(logits, labels, **options)


def rows_of(logits: np.ndarray, labels: Any, **options: Any) -> np.ndarray:
    return xent.softmax_cross_entropy(logits, labels, **{**options, "reduction": "none"})


def assert_same(found: Any, expected: Any, scale: Any = None) -> None:
    """Equal to an ulp of float32 at the largest entry: for float64 results only."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    largest = np.abs(expected).max(initial=0) if scale is None else scale
    assert np.isfinite(largest)
    assert (np.abs(found - expected) <= truth.ulp(largest, "float32")).all()


def assert_same_bits(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def draw(rows: int, classes: int, seed: int = 0, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, rows, classes])
    return (rng.normal(size=(rows, classes)) * 2).astype(NUMPY_DTYPES[dtype]), rng.integers(0, classes, rows)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return (labels[:, None] == np.arange(classes)).astype(np.float64)


WEIGHTED = [
    {},
    {"class_weight": True},
    {"sample_weight": True, "z_loss": 0.05},
    {"class_weight": True, "sample_weight": True, "label_smoothing": 0.2, "temperature": 0.8, "softcap": 7.0},
]


def with_weights(options: dict[str, Any], rows: int, classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(42)
    made = dict(options)
    if "class_weight" in made:
        made["class_weight"] = rng.uniform(0.1, 3, classes)
    if "sample_weight" in made:
        made["sample_weight"] = rng.uniform(0.1, 3, rows)
    return made


@pytest.mark.parametrize("options", WEIGHTED, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("classes", SIZES)
def test_a_one_hot_target_is_its_index(instruction_set: str, classes: int, options: dict[str, Any]) -> None:
    x, y = draw(13, classes)
    options = with_weights(options, 13, classes)
    dense, topk = one_hot(y, classes), xent.TopK(y[:, None], np.ones((13, 1)))
    for reduction in ("mean", "sum"):
        loss, gradient = gradient_of(x, y, reduction=reduction, **options)
        for other in (dense, topk):
            found = gradient_of(x, other, reduction=reduction, **options)
            assert_same(found[0], loss)
            assert_same(found[1], gradient, scale=max(1.0, np.abs(gradient).max()))
    rows = rows_of(x, y, **options)
    assert_same(rows_of(x, dense, **options), rows)
    assert_same(rows_of(x, topk, **options), rows)
    assert classes == 1 or rows.any()


@pytest.mark.parametrize("options", WEIGHTED, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("classes", SIZES)
def test_topk_is_the_dense_target_it_stands_for(instruction_set: str, classes: int, options: dict[str, Any]) -> None:
    x, _ = draw(13, classes, seed=1)
    options = with_weights(options, 13, classes)
    rng = np.random.default_rng(2)
    k = min(4, classes)
    indices = rng.random((13, classes)).argsort(axis=1)[:, :k]
    values = rng.random((13, k))
    values[3] = 0  # a row without mass
    dense = np.zeros((13, classes))
    np.put_along_axis(dense, indices, values, 1)
    for reduction in ("mean", "sum"):
        loss, gradient = gradient_of(x, dense, reduction=reduction, **options)
        found = gradient_of(x, xent.TopK(indices, values), reduction=reduction, **options)
        assert_same(found[0], loss)
        assert_same(found[1], gradient, scale=max(1.0, np.abs(gradient).max()))
    assert_same(rows_of(x, xent.TopK(indices, values), **options), rows_of(x, dense, **options))


@pytest.mark.parametrize("classes", SIZES)
def test_smoothing_is_a_smoothed_target(instruction_set: str, classes: int) -> None:
    x, y = draw(13, classes, seed=2)
    v, eps = np.random.default_rng(3).uniform(0.1, 3, classes), 0.35
    smoothed = (1 - eps) * one_hot(y, classes) + eps / classes
    for options in ({}, {"class_weight": v}):
        loss, gradient = gradient_of(x, y, label_smoothing=eps, reduction="sum", **options)
        expected = gradient_of(x, smoothed, reduction="sum", **options)
        assert_same(loss, expected[0])
        assert_same(gradient, expected[1], scale=1.0)
        found = rows_of(x, one_hot(y, classes), label_smoothing=eps, **options)
        assert_same(found, rows_of(x, smoothed, **options))
    assert_same(gradient_of(x, y, label_smoothing=eps)[1], gradient_of(x, smoothed)[1], scale=1.0)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_weights_multiply(case: Case) -> None:
    for classes in (5, 100):
        batch = make_batch(case, (13,), classes, dtype="float64", seed=5)
        normalizer = batch.options.pop("normalizer", None)
        none = batch.but(reduction="none", sample_weight=None)
        rows = registry.value_on_numpy(none)
        s = np.random.default_rng(6).uniform(0, 2, 13)
        assert_same(registry.value_on_numpy(none.but(sample_weight=s)), s * rows)
        # twice every weight is twice every loss, and the same mean
        v = batch.options.get("class_weight", np.ones(classes))
        without_z = none.but(z_loss=0.0)
        assert_same(
            registry.value_on_numpy(without_z.but(class_weight=2 * v)),
            2 * registry.value_on_numpy(without_z.but(class_weight=v)),
        )
        mean, gradient = registry.on_numpy(batch.but(z_loss=0.0, class_weight=v))
        doubled = registry.on_numpy(batch.but(z_loss=0.0, class_weight=2 * v))
        assert_same(doubled[0], mean)
        assert_same(doubled[1], gradient)
        mean, gradient = registry.on_numpy(batch.but(sample_weight=s))
        doubled = registry.on_numpy(batch.but(sample_weight=2 * s))
        assert_same(doubled[0], mean)
        assert_same(doubled[1], gradient)
        if normalizer:
            assert_same(
                registry.value_on_numpy(batch.but(normalizer=normalizer)),
                registry.value_on_numpy(batch.but(reduction="sum")) / normalizer,
            )


@pytest.mark.parametrize("target", ["index", "dense"])
def test_an_integer_weight_repeats_a_row(target: str) -> None:
    for classes in (4, 90):
        x, y = draw(6, classes, seed=7)
        labels = y if target == "index" else np.random.default_rng(8).random((6, classes))
        times = np.array([0, 1, 2, 3, 1, 5])
        v = np.random.default_rng(9).uniform(0.5, 2, classes)
        mean = xent.softmax_cross_entropy(x, labels, sample_weight=times, class_weight=v, z_loss=0.1)
        repeated = xent.softmax_cross_entropy(x.repeat(times, 0), labels.repeat(times, 0), class_weight=v, z_loss=0.1)
        assert_same(mean, repeated)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", SIZES)
def test_a_common_offset_changes_nothing(instruction_set: str, dtype: str, classes: int) -> None:
    """Offsets that add without rounding leave every bit as it was."""
    rng = np.random.default_rng(11)
    x = (rng.integers(-2000, 2000, (9, classes)) / 512).astype(dtype)
    y = rng.integers(0, classes, 9)
    loss, gradient = gradient_of(x, y)
    rows = rows_of(x, y)
    soft = rng.random((9, classes)).astype(dtype)
    dense = gradient_of(x, soft)
    for offset in (1000.0, -4096.0, 8192.0):
        shifted = x + np.dtype(dtype).type(offset)
        np.testing.assert_array_equal(shifted - np.dtype(dtype).type(offset), x)
        found = gradient_of(shifted, y)
        assert_same_bits(found[0], loss)
        assert_same_bits(found[1], gradient)
        assert_same_bits(rows_of(shifted, y), rows)
        found = gradient_of(shifted, soft)
        assert_same_bits(found[0], dense[0])
        assert_same_bits(found[1], dense[1])


@pytest.mark.parametrize("classes", SIZES)
def test_classes_may_be_permuted(instruction_set: str, classes: int) -> None:
    x, y = draw(9, classes, seed=12)
    order = np.random.default_rng(13).permutation(classes)
    inverse = order.argsort()
    v = np.random.default_rng(14).uniform(0.1, 2, classes)
    loss, gradient = gradient_of(x, y, class_weight=v, label_smoothing=0.1, z_loss=0.01)
    found = gradient_of(x[:, order], inverse[y], class_weight=v[order], label_smoothing=0.1, z_loss=0.01)
    assert_same(found[0], loss)
    assert_same(found[1], gradient[:, order])


@pytest.mark.parametrize("classes", SIZES)
def test_gradient_rows_sum_to_the_z_loss(instruction_set: str, classes: int) -> None:
    """Σ_k dz_k is 0 but for the z-loss, whose part is 2·ζ·lse."""
    x, y = draw(9, classes, seed=15)
    lse = truth.logsumexp(x).astype(np.float64)
    for labels in (y, np.random.default_rng(16).random((9, classes)) + 0.1):
        for z_loss in (0.0, 0.3):
            _, gradient = gradient_of(x, labels, reduction="sum", z_loss=z_loss, label_smoothing=0.1)
            assert_same(gradient.sum(axis=1), 2 * z_loss * lse, scale=np.abs(gradient).max() + 1)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_sum_is_the_sum_of_its_parts(case: Case) -> None:
    for classes in (3, 65):
        batch = make_batch(case, (21,), classes, dtype="float64", seed=17)
        batch.options.pop("normalizer", None)
        total, gradient = registry.on_numpy(batch.but(reduction="sum"))
        rows = registry.value_on_numpy(batch.but(reduction="none"))
        assert_same(total, rows.sum())
        parts = []
        for part in (slice(0, 8), slice(8, 21)):
            labels = tuple(a[part] for a in batch.labels) if isinstance(batch.labels, tuple) else batch.labels[part]
            options = dict(batch.options)
            if "sample_weight" in options:
                options["sample_weight"] = options["sample_weight"][part]
            parts.append(registry.on_numpy(Batch(batch.logits[part], labels, {**options, "reduction": "sum"})))
        assert_same(parts[0][0] + parts[1][0], total)
        assert_same_bits(np.concatenate([parts[0][1], parts[1][1]]), gradient)
        exact = registry.truth_of(batch)
        assert_same(registry.value_on_numpy(batch), total / np.float64(exact.denominator))


@pytest.mark.parametrize("case", [c for c in CASES if "softcap" not in c.options], ids=lambda c: c.name)
def test_temperature_divides_and_softcap_bounds(case: Case) -> None:
    for classes in (3, 100):
        batch = make_batch(case, (9,), classes, dtype="float64", seed=18)
        heat = batch.options.get("temperature", 1.0)
        loss, gradient = registry.on_numpy(batch.but(temperature=2.5 * heat, softcap=4.0))
        inner = 4.0 * np.tanh(batch.logits / 4.0)
        by_hand = registry.on_numpy(batch.on(inner / 2.5))
        assert_same(loss, by_hand[0])
        assert_same(gradient, by_hand[1] / 2.5 * (1 - (inner / 4.0) ** 2))
        # a power of two divides without rounding
        halved = registry.on_numpy(batch.on(batch.logits / 2))
        found = registry.on_numpy(batch.but(temperature=2.0 * heat))
        assert_same(found[0], halved[0])
        assert_same(found[1], halved[1] / 2)


def test_the_z_loss_is_the_square_of_lse() -> None:
    for classes in (1, 3, 100, 5000):
        x, y = draw(7, classes, seed=19)
        lse = truth.logsumexp(x).astype(np.float64)
        s = np.random.default_rng(20).uniform(0, 2, 7)
        v = np.random.default_rng(21).uniform(1, 2, classes)
        plain = rows_of(x, y, sample_weight=s, class_weight=v)
        assert_same(rows_of(x, y, sample_weight=s, class_weight=v, z_loss=0.7), plain + s * 0.7 * lse**2)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_directional_derivatives(instruction_set: str, case: Case) -> None:
    """Central differences of the loss itself, extrapolated; their own uncertainty is the tolerance."""
    for classes in (3, 64, 100):
        batch = make_batch(case, (7,), classes, dtype="float64", seed=22, scale=1.0)
        direction = np.random.default_rng(23).normal(size=batch.logits.shape)
        loss, gradient = registry.on_numpy(batch)
        slopes = []
        for h in (1e-3, 5e-4):
            up, down = (registry.value_on_numpy(batch.on(batch.logits + step * direction)) for step in (h, -h))
            slopes.append((up - down) / (2 * h))
        extrapolated = (4 * slopes[1] - slopes[0]) / 3
        rounding = np.finfo(np.float64).eps * abs(loss) / 5e-4 * 4
        uncertainty = abs(extrapolated - slopes[1]) + rounding
        slope = (gradient * direction).sum()
        assert uncertainty < 1e-3 * abs(slope)
        assert abs(slope - extrapolated) <= uncertainty


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("classes", [3, 64, 65, 1000, 33_000])
def test_a_row_does_not_depend_on_its_batch(instruction_set: str, threads: int, dtype: str, classes: int) -> None:
    """Alone, in a batch, among rows of any other depth, NaN and infinity: the same bits."""
    x, y = draw(23, classes, seed=24, dtype=dtype)
    x[3] = np.nan
    x[5] *= 60  # deep: far below the smallest normal exponential
    x[7, :] = -np.inf
    x[7, y[7]] = 1
    x[11] = np.inf
    soft = np.random.default_rng(25).random((23, classes)).astype(NUMPY_DTYPES[dtype])
    for labels in (y, soft):
        options = {"label_smoothing": 0.1, "reduction": "sum"} if labels is y else {"reduction": "sum"}
        gradient = gradient_of(x, labels, **options)[1]
        rows = rows_of(x, labels, **{k: v for k, v in options.items() if k != "reduction"})
        for i in range(23):
            alone = gradient_of(x[i : i + 1], labels[i : i + 1], **options)
            assert_same_bits(alone[1][0], gradient[i])
            assert_same_bits(np.asarray(alone[0]), rows[i])
            assert_same_bits(gradient_of(x[i], labels[i], **options)[1], gradient[i])
        assert np.isfinite(rows[[0, 1, 2, 4, 6, 8, 9, 10, 12]]).all()
    order = np.random.default_rng(26).permutation(23)
    assert_same_bits(gradient_of(x[order], y[order], reduction="sum")[1], gradient_of(x, y, reduction="sum")[1][order])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("inner", [5, 64, 67])
def test_a_pixel_does_not_depend_on_its_image(instruction_set: str, threads: int, dtype: str, inner: int) -> None:
    rng = np.random.default_rng(27)
    x = (rng.normal(size=(3, 21, inner)) * 4).astype(NUMPY_DTYPES[dtype])
    x[1, :, 2] = np.nan
    x[2, :, 3] *= 30
    y = rng.integers(0, 21, (3, inner))
    gradient = gradient_of(x, y, axis=1, reduction="sum")[1]
    rows = rows_of(x, y, axis=1)
    for i in range(3):
        for j in range(inner):
            assert_same_bits(gradient_of(x[i, :, j].copy(), y[i, j], reduction="sum")[1], gradient[i, :, j])
            assert_same_bits(rows_of(x[i, :, j].copy(), y[i, j]), rows[i, j])
    assert np.isfinite(rows[0]).all()


@pytest.mark.parametrize("shape", [(70_001, 3), (9, 129, 300), (2, 300_007), (1000, 65)])
@pytest.mark.parametrize("name", ["index-everything", "dense-everything"])
def test_threads_change_no_bit(instruction_set: str, keep_threads: None, shape: tuple[int, ...], name: str) -> None:
    batch = make_batch(CASE_BY_NAME[name], shape[:-1], shape[-1], seed=28)
    xent.set_num_threads(1)
    loss, gradient = registry.on_numpy(batch)
    rows, stats = registry.value_on_numpy(batch, reduction="none", return_stats=True)
    for n in (2, 3, 7):
        xent.set_num_threads(n)
        assert xent.get_num_threads() == n
        found = registry.on_numpy(batch)
        assert_same_bits(found[0], loss)
        assert_same_bits(found[1], gradient)
        found_rows, found_stats = registry.value_on_numpy(batch, reduction="none", return_stats=True)
        assert_same_bits(found_rows, rows)
        for a, b in zip(found_stats, stats, strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_pass_equals_two(instruction_set: str, dtype: str, case: Case) -> None:
    """The gradient made with the loss is that made from upstream gradients of the rows; the loss is the same too."""
    for classes in (1, 3, 64, 65, 5000):
        batch = make_batch(case, (11,), classes, dtype=dtype, seed=29)
        batch.options.pop("normalizer", None)
        loss, gradient = registry.on_torch(batch.but(reduction="sum"))
        rows, separate = registry.on_torch(batch.but(reduction="none"), torch.ones(11))
        assert_same_bits(gradient, separate)
        assert_same_bits(registry.value_on_numpy(batch.but(reduction="sum")), loss[()])
        assert_same_bits(registry.value_on_numpy(batch.but(reduction="none")), rows)
        mean, gradient = registry.on_torch(batch)
        assert_same_bits(registry.value_on_numpy(batch), mean[()])
        with_stats, _ = registry.value_on_numpy(batch, return_stats=True)
        assert_same_bits(with_stats, mean[()])


@pytest.mark.parametrize("name", ["index-everything", "dense-everything", "topk-everything"])
def test_any_axis_equals_the_last(instruction_set: str, name: str) -> None:
    for shape, axis in (((5, 6, 7), 0), ((5, 6, 7), 1), ((5, 6, 7), -2), ((3, 70, 2, 5), 1), ((100, 90), 0)):
        classes = shape[axis]
        batch_shape = shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :]
        batch = make_batch(CASE_BY_NAME[name], batch_shape, classes, dtype="float64", axis=axis, seed=30)
        labels = batch.labels
        if name == "dense-everything":
            labels = np.moveaxis(labels, axis, -1)
        last = Batch(np.moveaxis(batch.logits, axis, -1), labels, {**batch.options, "axis": -1})
        loss, gradient = registry.on_numpy(batch)
        expected = registry.on_numpy(last)
        assert_same(loss, expected[0])
        assert_same(gradient, np.moveaxis(expected[1], -1, axis))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    batch_shape = tuple(data.draw(st.lists(st.integers(0, 9), max_size=3)))
    classes = data.draw(st.one_of(st.integers(1, 20), st.integers(60, 70), st.integers(250, 260)))
    axis = data.draw(st.integers(-len(batch_shape) - 1, len(batch_shape)))
    reduction = data.draw(st.sampled_from(["mean", "sum", "none"]))
    batch = make_batch(case, batch_shape, classes, dtype="float64", axis=axis, seed=data.draw(st.integers(0, 99)))
    if reduction != "mean":
        batch.options.pop("normalizer", None)
    batch = batch.but(reduction=reduction)
    upstream = np.random.default_rng(31).normal(size=batch_shape) if reduction == "none" else -0.75
    exact = registry.truth_of(batch, upstream)
    loss, gradient = registry.on_torch(batch, upstream)
    assert_same(loss, exact.loss.astype(np.float64))
    assert_same(gradient, exact.logits_grad.astype(np.float64), scale=np.abs(exact.logits_grad_terms).max(initial=0))
    if reduction != "none":
        numpy_loss, numpy_gradient = registry.on_numpy(batch)
        assert_same(numpy_loss, exact.loss.astype(np.float64))
        assert_same(numpy_gradient * upstream, gradient)


def test_statistics_equal_the_functions(instruction_set: str) -> None:
    for classes in (1, 3, 65, 5000):
        x, y = draw(9, classes, seed=32)
        _, stats = xent.softmax_cross_entropy(x, y, return_stats=True)
        assert_same(stats.lse, xent.logsumexp(x))
        p, log_p = xent.softmax(x), xent.log_softmax(x)
        assert_same(np.exp(log_p), p)
        assert_same(stats.entropy, -(p * log_p).sum(axis=1), scale=1.0)
        assert_same(p.sum(axis=1), np.ones(9))
        assert_same(rows_of(x, y), -np.take_along_axis(log_p, y[:, None], 1)[:, 0], scale=1.0)
        np.testing.assert_array_equal(stats.argmax, x.argmax(axis=1))
        expected = p - one_hot(y, classes)
        assert_same(gradient_of(x, y, reduction="sum")[1], expected, scale=1.0)
