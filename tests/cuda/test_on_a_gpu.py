"""What only a GPU can show: `TRITON_INTERPRET=0 pytest tests/cuda`. Without one all of it is skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import xent

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or sys.modules.get("triton", ...) is None,
    reason="needs CUDA, Triton, TRITON_INTERPRET=0",
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHAPES = ((7, 10), (300, 1000), (33, 32000), (5, 128256), (2, 1_000_003))


def batch(rows: int, classes: int, dtype: torch.dtype, device: str = "cuda") -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(rows)
    x = (torch.randn(rows, classes, generator=random) * 3).to(dtype)
    y = torch.randint(0, classes, (rows,), generator=random)
    y[1] = -100
    return x.to(device), y.to(device)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, upstream: float = 0.7) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone().requires_grad_()
    loss = function(leaf)
    (found,) = torch.autograd.grad(loss, leaf, torch.full_like(loss, upstream))
    return loss.detach().double(), found.double()


@contextmanager
def without_waiting() -> Iterator[None]:
    """Anything that waits for the device is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_is_no_further_from_the_truth_than_torch(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, y = batch(*shape, dtype)
    options = {"ignore_index": -100, "label_smoothing": 0.1}
    gradient(lambda t: xent.softmax_cross_entropy(t, y, **options), x)  # compiles
    with without_waiting():
        found = gradient(lambda t: xent.softmax_cross_entropy(t, y, **options), x)
    dense = torch.nn.functional.cross_entropy
    truth = gradient(lambda t: dense(t, y, **options), x.double())
    rival = gradient(lambda t: dense(t.float() if dtype.itemsize < 4 else t, y, **options), x)
    eps = torch.finfo(dtype).eps
    for mine, theirs, true in zip(found, rival, truth, strict=True):
        assert (mine - true).norm() <= (theirs - true).norm() + eps * true.norm()


@pytest.mark.parametrize("budget", [None, 1 << 22])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear(dtype: torch.dtype, budget: int | None) -> None:
    _, y = batch(300, 5000, torch.float32)
    random = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=random).to(dtype).cuda() for s in ((300, 64), (5000, 64)))

    def gradients(loss: Callable[[Tensor, Tensor], Tensor], kind: torch.dtype) -> tuple[Tensor, ...]:
        leaves = [t.to(kind).detach().requires_grad_() for t in (x, w)]
        return tuple(g.double() for g in torch.autograd.grad(loss(*leaves) * 0.5, leaves))

    def linear(x: Tensor, w: Tensor) -> Tensor:
        return xent.linear_softmax_cross_entropy(x, w, y, ignore_index=-100, memory_budget=budget)

    def dense(x: Tensor, w: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(x @ w.T, y)

    gradients(linear, dtype)
    with without_waiting():
        found = gradients(linear, dtype)
    eps = torch.finfo(dtype).eps
    for mine, theirs, true in zip(found, gradients(dense, dtype), gradients(dense, torch.float64), strict=True):
        assert (mine - true).norm() <= (theirs - true).norm() + eps * true.norm()
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(linear, dtype), strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sigmoid(dtype: torch.dtype) -> None:
    x, _ = batch(300, 1000, dtype)
    y = (torch.rand(300, 1000, device="cuda") < 0.1).to(dtype)
    weight = torch.rand(1000, device="cuda") + 0.5
    gradient(lambda t: xent.sigmoid_cross_entropy(t, y, pos_weight=weight), x)
    with without_waiting():
        found = gradient(lambda t: xent.sigmoid_cross_entropy(t, y, pos_weight=weight), x)
    dense = torch.nn.functional.binary_cross_entropy_with_logits
    truth = gradient(lambda t: dense(t, y.double(), pos_weight=weight.double()), x.double())
    rival = gradient(lambda t: dense(t, y, pos_weight=weight.to(dtype)), x)
    eps = torch.finfo(dtype).eps
    for mine, theirs, true in zip(found, rival, truth, strict=True):
        assert (mine - true).norm() <= (theirs - true).norm() + eps * true.norm()


def test_labels_out_of_range_are_nan_unless_they_are_looked_at() -> None:
    x, y = batch(5, 10, torch.float32)
    y[2] = 10
    loss = xent.softmax_cross_entropy(x, y, ignore_index=-100, reduction="none")
    assert torch.isnan(loss).tolist() == [False, False, True, False, False]
    with pytest.raises(IndexError, match="row 2"):
        xent.softmax_cross_entropy(x, y, ignore_index=-100, validate=True)


def test_graphs_capture_a_step() -> None:
    x, y = batch(64, 1000, torch.bfloat16)
    leaf = x.clone().requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        loss = xent.softmax_cross_entropy(leaf, y, ignore_index=-100)
        return loss, *torch.autograd.grad(loss, leaf)  # type: ignore[return-value]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, found = step()
    with torch.no_grad():
        leaf.copy_(x.flip(0))
    graph.replay()
    expected = step()
    assert torch.equal(loss, expected[0])
    assert torch.equal(found, expected[1])


def test_streams_do_not_disturb_each_other() -> None:
    batches = [batch(500, 5000 + i, torch.float32) for i in range(4)]
    alone = [gradient(lambda t, y=y: xent.softmax_cross_entropy(t, y, ignore_index=-100), x) for x, y in batches]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in batches]
    together = []
    for stream, (x, y) in zip(streams, batches, strict=True):
        with torch.cuda.stream(stream):
            together.append(gradient(lambda t, y=y: xent.softmax_cross_entropy(t, y, ignore_index=-100), x))
    torch.cuda.synchronize()
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_devices_that_are_not_the_current_one() -> None:
    x, y = batch(30, 100, torch.float32, "cuda:1")
    found = gradient(lambda t: xent.softmax_cross_entropy(t, y, ignore_index=-100), x)
    assert found[1].device == x.device
    here = gradient(lambda t: xent.softmax_cross_entropy(t, y.to("cuda:0"), ignore_index=-100), x.to("cuda:0"))
    assert torch.equal(found[1].cpu(), here[1].cpu())
    with pytest.raises(ValueError, match="labels"):
        xent.softmax_cross_entropy(x, y.to("cuda:0"), ignore_index=-100)


def test_compiled_programs_have_no_breaks() -> None:
    x, y = batch(64, 1000, torch.float32)
    compiled = torch.compile(lambda t: xent.softmax_cross_entropy(t, y, ignore_index=-100) * 2, fullgraph=True)
    eager = gradient(lambda t: xent.softmax_cross_entropy(t, y, ignore_index=-100) * 2, x)
    for mine, theirs in zip(gradient(compiled, x), eager, strict=True):
        torch.testing.assert_close(mine, theirs)
