"""Linear losses of single numbers on a device."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

import xent

elementwise_loss = importlib.import_module("xent.frontends.torch.elementwise_loss")  # not its function
N, D, C = 13, 5, 300
LINEAR = xent.linear_sigmoid_cross_entropy
RANDOM = torch.Generator().manual_seed(0)
X, W, B = (torch.randn(s, generator=RANDOM, dtype=torch.float64) / 1.5 for s in ((N, D), (C, D), (C,)))
HARD = (torch.rand(N, C, generator=RANDOM) < 0.1).double()
WEIGHTS: dict[str, Any] = {
    "pos_weight": torch.rand(C, generator=RANDOM) + 0.5,
    "class_weight": torch.rand(C, generator=RANDOM) + 0.5,
    "sample_weight": torch.tensor([1.0, 0.0, 2.0] * 4 + [1.0]),
}
BUDGETS = {"at once": N * C, "classes": N * 140, "rows and classes": 3 * 128}


def padded(labels: Tensor) -> xent.Positives:
    """Lists of the positive classes of each row, of the length of the longest."""
    most = int(labels.sum(1).max())
    rows = [torch.nonzero(row).flatten() for row in labels]
    return xent.Positives(torch.stack([torch.cat([r, r.new_full((most - len(r),), -1)]) for r in rows]))


def gradients(function: Any, tensors: list[Tensor], upstream: float = 0.7) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in tensors]
    loss = function(*leaves)
    factor = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).view(loss.shape) * upstream
    return [loss.detach().double(), *(g.double() for g in torch.autograd.grad(loss, leaves, factor))]


def dense(labels: Any, **options: Any) -> Any:
    """The dense loss of torch's own product, by the reference."""

    def loss(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        saved, elementwise_loss.kernels_for = elementwise_loss.kernels_for, lambda tensors: None  # type: ignore[assignment]
        try:
            z = x @ w.T + b
            return xent.sigmoid_cross_entropy(z, labels.to(z.dtype), **options)  # type: ignore[no-any-return]
        finally:
            elementwise_loss.kernels_for = saved

    return loss


def assert_close(function: Any, true: Any, dtype: torch.dtype) -> None:
    """No further from float64 than the dense loss of the same logits, plus an ulp; two of bfloat16, to which Triton's
    interpreter rounds by cutting off, and four of float64, where the truth is rounded, too."""
    tensors = [t.to(dtype) for t in (X, W, B)]
    found, rival = gradients(function, tensors), gradients(true, tensors)
    truth = gradients(true, [t.double() for t in tensors])
    eps = torch.finfo(dtype).eps * {torch.bfloat16: 2, torch.float64: 4}.get(dtype, 1)
    for mine, theirs, exact in zip(found, rival, truth, strict=True):
        assert torch.isfinite(mine).all()
        assert (mine - exact).norm() <= (theirs - exact).norm() + eps * exact.norm()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("lists", [False, True])
def test_blocks(lists: bool, dtype: torch.dtype, budget: str) -> None:
    size = BUDGETS[budget] * dtype.itemsize * (1 + lists)
    labels = padded(HARD) if lists else HARD.to(dtype)

    def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, labels, bias=b, memory_budget=size, **WEIGHTS)  # type: ignore[no-any-return]

    assert_close(linear, dense(HARD, **WEIGHTS), dtype)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("lists", [False, True])
def test_reductions_and_smoothing(lists: bool, reduction: str) -> None:
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": 0.1}
    labels = padded(HARD) if lists else HARD.float()

    def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, labels, bias=b, memory_budget=N * 280 * 4, **options)  # type: ignore[no-any-return]

    assert_close(linear, dense(HARD, **options), torch.float32)


def test_lists_as_offsets_on_the_device() -> None:
    rows = [torch.nonzero(row).flatten() for row in HARD]
    starts = torch.tensor([0, *torch.tensor([len(r) for r in rows]).cumsum(0).tolist()])
    lists = xent.Positives(torch.cat(rows), starts)
    assert_close(
        lambda x, w, b: LINEAR(x, w, lists, bias=b, memory_budget=N * 280 * 4, validate=False),
        dense(HARD),
        torch.float32,
    )


def test_bad_labels_and_normalizers() -> None:
    x, w = X.float(), W.float()
    with pytest.raises(ValueError, match="labels"):
        LINEAR(x, w, HARD.float() * 2, validate=True)
    half = LINEAR(x, w, HARD.float(), normalizer=torch.tensor(2.0), validate=False)
    torch.testing.assert_close(half, LINEAR(x, w, HARD.float(), reduction="sum") / 2)
    with pytest.raises(ValueError, match="memory_budget: expected at least"):
        LINEAR(x, w, HARD.float(), memory_budget=100)


def test_graphs_hold_no_logits() -> None:
    leaves = [t.float().requires_grad_() for t in (X, W, B)]

    def step(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, HARD.float(), bias=b, memory_budget=N * 140 * 4) * 3  # type: ignore[no-any-return]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for mine, eager in zip(*(torch.autograd.grad(f(*leaves), leaves) for f in (compiled, step)), strict=True):
        torch.testing.assert_close(mine, eager)
