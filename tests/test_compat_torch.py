"""`xent.compat.torch`: the cases of torch's semantics that its databases leave out."""

from __future__ import annotations

import copy
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import xent
import xent.compat.torch as compat

INF, NAN = math.inf, math.nan


def both(name: str, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return getattr(compat, name)(*args, **kwargs), getattr(functional, name)(*args, **kwargs)


def gradients(name: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    for module in (compat, functional):
        leaf = x.detach().clone().requires_grad_()
        loss = getattr(module, name)(leaf, *args, **kwargs)
        found.append(torch.autograd.grad(loss, leaf, torch.full_like(loss, 3.0))[0])
    return found[0], found[1]


X = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
Y = torch.tensor([2, 0])


SPECIAL: dict[str, tuple[torch.Tensor, Any, dict[str, Any]]] = {
    "all ignored": (X, torch.tensor([-100, -100]), {}),
    "all ignored, sum": (X, torch.tensor([-100, -100]), {"reduction": "sum"}),
    "all ignored, none": (X, torch.tensor([-100, -100]), {"reduction": "none"}),
    "no weight": (X, Y, {"weight": torch.zeros(3)}),
    "no weight of these": (X, Y, {"weight": torch.tensor([0.0, 1.0, 0.0])}),
    "-inf off the target": (torch.tensor([[1.0, -INF, 0.0]]), torch.tensor([0]), {}),
    "-inf and smoothing": (torch.tensor([[1.0, -INF, 0.0]]), torch.tensor([0]), {"label_smoothing": 0.1}),
    "-inf at the target": (torch.tensor([[1.0, -INF, 0.0]]), torch.tensor([1]), {}),
    "+inf": (torch.tensor([[1.0, INF, 0.0]]), torch.tensor([0]), {}),
    "nan": (torch.tensor([[1.0, NAN, 0.0]]), torch.tensor([0]), {}),
    "negative smoothing": (X, Y, {"label_smoothing": -0.5}),
    "smoothing nan": (X, Y, {"label_smoothing": NAN}),
    "negative weight": (X, Y, {"weight": torch.tensor([-1.0, 1.0, 2.0])}),
    "one class": (torch.randn(4, 1), torch.ones(4, 1), {}),
    "probabilities and a negative ignore_index": (X, X.softmax(1), {"ignore_index": -7}),
    "probabilities and weights": (X, X.softmax(1), {"weight": torch.tensor([1.0, 2.0, 0.5]), "label_smoothing": 0.2}),
    "unnormalised targets": (X, 3 * X.abs(), {}),
    "ignored class": (X, Y, {"ignore_index": 2}),
    "no batch": (X[0], torch.tensor(1), {"reduction": "none"}),
    "probabilities without a batch": (X[0], X[1].softmax(0), {}),
    "bytes": (X, Y.to(torch.uint8), {}),
    "images": (torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5)), {"reduction": "none"}),
    "channels last": (
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randint(3, (2, 4, 5)),
        {"label_smoothing": 0.1},
    ),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_cross_entropy_as_torch_has_it(name: str) -> None:
    x, y, options = SPECIAL[name]
    torch.testing.assert_close(*both("cross_entropy", x, y, **options), equal_nan=True)
    ours, theirs = gradients("cross_entropy", x, y, **options)
    if name.startswith("no weight"):  # torch: NaN
        theirs = torch.zeros_like(x)
    torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_empty_batches(reduction: str) -> None:
    x, y = torch.randn(0, 3), torch.zeros(0, dtype=torch.long)
    torch.testing.assert_close(*both("cross_entropy", x, y, reduction=reduction), equal_nan=True)
    x = torch.zeros(0, 3)
    for name in ("binary_cross_entropy_with_logits", "soft_margin_loss"):
        torch.testing.assert_close(*both(name, x, x, reduction=reduction), equal_nan=True)


ERRORS: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "label": (IndexError, "Target 3 is out of bounds.", (X, torch.tensor([3, 0])), {}),
    "negative label": (IndexError, "Target -1 is out of bounds.", (X, torch.tensor([-1, 0])), {}),
    "dtype": (RuntimeError, "expected target dtype to be Long or Byte, but got Float", (X, Y.float()), {}),
    "int32": (RuntimeError, "expected target dtype to be Long or Byte, but got Int", (X, Y.int()), {}),
    "integer probabilities": (
        RuntimeError,
        "Expected floating point type for target with class probabilities, got Long",
        (X, torch.ones(2, 3, dtype=torch.long)),
        {},
    ),
    "batch": (
        ValueError,
        "Expected input batch_size (2) to match target batch_size (3).",
        (X, torch.tensor([0, 1, 2])),
        {},
    ),
    "two targets": (
        RuntimeError,
        "0D or 1D target tensor expected, multi-target not supported",
        (X, torch.zeros(2, 2, dtype=torch.long)),
        {},
    ),
    "size": (
        RuntimeError,
        "Expected target size [2, 3], got [2, 5]",
        (torch.randn(2, 4, 3), torch.zeros(2, 5, dtype=torch.long)),
        {},
    ),
    "weight": (
        RuntimeError,
        "weight tensor should be defined either for all 3 classes or no classes but got weight tensor of shape: [2]",
        (X, Y, torch.ones(2)),
        {},
    ),
    "ignore_index": (
        RuntimeError,
        "ignore_index is not supported for floating point target",
        (X, X.softmax(1)),
        {"ignore_index": 1},
    ),
    "smoothing": (
        RuntimeError,
        "label_smoothing must be between 0.0 and 1.0. Got: 1.5",
        (X, Y),
        {"label_smoothing": 1.5},
    ),
    "no ignore_index": (TypeError, "argument 'ignore_index' (position 5) must be int", (X, Y), {"ignore_index": None}),
    "ignore_index 2.0": (TypeError, "argument 'ignore_index' (position 5) must be int", (X, Y), {"ignore_index": 2.0}),
    "list": (TypeError, "argument 'target' (position 2) must be Tensor, not list", (X, [0, 1]), {}),
    "array": (TypeError, "argument 'input' (position 1) must be Tensor, not numpy.ndarray", (X.numpy(), Y), {}),
    "reduction": (ValueError, "avg is not a valid value for reduction", (X, Y), {"reduction": "avg"}),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_cross_entropy(name: str) -> None:
    kind, text, args, options = ERRORS[name]
    with pytest.raises(kind, match=re.escape(text)):
        compat.cross_entropy(*args, **options)


@pytest.mark.parametrize(
    "name", ["binary_cross_entropy_with_logits", "soft_margin_loss", "multilabel_soft_margin_loss"]
)
@pytest.mark.parametrize(
    "args", [(X, X[0, :2]), (X, X.numpy()), (X.tolist(), X), (X.long(), X), (X, None)], ids=lambda _: ""
)
def test_errors_of_elementwise_losses(name: str, args: tuple[Any, ...]) -> None:
    """The exception is torch's, class and words."""
    try:
        expected: Any = getattr(functional, name)(*args)
    except Exception as error:
        with pytest.raises(type(error), match=re.escape(str(error).split("\n")[0])):
            getattr(compat, name)(*args)
    else:
        torch.testing.assert_close(getattr(compat, name)(*args), expected)


def test_a_margin_of_200() -> None:
    """torch: inf, and a gradient of NaN."""
    x = torch.tensor([-200.0, 200.0], requires_grad=True)
    y = torch.tensor([1.0, 1.0])
    loss = compat.soft_margin_loss(x, y, reduction="none")
    torch.testing.assert_close(loss, torch.tensor([200.0, math.exp(-200.0)]), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    assert gradient.tolist() == [-1.0, -math.exp(-200.0) if math.exp(-200.0) > 1e-45 else -0.0]
    assert functional.soft_margin_loss(x, y, reduction="none")[0] == INF  # or this test has no subject
    soft = torch.tensor([0.5, -2.0])
    right = functional.softplus(-soft.double() * x.detach().double())
    torch.testing.assert_close(compat.soft_margin_loss(x, soft, reduction="none").double(), right, rtol=1e-6, atol=0)


def test_ignored_rows_may_hold_anything() -> None:
    """torch: NaN in the gradient of the ignored row."""
    x = torch.tensor([[-INF, -INF, -INF], [NAN, 0.0, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    loss = compat.cross_entropy(x, torch.tensor([-100, -100, 1]))
    (gradient,) = torch.autograd.grad(loss, x)
    assert torch.equal(gradient[:2], torch.zeros(2, 3))
    right = torch.tensor([1.0, 2.0, 3.0]).softmax(0) - torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(gradient[2], right)


def test_half_precision_with_smoothing() -> None:
    """torch overflows in float16 from some hundred rows on."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 100, generator=random).half() * 8, torch.randint(100, (2000,), generator=random)
    exact = functional.cross_entropy(x.double(), y, label_smoothing=0.1)
    found = compat.cross_entropy(x, y, label_smoothing=0.1)
    assert found.dtype == torch.float16
    assert abs(float(found) - float(exact)) <= torch.finfo(torch.float16).eps * float(exact)


TRANSFORMED: dict[str, Callable[..., torch.Tensor]] = {
    "indices": lambda f, x: f.cross_entropy(x, torch.tensor([2, 0]), label_smoothing=0.1),
    "ignored": lambda f, x: f.cross_entropy(x, torch.tensor([2, -100])),
    "weights": lambda f, x: f.cross_entropy(x, torch.tensor([2, 1]), torch.tensor([0.5, 1.0, 2.0], dtype=x.dtype)),
    "probabilities": lambda f, x: f.cross_entropy(x, torch.tensor([[0.5, 0.5, 0], [0.2, 0.3, 0.5]], dtype=x.dtype)),
    "logits": lambda f, x: f.binary_cross_entropy_with_logits(
        x, torch.tensor([[0.5, 1, 0], [0, 0, 1]], dtype=x.dtype), pos_weight=torch.tensor([1.0, 2, 3], dtype=x.dtype)
    ),
    "margin": lambda f, x: f.soft_margin_loss(x, torch.tensor([[1, -1, 1], [-1, -1, 1]], dtype=x.dtype)),
    "labels": lambda f, x: f.multilabel_soft_margin_loss(x, torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=x.dtype)),
}
WAYS: dict[str, Callable[..., Any]] = {
    "grad": lambda f, x: torch.func.grad(f)(x),
    "hessian": lambda f, x: torch.func.hessian(f)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, 2 * x, -x])),
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(f))(torch.stack([x, 2 * x, -x])),
    "jvp of grad": lambda f, x: torch.func.jvp(torch.func.grad(f), (x,), (x + 1,)),
}


class Twin:
    """torch's functions; its soft margin has no forward mode of its own derivative, so that one is written out."""

    def __getattr__(self, name: str) -> Any:
        return getattr(functional, name)

    def soft_margin_loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.softplus(-y * x).mean()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", TRANSFORMED)
@pytest.mark.filterwarnings("ignore")  # torch's own while it traces
def test_transforms(loss: str, way: str, compiled: bool) -> None:
    torch._dynamo.reset()
    x = X.double()

    def transformed(x: torch.Tensor) -> Any:
        return WAYS[way](lambda x: TRANSFORMED[loss](compat, x), x)

    run = torch.compile(transformed, fullgraph=True, backend="aot_eager") if compiled else transformed
    torch.testing.assert_close(run(x), WAYS[way](lambda x: TRANSFORMED[loss](Twin(), x), x))


@pytest.mark.parametrize("loss", TRANSFORMED)
@pytest.mark.filterwarnings("ignore")
def test_compiled_training(loss: str) -> None:
    torch._dynamo.reset()
    x = X.clone().requires_grad_()
    compiled = torch.compile(lambda x: TRANSFORMED[loss](compat, x), fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x), x, torch.tensor(3.0))
    torch.testing.assert_close(found, torch.autograd.grad(TRANSFORMED[loss](functional, x), x, torch.tensor(3.0)))


SIZED: dict[str, Callable[..., torch.Tensor]] = {
    "indices": lambda x: compat.cross_entropy(x, x.argmax(1), WEIGHT, label_smoothing=0.1, ignore_index=2),
    "probabilities": lambda x: compat.cross_entropy(x, x.detach().abs().softmax(1), WEIGHT),
    "logits": lambda x: compat.binary_cross_entropy_with_logits(x, (x > 0).float(), WEIGHT, pos_weight=WEIGHT),
    "margin": lambda x: compat.soft_margin_loss(x, (x > 0.5).float() * 2 - 1),
    "labels": lambda x: compat.multilabel_soft_margin_loss(x, (x > 0.5).float(), WEIGHT),
    "linear": lambda x: compat.linear_cross_entropy(x, 2 * torch.eye(3), x.argmin(1)),
    "activations": lambda x: (compat.log_softmax(x, 1) * compat.softmax(x, -1)).sum() + compat.logsumexp(x, 1).sum(),
}
WEIGHT = torch.tensor([0.5, 1.0, 2.0])


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("loss", SIZED)
@pytest.mark.filterwarnings("ignore")
def test_one_graph_serves_every_batch_size(loss: str, dynamic: bool | None) -> None:
    torch._dynamo.reset()
    compiler = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(SIZED[loss], fullgraph=True, dynamic=dynamic, backend=compiler)
    for rows in (5, 8, 13, 30):
        graphs = compiler.frame_count
        x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows)).requires_grad_()
        found, right = compiled(x), SIZED[loss](x)
        torch.testing.assert_close(found, right)
        torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(right, x))
        assert rows < 13 or compiler.frame_count == graphs


@pytest.mark.parametrize("loss", TRANSFORMED)
def test_checkpoints(loss: str) -> None:
    x = X.clone().requires_grad_()
    kept = checkpoint(lambda x: TRANSFORMED[loss](compat, x), x, use_reentrant=False)
    right = torch.autograd.grad(TRANSFORMED[loss](functional, x), x)
    torch.testing.assert_close(torch.autograd.grad(kept, x), right)


@pytest.mark.filterwarnings("ignore")
def test_the_mean_of_nothing_in_a_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(compat.cross_entropy, fullgraph=True, backend="aot_eager")
    x = X.clone().requires_grad_()
    loss = compiled(x, torch.tensor([-100, -100]))
    assert loss.isnan()
    assert torch.equal(torch.autograd.grad(loss, x)[0], torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss"])
def test_autocast_and_half(name: str) -> None:
    """The input's dtype, and float32 under autocast."""
    x = X.bfloat16()
    y = Y if name == "cross_entropy" else (X > 0).bfloat16()
    assert getattr(compat, name)(x, y).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = both(name, x, y)
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs)


MODULES = [
    compat.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1, ignore_index=1),
    compat.BCEWithLogitsLoss(weight=torch.tensor([1.0, 2.0, 3.0]), pos_weight=torch.tensor([1.0, 0.5, 3.0])),
    compat.SoftMarginLoss(reduction="sum"),
    compat.MultiLabelSoftMarginLoss(torch.tensor([1.0, 2.0, 3.0])),
    compat.LinearCrossEntropyLoss(3, 4, bias=True),
    compat.AdaptiveLogSoftmaxWithLoss(3, 9, cutoffs=[2, 5], div_value=1.0),
    compat.NLLLoss(),
    compat.BCELoss(),
    compat.KLDivLoss(reduction="batchmean"),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_modules_are_copied_and_saved(module: torch.nn.Module) -> None:
    y: Any = Y if "Cross" in type(module).__name__ or "Adaptive" in type(module).__name__ else (X > 0).float()
    x = X.sigmoid() if isinstance(module, torch.nn.BCELoss) else X
    if isinstance(module, torch.nn.NLLLoss):
        y = Y
    expected = module(x, y)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(other) is type(module)
        assert other.state_dict().keys() == module.state_dict().keys()
        torch.testing.assert_close(other(x, y), expected)
    assert isinstance(module, getattr(torch.nn, type(module).__name__))


def test_rare_classes_share_clusters() -> None:
    """Value, gradient and errors of torch's adaptive softmax; its state loads."""
    torch.manual_seed(0)
    ours = compat.AdaptiveLogSoftmaxWithLoss(6, 20, cutoffs=[4, 9], div_value=2.0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(6, 20, cutoffs=[4, 9], div_value=2.0)
    theirs.load_state_dict(ours.state_dict())
    x, y = torch.randn(30, 6), torch.randint(20, (30,))
    for rows in (slice(None), 3):
        found, right = ours(x[rows], y[rows]), theirs(x[rows], y[rows])
        torch.testing.assert_close(found.output, right.output)
        torch.testing.assert_close(found.loss, right.loss)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            wanted = [
                torch.autograd.grad(out.loss, p, retain_graph=True, allow_unused=True)[0]
                for out, p in ((found, a), (right, b))
            ]
            zero = torch.zeros_like(a)
            torch.testing.assert_close(*[zero if g is None else g for g in wanted])
    with pytest.raises(RuntimeError, match=re.escape("Target values should be in [0, 19]")):
        ours(x, torch.full((30,), 20))
    with pytest.raises(RuntimeError, match="same size in the batch dimension"):
        ours(x, y[:3])


def test_gradients_to_weights_and_targets() -> None:
    weight = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    soft = X.softmax(1).requires_grad_()
    for name, args, kwargs, leaf in (
        ("cross_entropy", (X, soft), {"label_smoothing": 0.1}, soft),
        ("binary_cross_entropy_with_logits", (X, soft), {}, soft),
        ("multilabel_soft_margin_loss", (X, soft, weight), {}, soft),
    ):
        ours, theirs = both(name, *args, **kwargs)
        torch.testing.assert_close(torch.autograd.grad(ours, leaf), torch.autograd.grad(theirs, leaf))


def test_gradients_to_weights_that_torch_has_none_for() -> None:
    weight = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    soft = X.softmax(1)
    ours = torch.autograd.grad(compat.binary_cross_entropy_with_logits(X, soft, weight), weight)
    right = (functional.binary_cross_entropy_with_logits(X, soft, reduction="none") * weight).mean()
    torch.testing.assert_close(ours, torch.autograd.grad(right, weight))
    ours = torch.autograd.grad(compat.binary_cross_entropy_with_logits(X, soft, pos_weight=weight), weight)
    right = (weight * soft * functional.softplus(-X)).mean()
    torch.testing.assert_close(ours, torch.autograd.grad(right, weight))
    target = soft.clone().requires_grad_()
    ours = torch.autograd.grad(compat.soft_margin_loss(X, target), target)
    torch.testing.assert_close(ours, torch.autograd.grad(functional.softplus(-target * X).mean(), target))
    ours = torch.autograd.grad(compat.cross_entropy(X, Y, weight), weight)
    each = functional.cross_entropy(X, Y, reduction="none")
    torch.testing.assert_close(ours, torch.autograd.grad((each * weight[Y]).sum() / weight[Y].sum(), weight))


def test_the_name_is_found_without_an_import_of_its_own() -> None:
    assert xent.compat.torch is compat
    with pytest.raises(AttributeError, match="no attribute 'chainer'"):
        _ = xent.compat.chainer


class Wrapped(torch.Tensor):
    """A subclass that only wraps."""


@pytest.mark.parametrize("loss", ["indices", "logits", "margin", "labels"])
def test_tensors_without_memory_and_subclasses(loss: str) -> None:
    y = {"indices": Y}.get(loss, (X > 0).float())
    name = {
        "indices": "cross_entropy",
        "logits": "binary_cross_entropy_with_logits",
        "margin": "soft_margin_loss",
        "labels": "multilabel_soft_margin_loss",
    }[loss]
    function = getattr(compat, name)
    meta = X.to("meta").requires_grad_()
    value = function(meta, y.to("meta"))
    assert (value.shape, value.device.type) == ((), "meta")
    assert torch.autograd.grad(value, meta)[0].shape == X.shape
    with FakeTensorMode() as mode:
        assert function(mode.from_tensor(X), mode.from_tensor(y)).shape == ()
    found = function(X.as_subclass(Wrapped), y)
    assert isinstance(found, Wrapped)
    torch.testing.assert_close(found.as_subclass(torch.Tensor), getattr(functional, name)(X, y))


def test_nll_loss_of_half_precision_is_summed_in_float32() -> None:
    logs = torch.randn(100_000, 8, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    target = torch.arange(100_000) % 8
    weight = torch.linspace(0.5, 1.5, 8)
    for dtype in (torch.float16, torch.bfloat16):
        exact = torch.nn.functional.nll_loss(logs.to(dtype).double(), target, weight.to(dtype).double())
        leaf = logs.to(dtype).requires_grad_()
        loss = compat.NLLLoss(weight.to(dtype))(leaf, target)
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.double(), exact, rtol=torch.finfo(dtype).eps, atol=0)
        loss.backward()
        assert leaf.grad is not None
        assert leaf.grad.dtype == dtype


LAYOUTS = {
    "transposed": lambda: torch.randn(8, 6).t(),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "permuted": lambda: torch.randn(3, 4, 5).permute(2, 0, 1),
    "sliced": lambda: torch.randn(6, 16)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_lie_in_memory_as_torchs(layout: str) -> None:
    x, theirs = LAYOUTS[layout](), torch.nn.functional
    target, batch = torch.rand(x.shape), (x.shape[0], *x.shape[2:])
    calls: list[Callable[[Any], torch.Tensor]] = [
        lambda m: m.softmax(x, 1),
        lambda m: m.log_softmax(x, 0),
        lambda m: m.cross_entropy(x, torch.zeros(batch, dtype=torch.long), reduction="none"),
        lambda m: m.binary_cross_entropy_with_logits(x, target, reduction="none"),
        lambda m: m.soft_margin_loss(x, target, reduction="none"),
    ]
    for call in calls:
        assert call(compat).stride() == call(theirs).stride()


@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp", "compiled"])
def test_labels_out_of_range_under_transforms(transform: str) -> None:
    x, bad = torch.randn(5, 7), torch.tensor([0, 1, 9, 2, 3])

    def run(module: Any) -> Any:
        def loss(a: torch.Tensor, y: torch.Tensor = bad) -> torch.Tensor:
            return module.cross_entropy(a, y)  # type: ignore[no-any-return]

        if transform == "grad":
            return torch.func.grad(loss)(x)
        if transform == "vmap":
            return torch.func.vmap(loss)(x[None], bad[None])
        if transform == "jvp":
            return torch.func.jvp(loss, (x,), (x,))
        return torch.compile(loss, backend="eager")(x)

    kind = RuntimeError if transform == "vmap" else IndexError
    for module in (torch.nn.functional, compat):
        with pytest.raises(kind, match=r"(Target|index) 9 is out of bounds"):
            run(module)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_targets_of_the_adaptive_softmax(dtype: torch.dtype) -> None:
    x, target = torch.randn(3, 5), torch.tensor([1, 6, 15], dtype=dtype)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(5, 20, [4, 10], div_value=1.0)
    ours = compat.AdaptiveLogSoftmaxWithLoss(5, 20, [4, 10], div_value=1.0)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x, target).loss, theirs(x, target).loss)


def test_a_confident_prediction_of_bytes() -> None:
    logits = torch.full((2, 300), -200.0)
    logits[:, 156] = 200.0
    assert compat.cross_entropy(logits, torch.full((2,), 156, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_targets_that_the_adaptive_softmax_refuses(dtype: torch.dtype) -> None:
    layer = compat.AdaptiveLogSoftmaxWithLoss(5, 20, [4, 10], div_value=1.0)
    with pytest.raises(RuntimeError, match="Expected dtype int32/int64 for index"):
        layer(torch.ones(3, 5), torch.tensor([1, 1, 0]).to(dtype))


FIRST_COMPILED = """
import torch, xent
torch._dynamo.config.error_on_recompile = True
step = torch.compile(lambda x, y: xent.softmax_cross_entropy(x, y), dynamic=True, fullgraph=True, backend="aot_eager")
for rows in (8, 16, 5):
    step(torch.randn(rows, 7), torch.zeros(rows, dtype=torch.long))
"""


def test_the_first_call_of_a_process_may_be_compiled() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FIRST_COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
