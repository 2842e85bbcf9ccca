"""What is decided once for every loss: means, ignored rows, 0·inf, empty batches, rows of -inf, wrong labels, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import registry
import torch
import truth
from registry import CASE_BY_NAME, CASES, DTYPES, NUMPY_DTYPES, Case, accumulated, make_batch

import xent

CLASSES = (3, 64, 65, 5000)


def both(logits: np.ndarray, labels: Any, upstream: float = 1.0, **options: Any) -> list[tuple[Any, np.ndarray]]:
    """(loss, gradient) on NumPy and on torch, for a reduced loss; the gradient is upstream times that of the loss."""
    loss, gradient = xent.value_and_grad(xent.softmax_cross_entropy)(logits, labels, **options)
    batch = registry.Batch(logits, labels, options)
    if isinstance(labels, xent.TopK):
        batch = registry.Batch(logits, (labels.indices, labels.values), options)
    torch_loss, torch_gradient = registry.on_torch(batch, upstream)
    with np.errstate(invalid="ignore"):
        return [(loss, gradient * gradient.dtype.type(upstream)), (torch_loss[()], torch_gradient)]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reductions(case: Case, reduction: str) -> None:
    """Σ s·loss / Σ s·m over the rows kept, m the class-weighted mass of the unsmoothed target."""
    batch = make_batch(case, (5, 4), 6, dtype="float64", seed=1).but(reduction=reduction)
    if reduction != "mean":
        batch.options.pop("normalizer", None)
    exact = registry.truth_of(batch)
    found = registry.value_on_numpy(batch)
    assert np.shape(found) == ((5, 4) if reduction == "none" else ())
    # the oracle's denominator by hand
    kept = np.ones((5, 4))
    if case.ignore:
        kept = kept * (batch.labels != registry.IGNORE)
    s = batch.options.get("sample_weight", np.ones((5, 4)))
    v = batch.options.get("class_weight", np.ones(6))
    if case.target == "index":
        mass = v[np.where(kept == 0, 0, batch.labels)]
    elif case.target in ("dense", "one-hot"):
        mass = batch.labels @ v
    else:
        mass = (batch.labels[1] * v[batch.labels[0]]).sum(axis=-1)
    by_hand = {"none": exact.rows, "sum": exact.rows.sum()}.get(reduction)
    if reduction == "mean":
        by_hand = exact.rows.sum() / (batch.options.get("normalizer") or (kept * s * mass).sum())
    assert registry.worst(found, by_hand, "float32") < 1
    assert registry.worst(registry.on_torch(batch, np.ones_like(found))[0], by_hand, "float32") < 1


def test_an_ignored_row_is_not_counted_by_the_mean() -> None:
    """The mean of rows of which some are ignored is the mean of the others, and the gradient too."""
    batch = make_batch(CASE_BY_NAME["index"], (6,), 5, dtype="float64", seed=2)
    labels = batch.labels.copy()
    labels[[1, 4]] = -1
    kept = [0, 2, 3, 5]
    for loss, gradient in both(batch.logits, labels, ignore_index=-1):
        for expected, expected_gradient in both(batch.logits[kept], labels[kept]):
            assert registry.worst(loss, expected, "float32") < 1
            np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=np.finfo(np.float32).eps, atol=0)
            assert not gradient[[1, 4]].any()


def test_a_sample_weight_may_be_shared_along_an_axis() -> None:
    batch = make_batch(CASE_BY_NAME["index"], (4, 3), 5, dtype="float64", seed=3)
    rng = np.random.default_rng(4)
    for shape in ((4, 1), (1, 3), (1, 1), (4, 3)):
        s = rng.uniform(0.5, 2, shape)
        for reduction in ("mean", "sum"):
            shared = registry.on_numpy(batch.but(sample_weight=s, reduction=reduction))
            full = registry.on_numpy(batch.but(sample_weight=np.broadcast_to(s, (4, 3)).copy(), reduction=reduction))
            exact = registry.truth_of(batch.but(sample_weight=s, reduction=reduction))
            assert shared[0] == full[0]
            assert registry.worst(shared[0], exact.loss, "float32") < 1
            np.testing.assert_array_equal(shared[1], full[1])
            np.testing.assert_array_equal(
                registry.on_torch(batch.but(sample_weight=s, reduction=reduction))[1], full[1]
            )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, "mixed"])
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ignored_rows_are_never_read(
    instruction_set: str, dtype: str, axis: int, garbage: float | str, reduction: str
) -> None:
    for classes in CLASSES:
        for name in ("index-ignored", "index-everything"):
            batch = make_batch(CASE_BY_NAME[name], (11,), classes, dtype=dtype, axis=axis, seed=5).but(
                reduction=reduction
            )
            ignored = batch.labels == registry.IGNORE
            if "sample_weight" in batch.options:
                ignored = ignored | (batch.options["sample_weight"] == 0)
            assert 0 < ignored.sum() < 11
            dirty = batch.logits.copy()
            rows = np.moveaxis(dirty, axis, -1)
            rows[ignored] = garbage if isinstance(garbage, float) else np.nan
            if garbage == "mixed":
                rows[ignored, ::2] = np.inf
            upstream = np.random.default_rng(6).normal(size=11) if reduction == "none" else 2.5
            clean_loss, clean = registry.on_torch(batch, upstream)
            loss, gradient = registry.on_torch(batch.on(dirty), upstream)
            assert np.isfinite(clean_loss).all()
            np.testing.assert_array_equal(loss, clean_loss)
            assert gradient.tobytes() == clean.tobytes()
            assert (np.moveaxis(gradient, axis, -1)[ignored] == 0).all()
            if reduction == "none":
                assert (loss[ignored] == 0).all()
                np.testing.assert_array_equal(registry.value_on_numpy(batch.on(dirty)), loss)
            else:
                found = registry.on_numpy(batch.on(dirty))
                assert found[0] == loss
                assert (np.moveaxis(found[1], axis, -1)[ignored] == 0).all()


@pytest.mark.parametrize("axis", [-1, 0])
def test_statistics_of_ignored_rows(instruction_set: str, axis: int) -> None:
    """Ignored rows hold 0, and -1 in argmax; the gradient through lse and entropy is 0 there."""
    for classes in CLASSES:
        x = np.moveaxis(make_batch(CASE_BY_NAME["index"], (5,), classes, seed=7).logits.copy(), -1, axis)
        np.moveaxis(x, axis, -1)[2] = np.nan
        y = np.array([0, 1, -7, 1, 2])
        _, stats = xent.softmax_cross_entropy(x, y, ignore_index=-7, axis=axis, return_stats=True)
        assert stats.lse[2] == stats.entropy[2] == 0
        assert stats.argmax[2] == -1
        keep = [0, 1, 3, 4]
        np.testing.assert_array_equal(stats.argmax[keep], np.moveaxis(x, axis, -1)[keep].argmax(axis=-1))
        leaf = registry.tensor(x).requires_grad_()
        loss, stats = xent.softmax_cross_entropy(
            leaf, torch.from_numpy(y), ignore_index=-7, axis=axis, return_stats=True
        )
        (gradient,) = torch.autograd.grad(loss * 2 + stats.lse.sum() * 3 + stats.entropy.sum(), leaf)
        gradient = gradient.movedim(axis, -1)
        assert (gradient[2] == 0).all()
        assert gradient[keep].isfinite().all()
        assert (gradient[keep].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("name", ["index", "index-smoothed", "dense", "topk"])
def test_rows_of_no_weight_may_hold_anything(instruction_set: str, name: str, axis: int) -> None:
    for classes in CLASSES:
        batch = make_batch(CASE_BY_NAME[name], (7,), classes, axis=axis, seed=8)
        s = np.array([1, 0, 2, 0, 0.5, 1, 0])
        batch = batch.but(sample_weight=s, z_loss=0.1)
        dirty = batch.logits.copy()
        np.moveaxis(dirty, axis, -1)[1] = np.nan
        np.moveaxis(dirty, axis, -1)[3] = -np.inf
        clean = registry.on_numpy(batch)
        for run in (registry.on_numpy, registry.on_torch):
            loss, gradient = run(batch.on(dirty))
            assert loss == clean[0]
            np.testing.assert_array_equal(gradient, clean[1])
        rows = registry.value_on_numpy(batch.on(dirty).but(reduction="none"))
        assert (rows[s == 0] == 0).all()
        assert np.isfinite(rows).all()
        # the same when statistics are asked for, in the pass that makes the gradient
        leaf = registry.tensor(dirty).requires_grad_()
        labels = registry.torch_labels(batch)
        loss, _ = xent.softmax_cross_entropy(leaf, labels, **registry.torch_options(batch), return_stats=True)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.item() == clean[0]
        np.testing.assert_array_equal(gradient.numpy(), clean[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 0])
def test_zero_times_infinity_is_zero(instruction_set: str, axis: int, dtype: str) -> None:
    """A class without target mass may have logit -inf: the loss is that of the others, and the gradient there is 0."""
    for classes in CLASSES:
        hidden = np.arange(classes) % 3 == 1
        shown = np.flatnonzero(~hidden)
        for name in ("index", "dense", "topk", "index-smoothed-class-weights"):
            batch = make_batch(CASE_BY_NAME[name], (9,), classes, dtype=dtype, seed=9)
            labels, options = batch.labels, dict(batch.options)
            if name == "dense":
                labels = np.where(hidden, 0, labels).astype(labels.dtype)
            elif name == "topk":
                labels = (labels[0], np.where(hidden[labels[0]], 0, labels[1]))
            else:
                labels = shown[labels % len(shown)]
            if "class_weight" in options:  # smoothing reaches every class, unless its weight is 0
                options["class_weight"] = np.where(hidden, 0, options["class_weight"])
            x = np.where(hidden, -np.inf, batch.logits.astype(np.float64)).astype(batch.logits.dtype)
            exact = truth.softmax_cross_entropy(x, labels, **options, reduction="sum")
            assert np.isfinite(exact.loss)
            moved = [np.moveaxis(x, -1, axis)]
            if name == "dense":
                labels = np.moveaxis(labels, -1, axis)
            batch = registry.Batch(
                np.ascontiguousarray(moved[0]), labels, {**options, "axis": axis, "reduction": "sum"}
            )
            for run in (registry.on_numpy, registry.on_torch):
                loss, gradient = run(batch)
                gradient = np.moveaxis(gradient, axis, -1)
                assert (gradient[:, hidden] == 0).all()
                assert np.isfinite(gradient.astype(np.float64)).all()
                assert registry.worst(loss, exact.loss, "bfloat16") < 1
            stats = registry.value_on_numpy(batch, return_stats=True)[1]
            assert np.isfinite(stats.lse).all()
            assert np.isfinite(stats.entropy).all()


def test_a_label_at_minus_infinity_costs_infinity(instruction_set: str) -> None:
    for classes in CLASSES:
        x, y = np.zeros((2, classes), np.float32), np.array([1, 1])
        x[0, 1] = -np.inf
        rows = xent.softmax_cross_entropy(x, y, reduction="none")
        assert rows[0] == np.inf
        assert np.isfinite(rows[1])
        soft = np.full((2, classes), 1 / classes, np.float32)
        rows = xent.softmax_cross_entropy(x, soft, reduction="none")
        assert rows[0] == np.inf
        assert np.isfinite(rows[1])
        topk = xent.TopK(np.array([[0, 1], [0, 1]]), np.full((2, 2), 0.5))
        rows = xent.softmax_cross_entropy(x, topk, reduction="none")
        assert rows[0] == np.inf
        assert np.isfinite(rows[1])


def test_smoothing_with_a_hidden_class_is_infinite(instruction_set: str) -> None:
    for classes in CLASSES:
        x, y = np.zeros((2, classes), np.float32), np.array([1, 1])
        x[0, 2] = -np.inf
        for labels in (y, (y[:, None] == np.arange(classes)).astype(np.float32)):
            rows = xent.softmax_cross_entropy(x, labels, reduction="none", label_smoothing=0.1)
            assert rows[0] == np.inf
            assert np.isfinite(rows[1])
            v = np.ones(classes)
            v[2] = 0
            rows = xent.softmax_cross_entropy(x, labels, reduction="none", label_smoothing=0.1, class_weight=v)
            assert np.isfinite(rows).all()
            exact = truth.softmax_cross_entropy(x, labels, reduction="none", label_smoothing=0.1, class_weight=v)
            assert np.abs(rows / exact.loss - 1).max() < 1e-6


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("name", ["index", "index-smoothed", "dense", "topk"])
def test_rows_of_minus_infinity_are_nan(instruction_set: str, name: str, axis: int) -> None:
    """Nothing is left to choose from: loss and every entry of the gradient are NaN, however long the row is."""
    for classes in CLASSES:
        batch = make_batch(CASE_BY_NAME[name], (5,), classes, axis=axis, seed=10).but(reduction="none")
        x = batch.logits.copy()
        np.moveaxis(x, axis, -1)[2] = -np.inf
        batch = batch.on(x)
        rows = registry.value_on_numpy(batch)
        assert np.isnan(rows).tolist() == [False, False, True, False, False]
        gradient = np.moveaxis(registry.on_torch(batch, np.ones(5))[1], axis, -1)
        assert np.isnan(gradient[2]).all()
        assert np.isfinite(gradient[[0, 1, 3, 4]]).all()
        assert np.isnan(np.moveaxis(xent.softmax(x, axis), axis, -1)[2]).all()
        assert np.isnan(np.moveaxis(xent.log_softmax(x, axis), axis, -1)[2]).all()
        assert xent.logsumexp(x, axis)[2] == -np.inf


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_not_hidden(instruction_set: str, bad: float, axis: int) -> None:
    """A row that counts and holds NaN or +inf has no loss; the rows beside it do."""
    for classes in CLASSES:
        for at in {0, 1, classes // 2, classes - 1}:
            batch = make_batch(CASE_BY_NAME["index"], (5,), classes, axis=axis, seed=11).but(reduction="none")
            x = batch.logits.copy()
            np.moveaxis(x, axis, -1)[2, at] = bad
            rows = registry.value_on_numpy(batch.on(x))
            assert np.isnan(rows[2]) or (bad == np.inf and rows[2] == np.inf)
            assert np.isfinite(rows[[0, 1, 3, 4]]).all()
            gradient = np.moveaxis(registry.on_torch(batch.on(x), np.ones(5))[1], axis, -1)
            assert np.isnan(gradient[2]).any()
            assert np.isfinite(gradient[[0, 1, 3, 4]]).all()
            assert np.isnan(xent.value_and_grad(xent.softmax_cross_entropy)(x, batch.labels, axis=axis)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_nothing_is_zero(dtype: str) -> None:
    for classes in (1, *CLASSES):
        x = np.full((4, classes), np.nan).astype(NUMPY_DTYPES[dtype])
        for loss, gradient in both(x, np.full(4, -1), 3.0, ignore_index=-1):
            assert loss == 0
            assert gradient.shape == x.shape
            assert (gradient == 0).all()
        for loss, gradient in both(x, np.zeros(4, int), 3.0, sample_weight=np.zeros(4)):
            assert loss == 0
            assert (gradient == 0).all()
        x = np.ones((4, classes)).astype(NUMPY_DTYPES[dtype])
        for loss, gradient in both(x, np.zeros((4, classes), x.dtype), 3.0):
            assert loss == 0
            assert (gradient == 0).all()
        for loss, gradient in both(x, np.zeros(4, int), 3.0, class_weight=np.zeros(classes)):
            assert loss == 0
            assert (gradient == 0).all()
        for reduction in ("sum", "none"):
            value = xent.softmax_cross_entropy(x, np.full(4, -1), ignore_index=-1, reduction=reduction)
            assert (np.asarray(value) == 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (0, 5000), (2, 0, 7), (0, 4, 0, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batches(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, NUMPY_DTYPES[dtype])
    topk = xent.TopK(np.zeros((*shape[:-1], 2), int), np.zeros((*shape[:-1], 2)))
    kind = np.dtype(accumulated(dtype))
    for labels in (np.zeros(shape[:-1], int), np.zeros(shape, x.dtype), topk):
        for loss, gradient in both(x, labels, 2.0, label_smoothing=0.1):
            assert loss == 0
            assert loss.dtype == kind
            assert gradient.shape == shape
            assert gradient.dtype == x.dtype
        rows, stats = xent.softmax_cross_entropy(x, labels, reduction="none", return_stats=True)
        assert rows.shape == stats.lse.shape == stats.entropy.shape == stats.argmax.shape == shape[:-1]
        assert rows.dtype == kind
        assert xent.softmax_cross_entropy(x, labels, reduction="sum") == 0
        assert xent.softmax_cross_entropy(x, labels, normalizer=5.0) == 0
    assert xent.softmax(x).shape == xent.log_softmax(x).shape == shape
    assert xent.logsumexp(x).shape == shape[:-1]


@pytest.mark.parametrize("axis", [-1, 0])
def test_unchecked_labels_give_nan(instruction_set: str, axis: int) -> None:
    for classes in CLASSES:
        batch = make_batch(CASE_BY_NAME["index"], (9,), classes, axis=axis, seed=12)
        y = batch.labels.copy()
        y[[1, 2, 5, 8]] = [classes, -1, 2**62, -(2**63)]
        wrong = np.isin(np.arange(9), [1, 2, 5, 8])
        for smoothing in (0.0, 0.2):
            options = {"axis": axis, "label_smoothing": smoothing, "validate": False}
            rows = xent.softmax_cross_entropy(batch.logits, y, reduction="none", **options)
            np.testing.assert_array_equal(np.isnan(rows), wrong)
            right = xent.softmax_cross_entropy(
                batch.logits, batch.labels, reduction="none", axis=axis, label_smoothing=smoothing
            )
            np.testing.assert_array_equal(rows[~wrong], right[~wrong])
            for loss, gradient in both(batch.logits, y, reduction="sum", **options):
                assert np.isnan(loss)
                gradient = np.moveaxis(gradient, axis, -1)
                assert np.isnan(gradient[wrong]).all()
                assert np.isfinite(gradient[~wrong]).all()
            # an ignored label is no wrong label
            y2 = np.where(wrong, -3, y)
            rows = xent.softmax_cross_entropy(batch.logits, y2, reduction="none", ignore_index=-3, **options)
            assert (rows[wrong] == 0).all()
            np.testing.assert_array_equal(rows[~wrong], right[~wrong])


def test_unchecked_topk_gives_nan() -> None:
    x = np.zeros((3, 5), np.float32)
    labels = xent.TopK(np.array([[0, 1], [1, 5], [2, -1]]), np.full((3, 2), 0.5))
    rows = xent.softmax_cross_entropy(x, labels, reduction="none", validate=False)
    assert np.isnan(rows).tolist() == [False, True, True]


def test_the_ignored_label_may_be_a_class() -> None:
    x = make_batch(CASE_BY_NAME["index"], (4,), 3, dtype="float64", seed=13).logits
    y = np.array([0, 1, 2, 0])
    rows = xent.softmax_cross_entropy(x, y, ignore_index=0, reduction="none")
    assert (rows[[0, 3]] == 0).all()
    expected = xent.softmax_cross_entropy(x[1:3], y[1:3])
    assert xent.softmax_cross_entropy(x, y, ignore_index=0) == expected
    assert expected > 0


def test_unsigned_labels_do_not_become_the_ignored_one() -> None:
    """2^64 - 100 read as a signed number would be -100."""
    x = np.zeros((2, 3))
    y = np.array([2**64 - 100, 1], np.uint64)
    with pytest.raises(
        IndexError, match=r"labels: expected class indices in \[0, 3\), got label 18446744073709551516 in row 0"
    ):
        xent.softmax_cross_entropy(x, y, ignore_index=-100)
    with pytest.raises(
        IndexError, match=r"labels: expected class indices in \[0, 3\), got label 18446744073709551516 in row 0"
    ):
        xent.softmax_cross_entropy(torch.zeros(2, 3), torch.from_numpy(y), ignore_index=-100)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_returned_dtypes_and_types(dtype: str, case: Case) -> None:
    kind = np.dtype(accumulated(dtype))
    batch = make_batch(case, (4,), 7, dtype=dtype, seed=14)
    loss, gradient = registry.on_numpy(batch)
    assert isinstance(loss, np.floating)
    assert loss.dtype == kind
    assert gradient.dtype == NUMPY_DTYPES[dtype]
    assert gradient.flags.writeable
    batch.options.pop("normalizer", None)
    rows, stats = registry.value_on_numpy(batch, reduction="none", return_stats=True)
    assert isinstance(stats, xent.Stats)
    assert rows.dtype == stats.lse.dtype == stats.entropy.dtype == kind
    assert stats.argmax.dtype == np.int64
    leaf = registry.tensor(batch.logits).requires_grad_()
    loss, stats = xent.softmax_cross_entropy(
        leaf, registry.torch_labels(batch), **registry.torch_options(batch), return_stats=True
    )
    compute = registry.TORCH_DTYPES[accumulated(dtype)]
    assert loss.dtype is stats.lse.dtype is stats.entropy.dtype is compute
    assert loss.shape == ()
    assert stats.argmax.dtype is torch.int64
    loss.backward()
    assert leaf.grad.dtype is leaf.dtype
    assert leaf.grad.abs().sum() > 0


def test_bfloat16_losses_are_not_rounded_to_bfloat16() -> None:
    batch = make_batch(CASE_BY_NAME["index"], (50,), 60, dtype="bfloat16", seed=15)
    exact = registry.truth_of(batch).loss
    found = registry.on_torch(batch)[0]
    assert registry.worst(found, exact, "float32") < 1
    assert registry.worst(found.astype(NUMPY_DTYPES["bfloat16"]), exact, "float32") > 100


def test_a_soft_target_of_integers_is_refused_not_guessed() -> None:
    with pytest.raises(ValueError, match=r"labels: expected shape \(2,\) for integer labels, got shape \(2, 3\)"):
        xent.softmax_cross_entropy(np.zeros((2, 3)), np.eye(3, dtype=int)[:2])


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_never_written(dtype: str, case: Case) -> None:
    for shape, classes, axis in (((5,), 7, -1), ((3, 80), 70, 1), ((3,), 5000, -1)):
        batch = make_batch(case, shape, classes, dtype=dtype, axis=axis, seed=16)
        parts = [batch.logits, *(batch.labels if isinstance(batch.labels, tuple) else (batch.labels,))]
        parts += [v for v in batch.options.values() if isinstance(v, np.ndarray)]
        before = [p.copy() for p in parts]
        for p in parts:
            p.flags.writeable = False  # read-only arrays are welcome
        _, gradient = registry.on_numpy(batch)
        batch.options.pop("normalizer", None)
        registry.value_on_numpy(batch, reduction="none", return_stats=True)
        for p, b in zip(parts, before, strict=True):
            assert p.tobytes() == b.tobytes()
            assert not np.shares_memory(gradient, p)
        gradient[...] = 0
        assert parts[0].tobytes() == before[0].tobytes()


def test_class_ids_never_pass_through_a_float(instruction_set: str) -> None:
    """float32 cannot tell 2^24 from 2^24 + 1."""
    classes = 2**24 + 5
    x = np.zeros((1, classes), NUMPY_DTYPES["bfloat16"])
    for label in (2**24, 2**24 + 1, 2**24 + 3):
        x[0, label] = 10
        rest = (classes - 1) * np.exp(-np.float64(10))
        loss = xent.softmax_cross_entropy(x, np.array([label]))
        assert registry.worst(loss, np.log1p(rest), "float32") < 8
        topk = xent.TopK(np.array([[label]]), np.ones((1, 1)))
        assert registry.worst(xent.softmax_cross_entropy(x, topk), np.log1p(rest), "float32") < 8
        _, stats = xent.softmax_cross_entropy(x, np.array([label]), return_stats=True)
        assert stats.argmax[0] == label
        x[0, label] = 0


@pytest.fixture
def large() -> np.ndarray:
    """2^31 + 2^16 bfloat16 logits, all rows the same memory."""
    row = np.random.default_rng(17).normal(size=2**16).astype(NUMPY_DTYPES["bfloat16"])
    return np.broadcast_to(row, (2**15 + 1, 2**16))


def test_more_than_two_to_the_31_elements(large: np.ndarray) -> None:
    assert large.size > 2**31
    y = np.random.default_rng(18).integers(0, 2**16, len(large))
    y[-1] = 2**16 - 1
    one_row = xent.softmax_cross_entropy(large[:1].repeat(2, 0), y[[0, -1]], reduction="none")
    logits = torch.from_numpy(large[0].copy().view(np.int16)).view(torch.bfloat16)
    leaf = logits.expand(large.shape).detach().requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, torch.from_numpy(y), reduction="sum")
    lse = truth.logsumexp(large[0])
    exact = (lse - truth.extended(large[0][y])).sum()
    assert registry.worst(loss.item(), exact, "float32") < 1
    rows = xent.softmax_cross_entropy(large, y, reduction="none")
    assert rows[0] == one_row[0]
    assert rows[-1] == one_row[1]
    assert registry.worst(rows.astype(np.float64).sum(), exact, "float32") < 1

    (gradient,) = torch.autograd.grad(loss, leaf)
    assert gradient.shape == leaf.shape
    small = logits[None].detach().requires_grad_()
    p = torch.autograd.grad(xent.logsumexp(small).sum(), small)[0][0]  # what every row holds, but for its label
    bits, p_bits, rows = gradient.view(torch.int16).numpy(), p.view(torch.int16).numpy(), np.arange(len(large))
    assert (bits[rows, y] < 0).all()  # the sign bit
    bits[rows, y] = p_bits[y]
    for first in range(0, len(large), 1024):
        assert (bits[first : first + 1024] == p_bits).all()


def test_more_than_two_to_the_31_elements_across_the_class_axis() -> None:
    """Offsets of classes and of rows pass 2^31 too; stride 0 along the rows of a class."""
    classes, inner = 40_001, 2**16 + 1
    column = np.random.default_rng(19).normal(size=(classes, 1)).astype(np.float32)
    x = np.broadcast_to(column, (classes, inner))
    assert x.size > 2**31
    y = np.zeros(inner, int)
    y[-1] = classes - 1
    keep = np.full(inner, -1)
    keep[[0, -1]] = y[[0, -1]]
    rows = xent.softmax_cross_entropy(x, keep, axis=0, ignore_index=-1, reduction="none")
    exact = truth.softmax_cross_entropy(column[:, 0], np.array(0)).loss
    exact_last = truth.softmax_cross_entropy(column[:, 0], np.array(classes - 1)).loss
    assert registry.worst(rows[0], exact, "float32") < 8
    assert registry.worst(rows[-1], exact_last, "float32") < 8
    assert not rows[1:-1].any()
