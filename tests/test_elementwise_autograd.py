"""Derivatives of the losses of single numbers on PyTorch: to every argument, twice, with any upstream gradient."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import elementwise_cases as cases
import numpy as np
import pytest
import registry
import torch
import truth
from elementwise_cases import CASE_BY_NAME, CASES, Batch, Case, make_batch, upstream_of
from registry import DTYPES, TORCH_DTYPES, tensor

import xent


def function_of(batch: Batch, **options: Any) -> Any:
    given = {**cases.torch_options(batch), **options}
    labels = tensor(batch.labels)
    return lambda x: getattr(xent, batch.function)(x, labels, **given)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradients_by_differences(case: Case) -> None:
    for reduction in ("mean", "none"):
        batch = make_batch(case, (3, 5), dtype="float64", scale=1.5).but(reduction=reduction)
        if reduction == "none":
            batch.options.pop("normalizer", None)
        if case.labels == "real":
            batch = batch.on(batch.logits, batch.labels + 0.01)  # off the kink
        leaf = tensor(batch.logits).requires_grad_()
        assert torch.autograd.gradcheck(function_of(batch), leaf)
        assert torch.autograd.gradgradcheck(function_of(batch), leaf)


def leaves_of(batch: Batch) -> dict[str, torch.Tensor]:
    found = {"labels": tensor(batch.labels.astype(np.float64))}
    for name in ("pos_weight", "class_weight", "sample_weight"):
        if name in batch.options:
            found[name] = tensor(batch.options[name]).double()
    return {name: t.requires_grad_() for name, t in found.items()}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", [c for c in CASES if c.function != "logistic_loss"], ids=lambda c: c.name)
def test_gradients_to_labels_and_weights(case: Case, reduction: str) -> None:
    """Those of extended precision, the denominator of the mean included; and the gradient to the logits with them."""
    for form in (case.sample_weight, "element", "row", "ones"):
        batch = make_batch(replace(case, sample_weight=form), (4, 5), dtype="float64", scale=1.5).but(
            reduction=reduction
        )
        if reduction != "mean":
            batch.options.pop("normalizer", None)
        upstream: Any = upstream_of(batch) if reduction == "none" else 1.25
        exact = cases.truth_of(batch, upstream)
        leaf, leaves = tensor(batch.logits).requires_grad_(), leaves_of(batch)
        options = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
        given = {k: v for k, v in leaves.items() if k != "labels"}
        loss = getattr(xent, batch.function)(leaf, leaves["labels"], **{**options, **given})
        wanted = (leaf, *leaves.values())
        gradients = torch.autograd.grad(loss, wanted, torch.as_tensor(upstream, dtype=torch.float64))
        np.testing.assert_allclose(loss.detach().numpy(), exact.loss.astype(float), rtol=1e-12)
        names = ("logits", *leaves)
        for name, found in zip(names, gradients, strict=True):
            right = np.asarray(getattr(exact, f"{name}_grad")).astype(float)
            assert found.shape == right.shape, name
            np.testing.assert_allclose(found.numpy(), right, rtol=1e-10, atol=1e-13, err_msg=name)


def test_gradients_to_all_arguments_by_differences() -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()

    x, y, pos, v, s = draw(3, 4), draw(3, 4), draw(4), draw(4), draw(3)
    for function, options in (
        (xent.sigmoid_cross_entropy, {"label_smoothing": 0.1}),
        (xent.sigmoid_focal_cross_entropy, {"gamma": 1.5}),
        (xent.asymmetric_sigmoid_cross_entropy, {}),
    ):
        for reduction in ("mean", "none"):

            def loss(*leaves: Any, f: Any = function, o: Any = options, r: str = reduction) -> Any:
                a, b, c, d, e = leaves
                return f(a, b, pos_weight=c, class_weight=d, sample_weight=e, reduction=r, validate=False, **o)

            assert torch.autograd.gradcheck(loss, (x, y, pos, v, s))
            assert torch.autograd.gradgradcheck(loss, (x, y, pos, v, s))


UPSTREAM = {
    "contiguous": lambda g: g,
    "transposed": lambda g: g.T.contiguous().T,
    "sliced": lambda g: g.repeat_interleave(2, 0).repeat_interleave(3, 1)[::2, ::3],
    "expanded-rows": lambda g: g[:1].expand(g.shape),
    "expanded-all": lambda g: g[0, 0].expand(g.shape),
    "float64": lambda g: g,
}


@pytest.mark.parametrize("layout", UPSTREAM)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_upstream_gradients_of_any_layout(instruction_set: str, dtype: str, layout: str) -> None:
    for name in ("hard", "everything", "focal", "asymmetric", "pinball-weights", "signs"):
        batch = make_batch(CASE_BY_NAME[name], (7, 131), dtype=dtype).but(reduction="none")
        upstream = UPSTREAM[layout](tensor(upstream_of(batch)))
        before = upstream.clone()
        values = upstream.contiguous().numpy()
        leaf = tensor(batch.logits).requires_grad_()
        loss = function_of(batch)(leaf)
        (found,) = torch.autograd.grad(loss, leaf, upstream)
        _, right = cases.on_torch(batch, values)
        assert registry.array(found).tobytes() == right.tobytes(), name
        assert torch.equal(upstream, before)
        assert np.abs(right.astype(float)).max() > 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_backward_gives_the_same_bits(instruction_set: str, dtype: str, case: Case) -> None:
    batch = make_batch(case, (5, 131), dtype=dtype)
    for reduction in ("mean", "none"):
        one = batch.but(reduction=reduction, **({} if reduction == "mean" else {"normalizer": None}))
        leaf = tensor(one.logits).requires_grad_()
        loss = function_of(one)(leaf)
        for scale in (1.0, 0.37):
            upstream = torch.full_like(loss, scale)
            first, second, third = (torch.autograd.grad(loss, leaf, upstream, retain_graph=True)[0] for _ in range(3))
            assert torch.equal(first, second)
            assert torch.equal(second, third)
            assert first.dtype is TORCH_DTYPES[dtype]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_upstream_scales_the_gradient(instruction_set: str, case: Case) -> None:
    """Scalar upstream gradients other than 1; 0 gives 0, -1 the negative."""
    batch = make_batch(case, (5, 131))
    _, one = cases.on_torch(batch, 1.0)
    _, minus = cases.on_torch(batch, -1.0)
    _, nothing = cases.on_torch(batch, 0.0)
    _, double = cases.on_torch(batch, 2.0)
    np.testing.assert_array_equal(minus, -one)
    np.testing.assert_array_equal(double, 2 * one)
    np.testing.assert_array_equal(nothing, 0)
    assert one.any()


def test_gradients_differentiated_again_are_the_kernels() -> None:
    """`create_graph` changes the way, not the numbers; ±inf and elements of weight 0 included."""
    x = np.array([[np.inf, -np.inf, 3.0, np.nan, np.nan, 0.5, -1.0]])
    y = np.array([[1.0, 0.0, 0.3, 1.0, -100.0, 0.0, 1.0]])
    w = np.array([[1.0, 2.0, 1.0, 0.0, 1.0, 0.5, 1.0]])
    for function in ("sigmoid_cross_entropy", "sigmoid_focal_cross_entropy", "asymmetric_sigmoid_cross_entropy"):
        for reduction in ("mean", "none"):
            batch = Batch(function, x, y, {"sample_weight": w, "ignore_index": -100, "reduction": reduction})
            leaf = tensor(x).requires_grad_()
            loss = function_of(batch)(leaf)
            upstream = torch.ones_like(loss)
            (plain,) = torch.autograd.grad(loss, leaf, upstream, retain_graph=True)
            (again,) = torch.autograd.grad(loss, leaf, upstream, create_graph=True)
            assert torch.isfinite(plain).all(), function
            torch.testing.assert_close(again.detach(), plain, rtol=1e-12, atol=1e-15)
            (curvature,) = torch.autograd.grad(again.sum(), leaf)
            assert torch.isfinite(curvature).all(), function


def test_losses_that_are_infinite_stay_so_where_labels_want_gradients() -> None:
    x = torch.tensor([-np.inf, 1.0])
    for function in (xent.sigmoid_cross_entropy, xent.sigmoid_focal_cross_entropy):
        y = torch.tensor([1.0, 0.0], requires_grad=True)
        for options in ({}, {"normalizer": 3.0}, {"reduction": "sum"}):
            assert function(x, y, **options).item() == np.inf


def test_modules_that_use_the_gradient_in_place() -> None:
    """What the forward pass saved must not change behind its back."""
    batch = make_batch(CASE_BY_NAME["hard"], (5, 7))
    leaf = tensor(batch.logits).requires_grad_()
    x = leaf * 1.0
    loss = function_of(batch)(x)
    (expected,) = torch.autograd.grad(2 * function_of(batch)(leaf * 1.0), leaf)
    x.mul_(2.0)  # the gradient is made already
    (found,) = torch.autograd.grad(2 * loss, leaf, retain_graph=True)
    torch.testing.assert_close(found, expected)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # and now it would have to be made again
    y, leaf = tensor(batch.labels).float(), tensor(batch.logits).requires_grad_()
    loss = xent.sigmoid_cross_entropy(leaf, y)
    y.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (2 * loss).backward()


def test_nothing_is_recorded_without_need() -> None:
    batch = make_batch(CASE_BY_NAME["hard"], (5, 7))
    leaf = tensor(batch.logits).requires_grad_()
    with torch.no_grad():
        assert not function_of(batch)(leaf).requires_grad
    with torch.inference_mode():
        assert not function_of(batch)(leaf).requires_grad
    assert not function_of(batch)(leaf.detach()).requires_grad
    assert function_of(batch)(leaf).requires_grad
    for function in (xent.sigmoid, xent.log_sigmoid):
        assert not function(leaf.detach()).requires_grad


def test_transforms() -> None:
    """torch.func: grad, vmap, hessian and forward mode are the plain derivatives."""
    batch = make_batch(CASE_BY_NAME["everything"], (4, 5), dtype="float64")
    batch.options.pop("ignore_index")
    batch = batch.on(batch.logits, np.clip(batch.labels, 0, 1))
    loss, x = function_of(batch), tensor(batch.logits)
    _, right = cases.on_torch(batch)
    np.testing.assert_allclose(torch.func.grad(loss)(x).numpy(), right, rtol=1e-12, atol=1e-15)
    tangent = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, inside torch
        _, along = torch.func.jvp(loss, (x,), (tangent,))
    assert float(along) == pytest.approx((right * tangent.numpy()).sum(), rel=1e-11)
    y = tensor(batch.labels)
    each = torch.func.vmap(lambda a, b: xent.sigmoid_cross_entropy(a, b, reduction="sum"))(x, y)
    np.testing.assert_allclose(each.numpy(), xent.sigmoid_cross_entropy(x, y, reduction="none").sum(1), rtol=1e-13)
    hessian = torch.func.hessian(lambda a: xent.sigmoid_cross_entropy(a, y[0], reduction="sum"))(x[0])
    p = torch.sigmoid(x[0])
    np.testing.assert_allclose(hessian.numpy(), torch.diag(p * (1 - p)).numpy(), rtol=1e-12, atol=1e-15)
    lists = xent.Positives(np.array([[1, 2], [0, -1], [-1, -1], [4, 3]]))
    dense = np.zeros((4, 5))
    dense[[0, 0, 1, 3, 3], [1, 2, 0, 4, 3]] = 1
    found = torch.func.grad(lambda a: xent.sigmoid_cross_entropy(a, lists))(x)
    np.testing.assert_allclose(
        found.numpy(), torch.func.grad(lambda a: xent.sigmoid_cross_entropy(a, tensor(dense)))(x).numpy(), rtol=1e-13
    )


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid"])
def test_activations_by_differences(name: str) -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).mul_(2).requires_grad_()
    function = getattr(xent, name)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    assert torch.autograd.gradcheck(function, x.detach().T.requires_grad_())
    found = torch.func.vmap(torch.func.grad(lambda a: function(a).sum()))(x.detach())
    (right,) = torch.autograd.grad(function(x).sum(), x)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=0)


def test_ignored_elements_get_a_gradient_of_zero(instruction_set: str) -> None:
    for case in CASES:
        if not case.ignore:
            continue
        batch = make_batch(case, (6, 70))
        ignored = batch.labels == -100
        batch.logits[ignored] = np.resize([np.nan, np.inf, -np.inf], int(ignored.sum()))
        assert ignored.any()
        for reduction in ("mean", "none"):
            one = batch.but(reduction=reduction)
            upstream: Any = upstream_of(one) if reduction == "none" else 1.5
            loss, gradient = cases.on_torch(one, upstream)
            assert not np.isnan(loss).any()
            assert (gradient[ignored] == 0).all()
            assert np.isfinite(gradient).all()
            exact = cases.truth_of(one, upstream)
            assert registry.typical(cases.loss_errors(loss, exact, "float32")) <= 4
            assert truth.extended(gradient).any()


@pytest.mark.parametrize("loss", ["sigmoid_focal_cross_entropy", "asymmetric_sigmoid_cross_entropy", "without clip"])
def test_modulated_losses_at_infinity_by_the_reference(loss: str) -> None:
    """Under `create_graph` too the gradient at ±inf is the limit, and its own gradient 0."""
    options = {"clip": 0.0} if loss == "without clip" else {}
    function = getattr(xent, "asymmetric_sigmoid_cross_entropy" if options else loss)
    y = torch.tensor([0.0, 1.0, 1.0, 0.0])

    def gradient(create_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.tensor([np.inf, -np.inf, np.inf, -np.inf], requires_grad=True)
        (found,) = torch.autograd.grad(function(x, y, reduction="sum", **options), x, create_graph=create_graph)
        return x, found

    x, found = gradient(True)
    assert torch.equal(found, gradient(False)[1])
    assert torch.isfinite(found).all()
    assert torch.equal(torch.autograd.grad(found.sum(), x)[0], torch.zeros(4))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_of_a_masked_class_by_the_reference(gamma: float) -> None:
    x = torch.tensor([[-np.inf, 0.0]], requires_grad=True)
    loss = xent.focal_cross_entropy(x, torch.tensor([0]), gamma=gamma)
    (found,) = torch.autograd.grad(loss, x, create_graph=True)
    assert torch.equal(found, torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_slope_of_the_sigmoid_near_one(dtype: torch.dtype) -> None:
    """p·(1 - p) of a rounded p would be wrong by half at 6 in bfloat16, and 0 soon after."""
    x = torch.linspace(-17, 17, 35).to(dtype).requires_grad_()
    xent.sigmoid(x).sum().backward()
    exact = x.detach().double()
    right = torch.sigmoid(exact) * torch.sigmoid(-exact)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), right.to(dtype).double(), rtol=2 * torch.finfo(dtype).eps, atol=1e-7)


def test_lists_of_tensors_in_a_transform() -> None:
    lists = xent.Positives(torch.tensor([[1], [2]]))
    dense = torch.tensor([[0.0, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    found = torch.func.grad(lambda a: xent.sigmoid_cross_entropy(a, lists))(x)
    torch.testing.assert_close(found, torch.func.grad(lambda a: xent.sigmoid_cross_entropy(a, dense))(x))


def test_no_weight_means_no_loss_and_no_gradient() -> None:
    x = torch.tensor([np.nan, 0.0], requires_grad=True)
    loss = xent.sigmoid_cross_entropy(x, torch.ones(2), pos_weight=0.0, reduction="sum")
    loss.backward()
    assert loss == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(2))
