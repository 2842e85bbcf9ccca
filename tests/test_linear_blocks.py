"""Blocks of classes: rows whose logits are never all there at once, against the dense loss of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import xent
from xent.plan import Blocks, linear_blocks

linear, softmax = xent.linear_softmax_cross_entropy, xent.softmax_cross_entropy
N, D, C = 19, 7, 2611
RNG = np.random.default_rng(11)
X, W, B = RNG.normal(size=(N, D)) * 2, RNG.normal(size=(C, D)), RNG.normal(size=C)
LABELS = RNG.integers(0, C, N)
SKIPPING = np.where(np.arange(N) % 5 == 0, -100, LABELS)
SOFT = RNG.dirichlet(np.full(C, 0.1), N)
TOPK = xent.TopK(np.stack([LABELS, (LABELS + 1300) % C, (LABELS + 1) % C], 1), RNG.dirichlet(np.ones(3), N))
V, S = RNG.random(C) + 0.5, RNG.random(N) + 0.5
S[3] = 0.0
BUDGETS = {"a row of few classes": 300 * 8, "rows and classes": 5 * 2048 * 8, "all": None}
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "index": (LABELS, {}),
    "everything": (
        SKIPPING,
        {
            "ignore_index": -100,
            "label_smoothing": 0.1,
            "z_loss": 1e-2,
            "softcap": 5.0,
            "temperature": 2.0,
            "class_weight": V,
            "sample_weight": S,
        },
    ),
    "soft": (SOFT, {"label_smoothing": 0.1, "class_weight": V, "sample_weight": S}),
    "top-k": (TOPK, {"sample_weight": S, "class_weight": V}),
    "normalizer": (LABELS, {"normalizer": 12.5, "z_loss": 1e-3}),
}


def test_the_budgets_ask_for_blocks_of_classes() -> None:
    assert [linear_blocks(N, C, 8, budget, True) for budget in BUDGETS.values()] == [
        Blocks(1, 291),
        Blocks(5, 1306),
        Blocks(N, C),
    ]


def on(kind: str, arrays: Any) -> Any:
    """Arguments as arrays of a framework."""
    if isinstance(arrays, xent.TopK):
        return xent.TopK(on(kind, arrays.indices), on(kind, arrays.values))
    if isinstance(arrays, dict):
        return {name: on(kind, a) for name, a in arrays.items()}
    return torch.from_numpy(arrays) if kind == "torch" and isinstance(arrays, np.ndarray) else arrays


def gradients(kind: str, function: Any, sources: list[Any]) -> list[Any]:
    """Value and gradients of a scalar loss times 1.7."""
    if kind == "numpy":
        value, found = xent.value_and_grad(function, argnums=(0, 1, 2))(*sources)
        return [1.7 * value, *(1.7 * g for g in found)]
    leaves = [s.clone().requires_grad_() for s in sources]
    value = 1.7 * function(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def truth(labels: Any, options: dict[str, Any], reduction: str = "mean") -> list[np.ndarray]:
    x, w, b = (torch.from_numpy(a).requires_grad_() for a in (X, W, B))
    value = 1.7 * softmax(x @ w.T + b, on("torch", labels), reduction=reduction, **on("torch", options))
    return [value.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(value, (x, w, b)))]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("budget", list(BUDGETS))
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name: str, budget: str, kind: str, instruction_set: str) -> None:
    labels, options = (on(kind, part) for part in CALLS[name])
    sources = [on(kind, a) for a in (X, W, B)]
    found = gradients(
        kind, lambda x, w, b: linear(x, w, labels, bias=b, memory_budget=BUDGETS[budget], **options), sources
    )
    for a, b in zip(found, truth(*CALLS[name]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("budget", list(BUDGETS))
@pytest.mark.parametrize("name", CALLS)
def test_rows_statistics_and_their_gradients(name: str, budget: str) -> None:
    labels, options = (on("torch", part) for part in CALLS[name])
    options = {k: v for k, v in options.items() if k != "normalizer"}
    results = []
    for fused in (False, True):
        x, w, b = (torch.from_numpy(a).clone().requires_grad_() for a in (X, W, B))
        more = {"reduction": "none", "return_stats": True, **options}
        if fused:
            loss, stats = linear(x, w, labels, bias=b, memory_budget=BUDGETS[budget], **more)
        else:
            loss, stats = softmax(x @ w.T + b, labels, **more)
        ramp = torch.linspace(-0.3, 1.7, N, dtype=torch.float64)
        total = (ramp * loss).sum() + (ramp.flip(0) * stats.lse).sum() + (ramp.cos() * stats.entropy).sum()
        results.append([loss, *stats, *torch.autograd.grad(total, (x, w, b))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_confident_rows_and_far_offsets_keep_their_digits(offset: float) -> None:
    """The loss of a confident row is `log1p` of the others' sum, wherever the leader lies; an offset cancels."""
    x, w, b = X.copy(), W * 0.1, B * 0.1 + offset
    b[LABELS[0]] += 40.0  # leads everywhere, with probability 1 - 1e-14
    labels = np.full(N, LABELS[0])
    z = torch.from_numpy(x @ w.T + b)
    expected = torch.log1p(torch.exp(z - z[:, labels[:1]]).masked_fill(torch.arange(C) == int(labels[0]), 0).sum(1))
    for budget in BUDGETS.values():
        found = linear(x, w, labels, bias=b, reduction="none", memory_budget=budget)
        # the logits themselves are rounded where they are far from 0
        np.testing.assert_allclose(found, expected, rtol=1e-9 if offset else 1e-12)


@pytest.mark.parametrize("budget", [300 * 8, 5 * 2048 * 8])
def test_classes_that_cannot_be(budget: int) -> None:
    """Whole blocks of -inf before the first finite logit, and a row of nothing else."""
    b = B.copy()
    b[:1500] = -np.inf
    labels = 1500 + LABELS % (C - 1500)
    for kind in ("numpy", "torch"):
        sources = [on(kind, a) for a in (X, W, b)]
        target = on(kind, labels)
        found = gradients(kind, lambda x, w, b: linear(x, w, target, bias=b, memory_budget=budget), sources)  # noqa: B023
        x, w, c = (torch.from_numpy(a).requires_grad_() for a in (X, W[1500:], b[1500:]))
        value = 1.7 * softmax(x @ w.T + c, torch.from_numpy(labels - 1500))
        of_x, of_w, of_b = torch.autograd.grad(value, (x, w, c))
        np.testing.assert_allclose(found[0], value.detach(), rtol=1e-12)
        np.testing.assert_allclose(found[1], of_x, rtol=1e-11, atol=1e-14)
        assert not np.asarray(found[2][:1500]).any()
        np.testing.assert_allclose(found[2][1500:], of_w, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(found[3][1500:], of_b, rtol=1e-11, atol=1e-14)
    rows, stats = linear(
        X, W, LABELS, bias=np.full(C, -np.inf), reduction="none", memory_budget=budget, return_stats=True
    )
    assert np.isnan(rows).all()
    assert (stats.lse == -np.inf).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_labels_out_of_range(kind: str) -> None:
    labels = LABELS.copy()
    labels[2] = C
    x, w = on(kind, X), on(kind, W)
    with pytest.raises(IndexError, match="row 2"):
        linear(x, w, on(kind, labels), memory_budget=300 * 8)
    rows = np.asarray(linear(x, w, on(kind, labels), memory_budget=300 * 8, reduction="none", validate=False))
    assert np.isnan(rows).tolist() == [at == 2 for at in range(N)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("budget", [2 * 2048 * 3, 2 * 2048 * 200])
def test_half_precision_is_no_further_from_the_truth_than_pytorch(dtype: torch.dtype, budget: int) -> None:
    rows, classes = 300, 3001
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 32, generator=generator).to(dtype)
    w = (torch.randn(classes, 32, generator=generator) / 5).to(dtype)
    labels = torch.arange(rows) * 7 % classes

    def gradients_of(loss: Any, *sources: torch.Tensor) -> list[torch.Tensor]:
        leaves = [s.clone().requires_grad_() for s in sources]
        return list(torch.autograd.grad(loss(*leaves), leaves, torch.tensor(64.0, dtype=sources[0].dtype)))

    exact = gradients_of(
        lambda x, w: torch.nn.functional.cross_entropy(x @ w.T, labels, reduction="sum"), x.double(), w.double()
    )
    theirs = gradients_of(lambda x, w: torch.nn.functional.cross_entropy(x @ w.T, labels, reduction="sum"), x, w)
    leaves = [t.clone().requires_grad_() for t in (x, w)]
    loss = linear(*leaves, labels, reduction="sum", memory_budget=budget)
    ours = torch.autograd.grad(loss, leaves, torch.tensor(64.0))
    for found, rival, true in zip(ours, theirs, exact, strict=True):
        assert found.dtype == dtype
        # one rounding of the result more than none: what a float64 sum rounded once would have
        rounding = float((true.to(dtype).double() - true).norm() / true.norm())
        error = float((found.double() - true).norm() / true.norm())
        assert error <= max(float((rival.double() - true).norm() / true.norm()), 1.5 * rounding)
