"""Linear losses on a device: blocks of rows, blocks of classes, kept blocks, and the policies of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import xent
from xent.frontends.torch import device_linear
from xent.frontends.torch.device_linear import DeviceProducts
from xent.plan import DeviceBlocks, device_blocks, lent_blocks

N, D, C = 13, 5, 300
LINEAR = xent.linear_softmax_cross_entropy
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Budgets in numbers: everything at once, blocks of classes with some kept, and few rows of the smallest block.
BUDGETS = {"at once": N * C, "classes": N * 256, "rows and classes": 3 * 128}


def arguments(dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = (N, D), (C, D), (C,)
    made = [torch.randn(shape, generator=random, dtype=torch.float64) / 1.5 for shape in shapes]
    return [t.to(dtype) for t in made]


def labels(kind: str) -> Any:
    random = torch.Generator().manual_seed(1)
    if kind == "soft":
        return torch.softmax(torch.randn(N, C, generator=random), 1)
    if kind == "topk":
        return xent.TopK(torch.rand(N, C, generator=random).topk(3).indices, torch.rand(N, 3, generator=random))
    index = torch.randint(0, C, (N,), generator=random)
    index[4] = -100
    return index


def gradients(function: Any, tensors: list[Tensor], upstream: Any = 0.7) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in tensors]
    loss = function(*leaves)
    total = (loss * torch.linspace(0.5, 1.5, N, dtype=loss.dtype)).sum() if loss.ndim else loss
    found = torch.autograd.grad(total, leaves, torch.as_tensor(upstream, dtype=total.dtype))
    assert all(g.dtype == t.dtype and g.shape == t.shape for g, t in zip(found, leaves, strict=True))
    return [loss.detach().double(), *(g.double() for g in found)]


def assert_close(function: Any, dense: Any, tensors: list[Tensor]) -> None:
    """No further from float64 than the dense loss of the same logits, plus an ulp. Two in bfloat16, to which Triton's
    interpreter rounds by cutting off; four in float64, where the truth is rounded, too."""
    found = gradients(function, tensors)
    truth = gradients(dense, [t.double() for t in tensors])
    rival = gradients(dense, tensors)
    eps = torch.finfo(tensors[0].dtype).eps * {torch.bfloat16: 2, torch.float64: 4}.get(tensors[0].dtype, 1)
    for mine, theirs, true in zip(found, rival, truth, strict=True):
        assert torch.isfinite(mine).all()
        assert (mine - true).norm() <= (theirs - true).norm() + eps * true.norm()


def torch_dense(kind: str, **options: Any) -> Any:
    """The dense loss of torch's own product; on the native kernels' reference, in the dtype of the logits."""
    from xent.frontends.torch import softmax_loss

    def loss(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        saved, softmax_loss.kernels_for = softmax_loss.kernels_for, lambda tensors: None  # type: ignore[assignment]
        try:
            return xent.softmax_cross_entropy(x @ w.T + b, labels(kind), **options)  # type: ignore[no-any-return]
        finally:
            softmax_loss.kernels_for = saved

    return loss


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks(dtype: torch.dtype, budget: str) -> None:
    options: dict[str, Any] = {"ignore_index": -100, "label_smoothing": 0.1}
    size = BUDGETS[budget] * dtype.itemsize

    def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, labels("index"), bias=b, memory_budget=size, **options)  # type: ignore[no-any-return]

    assert_close(linear, torch_dense("index", **options), arguments(dtype))


@pytest.mark.parametrize("budget", ["at once", "classes"])
@pytest.mark.parametrize("kind", ["index", "soft", "topk"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_targets_and_options(kind: str, budget: str, reduction: str) -> None:
    weights = torch.rand(C, generator=torch.Generator().manual_seed(2)) + 0.5
    options: dict[str, Any] = {
        "class_weight": weights,
        "sample_weight": torch.tensor([1.0, 0.0, 2.0] * 4 + [1.0]),
        "temperature": 1.3,
        "softcap": 3.0,
        "z_loss": 0.01,
        "label_smoothing": 0.1,
        "reduction": reduction,
    }
    if kind == "index":
        options["ignore_index"] = -100
    size = BUDGETS[budget] * 4 * (2 if kind == "topk" else 1)

    def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, labels(kind), bias=b, memory_budget=size, **options)  # type: ignore[no-any-return]

    assert_close(linear, torch_dense(kind, **options), arguments(torch.float32))


BLOCKS = [DeviceBlocks(5, C), DeviceBlocks(5, 70, 1), DeviceBlocks(N, 70, 3), DeviceBlocks(N, 20, 2, 4)]


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_blocks(blocks: DeviceBlocks, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of half precision that several products make are summed up in float32."""
    monkeypatch.setattr(device_linear, "device_blocks", lambda *sizes: blocks)
    assert_close(
        lambda x, w, b: LINEAR(x, w, labels("index"), bias=b, ignore_index=-100),
        torch_dense("index", ignore_index=-100),
        arguments(dtype),
    )


@pytest.mark.parametrize("kept", [0, 2, 9])
def test_blocks_that_the_budget_keeps_are_made_once(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    original = DeviceProducts.multiply

    def counted(self: Any, rows: slice, classes: slice, out: Tensor) -> Tensor:
        made.append((rows.start, classes.start))
        return original(self, rows, classes, out)

    monkeypatch.setattr(DeviceProducts, "multiply", counted)
    monkeypatch.setattr(device_linear, "device_blocks", lambda *sizes: DeviceBlocks(N, 70, kept))
    gradients(lambda x, w, b: LINEAR(x, w, labels("index"), bias=b, ignore_index=-100), arguments(torch.float32), 1.0)
    count = -(-C // 70)
    assert len(made) == 2 * count - min(kept, count)


def test_rows_that_do_not_count_may_hold_anything() -> None:
    x, w, b = arguments(torch.float32)
    x[4] = torch.nan
    for size in BUDGETS.values():
        found = gradients(
            lambda x, w, b, size=size: LINEAR(x, w, labels("index"), bias=b, ignore_index=-100, memory_budget=size * 4),
            [x, w, b],
        )
        assert all(torch.isfinite(g).all() for g in found)
        assert (found[1][4] == 0).all()


def test_statistics() -> None:
    x, w, b = arguments(torch.float64)
    for size in BUDGETS.values():
        leaf = x.clone().requires_grad_()
        options: dict[str, Any] = {"ignore_index": -100, "return_stats": True, "memory_budget": size * 8}
        loss, stats = LINEAR(leaf, w, labels("index"), bias=b, **options)
        (loss * 0.3 + stats.lse.sum() + (stats.entropy**2).sum()).backward()
        twin = x.clone().requires_grad_()
        z = twin @ w.T + b
        kept = labels("index") != -100
        lse, p = torch.logsumexp(z, 1)[kept], torch.softmax(z, 1)[kept]
        entropy = -(p * p.log()).sum(1)
        dense = torch.nn.functional.cross_entropy(z, labels("index"))
        (dense * 0.3 + lse.sum() + (entropy**2).sum()).backward()
        torch.testing.assert_close(leaf.grad, twin.grad)
        torch.testing.assert_close(stats.lse[kept], lse)
        assert (stats.argmax[kept] == z.argmax(1)[kept]).all()


def test_float16_waits_for_the_scale_of_the_loss() -> None:
    rows, classes = 16, 12000
    random = torch.Generator().manual_seed(0)
    tensors = [torch.randn(rows, 8, generator=random).half(), (torch.randn(classes, 8, generator=random) / 4).half()]
    index = torch.randint(0, classes, (rows,), generator=random)
    found, true = (
        gradients(lambda x, w: LINEAR(x, w, index), [t.to(dtype) for t in tensors], 2.0**16)
        for dtype in (torch.float16, torch.float64)
    )
    for mine, exact in zip(found[1:], true[1:], strict=True):
        assert (mine - exact).norm() < 2e-3 * exact.norm()


def test_backward_twice_and_upstream_gradients() -> None:
    leaves = [t.requires_grad_() for t in arguments(torch.float32)]
    loss = LINEAR(leaves[0], leaves[1], labels("index").clamp(min=0), bias=leaves[2], memory_budget=N * 128 * 4)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    kept = [g.clone() for g in first]
    again = torch.autograd.grad(loss, leaves, torch.tensor(2.0))
    for one, two in zip(kept, again, strict=True):
        torch.testing.assert_close(2 * one, two)


def test_low_rank_updates() -> None:
    x, w, _ = arguments(torch.float64)
    random = torch.Generator().manual_seed(5)
    up, down = (torch.randn(s, generator=random, dtype=torch.float64) for s in ((C, 2), (2, D)))
    index = labels("index").clamp(min=0)
    parts = [x, w, up, down]

    def linear(x: Tensor, w: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return LINEAR(x, xent.LowRank(w, down, up), index, memory_budget=N * 128 * 8)  # type: ignore[no-any-return]

    found = gradients(linear, parts)
    true = gradients(lambda x, w, up, down: torch.nn.functional.cross_entropy(x @ (w + up @ down).T, index), parts)
    for mine, exact in zip(found, true, strict=True):
        torch.testing.assert_close(mine, exact)


def test_budgets_too_small_are_refused_before_anything_is_computed() -> None:
    x, w, b = arguments(torch.float32)
    with pytest.raises(ValueError, match=f"memory_budget: expected at least {128 * 4} bytes"):
        LINEAR(x, w, labels("index"), bias=b, ignore_index=-100, memory_budget=100)


def test_graphs_hold_no_logits() -> None:
    leaves = [t.requires_grad_() for t in arguments(torch.float32)]
    index = labels("index").clamp(min=0)

    def step(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return LINEAR(x, w, index, bias=b, memory_budget=N * 128 * 4) * 3  # type: ignore[no-any-return]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for mine, eager in zip(*(torch.autograd.grad(f(*leaves), leaves) for f in (compiled, step)), strict=True):
        torch.testing.assert_close(mine, eager)


def test_plan_of_large_vocabularies() -> None:
    """Three products where the budget holds the float32 sum of the weight's gradient; else it keeps blocks."""
    rows, classes, width = 8192, 128256, 4096
    sums = 4 * classes * width, 4 * rows * width
    roomy = device_blocks(rows, classes, 2, 4 << 30, *sums, width)
    assert roomy.classes == classes
    assert roomy.rows >= 1024
    for rows, kept in ((8192, 0.85), (16384, 0.4)):
        sums = 4 * classes * width, 4 * rows * width
        usual = device_blocks(rows, classes, 2, 1 << 30, *sums, width)
        block = usual.rows * usual.classes * 2
        assert usual.rows == rows
        assert (1 + usual.kept) * block + sums[1] <= 1 << 30
        assert (usual.kept + usual.lent) * usual.classes > kept * classes


def test_lent_blocks_are_not_overwritten_before_they_were_used() -> None:
    """The gradient of W is written from its beginning, and logits at its end are read, one block after the other."""
    for rows, classes, size, width in ((13, 300, 20, 5), (100, 300, 20, 100), (50, 128, 8, 400), (9, 20, 30, 5)):
        lent = lent_blocks(rows, classes, size, width)
        assert lent * size < max(classes, 1)
        for j in range(lent):
            written, start = (j + 1) * size * width, classes * width - (lent - j) * rows * size
            assert written <= start
    assert lent_blocks(100, 300, 20, 100) == 14


def test_rows_without_weight_have_statistics_with_gradients() -> None:
    x, w, b = arguments(torch.float64)
    weight = torch.tensor([0.0, 1.0, 2.0] * 4 + [0.0])
    index = labels("index").clamp(min=0)
    leaf, twin = w.clone().requires_grad_(), w.clone().requires_grad_()
    for size in (N * C, N * 128):
        _, stats = LINEAR(x, leaf, index, bias=b, sample_weight=weight, return_stats=True, memory_budget=size * 8)
        (found,) = torch.autograd.grad(stats.lse.sum(), leaf)
        (true,) = torch.autograd.grad(torch.logsumexp(x @ twin.T + b, 1).sum(), twin)
        torch.testing.assert_close(found, true)
