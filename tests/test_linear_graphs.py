"""Linear losses in traced PyTorch programs: the same numbers, and no logits in the graph."""

from __future__ import annotations

from typing import Any

import pytest
import test_linear
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses.fake_tensor import FakeTensorMode

import xent
from xent.frontends.torch.operators import REVISION

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own while it traces
N, C = test_linear.N, test_linear.C
CALLS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    name: (test_linear.projected, labels, options) for name, (labels, options) in test_linear.CALLS.items()
} | {
    f"sigmoid, {name}": (
        lambda x, w, b, down, up, labels, **options: xent.linear_sigmoid_cross_entropy(
            x, xent.LowRank(w, down, up, 0.5), labels, bias=b, **options
        ),
        labels,
        options,
    )
    for name, (labels, options) in test_linear.SIGMOID.items()
}


class Largest:
    """A backend that notes how many numbers the largest tensor has that a graph makes, and runs the graph as it is."""

    def __init__(self) -> None:
        self.largest = 0

    def _note(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
        for node in graph.graph.nodes:
            if node.op == "call_function":
                for value in torch.utils._pytree.tree_leaves(node.meta.get("val")):
                    if isinstance(value, torch.Tensor):
                        self.largest = max(self.largest, value.numel())
        return (
            torch._dynamo.utils.make_boxed_func(graph.forward)
            if hasattr(torch._dynamo.utils, "make_boxed_func")
            else graph.forward
        )

    def compile(self, function: Any) -> Any:
        torch._dynamo.reset()
        backend = aot_autograd(fw_compiler=self._note, bw_compiler=self._note)
        return torch.compile(function, fullgraph=True, backend=backend)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_compiled(name: str, reduction: str) -> None:
    function, labels, options = CALLS[name]
    if reduction != "mean":
        options = {k: v for k, v in options.items() if k != "normalizer"}
    backend = Largest()

    def step(*sources: torch.Tensor) -> torch.Tensor:
        return function(*sources, labels, reduction=reduction, memory_budget=6 * test_linear.ROW, **options)

    results = []
    for run in (backend.compile(step), step):
        sources = test_linear.leaves()
        results.append(test_linear.pulled(run(*sources), sources))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    if not (name.startswith("sigmoid") and reduction == "none"):
        assert 0 < backend.largest < N * C


def test_statistics_normalizers_and_batch_sizes() -> None:
    compilations = 0

    def counted(graph: Any, inputs: Any) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    torch._dynamo.reset()

    def step(x: torch.Tensor, w: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss, stats = xent.linear_softmax_cross_entropy(x, w, y, normalizer=n, return_stats=True)
        return loss, stats.lse, stats.entropy, stats.argmax

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=aot_autograd(fw_compiler=counted))
    for size in (37, 21, 5):
        sources = [test_linear.X[:size].clone().requires_grad_(), test_linear.W.clone().requires_grad_()]
        y, n = test_linear.LABELS[:size].clone(), torch.tensor(7.5)
        found, expected = compiled(*sources, y, n), step(*sources, y, n)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
        weights = torch.linspace(0, 1, size)
        totals = [(2 * o[0] + (weights * o[1]).sum() - (weights * o[2]).sum()) for o in (found, expected)]
        for a, b in zip(*(torch.autograd.grad(t, sources) for t in totals), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert compilations == 2  # one graph, made with statistics, forward and backward


def test_the_real_compiler_and_autocast() -> None:
    torch._dynamo.reset()

    def step(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return xent.linear_softmax_cross_entropy(torch.tanh(x), w, test_linear.LABELS)

    results = []
    for run in (torch.compile(step, fullgraph=True), step):
        sources = [test_linear.X.float().requires_grad_(), test_linear.W.float().requires_grad_()]
        loss = run(*sources)
        results.append([loss, *torch.autograd.grad(3 * loss, sources)])
    assert results[0][1].dtype == torch.float32
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-3)


def test_bad_labels_raise_when_the_graph_runs() -> None:
    torch._dynamo.reset()
    bad = test_linear.LABELS.clone()
    bad[4] = C
    compiled = torch.compile(xent.linear_softmax_cross_entropy, fullgraph=True, backend="aot_eager")
    with pytest.raises(IndexError, match="label 53 in row 4"):
        compiled(test_linear.X, test_linear.W, bad)


def test_fake_tensors_and_exports() -> None:
    with FakeTensorMode():
        x, w = torch.empty(6, 4, requires_grad=True), torch.empty(9, 4)
        loss = xent.linear_softmax_cross_entropy(x, w, torch.zeros(6, dtype=torch.int64))
        assert loss.shape == ()
    labels = test_linear.LABELS

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(test_linear.W.clone())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return xent.linear_softmax_cross_entropy(x, self.weight, labels)

    model = Model()
    program = torch.export.export(model, (test_linear.X,))
    torch.testing.assert_close(program.module()(test_linear.X), model(test_linear.X))


@pytest.mark.parametrize("kind", ["linear_softmax_cross_entropy", "linear_elementwise"])
def test_operators_keep_torchs_rules(kind: str) -> None:
    operator = getattr(torch.ops.xent, f"{kind}_{REVISION}")
    x, w, b = (t.clone().requires_grad_() for t in (test_linear.X, test_linear.W, test_linear.B))
    head = (x, w, None, None, b)
    if kind == "linear_elementwise":
        rest: tuple[Any, ...] = (test_linear.HARD, None, None, test_linear.V.double(), None, [N, C], False, "logistic")
        rest += (1.0, 0.0, 0.0, 0.0, 1.0, False, None, 1.0, 1.0, 0.0, 0.0, 0.0, "mean", None, None, True)
    else:
        rest = (test_linear.LABELS, None, test_linear.V.double(), None, [N, C], 0.1, None, 1.0, None, 0.0, "mean")
        rest += (None, None, False, True)
    torch.library.opcheck(operator.default, (*head, *rest))
