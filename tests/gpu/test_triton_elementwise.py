"""Losses of single numbers on the device's path: Triton's interpreter plays the GPU, on tensors of the CPU."""

from __future__ import annotations

from typing import Any

import elementwise_cases as cases
import numpy as np
import pytest
import registry
import torch
from elementwise_cases import CASE_BY_NAME, CASES, Batch, Case, make_batch, upstream_of
from registry import DTYPES, NUMPY_DTYPES, tensor

import xent
from xent.frontends.torch import elementwise_call, elementwise_loss
from xent.options import sigmoid_options, signed_options


def per_element(batch: Batch) -> Batch:
    return batch.but(reduction="none", normalizer=None)


def assert_right(batch: Batch, upstream: Any, found: Any = None) -> None:
    """Loss and gradient are as near to the truth as torch's own on the CPU, and an ulp.

    The ulp holds what the interpreter adds: it truncates where a GPU rounds to bfloat16.
    """
    found = cases.on_torch(batch, upstream) if found is None else found
    assert found[1].dtype == batch.logits.dtype
    assert found[0].dtype == NUMPY_DTYPES[registry.accumulated(batch.dtype)]
    cases.assert_no_worse(batch, found, cases.rival(batch, upstream), cases.truth_of(batch, upstream), batch.function)


@pytest.fixture(autouse=True)
def on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call may fall back to the native kernels, which would be as right."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the native kernels were called")

    monkeypatch.setattr(elementwise_call, "ElementwiseLoss", refused)


# Accuracy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_case(case: Case, dtype: str) -> None:
    batch = make_batch(case, (3, 37), dtype=dtype)
    assert_right(batch, 1.5)
    batch = per_element(batch)
    assert_right(batch, upstream_of(batch))


@pytest.mark.parametrize("name", ["hard", "everything", "asymmetric-everything", "pinball-weights"])
def test_sums(name: str) -> None:
    assert_right(make_batch(CASE_BY_NAME[name], (5, 70)).but(reduction="sum"), -0.3)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("name", ["hard", "soft-smoothed", "focal-unbalanced", "asymmetric", "asymmetric-unclipped"])
def test_every_size_of_logits(name: str, scale: float) -> None:
    for dtype in ("float32", "float16"):
        batch = per_element(make_batch(CASE_BY_NAME[name], (7, 61), dtype=dtype, scale=scale))
        assert_right(batch, upstream_of(batch))


@pytest.mark.parametrize("shape", [(), (1,), (33,), (1, 1), (5, 1025), (130, 3), (2, 2051), (2, 3, 5, 17), (3, 1, 257)])
def test_every_shape(shape: tuple[int, ...]) -> None:
    """Off the size of every block; long rows, short rows, images."""
    for name in ("hard", "everything", "row-weights"):
        if shape or name == "hard":
            batch = make_batch(CASE_BY_NAME[name], shape)
            assert_right(batch, 1.5)
            batch = per_element(batch)
            assert_right(batch, upstream_of(batch))


def test_more_tiles_than_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xent.kernels.triton.elementwise_launch.RESIDENT", 1)
    for name in ("hard", "everything"):
        assert_right(make_batch(CASE_BY_NAME[name], (5, 1030)), 1.5)
    dense = dense_batch("weights", (5, 1030))
    assert_right(dense, 1.5, cases.on_torch(with_lists(dense, "csr"), 1.5))


LABELS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", *DTYPES]


@pytest.mark.parametrize("kind", LABELS)
def test_every_dtype_of_labels(kind: str) -> None:
    """0/1 labels are the same numbers whatever they are stored as."""
    for dtype in DTYPES:
        batch = make_batch(CASE_BY_NAME["hard"], (3, 40), dtype=dtype)
        right = cases.on_torch(batch)
        found = cases.on_torch(batch.on(batch.logits, batch.labels.astype(NUMPY_DTYPES.get(kind) or np.dtype(kind))))
        assert found[0] == right[0]
        assert found[1].tobytes() == right[1].tobytes()


@pytest.mark.parametrize("label_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_labels_of_another_dtype(dtype: str, label_dtype: str) -> None:
    for name in ("everything", "pinball"):
        batch = per_element(make_batch(CASE_BY_NAME[name], (3, 41), dtype=dtype, label_dtype=label_dtype))
        assert_right(batch, upstream_of(batch))


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "bfloat16", "int32", "uint8", "bool"])
def test_weights_of_another_dtype(kind: str) -> None:
    rng, as_kind = np.random.default_rng(8), NUMPY_DTYPES.get(kind) or np.dtype(kind)
    for dtype in ("float32", "float64"):
        batch = make_batch(CASE_BY_NAME["soft"], (3, 41), dtype=dtype).but(
            pos_weight=rng.uniform(1, 5, 41).astype(as_kind),
            class_weight=rng.uniform(1, 5, 41).astype(as_kind),
            sample_weight=rng.uniform(1, 5, 3).astype(as_kind),
        )
        assert_right(batch, 1.5)


SPREAD = {
    "number": (),
    "class": (5,),
    "rows": (2, 3, 1),
    "inner": (3, 5),
    "outer": (2, 1, 1),
    "middle": (3, 1),
    "element": (2, 3, 5),
}


@pytest.mark.parametrize("of", SPREAD)
def test_weights_broadcast_in_every_way(of: str) -> None:
    rng, shape = np.random.default_rng(4), SPREAD[of]
    batch = make_batch(CASE_BY_NAME["ignored"], (2, 3, 5))
    weight = np.asarray(rng.uniform(0.2, 3.0, shape), np.float32)
    assert_right(batch.but(pos_weight=weight), 1.5)
    if len(shape) == 3:
        for options in ({}, {"ignore_index": None}):
            one = batch.on(batch.logits, np.maximum(batch.labels, 0)) if options else batch
            assert_right(one.but(sample_weight=weight, **options), 1.5)


# Layouts

LAYOUTS: dict[str, Any] = {
    "channels-last": lambda x: x(2, 19, 6, 7).contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x(90, 7).T,
    "sliced": lambda x: x(12, 200)[::2, 5:105],
    "strided": lambda x: x(12, 201)[:, ::3],
    "expanded-rows": lambda x: x(1, 90).expand(7, 90),
    "expanded-classes": lambda x: x(7, 1).expand(7, 90),
    "unfolded": lambda x: x(100).unfold(0, 70, 1),
    "permuted": lambda x: x(3, 4, 5, 6).permute(2, 0, 3, 1),
    "offset": lambda x: x(501)[1:].view(5, 100),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bits(layout: str) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = LAYOUTS[layout](lambda *shape: torch.randn(shape, generator=generator))
    before, values = logits.clone(), logits.clone(memory_format=torch.contiguous_format).numpy()
    for name in ("hard", "everything", "row-weights"):
        batch = make_batch(CASE_BY_NAME[name], values.shape).on(values)
        for one in (batch, per_element(batch)):
            upstream: Any = 1.5 if one is batch else upstream_of(one)
            found, right = cases.on_torch(one, upstream, logits), cases.on_torch(one, upstream)
            np.testing.assert_allclose(found[0], right[0], rtol=0 if one is not batch else 2e-7)
            assert found[1].tobytes() == right[1].tobytes(), name
    assert torch.equal(logits, before)


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced", "expanded-rows", "expanded-all"])
def test_upstream_gradients_of_any_layout(layout: str) -> None:
    for name in ("everything", "pinball-weights"):
        batch = per_element(make_batch(CASE_BY_NAME[name], (7, 13)))
        g = tensor(upstream_of(batch))
        upstream = {
            "contiguous": g,
            "transposed": g.T.contiguous().T,
            "sliced": g.repeat_interleave(2, 0).repeat_interleave(3, 1)[::2, ::3],
            "expanded-rows": g[:1].expand(g.shape),
            "expanded-all": g[0, 0].expand(g.shape),
        }[layout]
        leaf = tensor(batch.logits).requires_grad_()
        loss = getattr(xent, batch.function)(leaf, tensor(batch.labels), **cases.torch_options(batch))
        (found,) = torch.autograd.grad(loss, leaf, upstream)
        _, right = cases.on_torch(batch, upstream.contiguous().numpy())
        assert found.numpy().tobytes() == right.tobytes()
        assert np.abs(right).max() > 0


# Gradients


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["hard", "everything", "asymmetric", "pinball"])
def test_repeated_backward_gives_the_same_bits(name: str, dtype: str) -> None:
    batch = make_batch(CASE_BY_NAME[name], (3, 37), dtype=dtype)
    for one in (batch, per_element(batch)):
        leaf = tensor(one.logits).requires_grad_()
        loss = getattr(xent, one.function)(leaf, tensor(one.labels), **cases.torch_options(one))
        for scale in (0.37, 1.0):
            upstream = torch.full_like(loss, scale)
            first, second = (torch.autograd.grad(loss, leaf, upstream, retain_graph=True)[0] for _ in range(2))
            assert torch.equal(first, second)
            assert first.any()


def test_upstream_scales_the_gradient() -> None:
    for name in ("hard", "everything", "focal", "asymmetric", "pinball", "signs"):
        batch = make_batch(CASE_BY_NAME[name], (3, 37))
        one, minus, nothing, double = (cases.on_torch(batch, g)[1] for g in (1.0, -1.0, 0.0, 2.0))
        np.testing.assert_array_equal(minus, -one)
        np.testing.assert_array_equal(double, 2 * one)
        np.testing.assert_array_equal(nothing, 0)
        assert one.any()


def test_upstream_gradients_without_memory() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    for reduction, shape in (("mean", ()), ("none", (2, 3))):
        loss = xent.sigmoid_cross_entropy(x, torch.ones(2, 3), reduction=reduction)
        (found,) = torch.autograd.grad(loss, x, torch._efficientzerotensor(shape))
        assert torch.equal(found, torch.zeros(2, 3))


def test_derivatives_that_come_from_the_reference() -> None:
    """To labels and weights, and of derivatives."""
    x, y, w = (torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for tensors in ((x, y, w + 0.5),):
        leaves = [t.requires_grad_() for t in tensors]

        def loss(*given: torch.Tensor) -> torch.Tensor:
            return xent.sigmoid_cross_entropy(given[0], given[1], sample_weight=given[2], validate=False)

        assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(lambda a: xent.asymmetric_sigmoid_cross_entropy(a, y.detach()), x)


def test_logits_that_are_changed_in_place() -> None:
    batch = make_batch(CASE_BY_NAME["hard"], (3, 7))
    leaf, labels = tensor(batch.logits).requires_grad_(), tensor(batch.labels)
    (expected,) = torch.autograd.grad(2 * xent.sigmoid_cross_entropy(leaf, labels), leaf)
    x = leaf * 1.0
    loss = xent.sigmoid_cross_entropy(x, labels)
    x.mul_(2.0)  # the gradient is made already
    (found,) = torch.autograd.grad(2 * loss, leaf, retain_graph=True)
    torch.testing.assert_close(found, expected)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # and now it would have to be made again


# Values at the edges


@pytest.mark.parametrize("case", [c for c in CASES if c.labels != "real"], ids=lambda c: c.name)
def test_infinite_logits(case: Case) -> None:
    """As torch's, or the limits."""
    batch = per_element(make_batch(case, (2, 31)))
    rng = np.random.default_rng(1)
    batch.logits[rng.random((2, 31)) < 0.4] = np.inf
    batch.logits[rng.random((2, 31)) < 0.4] = -np.inf
    upstream = np.ones((2, 31), np.float32)
    loss, gradient = cases.on_torch(batch, upstream)
    exact = cases.truth_of(batch, upstream)
    assert registry.typical(cases.loss_errors(loss, exact, "float32")) <= 4
    assert registry.typical(cases.gradient_errors(gradient, exact, "float32")) <= 4
    assert np.isinf(loss).any()


def test_nan_spreads_to_its_own_element_alone() -> None:
    for case in CASES:
        batch = per_element(make_batch(Case("", case.function, case.labels, case.options), (2, 31)))
        batch.logits[1, 5] = np.nan
        loss, gradient = cases.on_torch(batch, np.ones((2, 31), np.float32))
        for found in (loss, gradient):
            assert np.isnan(found[1, 5])
            assert np.isnan(found).sum() == 1
        assert np.isnan(cases.on_torch(batch.but(reduction="mean"))[0])


@pytest.mark.parametrize("case", [c for c in CASES if c.ignore], ids=lambda c: c.name)
def test_ignored_elements_may_hold_anything(case: Case) -> None:
    batch = make_batch(case, (3, 37))
    ignored = batch.labels == cases.IGNORE
    batch.logits[ignored] = np.resize([np.nan, np.inf, -np.inf], int(ignored.sum()))
    for one in (batch, per_element(batch)):
        upstream: Any = 1.5 if one is batch else upstream_of(one)
        loss, gradient = cases.on_torch(one, upstream)
        assert (gradient[ignored] == 0).all()
        assert np.isfinite(gradient).all()
        assert registry.typical(cases.loss_errors(loss, cases.truth_of(one, upstream), "float32")) <= 4


def test_the_mean_of_nothing_is_nothing() -> None:
    x = torch.full((2, 3), torch.nan, requires_grad=True)
    for labels, options in (
        (torch.full((2, 3), -1), {"ignore_index": -1}),
        (torch.ones(2, 3), {"sample_weight": torch.zeros(2)}),
    ):
        loss = xent.sigmoid_cross_entropy(x, labels, **options)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss == 0
        assert torch.equal(gradient, torch.zeros(2, 3))
    assert xent.sigmoid_cross_entropy(torch.zeros(0, 3), torch.zeros(0, 3)) == 0


# What arrays hold


def unseen(x: torch.Tensor, y: Any, options: Any, **more: Any) -> torch.Tensor:
    """The loss of CUDA tensors by default, where nothing is looked at."""
    return elementwise_loss(x, y, options, validate=None, **more)


def test_bad_labels() -> None:
    """An error where they are looked at; by default, which on a GPU does not wait, NaN; the formula if asked for."""
    x = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, 3.0]], requires_grad=True)
    y = torch.tensor([[0.0, 1.5, 1.0], [-1.0, 0.25, 1.0]])
    with pytest.raises(ValueError, match=r"^labels: expected numbers in \[0, 1\], got 1.5 at \(0, 1\)"):
        xent.sigmoid_cross_entropy(x, y, validate=True)
    bad = torch.tensor([[False, True, False], [True, False, False]])
    for options, expected in (
        (sigmoid_options(reduction="none"), bad),
        (sigmoid_options(0.0, -1, "none"), bad & (y > 0)),
    ):
        each = unseen(x, y, options)
        (gradient,) = torch.autograd.grad(each.sum(), x)
        assert torch.equal(each.isnan(), expected)
        assert torch.equal(gradient.isnan(), expected)
    assert unseen(x, y, sigmoid_options()).isnan()
    signs = unseen(x, torch.tensor([[1, -1, 0], [2, 1, -1]]), signed_options("none"))
    assert torch.equal(signs.isnan(), torch.tensor([[False, False, True], [True, False, False]]))
    taken = xent.sigmoid_cross_entropy(x, y, reduction="none", validate=False)
    torch.testing.assert_close(taken, torch.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none"))
    wanted = torch.zeros(2, 3, requires_grad=True)  # by way of the reference
    assert torch.equal(unseen(x, y + wanted, sigmoid_options(reduction="none")).isnan(), bad)


@pytest.mark.parametrize("name", ["pos_weight", "class_weight", "sample_weight"])
def test_bad_weights(name: str) -> None:
    x, y = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.ones(2, 3)
    for value in (-1.0, np.nan, np.inf, 1e-20):
        weight = torch.ones(2 if name == "sample_weight" else 3)
        weight[1] = value
        with pytest.raises(ValueError, match=rf"^{name}: expected "):
            xent.sigmoid_cross_entropy(x, y, **{name: weight})
        for labels in (y, xent.Positives(torch.arange(3).expand(2, 3).contiguous())):
            each = xent.sigmoid_cross_entropy(x, labels, **{name: weight}, validate=False, reduction="none")
            expected = torch.zeros(2, 3, dtype=torch.bool)
            expected[(1,) if name == "sample_weight" else (slice(None), 1)] = True
            assert torch.equal(each.isnan(), expected)
            assert torch.equal(torch.autograd.grad(each.sum(), x)[0].isnan(), expected)
            assert xent.sigmoid_cross_entropy(x, labels, **{name: weight}, validate=False).isnan()


def test_normalizers() -> None:
    batch = make_batch(CASE_BY_NAME["everything"], (3, 37))
    assert_right(batch.but(normalizer=17.5), 1.5)
    leaf, labels, options = tensor(batch.logits).requires_grad_(), tensor(batch.labels), cases.torch_options(batch)
    expected = xent.sigmoid_cross_entropy(leaf, labels, **options, normalizer=17.5)
    for validate in (True, False):
        given = {**options, "normalizer": torch.tensor(17.5), "validate": validate}
        loss = xent.sigmoid_cross_entropy(leaf, labels, **given)
        assert torch.equal(loss, expected)
        assert torch.equal(*(torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in (loss, expected)))
    for bad in (0.0, -1.0, np.nan):
        given = {**options, "normalizer": torch.tensor(bad)}
        assert xent.sigmoid_cross_entropy(leaf, labels, **given, validate=False).isnan()
        with pytest.raises(ValueError, match=r"^normalizer: expected a positive finite number"):
            xent.sigmoid_cross_entropy(leaf, labels, **given)


def test_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of a tensor is asked for, forward or backward."""

    def waits(*_: Any) -> None:
        raise AssertionError("a value was asked for")

    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([[0, 1, 1, 0, -1]] * 3)
    lists = xent.Positives(torch.tensor([[1, 2], [-1, 0], [-1, -1]]))
    given = {"pos_weight": torch.rand(5), "class_weight": torch.ones(5), "sample_weight": torch.ones(3)}
    two = torch.tensor(2.0)
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    for y, options in ((labels, sigmoid_options(0.1, -1)), (lists, sigmoid_options(gamma_neg=2.0))):
        for normalizer in (None, two):
            loss = unseen(x, y, options, **given, normalizer=normalizer)
            (gradient,) = torch.autograd.grad(loss, x, two, retain_graph=True)
            (again,) = torch.autograd.grad(loss, x, two)
    monkeypatch.undo()
    assert torch.equal(gradient, again)
    assert gradient.any()


# Lists of positive classes


def padded(dense: np.ndarray) -> xent.Positives:
    rng, rows = np.random.default_rng(1), dense.reshape(-1, dense.shape[-1])
    classes = np.full((len(rows), int(rows.sum(axis=1).max(initial=0)) + 2), -1)
    for i, row in enumerate(rows):
        classes[i, : row.sum()] = np.flatnonzero(row)
        rng.shuffle(classes[i])
    return xent.Positives(classes.reshape(*dense.shape[:-1], -1))


def csr(dense: np.ndarray) -> xent.Positives:
    rng, rows = np.random.default_rng(1), dense.reshape(-1, dense.shape[-1])
    lists = [rng.permutation(np.flatnonzero(row)) for row in rows]
    return xent.Positives(np.concatenate([np.zeros(0, np.int64), *lists]), np.cumsum([0, *map(len, lists)]))


FORMS = {"padded": padded, "csr": csr}
WITH_LISTS = {
    "plain": ("hard", {}),
    "smoothed": ("smoothed", {}),
    "pos-weight": ("pos-weight-class", {}),
    "weights": ("weights-with-ones", {"label_smoothing": 0.2}),
    "element-weights": ("pos-weight-element", {"ignore_index": None}),
    "row-weights": ("row-weights", {}),
    "normalizer": ("normalizer", {}),
    "focal": ("focal", {"pos_weight": np.float32(3.0)}),
    "asymmetric": ("asymmetric", {}),
}


def dense_batch(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Batch:
    case, more = WITH_LISTS[name]
    batch = make_batch(CASE_BY_NAME[case], shape, dtype=dtype)
    labels = np.random.default_rng(5).random(shape) < min(0.4, 20 / shape[-1])
    if shape[:-1]:
        labels.reshape(-1, shape[-1])[0] = False  # a row without positives
    return batch.on(batch.logits, labels).but(**more)


def with_lists(dense: Batch, form: str) -> Batch:
    return dense.on(dense.logits, FORMS[form](dense.labels))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WITH_LISTS)
def test_lists_equal_dense_labels(name: str, form: str) -> None:
    """To the bit, but for the sum; whether or not they are looked at."""
    for shape, validate in (((33,), True), ((4, 1), False), ((2, 1025), False), ((2, 3, 17), True)):
        dense = dense_batch(name, shape)
        lists = with_lists(dense, form).but(validate=validate)
        found, right = cases.on_torch(lists, 1.5), cases.on_torch(dense, 1.5)
        np.testing.assert_allclose(found[0], right[0], rtol=2e-7)
        assert found[1].tobytes() == right[1].tobytes()
        lists, dense = per_element(lists), per_element(dense)
        upstream = upstream_of(dense)
        for one, other in zip(cases.on_torch(lists, upstream), cases.on_torch(dense, upstream), strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_of_every_dtype_of_logits(dtype: str) -> None:
    for form in FORMS:
        dense = dense_batch("weights", (5, 300), dtype)
        found = cases.on_torch(with_lists(dense, form), 2.0)
        assert_right(dense, 2.0, found)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "expanded-rows", "channels-last"])
def test_lists_of_every_layout_of_logits(layout: str) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = LAYOUTS[layout](lambda *shape: torch.randn(shape, generator=generator))
    values = logits.clone(memory_format=torch.contiguous_format).numpy()
    for name in ("plain", "element-weights"):
        dense = dense_batch(name, values.shape).on(values)
        found = cases.on_torch(with_lists(dense, "csr"), 1.5, logits)
        assert found[1].tobytes() == cases.on_torch(dense, 1.5)[1].tobytes()


def test_lists_of_infinite_logits() -> None:
    """The loss of a negative label is infinite where that of the positive one, which it is, is 0."""
    inf = torch.inf
    x = torch.tensor([[inf, -inf, 1.0, -inf], [0.0, inf, -1.0, 2.0]], requires_grad=True)
    dense = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]])
    lists = xent.Positives(torch.tensor([[0, 2], [1, 3]]))
    for function in (xent.sigmoid_cross_entropy, xent.sigmoid_focal_cross_entropy):
        for reduction in ("mean", "none"):
            found, right = (function(x, y, reduction=reduction) for y in (lists, dense))
            torch.testing.assert_close(found, right)
            assert found.isfinite().all()
            for one, other in zip(*(torch.autograd.grad(g.sum(), x) for g in (found, right)), strict=True):
                assert torch.equal(one, other)
    x = x.detach().masked_fill(torch.tensor([[False] * 4, [True] + [False] * 3]), inf)
    assert xent.sigmoid_cross_entropy(x, lists) == inf
    x[1, 0] = torch.nan
    assert xent.sigmoid_cross_entropy(x, lists).isnan()


def test_lists_that_hold_nothing() -> None:
    x = torch.zeros(2, 5, requires_grad=True)
    long = {"dtype": torch.int64}
    for validate in (True, False):
        for lists in (
            xent.Positives(torch.zeros(2, 0, **long)),
            xent.Positives(torch.full((2, 3), -1)),
            xent.Positives(torch.zeros(0, **long), torch.zeros(3, **long)),
        ):
            loss = xent.sigmoid_cross_entropy(x, lists, validate=validate)
            assert loss.item() == pytest.approx(np.log(2))
            assert torch.equal(torch.autograd.grad(loss, x)[0], torch.full((2, 5), 0.05))
        assert (
            xent.sigmoid_cross_entropy(torch.zeros(3, 0), xent.Positives(torch.full((3, 2), -1)), validate=validate)
            == 0
        )


BAD_LISTS = {
    "above": (([[0, -1], [3, 1], [2, 1]], None), [1], IndexError, r"labels.classes: .*row 1"),
    "below": (([[0, -1], [-2, 1], [2, 1]], None), [1], IndexError, r"labels.classes: .*row 1"),
    "twice": (([[0, -1], [0, 1], [1, 1]], None), [2], ValueError, r"labels.classes: .*class 1 more than once in row 2"),
    "above-csr": (([0, 99, 1, 2], [0, 1, 3, 4]), [1], IndexError, r"labels.classes: .*row 1"),
    "padding-csr": (([0, -1, 1, 2], [0, 1, 3, 4]), [1], IndexError, r"labels.classes: .*row 1"),
    "falling": (([0, 1, 1, 2], [0, 3, 1, 4]), [0, 1, 2], ValueError, r"labels.starts: .*rise from 0 to 4"),
    "late": (([0, 1, 1, 2], [1, 2, 3, 4]), [0, 1, 2], ValueError, r"labels.starts: .*rise from 0 to 4"),
    "short": (([0, 1, 1, 2], [0, 1, 2, 3]), [0, 1, 2], ValueError, r"labels.starts: .*rise from 0 to 4"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_bad_lists(name: str) -> None:
    """An error, or a row that is NaN; the memory around is left alone."""
    (classes, starts), rows, error, message = BAD_LISTS[name]
    lists = xent.Positives(torch.tensor(classes), None if starts is None else torch.tensor(starts))
    room = torch.zeros(9, 3)
    x = room[3:6].requires_grad_()
    with pytest.raises(error, match=message):
        xent.sigmoid_cross_entropy(x, lists)
    expected = torch.zeros(3, 3, dtype=torch.bool)
    expected[rows] = True
    each = xent.sigmoid_cross_entropy(x, lists, reduction="none", validate=False)
    assert torch.equal(each.isnan(), expected)
    assert torch.equal(torch.autograd.grad(each.sum(), x)[0].isnan(), expected)
    mean = xent.sigmoid_cross_entropy(x, lists, validate=False)
    assert mean.isnan()
    assert torch.equal(torch.autograd.grad(mean, x)[0].isnan(), expected)


def test_lists_of_the_wrong_shape() -> None:
    """Which needs no look at the device."""
    x, classes = torch.zeros(3, 4), torch.tensor([0, 1])
    for lists, message in (
        (xent.Positives(classes), r"labels.classes: expected shape \(3, 'k'\)"),
        (xent.Positives(classes, torch.tensor([0, 2])), r"labels.starts: expected shape \(4,\): offsets"),
        (xent.Positives(classes.float(), torch.tensor([0, 0, 1, 2])), r"labels.classes: expected integers"),
    ):
        for validate in (True, False):
            with pytest.raises(ValueError, match=message):
                xent.sigmoid_cross_entropy(x, lists, validate=validate)


def test_lists_that_are_not_on_the_device_are_checked() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    right = xent.sigmoid_cross_entropy(x, torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]]), reduction="none")
    for lists in (xent.Positives([[1], [2]]), xent.Positives(np.array([1, 2]), np.array([0, 1, 2]))):
        assert torch.equal(xent.sigmoid_cross_entropy(x, lists, reduction="none", validate=False), right)
    with pytest.raises(IndexError, match=r"labels.classes: .*row 1"):
        xent.sigmoid_cross_entropy(x, xent.Positives([[1], [4]]), validate=False)


# Graphs


@pytest.mark.parametrize("name", ["hard", "everything", "asymmetric", "pinball-weights", "signs-weights"])
def test_compiled(name: str) -> None:
    torch.compiler.reset()
    for reduction in ("mean", "none"):
        batch = make_batch(CASE_BY_NAME[name], (3, 37)).but(reduction=reduction)
        labels, options = tensor(batch.labels), cases.torch_options(batch)

        def loss(x: torch.Tensor, y: Any = labels, o: Any = options, f: Any = batch.function) -> torch.Tensor:
            return getattr(xent, f)(x * 1.0, y, **o)

        results = []
        for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
            leaf = tensor(batch.logits).requires_grad_()
            value = function(leaf)
            value.sum().mul(1.5).backward()
            results.append((value.detach(), leaf.grad))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])


def test_lists_compiled() -> None:
    classes = torch.tensor([[1, 2], [-1, -1], [0, -1]])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return xent.sigmoid_cross_entropy(x * 1.0, xent.Positives(classes), label_smoothing=0.1)

    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
        value = function(leaf)
        value.backward()
        results.append((value.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


# Other functions


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softmax", "log_softmax", "logsumexp"])
def test_activations_are_torch_s(name: str) -> None:
    """No kernels of their own: the compiler fuses them, and torch's are right."""
    x = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).mul_(4).requires_grad_()
    exact = {
        "sigmoid": lambda t: 1 / (1 + torch.exp(-t)),
        "log_sigmoid": lambda t: -torch.log1p(torch.exp(-t)),
        "softmax": lambda t: torch.exp(t) / torch.exp(t).sum(-1, keepdim=True),
        "log_softmax": lambda t: t - torch.exp(t).sum(-1, keepdim=True).log(),
        "logsumexp": lambda t: torch.exp(t).sum(-1).log(),
    }[name](x)
    found = getattr(xent, name)(x)
    torch.testing.assert_close(found, exact)
    g = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(*(torch.autograd.grad(one, x, g)[0] for one in (found, exact)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_slope_of_the_sigmoid_near_one(dtype: torch.dtype) -> None:
    """p·(1 - p) of a rounded p would be wrong by half at 6 in bfloat16."""
    x = torch.linspace(-12, 12, 25).to(dtype).requires_grad_()
    xent.sigmoid(x).sum().backward()
    exact = x.detach().double()
    right = torch.sigmoid(exact) * torch.sigmoid(-exact)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), right, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
