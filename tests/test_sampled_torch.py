"""Sampled losses on tensors, whose gradients are made by hand: as right as torch's operations, and torch's manners."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import xent
import xent.frontends.torch

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
GENERATOR = torch.Generator().manual_seed(7)
CLASSES = 211


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


class Case:
    """Tensors in float64, and candidates."""

    def __init__(self, rows: int, width: int, sampled: int, count: int) -> None:
        self.tensors = [normal(rows, width), normal(CLASSES, width) / math.sqrt(width), normal(CLASSES)]
        labels = torch.randint(0, 20, (rows, count), generator=GENERATOR)  # frequent ones, which are drawn, too
        self.labels = labels[:, 0] if count == 1 else labels
        self.candidates = xent.samplers.LogUniform(CLASSES, sampled, seed=5).sample(labels.numpy())

    def leaves(self, dtype: torch.dtype, bias: bool = True) -> list[torch.Tensor]:
        return [t.to(dtype).requires_grad_() for t in self.tensors[: 2 + bias]]

    def loss(self, tensors: list[torch.Tensor], **options: Any) -> torch.Tensor:
        x, weight, *bias = tensors
        options = {"candidates": self.candidates, "bias": bias[0] if bias else None} | options
        return xent.sampled_softmax_loss(x, weight, self.labels, **options)

    def plain(self, tensors: list[torch.Tensor], temperature: float = 1.0, reduction: str = "mean") -> torch.Tensor:
        """The same in torch's operations."""
        x, weight, *bias = tensors
        ids, *counts = (torch.from_numpy(part) for part in self.candidates)
        true = self.labels.view(len(x), -1)
        parts = (x[:, None] * weight[true]).sum(-1), x @ weight[ids].T
        if bias:
            parts = parts[0] + bias[0][true], parts[1] + bias[0][ids]
        shifts = counts[0].view(true.shape).to(x.dtype).log(), counts[1].to(x.dtype).log()
        first, rest = (part / temperature - shift for part, shift in zip(parts, shifts, strict=True))
        rest = rest.masked_fill((true[:, :, None] == ids).any(1), -math.inf)
        logits = torch.cat([first, rest], 1)
        losses = torch.logsumexp(logits, 1) - first.mean(1)
        return losses.mean() if reduction == "mean" else losses.sum()


def gradients(loss: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, leaves)
    return [loss.detach(), *(g.to_dense() if g.is_sparse else g for g in found)]


def errors(found: list[torch.Tensor], truth: list[torch.Tensor]) -> list[float]:
    """Of loss and gradients, the largest difference over the largest number."""
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, truth, strict=True)]


SIZES = ((1, 1, 1), (3, 7, 5), (17, 16, 64), (33, 130, 67), (300, 33, 200))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_as_close_to_the_truth_as_torchs_operations(size: tuple[int, int, int], count: int) -> None:
    ours, theirs = [], []
    for temperature, reduction, sparse in itertools.product((1.0, 0.7), ("mean", "sum"), (True, False)):
        case, options = Case(*size, count), {"temperature": temperature, "reduction": reduction}
        leaves, wide = case.leaves(torch.float32), case.leaves(torch.float64)
        truth = gradients(3 * case.plain(wide, **options), wide)
        found = gradients(3 * case.loss(wide, sparse_gradient=sparse, **options), wide)
        assert max(errors(found, truth)) < 1e-12
        ours.append(errors(gradients(3 * case.loss(leaves, sparse_gradient=sparse, **options), leaves), truth))
        theirs.append(errors(gradients(3 * case.plain(leaves, **options), leaves), truth))
    mean_ours, mean_theirs = (torch.tensor(found).mean(0) for found in (ours, theirs))
    assert (mean_ours <= mean_theirs + torch.finfo(torch.float32).eps).all()


def test_without_a_bias() -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float64, bias=False)
    assert max(errors(gradients(case.loss(leaves), leaves), gradients(case.plain(leaves), leaves))) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sparse", [True, False])
def test_half_precision_rounds_once(dtype: torch.dtype, sparse: bool) -> None:
    case = Case(17, 16, 64, 1)
    case.tensors = [t.to(dtype).double() for t in case.tensors]
    leaves, wide = case.leaves(dtype), case.leaves(torch.float64)
    found = gradients(5 * case.loss(leaves, sparse_gradient=sparse), leaves)
    truth = gradients(5 * case.plain(wide), wide)
    assert found[0].dtype is torch.float32
    torch.testing.assert_close(found[0].double(), truth[0], rtol=1e-6, atol=0)
    for ours, exact in zip(found[1:], truth[1:], strict=True):
        assert ours.dtype is dtype
        step = torch.finfo(dtype).eps * exact.abs() / 2
        assert ((ours.double() - exact).abs() <= step + 1e-6 * exact.abs().max()).all()


def test_a_number_of_a_normalizer_divides_the_sum() -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float64)
    found = gradients(case.loss(leaves, normalizer=10), leaves)
    expected = gradients(case.loss(leaves, reduction="sum") / 10, leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-16)


def test_a_second_backward_gives_the_same_bits() -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float32)
    loss = case.loss(leaves)
    first, second = (torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2))
    tripled = torch.autograd.grad(loss, leaves, torch.tensor(4.0))
    for a, b, c in zip(first, second, tripled, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(4 * a, c)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_gradients_only_of_what_wants_one(wanted: tuple[int, ...]) -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float32)
    expected = torch.autograd.grad(case.loss(leaves), leaves)
    some = [t if at in wanted else t.detach() for at, t in enumerate(leaves)]
    found = torch.autograd.grad(case.loss(some), [some[at] for at in wanted])
    for at, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, expected[at])
    assert not case.loss([t.detach() for t in leaves]).requires_grad
    with torch.no_grad():
        assert torch.equal(case.loss(leaves), case.loss([t.detach() for t in leaves]))


def test_derivatives_of_derivatives_and_functional_transforms() -> None:
    case = Case(5, 4, 9, 1)
    leaves = case.leaves(torch.float64)
    assert torch.autograd.gradcheck(lambda *t: case.loss(list(t)), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: case.loss(list(t)), leaves)
    detached = tuple(t.detach() for t in leaves)
    expected = torch.autograd.grad(case.plain(leaves), leaves)
    found = torch.func.grad(lambda t: case.loss(list(t)))(detached)
    tangents = tuple(normal(*t.shape) for t in detached)
    _, slope = torch.func.jvp(lambda *t: case.loss(list(t)), detached, tangents)
    batched = torch.autograd.grad(
        case.loss(leaves), leaves, torch.tensor([1.0, 2.0], dtype=torch.float64), is_grads_batched=True
    )
    for a, b, two in zip(found, expected, batched, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(two, torch.stack([b, 2 * b]), rtol=1e-11, atol=1e-13)
    along = sum((g * t).sum() for g, t in zip(expected, tangents, strict=True))
    torch.testing.assert_close(slope, along, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_change_in_place_before_the_backward_is_torchs_error(at: int) -> None:
    case = Case(5, 4, 9, 1)
    leaves = case.leaves(torch.float32)
    inner = [t * 1 for t in leaves]
    loss = case.loss(inner)
    inner[at].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_under_checkpoints() -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float32)
    expected = torch.autograd.grad(case.loss(leaves), leaves)
    run: Callable[..., torch.Tensor] = lambda *t: case.loss(list(t))  # noqa: E731
    loss = torch.utils.checkpoint.checkpoint(run, *leaves, use_reentrant=False)
    for a, b in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        assert torch.equal(a, b)


def test_tensors_that_do_not_lie_side_by_side() -> None:
    case = Case(17, 16, 64, 1)
    leaves = case.leaves(torch.float32)
    expected = [case.loss(leaves), *torch.autograd.grad(case.loss(leaves), leaves)]
    x, weight, bias = (t.detach() for t in leaves)
    spread = [x.T.contiguous().T, torch.cat([weight, weight], 1)[:, :16], torch.stack([bias, bias], 1)[:, 0]]
    for odd in (spread, [x.repeat(1, 2)[:, ::2] * 0 + x, weight.T.contiguous().T, bias.flip(0).flip(0)]):
        leaves = [t.requires_grad_() for t in odd]
        found = [case.loss(leaves), *torch.autograd.grad(case.loss(leaves), leaves)]
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


def test_leading_axes() -> None:
    case = Case(12, 16, 64, 1)
    leaves = case.leaves(torch.float32)
    expected = torch.autograd.grad(case.loss(leaves), leaves)
    case.labels = case.labels.view(3, 4)
    x = leaves[0].detach().view(3, 4, 16).requires_grad_()
    found = torch.autograd.grad(case.loss([x, *leaves[1:]]), [x, *leaves[1:]])
    assert torch.equal(found[0], expected[0].view(3, 4, 16))
    assert all(torch.equal(a, b) for a, b in zip(found[1:], expected[1:], strict=True))


def test_unchecked_labels_make_nan() -> None:
    case = Case(5, 4, 9, 1)
    leaves = case.leaves(torch.float32)
    case.labels = case.labels.clone()
    case.labels[2] = CLASSES
    loss = case.loss(leaves, validate=False)
    (of_inputs,) = torch.autograd.grad(loss, leaves[:1])
    assert loss.isnan()
    assert of_inputs.isnan().any(1).tolist() == [False, False, True, False, False]


@pytest.mark.usefixtures("instruction_set")
def test_every_instruction_set() -> None:
    case = Case(33, 130, 67, 3)
    leaves, wide = case.leaves(torch.float32), case.leaves(torch.float64)
    truth = gradients(case.plain(wide), wide)
    found, rival = (errors(gradients(f(leaves), leaves), truth) for f in (case.loss, case.plain))
    assert all(a <= b + torch.finfo(torch.float32).eps for a, b in zip(found, rival, strict=True))


def test_a_default_device_is_not_where_the_memory_of_a_call_is() -> None:
    x, w, y = torch.randn(4, 8), torch.randn(50, 8), torch.tensor([1, 2, 3, 4])
    candidates = (np.arange(4), np.ones(4), np.ones(4))
    expected = xent.sampled_softmax_loss(x, w, y, candidates=candidates)
    with torch.device("meta"):
        found = xent.sampled_softmax_loss(x, w, y, candidates=candidates)
        each = xent.linear_sigmoid_cross_entropy(x, w, torch.zeros(4, 50, device="cpu"), reduction="none")
    assert found == expected
    assert each.device.type == "cpu"


def test_ids_of_anyones_sampler_are_checked() -> None:
    class Beyond(xent.samplers.LogUniform):
        def sample(self, true_classes: Any) -> Any:
            drawn = super().sample(true_classes)
            return drawn._replace(sampled_ids=drawn.sampled_ids + 50)

    with pytest.raises(IndexError, match=r"candidates\.sampled_ids"):
        xent.sampled_softmax_loss(
            torch.randn(4, 8), torch.randn(50, 8), torch.tensor([1, 2, 3, 4]), sampler=Beyond(50, 5, seed=1)
        )


def test_derivatives_do_not_follow_labels_that_change() -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8)
    labels, ids = torch.tensor([1, 2, 3, 4]), np.arange(10, 14)
    candidates = (ids, np.ones(4), np.ones(4))
    (expected,) = torch.autograd.grad(xent.sampled_softmax_loss(x, w, labels, candidates=candidates), x)
    loss = xent.sampled_softmax_loss(x, w, labels, candidates=candidates)
    labels += 20
    ids += 20
    (found,) = torch.autograd.grad(loss, x, create_graph=True)
    torch.testing.assert_close(found, expected)


def test_empty_batches_without_sampled_classes() -> None:
    nothing = (np.arange(0), np.ones(0), np.ones(0))
    loss = xent.sampled_softmax_loss(
        torch.randn(0, 8), torch.randn(50, 8), torch.zeros(0, dtype=torch.int64), candidates=nothing
    )
    assert loss == 0


def test_autocast_widens_inputs_only() -> None:
    x, w, y = torch.randn(4, 8), torch.randn(50, 8), torch.tensor([1, 2, 3, 4])
    candidates = (np.arange(4), np.ones(4), np.ones(4))
    expected = xent.sampled_softmax_loss(x, w, y, candidates=candidates)
    with torch.autocast("cpu", torch.bfloat16):
        assert xent.sampled_softmax_loss(x, w.numpy(), y, candidates=candidates) == expected
        with pytest.raises(TypeError, match="weight"):
            xent.sampled_softmax_loss(x, w.bfloat16(), y, candidates=candidates)
