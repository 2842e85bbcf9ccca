"""Softmax cross-entropy in Triton: every kernel against extended precision, and what a device owes its users."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import registry
import torch
import truth
from registry import CASE_BY_NAME, CASES, DTYPES, Case, make_batch

import xent
from xent.frontends.torch import device_softmax
from xent.frontends.torch.device_softmax import DeviceSoftmaxCall
from xent.kernels.triton import launch, shapes

EVERYTHING = [case for case in CASES if "everything" in case.name]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of hundreds of classes are swept, not read once, and cut into parts where they are few."""
    for name, size in {"LONGEST_WHOLE": 32, "SWEEP": 64, "APPLY": 32, "TILE": 64, "LANES": 8, "STEPS": 16}.items():
        monkeypatch.setattr(shapes, name, size)
    monkeypatch.setattr(launch, "TILE", 64)


def calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Which shapes a kernel's launches had."""
    seen: list[Any] = []
    original = getattr(launch.SoftmaxRows, name)

    def spy(rows: Any, *arguments: Any) -> Any:
        seen.append(rows.shape(False))
        return original(rows, *arguments)

    monkeypatch.setattr(launch.SoftmaxRows, name, spy)
    return seen


def check(batch: registry.Batch, upstream: Any, what: str) -> None:
    """The loss of each row, and the gradient of the reduced one, are no further from the truth than torch's."""
    loss, gradient = registry.on_torch(batch, upstream)
    exact, rival = registry.truth_of(batch, upstream), registry.rival(batch, upstream)
    each = {k: v for k, v in batch.options.items() if k != "normalizer"} | {"reduction": "none"}
    rows = registry.Batch(batch.logits, batch.labels, each)
    found, ones = registry.on_torch(rows, np.ones(exact.rows.shape))[0], np.ones(exact.rows.shape)
    errors = registry.Errors(
        registry.errors_of(rows, registry.rival(rows, ones), registry.truth_of(rows, ones)).loss,
        registry.errors_of(batch, rival, exact).gradient,
    )
    registry.assert_no_worse(rows, (found, gradient), errors, _with_rows(exact, rows), what)
    assert np.isfinite(gradient.astype(float)).all()
    assert abs(loss - exact.loss) <= 4 * np.finfo(loss.dtype).eps * abs(exact.loss)


def _with_rows(exact: truth.Truth, rows: registry.Batch) -> truth.Truth:
    """The truth of each row's loss, with the gradient of the reduced one."""
    return dataclasses.replace(exact, loss=registry.truth_of(rows, np.ones(exact.rows.shape)).loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whole_rows(case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch, "run")
    sizes = ((13, 7, "mean"), (11, 131, "sum"))
    for rows, classes, reduction in sizes if dtype == "float32" else sizes[1:]:
        if "normalizer" in case.options:
            reduction = "mean"
        check(make_batch(case, (rows,), classes, dtype=dtype).but(reduction=reduction), 0.7, case.name)
    assert all(shape.whole and shape.parts == 1 for shape in seen)
    assert len(seen) == (4 if dtype == "float32" else 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*EVERYTHING, CASE_BY_NAME["index"]], ids=lambda case: case.name)
def test_rows_longer_than_a_tile(case: Case, dtype: str, small_tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch, "run")
    check(make_batch(case, (9,), 301, dtype=dtype), -1.3, case.name)
    assert not seen[0].whole
    assert seen[0].parts == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*EVERYTHING, CASE_BY_NAME["index"]], ids=lambda case: case.name)
def test_few_rows_of_many_classes_in_parts(
    case: Case, dtype: str, small_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = calls(monkeypatch, "collect")
    check(make_batch(case, (2,), 301, dtype=dtype), 2.0, case.name)
    assert seen[0].parts > 1


@pytest.mark.parametrize("size", ["whole", "swept"])
@pytest.mark.parametrize("case", EVERYTHING, ids=lambda case: case.name)
def test_class_axis_anywhere(case: Case, size: str, request: pytest.FixtureRequest) -> None:
    if size == "swept":
        request.getfixturevalue("small_tiles")
    for axis in (0, 1):
        check(make_batch(case, (3, 11), 21, axis=axis), 0.7, f"{case.name} along axis {axis}")


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_and_their_gradients(dtype: str, parts: bool, small_tiles: None) -> None:
    batch = make_batch(CASE_BY_NAME["index-everything"], (2 if parts else 9,), 150, dtype=dtype)
    options = registry.torch_options(batch)
    weights = torch.linspace(-1, 1, len(batch.logits), dtype=torch.float64)

    def total(x: torch.Tensor, function: Any, **kinds: Any) -> torch.Tensor:
        loss, stats = function(x, registry.torch_labels(batch), return_stats=True, **{**options, **kinds})
        return 0.3 * loss + (stats.lse * weights).sum() + (stats.entropy * weights.flip(0)).sum() * 2

    leaf = registry.tensor(batch.logits).requires_grad_()
    loss, stats = xent.softmax_cross_entropy(leaf, registry.torch_labels(batch), return_stats=True, **options)
    total(leaf, xent.softmax_cross_entropy).backward()
    wide = registry.tensor(batch.logits).double().requires_grad_()
    with torch.enable_grad(), reference():
        expected, wide_stats = xent.softmax_cross_entropy(
            wide, registry.torch_labels(batch), return_stats=True, **options
        )
        total(wide, xent.softmax_cross_entropy).backward()
    assert (stats.argmax == wide_stats.argmax).all()
    eps = torch.finfo(leaf.dtype).eps
    assert leaf.grad is not None
    assert wide.grad is not None
    for found, true in ((loss, expected), (stats.lse, wide_stats.lse), (stats.entropy, wide_stats.entropy)):
        assert (found - true).abs().max() <= 8 * eps * true.abs().max()
    assert (leaf.grad - wide.grad).norm() <= 8 * eps * wide.grad.norm()


class reference:  # noqa: N801  # a context
    """Sends calls to the reference."""

    def __enter__(self) -> None:
        from xent.frontends.torch import softmax_loss

        self.module, self.original = softmax_loss, softmax_loss.kernels_for
        softmax_loss.kernels_for = lambda tensors: None  # type: ignore[assignment]

    def __exit__(self, *error: object) -> None:
        self.module.kernels_for = self.original


@pytest.mark.parametrize("small", [False, True])
def test_minus_infinity_and_nan(small: bool, request: pytest.FixtureRequest) -> None:
    """-inf columns, rows of nothing else, ignored NaN rows, NaN and +inf that count: what the reference says."""
    if small:
        request.getfixturevalue("small_tiles")
    x = torch.randn(9, 90, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    x[:, 40:] = -torch.inf
    x[1] = torch.nan
    x[2, :64] = -torch.inf
    x[2, 10] = 1.0
    x[3, 5] = torch.nan
    x[4, 5] = torch.inf
    x[5] = -torch.inf
    labels = torch.tensor([0, -100, 10, 3, 5, 2, 50, 1, 2])
    for options in ({}, {"label_smoothing": 0.1}, {"softcap": 5.0}):
        results = []
        for kernels in ("triton", "reference"):
            leaf = x.clone().requires_grad_()
            with reference() if kernels == "reference" else torch.enable_grad():
                loss = xent.softmax_cross_entropy(leaf, labels, ignore_index=-100, reduction="none", **options)
                loss.backward(torch.linspace(0.5, 2, 9, dtype=torch.float64))
            results.append((loss.detach(), leaf.grad))
        (loss, gradient), (true, true_gradient) = results
        torch.testing.assert_close(loss, true, equal_nan=True)
        assert loss[1] == 0
        assert (gradient[1] == 0).all()
        finite = torch.isfinite(true)
        torch.testing.assert_close(gradient[finite], true_gradient[finite], equal_nan=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_offsets_keep_their_digits(dtype: str) -> None:
    """Logits that share an offset: the log-sum-exp is kept as a pair."""
    case = CASE_BY_NAME["index-smoothed"]
    batch = make_batch(case, (5,), 40, dtype=dtype)
    shifted = batch.on((batch.logits.astype(np.float64) + 3e4).astype(batch.logits.dtype))
    check(shifted, 0.7, "offset")


def test_confident_rows_keep_their_digits() -> None:
    x = torch.zeros(4, 30)
    x[:, 3] = torch.tensor([20.0, 40.0, 60.0, 80.0])
    labels = torch.full((4,), 3)
    leaf = x.clone().requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, labels, reduction="none")
    loss.sum().backward()
    wide = 29 * torch.exp(-x[:, 3].double())
    true = torch.log1p(wide)
    assert leaf.grad is not None
    assert ((loss - true).abs() <= 4e-7 * true).all()
    slope = -wide / (1 + wide)
    assert ((leaf.grad[:, 3] - slope).abs() <= 4e-7 * slope.abs()).all()


def test_labels_out_of_range() -> None:
    """NaN in their rows where looking would wait for the device; an error that names the row where it is asked for."""
    x = torch.randn(4, 6)
    labels = torch.tensor([0, 6, -1, 3])
    leaf = x.clone().requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, labels, reduction="none", validate=False)
    loss[[0, 3]].sum().backward(retain_graph=True)
    assert torch.isnan(loss[[1, 2]]).all()
    assert torch.isfinite(loss[[0, 3]]).all()
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert torch.isnan(gradient[[1, 2]]).all()
    assert torch.isfinite(gradient[[0, 3]]).all()
    assert torch.isnan(xent.softmax_cross_entropy(x, labels, validate=False))
    with pytest.raises(IndexError, match="row 1"):
        xent.softmax_cross_entropy(x, labels, validate=True)
    indices = torch.tensor([[0, 1], [2, 2], [5, 6], [3, 4]])
    topk = xent.softmax_cross_entropy(x, xent.TopK(indices, torch.full((4, 2), 0.5)), reduction="none", validate=False)
    assert torch.isnan(topk).tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_labels_of_any_dtype(dtype: torch.dtype) -> None:
    x, labels = torch.randn(7, 5), torch.tensor([0, 1, 2, 3, 4, 100, 1])
    found = xent.softmax_cross_entropy(x, labels.to(dtype), ignore_index=100)
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(x, labels, ignore_index=100))


def test_weights_that_would_be_refused_are_nan_unless_they_are_looked_at() -> None:
    x, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    bad = torch.tensor([1.0, -1.0, 1.0])
    loss = xent.softmax_cross_entropy(x, labels, sample_weight=bad, reduction="none", validate=False)
    assert torch.isnan(loss).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="sample_weight"):
        xent.softmax_cross_entropy(x, labels, sample_weight=bad, validate=True)


def test_normalizer_may_stay_on_the_device() -> None:
    x, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    leaf = x.clone().requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, labels, normalizer=torch.tensor(7.0), validate=False)
    loss.backward()
    twin = x.clone().requires_grad_()
    (torch.nn.functional.cross_entropy(twin, labels, reduction="sum") / 7).backward()
    torch.testing.assert_close(leaf.grad, twin.grad)
    bad = xent.softmax_cross_entropy(x, labels, normalizer=torch.tensor(-1.0), validate=False)
    assert torch.isnan(bad)


def test_a_gradient_is_not_made_again_for_an_upstream_gradient_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel that would make it again leaves it as it is: a mark in the buffer survives."""
    made: list[torch.Tensor] = []
    original = DeviceSoftmaxCall.run

    def marked(call: DeviceSoftmaxCall, logits: torch.Tensor, gradient: bool) -> Any:
        out, results = original(call, logits, gradient)
        assert out is not None
        out[0, 0] = 42.0
        made.append(out)
        return out, results

    monkeypatch.setattr(DeviceSoftmaxCall, "run", marked)
    for upstream, kept in ((1.0, True), (2.0, False)):
        leaf = torch.randn(3, 5, requires_grad=True)
        loss = xent.softmax_cross_entropy(leaf, torch.tensor([0, 1, 2]))
        (gradient,) = torch.autograd.grad(loss, leaf, torch.tensor(upstream))
        assert gradient.data_ptr() == made[-1].data_ptr()
        assert bool(gradient[0, 0] == 42.0) == kept


def test_soft_targets_that_are_no_distributions_mend_their_gradient() -> None:
    batch = make_batch(CASE_BY_NAME["dense"], (6,), 17)
    masses = batch.labels.sum(-1)
    assert abs(masses - 1).max() > 0.01
    check(batch, 1.0, "masses that are not 1")


def test_float16_gradients_survive_a_scaled_loss() -> None:
    """1/(N·C) is below float16's range; times the scale of the loss it is not, and it is rounded once."""
    leaf = torch.zeros(8, 20000, dtype=torch.float16, requires_grad=True)
    loss = xent.softmax_cross_entropy(leaf, torch.zeros(8, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss * 65536.0, leaf)
    assert abs(float(gradient[0, 1]) - 65536 / (8 * 20000)) < 1e-3


def test_graphs_hold_one_operator() -> None:
    x, labels = torch.randn(6, 9), torch.tensor([0, 1, 2, 3, 4, 5])

    def step(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return xent.softmax_cross_entropy(x, labels, label_smoothing=0.1) * 3

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    for function, leaf in zip((step, compiled), leaves, strict=True):
        function(leaf, labels).backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_arguments_on_another_device_are_named() -> None:
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"labels.*a tensor on the device of the logits, cpu"):
        device_softmax.check_device(x, {"labels": torch.empty(3, device="meta")})


def test_rows_beyond_32_bits_are_addressed() -> None:
    """Strides of billions: all offsets have 64 bits. The memory in between is never touched."""
    storage = torch.UntypedStorage(0)
    assert storage.nbytes() == 0
    pages = np.lib.stride_tricks.as_strided(
        np.memmap(_sparse_file(), np.float32, "r+", shape=(3 * 2**30,)), shape=(3, 7), strides=(2**32, 4)
    )
    x = torch.from_numpy(pages)
    values = torch.randn(3, 7)
    x.copy_(values)
    labels = torch.tensor([1, 2, 3])
    found = xent.softmax_cross_entropy(x, labels)
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(values, labels))


def _sparse_file() -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.truncate(3 * 2**32)
    return file.name


@pytest.mark.parametrize("name", ["focal_cross_entropy", "poly_cross_entropy"])
def test_losses_that_are_functions_of_the_nll(name: str) -> None:
    function = getattr(xent, name)
    for reduction in ("mean", "none"):
        gradients = []
        for kernels in ("triton", "reference"):
            leaf = torch.randn(5, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
            with reference() if kernels == "reference" else torch.enable_grad():
                loss = function(leaf, torch.tensor([0, 1, -100, 3, 4]), ignore_index=-100, reduction=reduction)
                (loss * 0.7).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*gradients)


def test_weights_that_share_a_number_have_no_memory_of_their_own() -> None:
    x, labels = torch.randn(7, 10), torch.arange(7)
    shared = {"sample_weight": torch.tensor([1.5]), "class_weight": torch.tensor([2.0]).expand(10)}
    whole = {"sample_weight": torch.full((7,), 1.5), "class_weight": torch.full((10,), 2.0)}
    for validate in (True, False):
        for target in (labels, torch.softmax(torch.randn(7, 10), 1)):
            found, expected = (
                xent.softmax_cross_entropy(
                    x, target, label_smoothing=0.1, reduction="sum", validate=validate, **weights
                )
                for weights in (shared, whole)
            )
            assert found == expected


def test_infinite_upstream_gradients_are_seen() -> None:
    for loss_of in (xent.softmax_cross_entropy, xent.sigmoid_cross_entropy):
        leaf = torch.randn(3, 5, requires_grad=True)
        labels = torch.tensor([0, 1, 2]) if loss_of is xent.softmax_cross_entropy else torch.ones(3, 5)
        (gradient,) = torch.autograd.grad(loss_of(leaf, labels) * float("inf"), leaf)
        assert not torch.isfinite(gradient).any()


def test_infinite_logits_are_nan_throughout() -> None:
    for label in (0, 1):
        leaf = torch.tensor([[1.0, torch.inf, 2.0]], requires_grad=True)
        loss = xent.softmax_cross_entropy(leaf, torch.tensor([label]))
        loss.backward()
        assert torch.isnan(loss)
        assert leaf.grad is not None
        assert torch.isnan(leaf.grad).all()


def test_results_may_be_changed_in_place() -> None:
    leaf = torch.randn(4, 6, requires_grad=True)
    labels = torch.arange(4)
    xent.softmax_cross_entropy(leaf, labels, reduction="none").div_(2)
    loss, stats = xent.softmax_cross_entropy(leaf, labels, return_stats=True)
    (expected,) = torch.autograd.grad(stats.entropy.sum(), leaf, retain_graph=True)
    with torch.no_grad():
        stats.entropy.zero_()
    (found,) = torch.autograd.grad(stats.entropy, leaf, torch.ones(4))
    assert torch.equal(found, expected)
    assert torch.isfinite(loss)


def test_graphs_hold_statistics() -> None:
    x, labels = torch.randn(4, 6), torch.arange(4)

    def step(x: torch.Tensor) -> torch.Tensor:
        loss, stats = xent.softmax_cross_entropy(x, labels, return_stats=True)
        return loss + stats.entropy.sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), step(x))


def test_losses_of_one_class_refuse_soft_targets() -> None:
    with pytest.raises(ValueError, match="expected class indices, got soft targets"):
        xent.focal_cross_entropy(torch.randn(3, 4), torch.rand(3, 4))


def test_normalizers_are_one_number() -> None:
    with pytest.raises(ValueError, match="normalizer"):
        xent.softmax_cross_entropy(torch.randn(3, 4), torch.arange(3), normalizer=torch.ones(3), validate=False)
