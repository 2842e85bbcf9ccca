"""What linear losses owe their users beyond the numbers: scaled losses, rows that hold anything, refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import xent

linear, sigmoid = xent.linear_softmax_cross_entropy, xent.linear_sigmoid_cross_entropy
RNG = np.random.default_rng(7)
N, D, C = 12, 5, 23
X, W = RNG.normal(size=(N, D)), RNG.normal(size=(C, D))
LABELS = RNG.integers(0, C, N)
HARD = (RNG.random((N, C)) < 0.2).astype(float)


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_float16_keeps_its_gradients_under_loss_scaling(family: str) -> None:
    """The gradient by a logit, 1/(N·C), is below float16's range; scaled it is not."""
    rows, classes, scale = 512, 3000, 2.0**16
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 16, generator=generator).half()
    w = (torch.randn(classes, 16, generator=generator) / 4).half()
    labels = torch.randint(0, classes, (rows,), generator=generator)
    lists = xent.Positives(labels[:, None])

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [t.to(dtype).requires_grad_() for t in (x, w)]
        loss = linear(*leaves, labels) if family == "softmax" else sigmoid(*leaves, lists)
        return [g.double() for g in torch.autograd.grad(loss * scale, leaves)]

    for found, true in zip(gradients(torch.float16), gradients(torch.float64), strict=True):
        assert float((found - true).norm() / true.norm()) < 2e-3


def test_bfloat16_is_no_further_from_the_truth_than_pytorch_under_a_scaled_loss() -> None:
    x, w = torch.from_numpy(RNG.normal(size=(300, 32))), torch.from_numpy(RNG.normal(size=(500, 32)) / 5)
    labels = torch.arange(300)

    def gradients(function: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [t.to(torch.bfloat16).to(dtype).requires_grad_() for t in (x, w)]
        return [g.double() for g in torch.autograd.grad(function(*leaves) / 3, leaves)]

    def eager(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(x @ w.T, labels)

    truth, rival = gradients(eager, torch.float64), gradients(eager, torch.bfloat16)
    for found, theirs, true in zip(
        gradients(lambda x, w: linear(x, w, labels), torch.bfloat16), rival, truth, strict=True
    ):
        assert float((found - true).norm()) <= 1.02 * float((theirs - true).norm())


@pytest.mark.parametrize(
    "call", ["linear_softmax_cross_entropy(x, torch.randn(9, 4), y)", "softmax_cross_entropy(x, y)"]
)
def test_a_program_may_begin_with_a_compiled_call(call: str) -> None:
    code = (
        "import torch, xent\n"
        "x, y = torch.randn(6, 4, requires_grad=True), torch.zeros(6, dtype=torch.int64)\n"
        f"loss = torch.compile(lambda x, y: xent.{call}, fullgraph=True, dynamic=True, backend='aot_eager')(x, y)\n"
        "loss.backward()\n"
        "assert torch.isfinite(x.grad).all()\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("options", [{"return_stats": True}, {"softcap": 5.0, "reduction": "none"}])
def test_a_budget_is_refused_before_the_backward_pass(options: dict[str, Any]) -> None:
    x, w = torch.from_numpy(X).requires_grad_(), torch.from_numpy(W)
    with pytest.raises(ValueError, match=f"memory_budget: expected at least {2 * C * 8} bytes"):
        linear(x, w, torch.from_numpy(LABELS), memory_budget=C * 8, **options)


def test_an_array_in_two_roles() -> None:
    labels = np.arange(D)
    square = RNG.normal(size=(D, D))
    _, found = xent.value_and_grad(lambda a: linear(a, a, labels))(square)
    leaf = torch.from_numpy(square).requires_grad_()
    (expected,) = torch.autograd.grad(xent.softmax_cross_entropy(leaf @ leaf.T, torch.from_numpy(labels)), leaf)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_the_gradient_to_a_normalizer(family: str) -> None:
    x, w, n = torch.from_numpy(X), torch.from_numpy(W), torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    function, labels = (linear, LABELS) if family == "softmax" else (sigmoid, HARD)
    loss = function(x, w, torch.from_numpy(labels), normalizer=n)
    loss.backward()
    np.testing.assert_allclose(n.grad, -loss.item() / 3.0)


def test_only_what_is_asked_for_is_computed_on_numpy() -> None:
    products = []

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            if ufunc is np.matmul:
                products.append(1)
            plain = [np.asarray(i) if isinstance(i, Counting) else i for i in inputs]
            return getattr(ufunc, method)(*plain, **kwargs)

    x = X.view(Counting)
    _, found = xent.value_and_grad(lambda w: linear(X, w, LABELS), argnums=0)(W)
    assert found.shape == W.shape
    xent.value_and_grad(lambda a: linear(a, W, LABELS))(x)
    assert len(products) <= 1  # of the logits; the gradient to W would be another with x


NAN = [np.nan, np.inf]


@pytest.mark.parametrize("kind", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("value", NAN)
def test_rows_without_weight_may_hold_anything(kind: str, value: float) -> None:
    x, s = X.copy(), np.ones(N)
    x[3], s[3] = value, 0.0
    labels = LABELS.copy()
    x[5], labels[5] = value, -100
    keep = (np.arange(N) != 3) & (np.arange(N) != 5)
    convert: Any = {"numpy": np.asarray, "torch": torch.from_numpy, "jax": jnp.asarray}[kind]
    calls = [
        (lambda a, b: linear(a, b, convert(labels), sample_weight=convert(s), ignore_index=-100), linear, LABELS[keep]),
        (lambda a, b: sigmoid(a, b, convert(HARD), sample_weight=convert(s * (labels != -100))), sigmoid, HARD[keep]),
    ]
    if kind != "jax":
        calls.append(
            (
                lambda a, b: linear(
                    a, b, convert(labels), sample_weight=convert(s), ignore_index=-100, return_stats=True
                )[0],
                linear,
                LABELS[keep],
            )
        )
    for call, function, rest in calls:
        value_found, (of_x, of_w) = xent.value_and_grad(call, argnums=(0, 1))(convert(x), convert(W))
        expected, others = xent.value_and_grad(lambda a, b: function(a, b, rest), argnums=(0, 1))(X[keep], W)  # noqa: B023
        tolerance = 1e-5 if kind == "jax" else 1e-10
        np.testing.assert_allclose(value_found, expected, rtol=tolerance)
        np.testing.assert_allclose(np.asarray(of_x)[keep], others[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(of_w, others[1], rtol=tolerance, atol=tolerance)
        assert not np.asarray(of_x)[~keep].any()


def test_ignored_rows_in_derivatives_of_derivatives_and_low_rank_heads() -> None:
    labels = torch.from_numpy(LABELS).clone()
    labels[4] = -100
    x = torch.from_numpy(X).clone()
    x[4] = torch.nan
    w, down, up = (torch.from_numpy(RNG.normal(size=s)).requires_grad_() for s in ((C, D), (2, D), (C, 2)))
    loss = linear(x, xent.LowRank(w, down, up, 0.5), labels, ignore_index=-100)
    first = torch.autograd.grad(loss, (w, down, up), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (w, down, up))
    assert all(torch.isfinite(g).all() for g in (*first, *second))
    found = torch.func.grad(lambda w: linear(x, w, labels, ignore_index=-100))(w.detach())
    assert torch.isfinite(found).all()


def test_a_soft_target_without_weight_may_hold_anything() -> None:
    soft = RNG.dirichlet(np.ones(C), N)
    s = np.ones(N)
    soft[2], s[2] = np.nan, 0.0
    keep = np.arange(N) != 2
    found = linear(X, W, soft, sample_weight=s)
    np.testing.assert_allclose(found, linear(X[keep], W, soft[keep]), rtol=1e-12)


def test_lists_of_no_rows_on_jax() -> None:
    x, w = jnp.zeros((0, 4)), jnp.ones((7, 4))
    assert sigmoid(x, w, xent.Positives(jnp.zeros((0, 2), int))) == 0
    assert sigmoid(x, w, xent.Positives(jnp.zeros(0, int), jnp.zeros(1, int))) == 0


T = torch.from_numpy
REFUSED: dict[str, tuple[Any, str]] = {
    "no down": (lambda: linear(X, xent.LowRank(W, None, np.ones((C, 2))), LABELS), "weight.down: expected an array"),
    "no up": (lambda: linear(T(X), xent.LowRank(T(W), T(X[:2]), None), LABELS), "weight.up: expected an array"),
    "no weight": (lambda: linear(T(X), None, LABELS), "weight: expected an array"),
    "scale": (
        lambda: linear(T(X), xent.LowRank(T(W), T(X[:2]), T(W[:, :2]), torch.ones(2)), LABELS),
        "weight.scale: expected a real number",
    ),
    "scale, NaN": (
        lambda: linear(jnp.ones((1, 2)), xent.LowRank(*map(jnp.ones, ((4, 2), (1, 2), (4, 1))), np.nan), [0]),
        "weight.scale: expected a finite number",
    ),
    "ids": (lambda: xent.selective_log_softmax(X, W, RNG.random((N, C))), "ids: expected integers"),
    "ids, top-k": (lambda: xent.selective_log_softmax(X, W, xent.TopK(LABELS, LABELS)), "ids: expected"),
    "ids' shape": (lambda: xent.selective_log_softmax(T(X), T(W), LABELS[:3]), r"ids: expected shape \(12,\)"),
    "no feature": (lambda: linear(X[:, :0], W[:, :0], LABELS), "inputs: expected at least one feature"),
    "device": (lambda: linear(T(X), T(W).to("meta"), LABELS), "weight: expected a tensor on the device of inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input(name: str) -> None:
    call, text = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=text):
        call()


def test_autocast_refuses_what_eager_code_refuses() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(TypeError, match="weight: expected the dtype of inputs"):
            linear(T(X).float(), T(W), T(LABELS))
        with pytest.raises(TypeError, match="dtype"):
            linear(T(LABELS)[:, None], T(LABELS)[:, None], T(LABELS))


def test_on_the_meta_device() -> None:
    loss = linear(torch.ones(3, 2, device="meta"), torch.ones(4, 2, device="meta"), torch.ones(3, device="meta").long())
    assert loss.shape == ()
