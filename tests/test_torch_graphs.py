"""Graphs of PyTorch: torch.compile without a break, torch.export, fake and meta tensors, torch.func inside a graph."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

import xent
import xent.frontends.torch  # registers the operators
from xent.frontends.torch.operators import REVISION

CLASSES = 11
WEIGHT = torch.linspace(0.5, 2.0, CLASSES)


class Batch(NamedTuple):
    logits: torch.Tensor
    index: torch.Tensor
    soft: torch.Tensor
    binary: torch.Tensor
    rows: torch.Tensor  # a weight a row

    @property
    def top(self) -> Any:
        return self.soft.topk(3)


def make(rows: int, dtype: torch.dtype = torch.float32) -> Batch:
    random = torch.Generator().manual_seed(rows)
    logits = (3 * torch.randn(rows, CLASSES, generator=random)).to(dtype).requires_grad_()
    return Batch(
        logits,
        torch.randint(CLASSES, (rows,), generator=random),
        torch.softmax(torch.randn(rows, CLASSES, generator=random), -1),
        torch.randint(2, (rows, CLASSES), generator=random).to(dtype),
        torch.linspace(0.2, 3.0, rows),
    )


def statistics(b: Batch) -> torch.Tensor:
    loss, stats = xent.softmax_cross_entropy(b.logits, b.index, return_stats=True)
    return loss + (stats.lse * b.rows).sum() + (stats.entropy * b.rows).sum() + stats.argmax.sum()


LOSSES: dict[str, Callable[[Batch], torch.Tensor]] = {
    "index": lambda b: xent.softmax_cross_entropy(b.logits, b.index),
    "every option": lambda b: xent.softmax_cross_entropy(
        b.logits,
        b.index,
        class_weight=WEIGHT,
        sample_weight=b.rows,
        label_smoothing=0.1,
        ignore_index=3,
        temperature=2.0,
        softcap=5.0,
        z_loss=1e-3,
    ),
    "statistics": statistics,
    "a loss a row": lambda b: (xent.softmax_cross_entropy(b.logits, b.index, reduction="none") * b.rows).sum(),
    "first axis": lambda b: xent.softmax_cross_entropy(b.logits.T, b.index, axis=0),
    "normalizer": lambda b: xent.softmax_cross_entropy(b.logits, b.index, normalizer=7.0),
    "normalizer tensor": lambda b: xent.softmax_cross_entropy(b.logits, b.index, normalizer=b.binary.sum()),
    "soft": lambda b: xent.softmax_cross_entropy(b.logits, b.soft),
    "top k": lambda b: xent.softmax_cross_entropy(b.logits, xent.TopK(b.top.indices, b.top.values)),
    "focal": lambda b: xent.focal_cross_entropy(b.logits, b.index),
    "poly": lambda b: xent.poly_cross_entropy(b.logits, b.index, class_weight=WEIGHT),
    "sigmoid": lambda b: xent.sigmoid_cross_entropy(b.logits, b.binary, pos_weight=WEIGHT, label_smoothing=0.1),
    "sigmoid weights": lambda b: xent.sigmoid_cross_entropy(
        b.logits, b.binary, class_weight=WEIGHT, sample_weight=b.rows, ignore_index=-1, normalizer=b.binary.sum()
    ),
    "sigmoid elements": lambda b: (
        xent.sigmoid_cross_entropy(b.logits, b.binary, reduction="none") * b.rows[:, None]
    ).sum(),
    "positives": lambda b: xent.sigmoid_cross_entropy(b.logits, xent.Positives(b.top.indices)),
    "sigmoid focal": lambda b: xent.sigmoid_focal_cross_entropy(b.logits, b.binary),
    "asymmetric": lambda b: xent.asymmetric_sigmoid_cross_entropy(b.logits, b.binary),
    "logistic": lambda b: xent.logistic_loss(b.logits, 2 * b.binary - 1),
    "pinball": lambda b: xent.pinball_loss(b.logits, b.soft.to(b.logits.dtype), over=1.0, under=3.0),
    "probabilities": lambda b: xent.cross_entropy_from_probs(xent.softmax(b.logits), b.index),
    "binary probabilities": lambda b: xent.binary_cross_entropy_from_probs(xent.sigmoid(b.logits / 8), b.binary),
    "divergence": lambda b: xent.kl_divergence(xent.log_softmax(b.logits), b.soft, log_predictions=True),
    "activations": lambda b: xent.logsumexp(b.logits).sum() + xent.log_sigmoid(b.logits).sum(),
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No compiled code of other tests; and a warning is an error, but for what torch says of itself."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def value_and_gradient(loss: Callable[[Batch], torch.Tensor], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    value = loss(batch)
    (gradient,) = torch.autograd.grad(value, batch.logits, torch.tensor(3.0, dtype=value.dtype))
    return value.detach(), gradient


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", LOSSES)
def test_one_graph_serves_every_batch_size(name: str, dynamic: bool | None) -> None:
    """No break; no further graph after torch has seen that the size changes; eager's numbers."""
    compiler = CompileCounterWithBackend("aot_eager")
    loss = LOSSES[name]
    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend=compiler)
    for rows in (6, 9, 14, 25):
        batch, graphs = make(rows), compiler.frame_count
        found, right = value_and_gradient(compiled, batch), value_and_gradient(loss, batch)
        torch.testing.assert_close(found[0], right[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[1], right[1], rtol=2e-6, atol=2e-7)
        assert rows < 14 or compiler.frame_count == graphs


@pytest.mark.parametrize("name", ["every option", "a loss a row", "statistics", "top k", "sigmoid", "positives"])
def test_the_kernel_is_the_same(name: str) -> None:
    """What a graph calls gives eager's bits."""
    batch = make(13)
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    found, right = value_and_gradient(compiled, batch), value_and_gradient(LOSSES[name], batch)
    assert torch.equal(found[0], right[0])
    assert torch.equal(found[1], right[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["index", "soft", "sigmoid", "statistics"])
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    batch = make(7, dtype)
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    found, right = value_and_gradient(compiled, batch), value_and_gradient(LOSSES[name], batch)
    assert found[0].dtype == right[0].dtype
    assert found[1].dtype == dtype
    assert torch.equal(found[1], right[1])


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch warns about itself while it compiles
def test_a_compiled_training_step() -> None:
    """With the real compiler, inside a model whose weights learn."""

    def step(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return xent.softmax_cross_entropy(torch.tanh(x @ weight), y, label_smoothing=0.1)

    warnings.simplefilter("ignore")
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 5, generator=random), torch.randint(4, (8,), generator=random)
    weight = torch.randn(5, 4, generator=random).requires_grad_()
    compiled = torch.compile(step, fullgraph=True)
    (found,) = torch.autograd.grad(compiled(x, weight, y), weight)
    (right,) = torch.autograd.grad(step(x, weight, y), weight)
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("name", ["class_weight", "sample_weight", "labels", "pos_weight"])
def test_gradients_to_other_arguments(name: str) -> None:
    batch = make(5)
    given: dict[str, torch.Tensor] = {
        "class_weight": WEIGHT.clone(),
        "sample_weight": batch.rows,
        "labels": batch.soft,
        "pos_weight": WEIGHT.clone(),
    }
    leaf = given[name].requires_grad_()

    def loss(x: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
        if name == "pos_weight":
            return xent.sigmoid_cross_entropy(x, batch.binary, pos_weight=leaf)  # type: ignore[no-any-return]
        if name == "labels":
            return xent.softmax_cross_entropy(x, leaf)  # type: ignore[no-any-return]
        return xent.softmax_cross_entropy(x, batch.index, **{name: leaf})  # type: ignore[no-any-return]

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(batch.logits, leaf), (batch.logits, leaf))
    right = torch.autograd.grad(loss(batch.logits, leaf), (batch.logits, leaf))
    torch.testing.assert_close(found, right)


def test_lists_of_positives_with_a_weight_that_learns() -> None:
    batch, weight = make(6), WEIGHT.clone().requires_grad_()
    padded = xent.Positives(torch.tensor([[1, -1], [0, 2], [3, 4], [-1, -1], [5, 6], [2, -1]]))
    rows = xent.Positives(torch.tensor([1, 2, 0, 3, 4, 5, 6, 2]), starts=torch.tensor([0, 1, 3, 5, 5, 7, 8]))

    def loss(x: torch.Tensor, weight: torch.Tensor, lists: Any) -> torch.Tensor:
        return xent.sigmoid_cross_entropy(x, lists, pos_weight=weight)  # type: ignore[no-any-return]

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    dense = torch.zeros(6, CLASSES)
    for row, classes in enumerate(([1], [0, 2], [3, 4], [], [5, 6], [2])):
        dense[row, classes] = 1
    right = torch.autograd.grad(loss(batch.logits, weight, dense), weight)
    for lists in (padded, rows):
        torch.testing.assert_close(torch.autograd.grad(compiled(batch.logits, weight, lists), weight), right)


TRANSFORMS: dict[str, Callable[[Any, torch.Tensor, torch.Tensor], Any]] = {
    "grad": lambda f, x, v: torch.func.grad(f)(x),
    "vjp": lambda f, x, v: torch.func.vjp(f, x)[1](torch.tensor(2.0, dtype=x.dtype)),
    "jvp": lambda f, x, v: torch.func.jvp(f, (x,), (v,)),
    "hessian": lambda f, x, v: torch.func.hessian(f)(x),
    "jvp of grad": lambda f, x, v: torch.func.jvp(torch.func.grad(f), (x,), (v,)),
    "grad of grad": lambda f, x, v: torch.func.grad(lambda x: (torch.func.grad(f)(x) * v).sum())(x),
    "vmap of grad": lambda f, x, v: torch.func.vmap(torch.func.grad(f))(torch.stack([x, v])),
    "grad of vmap": lambda f, x, v: torch.func.grad(lambda x: torch.func.vmap(f)(torch.stack([x, v * x])).sum())(x),
    "vmap of vmap": lambda f, x, v: torch.func.vmap(torch.func.vmap(f))(torch.stack([x, v, x, v]).view(2, 2, *x.shape)),
    "jacfwd of jacrev": lambda f, x, v: torch.func.jacfwd(torch.func.jacrev(f))(x),
}


def torch_twins() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    b = make(4, torch.float64)
    soft, weight, functional = b.soft.double(), WEIGHT.double(), torch.nn.functional
    return {
        "index": (
            lambda x: xent.softmax_cross_entropy(x, b.index, label_smoothing=0.1),
            lambda x: functional.cross_entropy(x, b.index, label_smoothing=0.1),
        ),
        "soft": (
            lambda x: xent.softmax_cross_entropy(x, soft),
            lambda x: functional.cross_entropy(x, soft / soft.sum(-1, keepdim=True)),
        ),
        "sigmoid": (
            lambda x: xent.sigmoid_cross_entropy(x, b.binary, pos_weight=weight),
            lambda x: functional.binary_cross_entropy_with_logits(x, b.binary, pos_weight=weight),
        ),
    }


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("loss", ["index", "soft", "sigmoid"])
def test_transforms(loss: str, transform: str, compiled: bool) -> None:
    ours, theirs = torch_twins()[loss]
    random = torch.Generator().manual_seed(5)
    x, v = torch.randn(2, 4, CLASSES, dtype=torch.float64, generator=random)
    apply = TRANSFORMS[transform]

    def transformed(x: torch.Tensor, v: torch.Tensor) -> Any:
        return apply(ours, x, v)

    run = torch.compile(transformed, fullgraph=True, backend="aot_eager") if compiled else transformed
    torch.testing.assert_close(run(x, v), apply(theirs, x, v), rtol=1e-6, atol=1e-8)


def test_labels_can_be_mapped() -> None:
    b = make(6)
    found = torch.func.vmap(lambda x, y: xent.softmax_cross_entropy(x, y, ignore_index=2))(b.logits, b.index)
    right = torch.nn.functional.cross_entropy(b.logits, b.index, ignore_index=2, reduction="none")
    torch.testing.assert_close(found, right)


def test_a_bad_label_is_an_error_when_the_graph_runs() -> None:
    compiled = torch.compile(LOSSES["index"], fullgraph=True, backend="aot_eager")
    good = make(6)
    compiled(good)
    with pytest.raises(IndexError, match="labels"):
        compiled(good._replace(index=torch.full((6,), CLASSES)))
    unchecked = torch.compile(
        lambda b: xent.softmax_cross_entropy(b.logits, b.index, validate=False), fullgraph=True, backend="aot_eager"
    )
    assert torch.isnan(unchecked(good._replace(index=torch.full((6,), CLASSES))))


def test_an_exported_program_needs_no_xent() -> None:
    class Loss(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return xent.softmax_cross_entropy(x, y, label_smoothing=0.1)  # type: ignore[no-any-return]

    b, rows = make(6), torch.export.Dim("rows")
    program = torch.export.export(Loss(), (b.logits.detach(), b.index), dynamic_shapes={"x": {0: rows}, "y": {0: rows}})
    assert "xent" not in str(program.graph)
    for n in (6, 17):
        b = make(n)
        torch.testing.assert_close(program.module()(b.logits, b.index), Loss()(b.logits, b.index))


@pytest.mark.parametrize("name", ["index", "every option", "soft", "sigmoid", "focal"])
def test_fake_and_meta_tensors(name: str) -> None:
    """Shapes and dtypes without memory."""
    real = make(6, torch.bfloat16)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = Batch(*(mode.from_tensor(t.detach()) for t in real))
        fake.logits.requires_grad_()
        value, gradient = value_and_gradient(LOSSES[name], fake)
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert (gradient.shape, gradient.dtype) == (real.logits.shape, torch.bfloat16)
    if name in ("index", "soft", "focal"):  # the others bring weights, which are not on the meta device
        meta = Batch(*(t.detach().to("meta") for t in real))
        meta.logits.requires_grad_()
        value, gradient = value_and_gradient(LOSSES[name], meta)
        assert (gradient.shape, gradient.dtype, gradient.device.type) == (real.logits.shape, torch.bfloat16, "meta")


@pytest.mark.parametrize("name", ["index", "sigmoid", "soft"])
def test_operators_keep_torchs_rules(name: str) -> None:
    """torch's own checks of an operator: schema, fake tensors, autograd registration."""
    b = make(5)
    softmax_options = (-1, 0.1, None, 1.0, None, 0.0, "mean", None, False, True)
    sigmoid_options = ("logistic", 1.0, 0.0, 0.0, 0.0, 1.0, False, None, 1.0, 1.0, 0.0, 0.0, 0.0, "mean", None, True)
    sample = {
        "index": (b.logits, b.index, None, WEIGHT, None, *softmax_options),
        "soft": (b.logits, b.soft, None, None, None, *softmax_options),
        "sigmoid": (b.logits, b.binary, None, WEIGHT, None, None, False, "labels", *sigmoid_options),
    }[name]
    kind = "elementwise" if name == "sigmoid" else "softmax_cross_entropy"
    operator = getattr(torch.ops.xent, f"{kind}_{REVISION}")
    warnings.simplefilter("ignore")
    torch.library.opcheck(operator.default, sample)
