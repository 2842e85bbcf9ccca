"""Losses of a projection against the dense losses of its logits: values, gradients, chunks, transforms, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import xent
from xent.plan import linear_rows

linear, softmax = xent.linear_softmax_cross_entropy, xent.softmax_cross_entropy
N, D, C = 37, 11, 53  # off every block
ROW = C * 8  # bytes of a row of float64 logits
GENERATOR = torch.Generator().manual_seed(5)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


X, W, B = normal(N, D) * 2, normal(C, D), normal(C)
DOWN, UP = normal(2, D), normal(C, 2)
LABELS = torch.randint(0, C, (N,), generator=GENERATOR)
SKIPPING = LABELS.where(torch.arange(N) % 5 != 0, -100)
SOFT = torch.softmax(normal(N, C), 1)
TOPK = xent.TopK(*reversed(torch.softmax(normal(N, C), 1).topk(3)))
V, S = torch.rand(C, generator=GENERATOR) + 0.5, torch.rand(N, generator=GENERATOR) + 0.5
S[3] = 0.0

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "index": (LABELS, {}),
    "ignored": (SKIPPING, {"ignore_index": -100}),
    "weights": (SKIPPING, {"ignore_index": -100, "class_weight": V, "sample_weight": S}),
    "everything": (
        SKIPPING,
        {
            "ignore_index": -100,
            "label_smoothing": 0.1,
            "z_loss": 1e-2,
            "softcap": 5.0,
            "temperature": 2.0,
            "class_weight": V,
        },
    ),
    "soft": (SOFT, {"label_smoothing": 0.1, "class_weight": V, "sample_weight": S}),
    "soft, plain": (SOFT, {}),
    "top-k": (TOPK, {"sample_weight": S}),
    "normalizer": (LABELS, {"normalizer": 12.5}),
}
LEAVES = (X, W, B, DOWN, UP)


def leaves(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [t.to(dtype).clone().requires_grad_() for t in LEAVES]


def dense(x: Any, w: Any, b: Any, down: Any, up: Any, labels: Any, **options: Any) -> Any:
    return softmax(x @ (w + 0.5 * up @ down).T + b, labels, **options)


def projected(x: Any, w: Any, b: Any, down: Any, up: Any, labels: Any, **options: Any) -> Any:
    return linear(x, xent.LowRank(w, down, up, 0.5), labels, bias=b, **options)


def pulled(loss: Any, sources: list[torch.Tensor], **options: Any) -> list[torch.Tensor]:
    """Loss and gradients for an upstream gradient that is not 1."""
    upstream = torch.linspace(0.3, 1.7, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    return [loss, *torch.autograd.grad(loss, sources, upstream, **options)]


@pytest.mark.parametrize("budget", [None, ROW, 5 * ROW])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_those_of_the_dense_loss(name: str, reduction: str, budget: int | None) -> None:
    labels, options = CALLS[name]
    if reduction != "mean":
        options = {k: v for k, v in options.items() if k != "normalizer"}
    results = []
    for function, more in ((dense, {}), (projected, {"memory_budget": budget and 2 * budget})):
        sources = leaves()
        results.append(pulled(function(*sources, labels, reduction=reduction, **options, **more), sources))
    for found, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_leading_axes_and_other_memory_orders() -> None:
    x, w = X[:36].reshape(4, 9, D), W.T.contiguous().T
    labels = LABELS[:36].reshape(4, 9)
    for inputs in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        sources = [inputs.clone().requires_grad_(), w.clone().requires_grad_()]
        found = pulled(linear(*sources, labels, reduction="none"), sources)
        assert found[0].shape == (4, 9)
        others = [t.detach().clone().requires_grad_() for t in sources]
        expected = pulled(softmax(others[0] @ others[1].T, labels, reduction="none"), others)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["ignored", "everything", "soft, plain"])
def test_statistics_and_their_gradients(name: str) -> None:
    labels, options = CALLS[name]
    results = []
    for function, more in ((dense, {}), (projected, {"memory_budget": 6 * ROW})):
        sources = leaves()
        loss, stats = function(*sources, labels, return_stats=True, **options, **more)
        total = (
            0.7 * loss + (stats.lse * torch.linspace(0, 1, N)).sum() + (stats.entropy * torch.linspace(2, 1, N)).sum()
        )
        results.append([loss, *stats, *torch.autograd.grad(total, sources)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_chunks_change_nothing_but_rounding_and_repeat_to_the_bit() -> None:
    def run(budget: int | None) -> list[torch.Tensor]:
        sources = leaves(torch.float32)
        return pulled(projected(*sources, SKIPPING, ignore_index=-100, memory_budget=budget), sources)

    whole = run(None)
    for budget in (ROW // 2, 3 * ROW, 1 << 30):
        first, second = run(budget), run(budget)
        for a, b, c in zip(first, second, whole, strict=True):
            assert torch.equal(a, b)
            torch.testing.assert_close(a, c, rtol=2e-5, atol=1e-6)


def test_rows_that_do_not_count_are_not_read() -> None:
    x, weight = X.clone(), torch.ones(N)
    x[0], x[7], weight[7] = torch.nan, torch.inf, 0.0
    sources = [x.requires_grad_(), W.clone().requires_grad_()]
    labels = LABELS.clone()
    labels[0] = -100
    found = pulled(linear(*sources, labels, ignore_index=-100, sample_weight=weight), sources)
    keep = (torch.arange(N) != 0) & (torch.arange(N) != 7)
    others = [X[keep].clone().requires_grad_(), W.clone().requires_grad_()]
    expected = pulled(linear(*others, LABELS[keep]), others)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[2], expected[2])
    torch.testing.assert_close(found[1][keep], expected[1])
    assert not found[1][~keep].any()


def test_nothing_counts() -> None:
    sources = leaves()
    for reduction in ("mean", "sum"):
        loss = projected(*sources, torch.full((N,), -100), ignore_index=-100, reduction=reduction)
        assert loss == 0
        for gradient in torch.autograd.grad(loss, sources):
            assert not gradient.any()
    empty = linear(X[:0], W, LABELS[:0])
    assert empty == 0


@pytest.mark.parametrize("frozen", [(0,), (1, 2), (0, 2), (1,)])
def test_only_the_gradients_that_are_wanted(frozen: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    sources = leaves()[:3]
    for at in frozen:
        sources[at].requires_grad_(False)
    products = 0
    original = torch.Tensor.addmm_

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal products
        products += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "addmm_", counted)
    loss = linear(sources[0], sources[1], LABELS, bias=sources[2])
    monkeypatch.undo()
    assert products == 2 - len({0, 1} & set(frozen))  # the logits are made by addmm
    wanted = [t for t in sources if t.requires_grad]
    others = [t.detach().clone().requires_grad_(t.requires_grad) for t in sources]
    expected = torch.autograd.grad(
        softmax(others[0] @ others[1].T + others[2], LABELS), [t for t in others if t.requires_grad]
    )
    for a, b in zip(torch.autograd.grad(loss, wanted), expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_up_in_float32_whatever_the_chunks(dtype: torch.dtype) -> None:
    rows = 256
    x, w = (normal(rows, D) + 1.0).to(dtype), (normal(C, D) / 3).to(dtype)
    labels = torch.arange(rows) % C
    exact = [t.double().requires_grad_() for t in (x, w)]
    truth = torch.autograd.grad(softmax(exact[0] @ exact[1].T, labels, reduction="sum"), exact)
    errors = []
    for budget in (None, C * 2):
        sources = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        found = torch.autograd.grad(linear(*sources, labels, reduction="sum", memory_budget=budget), sources)
        assert [g.dtype for g in found] == [dtype, dtype]
        errors.append(float((found[1].double() - truth[1]).norm() / truth[1].norm()))
    assert errors[1] <= errors[0] * 1.01
    rival = [t.clone().requires_grad_() for t in (x, w)]
    theirs = torch.autograd.grad(
        torch.nn.functional.cross_entropy(rival[0] @ rival[1].T, labels, reduction="sum"), rival
    )
    rounding = torch.finfo(dtype).eps / 4
    assert errors[1] <= float((theirs[1].double() - truth[1]).norm() / truth[1].norm()) + rounding


def test_repeated_and_double_backward() -> None:
    sources = leaves()
    loss = projected(*sources, SKIPPING, ignore_index=-100, memory_budget=3 * ROW)
    first = torch.autograd.grad(loss, sources, torch.tensor(2.0), retain_graph=True)
    second = torch.autograd.grad(loss, sources, torch.tensor(2.0), retain_graph=True)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)
    results = []
    for function in (dense, projected):
        sources = leaves()
        loss = function(*sources, SKIPPING, ignore_index=-100)
        gradients = torch.autograd.grad(loss, sources, create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in gradients), sources))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    small = [t[:5].clone().requires_grad_() if t is X else t.clone().requires_grad_() for t in (X, W[:7], B[:7])]
    assert torch.autograd.gradcheck(lambda x, w, b: linear(x, w, LABELS[:5] % 7, bias=b, memory_budget=200), small)


TRANSFORMS: dict[str, Callable[[Any, torch.Tensor, torch.Tensor], Any]] = {
    "grad": lambda f, x, w: torch.func.grad(f, (0, 1))(x, w),
    "jvp": lambda f, x, w: torch.func.jvp(f, (x, w), (x * 0.3, w + 1.0)),
    "vmap": lambda f, x, w: torch.func.vmap(f, (None, 0))(x, torch.stack([w, 2 * w])),
    "hessian": lambda f, x, w: torch.func.hessian(lambda w: f(x, w))(w),
    "compiled": lambda f, x, w: torch.compile(torch.func.grad(f), fullgraph=True, backend="aot_eager")(x, w),
}


@pytest.mark.filterwarnings("ignore")  # torch's own while it traces
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(transform: str) -> None:
    x, w, labels = X[:6], W[:9], LABELS[:6] % 9
    run = TRANSFORMS[transform]
    found = run(lambda x, w: linear(x, w, labels), x, w)
    expected = run(lambda x, w: torch.nn.functional.cross_entropy(x @ w.T, labels), x, w)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_under_torch_compile() -> None:
    sources = [X.clone().requires_grad_(), W.clone().requires_grad_()]
    loss = torch.compile(lambda x, w: linear(x, w, SKIPPING, ignore_index=-100), fullgraph=True)(*sources)
    expected = pulled(linear(*sources, SKIPPING, ignore_index=-100), sources)
    for a, b in zip(pulled(loss, sources), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_autocast() -> None:
    sources = [X.float().requires_grad_(), W.float().requires_grad_()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear(*sources, LABELS)
        expected = softmax(torch.nn.functional.linear(*sources), LABELS)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    gradients = torch.autograd.grad(loss, sources)
    assert [g.dtype for g in gradients] == [torch.float32, torch.float32]
    for a, b in zip(gradients, torch.autograd.grad(expected, sources), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-3)


def test_gradients_to_weights_and_labels_come_from_the_dense_loss() -> None:
    v, soft = V.double().requires_grad_(), SOFT.clone().requires_grad_()
    found = torch.autograd.grad(linear(X, W, soft, class_weight=v), (v, soft))
    for a, b in zip(found, torch.autograd.grad(softmax(X @ W.T, soft, class_weight=v), (v, soft)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_tied_embedding() -> None:
    table = W.clone().requires_grad_()
    inputs = torch.nn.functional.embedding(LABELS, table)
    (found,) = torch.autograd.grad(linear(inputs, table, LABELS.roll(1)), table, retain_graph=True)
    (expected,) = torch.autograd.grad(softmax(inputs @ table.T, LABELS.roll(1)), table)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", [n for n in CALLS if n != "top-k"])
def test_numpy(name: str, dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    labels, options = CALLS[name]
    options = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    sources = [t.numpy().astype(kind) for t in LEAVES]
    y = labels.numpy() if labels.dtype == torch.int64 else labels.numpy().astype(kind)
    value, found = xent.value_and_grad(
        lambda *a: projected(*a, y, **options, memory_budget=8 * ROW), argnums=(0, 1, 2, 3, 4)
    )(*sources)
    exact = [torch.from_numpy(s.astype(np.float64)).requires_grad_() for s in sources]
    target = labels if labels.dtype == torch.int64 else torch.from_numpy(y.astype(np.float64))
    expected = dense(*exact, target, **CALLS[name][1])
    eps = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2, "bfloat16": 6e-2}[dtype]
    np.testing.assert_allclose(value, expected.detach(), rtol=eps)
    for a, b, s in zip(found, torch.autograd.grad(expected, exact), sources, strict=True):
        assert a.dtype == s.dtype
        assert a.shape == s.shape
        np.testing.assert_allclose(a.astype(np.float64), b, rtol=eps, atol=eps * float(b.abs().max()))


def test_numpy_rows_and_statistics() -> None:
    rows, stats = linear(X.numpy(), W.numpy(), SKIPPING.numpy(), ignore_index=-100, reduction="none", return_stats=True)
    expected, others = softmax(
        (X @ W.T).numpy(), SKIPPING.numpy(), ignore_index=-100, reduction="none", return_stats=True
    )
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    for a, b in zip(stats, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_selective_log_softmax() -> None:
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    chosen, entropy = xent.selective_log_softmax(
        x, w, SKIPPING, bias=B, temperature=0.7, ignore_index=-100, return_entropy=True, memory_budget=4 * ROW
    )
    logs = torch.log_softmax((x @ w.T + B) / 0.7, -1)
    kept = SKIPPING != -100
    expected = logs.gather(-1, SKIPPING.clamp(min=0)[:, None])[:, 0] * kept
    torch.testing.assert_close(chosen, expected)
    torch.testing.assert_close(entropy, -(logs.exp() * logs).sum(-1) * kept)
    upstream = torch.linspace(-1, 2, N, dtype=torch.float64)
    total = (upstream * chosen).sum() + 0.3 * entropy.sum()
    other = (upstream * expected).sum() - 0.3 * ((logs.exp() * logs).sum(-1) * kept).sum()
    for a, b in zip(torch.autograd.grad(total, (x, w)), torch.autograd.grad(other, (x, w)), strict=True):
        torch.testing.assert_close(a, b)
    found = xent.selective_log_softmax(
        X.numpy(), W.numpy(), SKIPPING.numpy(), bias=B.numpy(), temperature=0.7, ignore_index=-100
    )
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-12)


sigmoid, linear_sigmoid = xent.sigmoid_cross_entropy, xent.linear_sigmoid_cross_entropy
HARD = (normal(N, C) > 1).double()
PADDED = torch.stack([LABELS, (LABELS + 7) % C], 1)
SIGMOID: dict[str, tuple[Any, dict[str, Any]]] = {
    "hard": (HARD, {}),
    "soft": (SOFT, {"label_smoothing": 0.1, "pos_weight": V, "class_weight": V}),
    "rows": (HARD, {"sample_weight": S, "pos_weight": torch.tensor(2.0)}),
    "elements": (HARD, {"sample_weight": S[:, None] * V}),
    "ignored": (HARD.where(HARD != 1, -1.0).where(SOFT < 0.05, 1.0), {"ignore_index": -1}),
    "integers": (HARD.long(), {"normalizer": 11.0}),
    "padded": (xent.Positives(PADDED), {"pos_weight": V, "sample_weight": S}),
    "csr": (xent.Positives(PADDED.reshape(-1), torch.arange(N + 1) * 2), {}),
    "nothing counts": (HARD, {"sample_weight": torch.zeros(N)}),
}


@pytest.mark.parametrize("budget", [None, 2 * ROW, 10 * ROW])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", SIGMOID)
def test_sigmoid_is_the_dense_loss(name: str, reduction: str, budget: int | None) -> None:
    labels, options = SIGMOID[name]
    if reduction != "mean":
        options = {k: v for k, v in options.items() if k != "normalizer"}
    first, others = leaves(), leaves()
    found = linear_sigmoid(
        first[0], xent.LowRank(first[1], first[3], first[4], 0.5), labels, bias=first[2], reduction=reduction,
        memory_budget=budget, **options,
    )  # fmt: skip
    x, w, b, down, up = others
    expected = sigmoid(x @ (w + 0.5 * up @ down).T + b, labels, reduction=reduction, **options)
    for a, c in zip(pulled(found, first), pulled(expected, others), strict=True):
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-13)


def test_sigmoid_of_leading_axes() -> None:
    x, labels = X[:36].reshape(4, 9, D), HARD[:36].reshape(4, 9, C)
    for weight in (S[:36].reshape(4, 9), S[:4].reshape(4, 1, 1)):
        found = linear_sigmoid(x, W, labels, sample_weight=weight, memory_budget=5 * ROW)
        torch.testing.assert_close(found, sigmoid(x @ W.T, labels, sample_weight=weight))


def test_sigmoid_backwards() -> None:
    results = []
    for function in (
        lambda x, w: sigmoid(x @ w.T, HARD),
        lambda x, w: linear_sigmoid(x, w, HARD, memory_budget=6 * ROW),
    ):
        sources = [X.clone().requires_grad_(), W.clone().requires_grad_()]
        loss = function(*sources)
        first = torch.autograd.grad(loss, sources, torch.tensor(2.0), retain_graph=True)
        again = torch.autograd.grad(loss, sources, torch.tensor(2.0), create_graph=True)
        results.append([*first, *again, *torch.autograd.grad(sum(g.square().sum() for g in again), sources)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.filterwarnings("ignore")  # torch's own while it traces
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_sigmoid_transforms(transform: str) -> None:
    x, w, labels = X[:6], W[:9], HARD[:6, :9]
    run = TRANSFORMS[transform]
    found = run(lambda x, w: linear_sigmoid(x, w, labels), x, w)
    rival = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(found, run(lambda x, w: rival(x @ w.T, labels), x, w), rtol=1e-10, atol=1e-12)


def test_sigmoid_labels_are_checked_before_any_product(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = HARD.clone()
    bad[20, 3] = 2.0
    for name in ("mm", "addmm"):
        monkeypatch.setattr(torch, name, None)
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\], got 2.0 at \(20, 3\)"):
        linear_sigmoid(X, W, bad)
    with pytest.raises(IndexError, match=r"labels\.classes"):
        linear_sigmoid(X, W, xent.Positives(PADDED + 40))
    with pytest.raises(ValueError, match="pos_weight"):
        linear_sigmoid(X, W, HARD, pos_weight=-V)
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\], got 2.0 at \(20, 3\)"):
        linear_sigmoid(X.numpy(), W.numpy(), bad.numpy())


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "inner": (lambda: linear(X, W[:, :5], LABELS), rf"weight: expected shape \(C, {D}\)"),
    "transposed": (lambda: linear(X, W.T, LABELS), "Pass weight.T"),
    "bias": (lambda: linear(X, W, LABELS, bias=B[:5]), rf"bias: expected shape \({C},\)"),
    "labels": (lambda: linear(X, W, LABELS[:3]), r"labels: expected shape \(37,\)"),
    "dtype": (lambda: linear(X, W.float(), LABELS), "weight: expected the dtype of inputs, float64"),
    "scalar": (lambda: linear(X[0, 0], W, LABELS), "inputs: expected at least one axis"),
    "budget": (lambda: linear(X, W, LABELS, memory_budget=100), f"memory_budget: expected at least {ROW} bytes"),
    "budget's type": (lambda: linear(X, W, LABELS, memory_budget=1.5), "memory_budget: expected an integer"),
    "down": (lambda: linear(X, xent.LowRank(W, DOWN.T, UP), LABELS), rf"weight.down: expected shape \(r, {D}\)"),
    "up": (lambda: linear(X, xent.LowRank(W, DOWN, UP.T), LABELS), rf"weight.up: expected shape \({C}, 2\)"),
    "numpy's inner": (lambda: linear(X.numpy(), W.numpy()[:, :5], LABELS.numpy()), r"weight: expected shape \(C, 11\)"),
    "numpy's dtype": (
        lambda: linear(X.numpy(), W.float().numpy(), LABELS.numpy()),
        "weight: expected the dtype of inputs",
    ),
    "lists": (lambda: linear(X.numpy(), W.numpy(), xent.Positives(LABELS.numpy()[:, None])), "labels: expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises((ValueError, TypeError), match=text):
        call()


def test_labels_are_checked_before_any_product(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = LABELS.clone()
    bad[4] = C
    for name in ("mm", "addmm"):
        monkeypatch.setattr(torch, name, None)
    with pytest.raises(IndexError, match="label 53 in row 4"):
        linear(X, W, bad)
    with pytest.raises(IndexError, match="label 53 in row 4"):
        linear(X.numpy(), W.numpy(), bad.numpy())


def test_unchecked_labels_give_nan() -> None:
    bad = LABELS.clone()
    bad[4] = C
    rows = linear(X, W, bad, validate=False, reduction="none")
    np.testing.assert_array_equal(rows.isnan(), np.arange(N) == 4)


def test_rows_in_a_chunk() -> None:
    assert linear_rows(100, 10, 1000) == 100
    assert linear_rows(100, 10, 999) == 50  # two chunks of equal size
    assert linear_rows(100, 10, 10) == 1
    assert linear_rows(0, 10, None) == 1
    assert linear_rows(5, 1 << 40, None) == 1  # the default budget holds a row, whatever it takes
