"""PyTorch: an honest citizen of autograd. Backward once, again and twice, gradients to everything, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import registry
import torch
import truth
from registry import CASE_BY_NAME, CASES, DTYPES, Batch, Case, accumulated, make_batch
from torch.autograd import forward_ad

import xent

UPSTREAMS = (1.0, 2.0, -0.5, 0.0)


def call(batch: Batch, leaf: torch.Tensor, **options: Any) -> Any:
    return xent.softmax_cross_entropy(
        leaf, registry.torch_labels(batch), **{**registry.torch_options(batch), **options}
    )


def assert_gradient(found: torch.Tensor, exact: truth.Truth, rival: Any, dtype: str) -> None:
    """No further from the truth than torch's own gradient, plus an ulp."""
    error = registry.typical(registry.gradient_errors(registry.array(found), exact, dtype))
    assert error <= registry.typical(registry.gradient_errors(rival, exact, dtype)) + 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["index-everything", "dense-everything", "topk-everything", "index"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_backward(dtype: str, name: str, reduction: str) -> None:
    """Upstream gradients of 1, 2, -0.5 and 0 through one graph, in any order, each as if it were the first."""
    for classes in (7, 100):
        batch = make_batch(CASE_BY_NAME[name], (41,), classes, dtype=dtype, seed=1).but(reduction=reduction)
        leaf = registry.tensor(batch.logits).requires_grad_()
        for order in (UPSTREAMS, UPSTREAMS[::-1]):
            loss = call(batch, leaf)
            total = loss.sum()
            for upstream in order:
                rows = np.full(41, upstream) if reduction == "none" else upstream
                exact, rival = registry.truth_of(batch, rows), registry.rival(batch, rows)[1]
                (gradient,) = torch.autograd.grad(
                    total, leaf, torch.tensor(upstream, dtype=loss.dtype), retain_graph=True
                )
                assert_gradient(gradient, exact, rival, dtype)
                assert gradient.dtype is leaf.dtype
                if upstream == 0:
                    assert (gradient == 0).all()
                else:
                    assert (gradient != 0).any()


def test_backward_accumulates_into_grad() -> None:
    batch = make_batch(CASE_BY_NAME["index"], (33,), 70, seed=2)
    leaf = registry.tensor(batch.logits).requires_grad_()
    loss = call(batch, leaf)
    loss.backward(torch.tensor(2.0), retain_graph=True)
    first = leaf.grad.clone()
    loss.backward(torch.tensor(2.0), retain_graph=True)
    assert torch.equal(leaf.grad, first * 2)
    loss.backward(torch.tensor(-4.0))
    assert torch.equal(leaf.grad, torch.zeros_like(first))
    assert first.abs().sum() > 0


def test_a_freed_graph_raises() -> None:
    leaf = torch.zeros(2, 3, requires_grad=True)
    loss = xent.softmax_cross_entropy(leaf, torch.tensor([0, 1]))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


@pytest.mark.parametrize("shape", [(9, 70), (1024, 400)])
def test_writing_into_a_returned_gradient_spoils_nothing(shape: tuple[int, int]) -> None:
    """The larger gradient lies in a pooled buffer."""
    batch = make_batch(CASE_BY_NAME["index"], shape[:1], shape[1], seed=3)
    leaf = registry.tensor(batch.logits).requires_grad_()
    loss = call(batch, leaf)
    loss.backward(retain_graph=True)
    kept = leaf.grad.clone()
    leaf.grad.fill_(7)
    (again,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    assert torch.equal(again, kept)
    leaf.grad.fill_(9)
    assert torch.equal(again, kept)
    other = leaf.detach().clone().requires_grad_()
    call(batch, other).backward()
    assert torch.equal(again, kept)
    assert torch.equal(other.grad, kept)
    assert not torch.equal(kept, torch.zeros_like(kept))


def test_logits_that_are_no_leaf() -> None:
    """A projection in front: the gradient reaches inputs and weight as through torch's own loss."""
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(13, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 9, (13,), generator=generator)
    found = torch.autograd.grad(3 * xent.softmax_cross_entropy(inputs @ weight.T, labels), [inputs, weight])
    expected = torch.autograd.grad(3 * torch.nn.functional.cross_entropy(inputs @ weight.T, labels), [inputs, weight])
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max() <= float(truth.ulp(e.abs().max().item(), "float32"))
    frozen = torch.autograd.grad(xent.softmax_cross_entropy(inputs.detach() @ weight.T, labels), weight)[0]
    assert torch.equal(frozen * 3, found[1]) or (frozen * 3 - found[1]).abs().max() < 1e-15


@pytest.mark.parametrize("layout", ["transposed", "expanded", "reversed", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_upstream_gradients_in_any_layout(dtype: str, layout: str) -> None:
    batch = make_batch(CASE_BY_NAME["index-everything"], (6, 8), 9, dtype=dtype, seed=5).but(reduction="none")
    leaf = registry.tensor(batch.logits).requires_grad_()
    upstream = {
        "transposed": torch.randn(8, 6).T,
        "expanded": torch.randn(6, 1).expand(6, 8),
        "reversed": torch.randn(6, 8).flip(0),
        "strided": torch.randn(6, 16)[:, ::2],
    }[layout]
    assert layout == "reversed" or not upstream.is_contiguous()
    (gradient,) = torch.autograd.grad(call(batch, leaf), leaf, upstream)
    (expected,) = torch.autograd.grad(call(batch, leaf), leaf, upstream.contiguous())
    assert torch.equal(gradient, expected)
    exact, rival = registry.truth_of(batch, upstream.numpy()), registry.rival(batch, upstream.numpy())[1]
    assert_gradient(gradient, exact, rival, dtype)


def small(case: Case, classes: int = 4, rows: int = 3) -> tuple[Batch, list[str]]:
    """A batch for finite differences, and the arguments that can be differentiated besides the logits."""
    batch = make_batch(case, (rows,), classes, dtype="float64", seed=6, scale=1.0)
    if "sample_weight" in batch.options:  # rows of weight 0 are never read, so their weights have no derivative
        batch = batch.but(sample_weight=batch.options["sample_weight"] + 0.1)
    names = [n for n in ("class_weight", "sample_weight") if n in batch.options]
    return batch, names + (["labels"] if case.target != "index" else [])


def function_of(
    batch: Batch, names: list[str], reduction: str
) -> tuple[Callable[..., torch.Tensor], list[torch.Tensor]]:
    """The loss as a function of the tensors in `names`, and the tensors."""
    options = registry.torch_options(batch)
    if reduction != "mean":
        options.pop("normalizer", None)
    options["reduction"] = reduction
    labels = registry.torch_labels(batch)
    soft = labels.values if isinstance(labels, xent.TopK) else labels
    start = {"logits": registry.tensor(batch.logits), "labels": soft, **options}
    tensors = [start[n].clone().requires_grad_() for n in names]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, values, strict=True))
        target = given.pop("labels", soft)
        logits = given.pop("logits", start["logits"])
        if isinstance(labels, xent.TopK):
            target = xent.TopK(labels.indices, target)
        return xent.softmax_cross_entropy(logits, target, **{**options, **given})

    return loss, tensors


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradcheck(case: Case, reduction: str) -> None:
    batch, _ = small(case)
    function, tensors = function_of(batch, ["logits"], reduction)
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradcheck_of_everything_else(case: Case, reduction: str) -> None:
    batch, names = small(case)
    if not names:
        batch, names = (
            batch.but(class_weight=np.array([0.5, 1.0, 2.0, 0.25]), sample_weight=np.array([1.0, 0.5, 2.0])),
            [
                "class_weight",
                "sample_weight",
            ],
        )
    function, tensors = function_of(batch, ["logits", *names], reduction)
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("with_logits", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.class_weight or c.sample_weight or c.target != "index"], ids=lambda c: c.name
)
def test_gradients_to_weights_and_targets(case: Case, reduction: str, with_logits: bool) -> None:
    for dtype in ("float64", "float32"):
        batch, names = small(case, classes=9, rows=13)
        batch = Batch(
            batch.logits.astype(dtype),
            batch.labels if case.target in ("index", "topk") else batch.labels.astype(dtype),
            batch.options,
        ).but(reduction=reduction)
        if reduction != "mean":
            batch.options.pop("normalizer", None)
        function, tensors = function_of(batch, names + (["logits"] if with_logits else []), reduction)
        upstream = np.random.default_rng(7).normal(size=13).astype(dtype) if reduction == "none" else -1.5
        loss = function(*tensors)
        found = torch.autograd.grad(loss, tensors, torch.as_tensor(upstream, dtype=loss.dtype))
        exact = registry.truth_of(batch, upstream)
        expected = {
            "labels": exact.target_grad,
            "class_weight": exact.class_weight_grad,
            "sample_weight": exact.sample_weight_grad,
            "logits": exact.logits_grad,
        }
        for name, tensor, gradient in zip([*names, "logits"], tensors, found, strict=False):
            assert gradient.dtype is tensor.dtype
            assert gradient.shape == tensor.shape
            right = expected[name].astype(np.float64)
            # a sum of as many terms as there are rows, of the size of the largest
            error = np.abs(gradient.numpy() - right).max() / np.abs(right).max()
            assert error < (13 * np.finfo(np.float32).eps if dtype == "float32" else np.finfo(np.float32).eps), name


def test_gradients_to_top_k_values_with_unchecked_classes_are_checked() -> None:
    values = torch.ones(1, 1, requires_grad=True)
    with pytest.raises(IndexError, match=r"labels.indices: expected class indices in \[0, 3\), got label 5 in row 0"):
        xent.softmax_cross_entropy(torch.zeros(1, 3), xent.TopK(torch.tensor([[5]]), values))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_create_graph_gives_the_same_gradient(dtype: str, case: Case) -> None:
    """A gradient with a graph is as accurate as one without; garbage in ignored rows stays out of both derivatives."""
    batch = make_batch(case, (9,), 12, dtype=dtype, seed=8)
    logits = batch.logits.copy()
    if case.ignore:
        logits[batch.labels == registry.IGNORE] = np.nan
    leaf = registry.tensor(logits).requires_grad_()
    (plain,) = torch.autograd.grad(
        call(batch, leaf), leaf, torch.tensor(1.5, dtype=registry.TORCH_DTYPES[accumulated(dtype)])
    )
    loss = call(batch, leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, torch.tensor(1.5, dtype=loss.dtype), create_graph=True)
    assert gradient.requires_grad
    assert gradient.dtype is leaf.dtype
    exact, rival = registry.truth_of(batch, 1.5), registry.rival(batch, 1.5)[1]
    assert_gradient(plain, exact, rival, dtype)
    assert_gradient(gradient.detach(), exact, rival, dtype)
    (second,) = torch.autograd.grad(gradient.float().pow(2).sum(), leaf)
    assert second.isfinite().all()
    assert second.abs().sum() > 0
    if case.ignore:
        assert (second[torch.from_numpy(batch.labels == registry.IGNORE)] == 0).all()


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["index-everything", "dense-class-weights", "topk-everything"])
def test_garbage_in_rows_that_do_not_count_stays_out_of_every_derivative(name: str, garbage: float) -> None:
    """Rows of weight 0 and ignored rows, where weights and targets want gradients and where a graph is wanted."""
    batch = make_batch(CASE_BY_NAME[name], (15,), 12, dtype="float64", seed=25)
    idle = batch.options["sample_weight"] == 0
    if batch.options.get("ignore_index") is not None:
        idle = idle | (batch.labels == registry.IGNORE)
    assert 0 < idle.sum() < 15
    dirty = batch.logits.copy()
    dirty[idle] = garbage
    results = []
    for logits in (batch.logits, dirty):
        leaf = registry.tensor(logits).requires_grad_()
        options, labels = registry.torch_options(batch), registry.torch_labels(batch)
        leaves = [leaf, options["class_weight"].requires_grad_()]
        if name == "dense-class-weights":
            leaves.append(labels.requires_grad_())
        loss = xent.softmax_cross_entropy(leaf, labels, **options)
        first = torch.autograd.grad(loss, leaves, torch.tensor(1.5, dtype=torch.float64), create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), leaf)
        results.append([loss.detach(), *(g.detach() for g in first), *second])
    for clean, found in zip(*results, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(found, clean)


def test_double_backward_to_the_upstream_gradient() -> None:
    """The derivative of the gradient by its upstream gradient is the gradient itself."""
    for name in ("index-everything", "dense"):
        batch = make_batch(CASE_BY_NAME[name], (5,), 7, dtype="float64", seed=9).but(reduction="none")
        leaf = registry.tensor(batch.logits).requires_grad_()
        upstream = torch.randn(5, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(call(batch, leaf), leaf, upstream, create_graph=True)
        direction = torch.randn_like(gradient)
        (found,) = torch.autograd.grad((gradient * direction).sum(), upstream)
        exact = registry.truth_of(batch, np.ones(5)).logits_grad.astype(np.float64)
        expected = (exact * direction.numpy()).sum(axis=1)
        assert np.abs(found.numpy() - expected).max() <= truth.ulp(np.abs(expected).max(), "float32")


def test_a_gradient_penalty_trains() -> None:
    """Second derivatives as they are used: the penalty on the gradient goes down along its own gradient."""
    leaf = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(10)).requires_grad_()
    labels = torch.randint(0, 6, (8,), generator=torch.Generator().manual_seed(11))

    def penalty(x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(xent.softmax_cross_entropy(x, labels), x, create_graph=True)[0].pow(2).sum()

    value = penalty(leaf)
    (slope,) = torch.autograd.grad(value, leaf)
    step = 1e-4 / slope.norm()
    moved = penalty((leaf - step * slope).detach().requires_grad_())
    expected = value - step * slope.pow(2).sum()
    assert moved < value
    assert abs(moved - expected) < 0.01 * (value - expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_through_the_statistics(dtype: str, axis: int, reduction: str) -> None:
    """lse has the softmax as its gradient, the entropy -p·(log p + H), together with the loss and alone."""
    for classes in (3, 64, 65, 1000):
        batch = make_batch(CASE_BY_NAME["index"], (17,), classes, dtype=dtype, axis=axis, seed=12).but(
            reduction=reduction
        )
        rng = np.random.default_rng(13)
        of_loss = rng.normal(size=17 if reduction == "none" else ())
        of_lse, of_entropy = rng.normal(size=17), rng.normal(size=17)
        leaf = registry.tensor(batch.logits).requires_grad_()
        compute = registry.TORCH_DTYPES[accumulated(dtype)]
        exact_rows = truth.extended(np.moveaxis(batch.logits, axis, -1))
        p, log_p = truth.softmax(exact_rows), truth.log_softmax(exact_rows)
        entropy = -(p * log_p).sum(axis=1, keepdims=True)
        to_loss = np.moveaxis(registry.truth_of(batch, of_loss).logits_grad, axis, -1)
        to_lse = of_lse.astype(truth.Real)[:, None] * p
        to_entropy = -of_entropy.astype(truth.Real)[:, None] * p * (log_p + entropy)
        entropy_terms = np.abs(of_entropy.astype(truth.Real))[:, None] * p * (entropy - log_p)
        x = leaf.detach().to(compute).requires_grad_()
        q, log_q = torch.softmax(x, axis), torch.log_softmax(x, axis)
        for chosen in ((1, 1, 1), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
            loss, stats = call(batch, leaf, return_stats=True)
            outputs = [loss, stats.lse, stats.entropy]
            upstream = [torch.as_tensor(u, dtype=compute) for u in (of_loss, of_lse, of_entropy)]
            pairs = [(o, u) for o, u, c in zip(outputs, upstream, chosen, strict=True) if c]
            (gradient,) = torch.autograd.grad([o for o, _ in pairs], leaf, [u for _, u in pairs])
            exact = sum(c * g for c, g in zip(chosen, (to_loss, to_lse, to_entropy), strict=True))
            terms = sum(c * np.abs(g) for c, g in zip(chosen, (to_loss, to_lse, entropy_terms), strict=True))
            rival_loss = torch.nn.functional.cross_entropy(
                x.movedim(axis, -1), registry.torch_labels(batch), reduction=reduction
            )
            rival_entropy = -(q * log_q).sum(axis)
            rivals = [
                o for o, c in zip((rival_loss, torch.logsumexp(x, axis), rival_entropy), chosen, strict=True) if c
            ]
            (rival,) = torch.autograd.grad(rivals, x, [u for _, u in pairs], retain_graph=True)
            errors, rival_errors = (
                np.abs(truth.extended(registry.array(g.to(leaf.dtype).movedim(axis, -1))) - exact)
                / truth.ulp(terms, dtype)
                for g in (gradient, rival)
            )
            assert registry.typical(errors) <= registry.typical(rival_errors) + 1, (classes, chosen)
            assert not stats.argmax.requires_grad
            assert stats.argmax.grad_fn is None


def test_statistics_without_gradients() -> None:
    batch = make_batch(CASE_BY_NAME["index"], (5,), 7, seed=14)
    leaf = registry.tensor(batch.logits).requires_grad_()
    with torch.no_grad():
        loss, stats = call(batch, leaf, return_stats=True)
    assert not loss.requires_grad
    assert not stats.lse.requires_grad
    attached, attached_stats = call(batch, leaf, return_stats=True)
    assert torch.equal(attached.detach(), loss)
    for a, b in zip(attached_stats, stats, strict=True):
        assert torch.equal(a.detach(), b)


def test_gradcheck_of_the_statistics_twice() -> None:
    labels = torch.tensor([0, 2, 1])

    def total(x: torch.Tensor) -> torch.Tensor:
        loss, stats = xent.softmax_cross_entropy(x, labels, return_stats=True, z_loss=0.1, label_smoothing=0.1)
        return loss * 2 + (stats.lse * torch.tensor([1.0, -1.0, 0.5])).sum() + stats.entropy.pow(2).sum()

    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(15)).requires_grad_()
    assert torch.autograd.gradcheck(total, [x])
    assert torch.autograd.gradgradcheck(total, [x])


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
def test_gradcheck_of_the_functions(name: str) -> None:
    function = getattr(xent, name)
    for shape, axis in (((3, 4), -1), ((3, 4), 0), ((2, 3, 2), 1)):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(16)).requires_grad_()
        assert torch.autograd.gradcheck(lambda t, axis=axis: function(t, axis), [x])
        assert torch.autograd.gradgradcheck(lambda t, axis=axis: function(t, axis), [x])


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_the_functions_are_no_worse_than_torch(name: str, dtype: str) -> None:
    function, (_, torch_function) = getattr(xent, name), registry.FUNCTIONS[name]
    rng = np.random.default_rng(17)
    for shape in ((37, 9), (19, 300)):
        x = (rng.normal(size=shape) * 3).astype(registry.NUMPY_DTYPES[dtype])
        out_shape = shape[:1] if name == "logsumexp" else shape
        upstream = registry.tensor(rng.normal(size=out_shape).astype(registry.NUMPY_DTYPES[dtype]))
        p, u = truth.softmax(x), truth.extended(registry.array(upstream))
        if name == "logsumexp":
            exact = u[:, None] * p
            terms = np.abs(exact)
        elif name == "softmax":
            exact = p * (u - (p * u).sum(axis=1, keepdims=True))
            terms = p * (np.abs(u) + np.abs(p * u).sum(axis=1, keepdims=True))
        else:
            exact = u - p * u.sum(axis=1, keepdims=True)
            terms = np.abs(u) + p * np.abs(u).sum(axis=1, keepdims=True)
        gradients = []
        for f in (function, torch_function):
            leaf = registry.tensor(x).requires_grad_()
            (gradient,) = torch.autograd.grad(f(leaf, -1), leaf, upstream)
            assert gradient.dtype is leaf.dtype
            gradients.append(registry.array(gradient))
        errors, rival_errors = (np.abs(truth.extended(g) - exact) / truth.ulp(terms, dtype) for g in gradients)
        assert registry.typical(errors) <= registry.typical(rival_errors) + 1


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_inputs_are_never_written(case: Case, reduction: str) -> None:
    """Not by forward, backward, a second backward or a double backward; with gradients wanted or not."""
    batch = make_batch(case, (9,), 70, seed=18).but(reduction=reduction)
    if reduction == "none":
        batch.options.pop("normalizer", None)
    options, labels = registry.torch_options(batch), registry.torch_labels(batch)
    leaf = registry.tensor(batch.logits).requires_grad_()
    tensors = [leaf, *(t for t in options.values() if isinstance(t, torch.Tensor))]
    tensors += [labels.indices, labels.values] if isinstance(labels, xent.TopK) else [labels]
    before, versions = [t.detach().clone() for t in tensors], [t._version for t in tensors]
    with torch.no_grad():
        xent.softmax_cross_entropy(leaf, labels, **options)
    loss = xent.softmax_cross_entropy(leaf, labels, **options).sum()
    for upstream in (2.0, -0.5):
        loss.backward(torch.tensor(upstream), retain_graph=True)
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    gradient.pow(2).sum().backward()
    for t, b, v in zip(tensors, before, versions, strict=True):
        assert torch.equal(t.detach(), b)
        assert t._version == v
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("argument", ["logits", "labels", "soft", "topk", "class_weight", "sample_weight"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_arguments_changed_before_backward_are_noticed(argument: str, reduction: str) -> None:
    """Whatever the backward pass needs again must not have been written meanwhile: an error, or the right gradient."""
    target = {"soft": "dense", "topk": "topk"}.get(argument, "index")
    batch = make_batch(CASE_BY_NAME[target], (9,), 70, dtype="float64", seed=19).but(
        reduction=reduction, class_weight=np.linspace(0.5, 2, 70), sample_weight=np.linspace(0.1, 1, 9)
    )
    options, labels = registry.torch_options(batch), registry.torch_labels(batch)
    leaf = registry.tensor(batch.logits).requires_grad_()
    logits = leaf * 1
    loss = xent.softmax_cross_entropy(logits, labels, **options).sum()
    (expected,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    changed = {
        "logits": logits.detach(),
        "labels": labels,
        "soft": labels,
        "topk": getattr(labels, "values", None),
        "class_weight": options["class_weight"],
        "sample_weight": options["sample_weight"],
    }[argument]
    changed.mul_(0).add_(1)
    try:
        (gradient,) = torch.autograd.grad(loss, leaf)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        assert torch.equal(gradient, expected)


def test_no_grad_and_inference_mode() -> None:
    batch = make_batch(CASE_BY_NAME["index-everything"], (9,), 70, seed=20)
    leaf = registry.tensor(batch.logits).requires_grad_()
    expected = call(batch, leaf)
    assert expected.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            loss = call(batch, leaf)
        assert not loss.requires_grad
        assert loss.item() == expected.item()
    with torch.inference_mode():
        made_inside = leaf * 1
        assert call(batch, made_inside).item() == expected.item()


def test_forward_mode_gives_a_tangent() -> None:
    """Never a silent 0: the tangent of the loss is the gradient times the tangent of the logits."""
    import warnings

    from torch.autograd import forward_ad

    batch = make_batch(CASE_BY_NAME["index-smoothed"], (5,), 7, dtype="float64", seed=21)
    x = registry.tensor(batch.logits)
    direction = torch.randn_like(x)
    exact = (registry.truth_of(batch).logits_grad * direction.numpy()).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, inside torch
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, direction)
            tangent = forward_ad.unpack_dual(call(batch, dual)).tangent
            assert tangent is not None
            assert registry.worst(tangent.numpy(), exact, "float32") < 1
            p = forward_ad.unpack_dual(xent.softmax(dual)).tangent
            assert p is not None
        _, tangent = torch.func.jvp(lambda t: call(batch, t), (x,), (direction,))
        assert registry.worst(tangent.numpy(), exact, "float32") < 1


def test_functional_transforms() -> None:
    """torch.func: grad, vmap over batches, and per-sample gradients."""
    batch = make_batch(CASE_BY_NAME["index-smoothed"], (6,), 5, dtype="float64", seed=22)
    x, y = registry.tensor(batch.logits), registry.torch_labels(batch)
    gradient = torch.func.grad(lambda t: call(batch, t))(x)
    exact = registry.truth_of(batch).logits_grad.astype(np.float64)
    assert np.abs(gradient.numpy() - exact).max() < np.finfo(np.float32).eps
    rows = torch.func.vmap(lambda t, label: xent.softmax_cross_entropy(t, label, label_smoothing=0.1))(x, y)
    each = xent.softmax_cross_entropy(x, y, label_smoothing=0.1, reduction="none")
    assert (rows - each).abs().max() < np.finfo(np.float32).eps
    per_sample = torch.func.vmap(
        torch.func.grad(lambda t, label: xent.softmax_cross_entropy(t, label, label_smoothing=0.1))
    )(x, y)
    assert np.abs(per_sample.numpy() / 6 - exact).max() < np.finfo(np.float32).eps


def test_a_parameter_and_a_module() -> None:
    torch.manual_seed(23)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 1).long()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = xent.softmax_cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    scores = torch.nn.Parameter(torch.zeros(3))
    xent.softmax_cross_entropy(scores, torch.tensor(1)).backward()
    assert scores.grad.tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3])


# The peers' defects, by what went wrong there.


def test_a_frozen_input_leaves_the_head_its_gradient() -> None:
    inputs, weight = torch.randn(5, 4), torch.randn(7, 4, requires_grad=True)
    xent.softmax_cross_entropy(inputs @ weight.T, torch.arange(5)).backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_first_40000_of_70000_columns_are_hidden(instruction_set: str, dtype: str) -> None:
    batch = make_batch(CASE_BY_NAME["index"], (2,), 70_000, dtype=dtype, seed=24)
    x, y = batch.logits.copy(), np.array([50_001, 69_999])
    x[:, :40_000] = -np.inf
    batch = Batch(x, y, batch.options)
    exact = registry.truth_of(batch, 2.0)
    loss, gradient = registry.on_torch(batch, 2.0)
    assert registry.worst(loss, exact.loss, "float32") < 4
    assert (gradient[:, :40_000] == 0).all()
    rival = registry.rival(batch, 2.0)
    registry.assert_no_worse(batch, (exact.loss, gradient), rival, exact, "hidden columns")


def test_a_label_beyond_the_vocabulary_reads_nothing() -> None:
    for classes in (5, 5000):
        with pytest.raises(
            IndexError, match=rf"labels: expected class indices in \[0, {classes}\), got label {classes + 5} in row 1"
        ):
            xent.softmax_cross_entropy(torch.zeros(2, classes), torch.tensor([0, classes + 5]))
        leaf = torch.zeros(2, classes, requires_grad=True)
        rows = xent.softmax_cross_entropy(leaf, torch.tensor([0, classes + 5]), reduction="none", validate=False)
        assert rows.isnan().tolist() == [False, True]
        (gradient,) = torch.autograd.grad(rows, leaf, torch.ones(2))
        assert gradient.isnan().all(dim=1).tolist() == [False, True]


def test_all_ignored_has_a_gradient_of_zero() -> None:
    for reduction in ("mean", "sum", "none"):
        leaf = torch.full((3, 70), float("nan"), requires_grad=True)
        loss = xent.softmax_cross_entropy(leaf, torch.full((3,), -100), ignore_index=-100, reduction=reduction)
        assert (loss == 0).all()
        loss.sum().backward()
        assert (leaf.grad == 0).all()


MEASURE = """
import resource, sys, threading
import numpy as np, torch
import xent

def resident():
    with open("/proc/self/status") as status:
        found = dict(line.split(":", 1) for line in status)
    return int(found["VmHWM"].split()[0]) * 1024

x = torch.randn(1024, 32000, dtype=getattr(torch, sys.argv[2]))
y = torch.randint(0, 32000, (1024,))
warm = torch.randn(16, 32000, dtype=x.dtype, requires_grad=True)  # threads and scratch
torch.autograd.grad(xent.softmax_cross_entropy(warm, y[:16]), warm, torch.tensor(2.0))
with torch.no_grad():
    xent.softmax_cross_entropy(warm, y[:16])
    xent.softmax_cross_entropy(warm, y[:16], reduction="none", return_stats=True)[0].min() > 0
del warm
xent.clear_cache()
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # reset the high-water mark
before = resident()
if sys.argv[1] == "train":
    x.requires_grad_()
    loss = xent.softmax_cross_entropy(x, y)
    (gradient,) = torch.autograd.grad(loss, x, torch.tensor(2.0))
    assert gradient[0, 0] != 0
elif sys.argv[1] == "infer":
    with torch.no_grad():
        assert xent.softmax_cross_entropy(x, y) > 0
else:
    assert xent.softmax_cross_entropy(x, y, reduction="none", return_stats=True)[0].min() > 0
print((resident() - before) / (x.numel() * x.element_size()), resident() - before)
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["train", "infer", "detached"])
def test_memory(mode: str, dtype: str) -> None:
    """One buffer of the logits' size in training, none in inference: the process's own high-water mark."""
    done = subprocess.run([sys.executable, "-c", MEASURE, mode, dtype], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ratio, allocated = (float(x) for x in done.stdout.split())
    if mode == "train":
        assert 0.9 < ratio <= 1.05  # the logits' size, or nothing was measured
    else:
        assert allocated < 2**20


def test_memory_is_given_back_after_backward() -> None:
    """The gradient buffer belongs to the gradient alone: a graph kept alive does not hold it."""
    from xent import _native

    xent.clear_cache()
    leaf = torch.zeros(1024, 1024, requires_grad=True)
    loss = xent.softmax_cross_entropy(leaf, torch.zeros(1024, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    assert _native.cached_buffer_bytes() == 0
    del gradient
    assert _native.cached_buffer_bytes() >= 4 * 1024 * 1024
    xent.clear_cache()
    assert _native.cached_buffer_bytes() == 0
    del loss
    assert _native.cached_buffer_bytes() == 0


@pytest.mark.filterwarnings("ignore")  # torch's own while it traces
@pytest.mark.parametrize("loss", [xent.softmax_cross_entropy, xent.sigmoid_cross_entropy], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_transforms_of_a_recorded_backward_pass(loss: Callable[..., Any], reduction: str) -> None:
    """The gradient is linear in the upstream gradient, whatever transforms that."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, generator=random).requires_grad_()
    labels = torch.tensor([0, 3, 1]) if loss is xent.softmax_cross_entropy else (x.detach() > 0).double()
    recorded = loss(x, labels, reduction=reduction)

    def back(upstream: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        return torch.autograd.grad(recorded, x, upstream, retain_graph=True, create_graph=create_graph)[0]

    u, v = (torch.rand(recorded.shape, dtype=torch.float64, generator=random) + 0.5 for _ in range(2))
    torch.testing.assert_close(torch.func.jvp(back, (u,), (v,))[1], back(v))
    torch.testing.assert_close(torch.func.vmap(back)(torch.stack([u, v])), torch.stack([back(u), back(v)]))
    basis = torch.eye(u.numel(), dtype=torch.float64).reshape(-1, *u.shape)
    slope = torch.func.grad(lambda g: back(g, create_graph=True).square().sum())(u)
    torch.testing.assert_close(slope.reshape(-1), torch.stack([2 * (back(u) * back(e)).sum() for e in basis]))
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(back(forward_ad.make_dual(u, v))).tangent
    torch.testing.assert_close(tangent, back(v))
    assert not back(torch._efficientzerotensor(u.shape, dtype=torch.float64)).any()


@pytest.mark.parametrize("loss", [xent.softmax_cross_entropy, xent.sigmoid_cross_entropy], ids=["softmax", "sigmoid"])
def test_the_normalizer_is_differentiable(loss: Callable[..., Any]) -> None:
    x = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 4)
    labels = torch.tensor([0, 3, 1]) if loss is xent.softmax_cross_entropy else (x > 0).double()
    count = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    value = loss(x, labels, normalizer=count)
    torch.testing.assert_close(value, loss(x, labels, normalizer=5.0))
    expected = -value.detach() / 5.0
    torch.testing.assert_close(torch.autograd.grad(value, count)[0], expected)
    torch.testing.assert_close(torch.func.grad(lambda n: loss(x, labels, normalizer=n))(count.detach()), expected)
    with pytest.raises(ValueError, match="normalizer: expected None"):
        loss(x, labels, normalizer=count, reduction="sum")


@pytest.mark.parametrize("rows", [4, 40000])
def test_logits_that_are_used_up_before_the_backward(rows: int) -> None:
    """As torch allows it: the gradient of a scalar loss does not need them again."""
    leaf = torch.linspace(-2, 2, 8 * rows).reshape(rows, 8).requires_grad_()
    labels = torch.arange(rows) % 8
    results = []
    for spoil in (False, True):
        logits = leaf * 1.0
        loss = 3 * xent.softmax_cross_entropy(logits, labels)
        if spoil:
            logits.detach().exp_()
        results.append(torch.autograd.grad(loss, leaf)[0])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("validate", [0, 1, np.True_, None])
def test_validate_is_whatever_is_true(validate: Any) -> None:
    assert torch.isfinite(xent.softmax_cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 2]), validate=validate))
    assert torch.isfinite(xent.sigmoid_cross_entropy(torch.zeros(3, 4), torch.ones(3, 4), validate=validate))


def test_batched_gradients_of_logsumexp() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: xent.logsumexp(x, axis=1), x, check_batched_grad=True)
