"""Losses amid what else PyTorch does: modes, tracers, other memory, in-place changes, batched gradients, layouts."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import xent
from xent.compat import torch as compat

Z = torch.linspace(-3, 4, 35).reshape(5, 7)
Y = torch.tensor([0, 6, 3, 3, 1])
B = torch.linspace(0, 1, 35).reshape(5, 7)
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], torch.Tensor]] = {
    "cross_entropy": (compat.cross_entropy, functional.cross_entropy, Y),
    "soft": (compat.cross_entropy, functional.cross_entropy, B),
    "bce": (compat.binary_cross_entropy_with_logits, functional.binary_cross_entropy_with_logits, B),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("rows", [5, 3000])
def test_another_default_device(name: str, rows: int) -> None:
    ours, theirs, labels = PAIRS[name]
    logits, labels = Z.repeat(rows // 5 * 8, 1), labels.repeat(rows // 5 * 8, *[1] * (labels.ndim - 1))
    leaf = logits.clone().requires_grad_()
    with torch.device("meta"):
        loss = ours(leaf, labels)
    loss.backward()
    torch.testing.assert_close(loss, theirs(logits, labels))


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, and warns of every branch
@pytest.mark.parametrize("name", PAIRS)
def test_tracers_record_the_loss(name: str) -> None:
    ours, theirs, labels = PAIRS[name]
    other = Z.flip(1) * 2
    expected = theirs(other, labels)
    torch.testing.assert_close(make_fx(lambda a: ours(a, labels))(Z)(other), expected)
    traced = torch.jit.trace(lambda a: ours(a, labels), (Z,), check_trace=False)
    torch.testing.assert_close(traced(other), expected)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert ours(Z, labels).shape == ()


def test_swapped_memory_is_not_read_after_it_is_freed() -> None:
    logits = torch.randn(1024, 2048, requires_grad=True)
    loss = compat.binary_cross_entropy_with_logits(logits, torch.zeros(1024, 2048), reduction="none").sum()
    logits.data = torch.zeros(1024, 2048)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("rows", [5, 2000])
def test_losses_can_be_changed_in_place(rows: int) -> None:
    logits, labels = torch.randn(rows, 700, requires_grad=True), torch.rand(rows, 700)
    for loss in (
        compat.cross_entropy(logits, labels.argmax(1), reduction="none"),
        compat.cross_entropy(logits, labels, reduction="none"),
        compat.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
        compat.logsumexp(logits, -1),
    ):
        expected = (loss.detach() * 2).sum()
        loss *= 2
        torch.testing.assert_close(loss.sum(), expected)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(gradient).all()


def statistics(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    loss, stats = xent.softmax_cross_entropy(x, y, return_stats=True)
    return loss + (stats.lse * stats.entropy).sum()


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (compat.cross_entropy, Y),
        (compat.binary_cross_entropy_with_logits, B),
        (xent.focal_cross_entropy, Y),
        (xent.sigmoid_focal_cross_entropy, B),
        (statistics, Y),
    ],
)
def test_batched_upstream_gradients(loss: Callable[..., torch.Tensor], labels: torch.Tensor) -> None:
    leaf = Z.clone().requires_grad_()
    upstream = torch.tensor([0.5, -1.0, 3.0])
    (found,) = torch.autograd.grad(loss(leaf, labels), leaf, upstream, is_grads_batched=True)
    (one,) = torch.autograd.grad(loss(leaf, labels), leaf)
    torch.testing.assert_close(found, upstream[:, None, None] * one, rtol=1e-4, atol=1e-6)
    wide = labels.double() if labels.is_floating_point() else labels
    assert torch.autograd.gradcheck(lambda x: loss(x, wide), Z.double().requires_grad_(), check_batched_grad=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("layout", ["channels last", "permuted", "transposed"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_losses_of_any_layout(layout: str, reduction: str) -> None:
    torch._dynamo.reset()
    made = {
        "channels last": lambda: torch.randn(2, 7, 3, 4).to(memory_format=torch.channels_last),
        "permuted": lambda: torch.randn(3, 7, 2, 4).permute(2, 1, 0, 3),
        "transposed": lambda: torch.randn(7, 5).t(),
    }[layout]()
    labels = torch.rand(made.shape)
    for loss, target in (
        (compat.binary_cross_entropy_with_logits, labels),
        (compat.cross_entropy, labels.argmax(1)),
    ):
        compiled = torch.compile(
            lambda x, y, loss=loss: loss(x, y, reduction=reduction).sum(), fullgraph=True, backend="inductor"
        )
        leaves = [made.detach().clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
        compiled(leaves[0], target).backward()
        loss(leaves[1], target, reduction=reduction).sum().backward()
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_weights_that_only_torch_takes_keep_its_number_when_compiled() -> None:
    torch._dynamo.reset()
    weight = -torch.linspace(0.1, 1, 7)
    compiled = torch.compile(lambda x, y, w: compat.cross_entropy(x, y, w), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(Z, Y, weight), functional.cross_entropy(Z, Y, weight))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_nothing_large_is_kept() -> None:
    """Neither by a loss whose backward pass is over, nor under a checkpoint before it."""
    labels, nbytes = torch.zeros(2000, dtype=torch.long), 2000 * 8192 * 4
    weight, hidden = torch.randn(64, 8192, requires_grad=True), torch.randn(2000, 64)

    def loss(weight: torch.Tensor) -> torch.Tensor:
        return compat.cross_entropy(hidden @ weight, labels)

    loss(weight).backward()  # what the first call needs
    xent.clear_cache()
    before = resident()
    over = loss(weight)
    over.backward()
    ahead = checkpoint(loss, weight, use_reentrant=False)
    gc.collect()
    xent.clear_cache()
    assert resident() - before < nbytes / 2
    weight.grad = None
    ahead.backward()
    (expected,) = torch.autograd.grad(functional.cross_entropy(hidden @ weight, labels), weight)
    torch.testing.assert_close(weight.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_arguments_that_torch_refuses() -> None:
    with pytest.raises(TypeError, match="argument 'weight'"):
        compat.cross_entropy(Z, Y, [1.0] * 7)
    nested = torch.nested.nested_tensor([Z, Z[:2]])
    assert compat.softmax(nested, -1).is_nested
