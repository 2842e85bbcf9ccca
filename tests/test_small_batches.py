"""Calls of small batches, prepared by layout: to the bit what unprepared ones give, whatever becomes of the tensors."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch

import xent
import xent.frontends.torch
from xent.compat import torch as compat

SMALL = sys.modules["xent.frontends.torch.small"]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
GENERATOR = torch.Generator().manual_seed(3)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64) * 3


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda x: x.contiguous(),
    "transposed": lambda x: x.T.contiguous().T,
    "sliced": lambda x: torch.stack([x, x], -1)[..., 0],
    "every other row": lambda x: x.repeat_interleave(2, 0)[::2],
}
LOGITS = normal(7, 13)
LABELS = torch.randint(0, 13, (7,), generator=GENERATOR)
SKIPPING = LABELS.where(torch.arange(7) != 2, -100)
SOFT = torch.softmax(normal(7, 13), 1)
BINARY = (normal(7, 13) > 0).double()
BY_CLASS = torch.rand(13, generator=GENERATOR) + 0.5
BY_ROW = torch.rand(7, generator=GENERATOR) + 0.5
BY_ELEMENT = torch.rand(7, 13, generator=GENERATOR) + 0.5

softmax, sigmoid = xent.softmax_cross_entropy, xent.sigmoid_cross_entropy
CALLS: dict[str, tuple[Callable[..., Any], torch.Tensor, dict[str, Any]]] = {
    "index": (softmax, LABELS, {}),
    "index, options": (softmax, LABELS, {"label_smoothing": 0.1, "z_loss": 1e-3, "temperature": 2.0, "softcap": 9.0}),
    "ignored": (softmax, SKIPPING, {"ignore_index": -100, "label_smoothing": 0.1}),
    "class weights": (softmax, SKIPPING, {"ignore_index": -100, "class_weight": BY_CLASS, "label_smoothing": 0.1}),
    "double class weights": (softmax, LABELS, {"class_weight": BY_CLASS.double(), "z_loss": 1e-3}),
    "normalizer": (softmax, LABELS, {"class_weight": BY_CLASS, "normalizer": 5}),
    "soft": (softmax, SOFT, {"normalizer": 7.0, "label_smoothing": 0.1, "class_weight": BY_CLASS}),
    "bce": (sigmoid, BINARY, {}),
    "bce, options": (sigmoid, BINARY, {"label_smoothing": 0.1, "pos_weight": BY_CLASS, "class_weight": BY_CLASS}),
    "bce, rows": (sigmoid, BINARY, {"sample_weight": BY_ROW, "class_weight": BY_CLASS.double()}),
    "bce, elements": (sigmoid, BINARY, {"sample_weight": BY_ELEMENT, "pos_weight": torch.tensor(2.5)}),
    "bce, expanded": (sigmoid, BINARY, {"sample_weight": BY_CLASS.expand(7, 13), "normalizer": 11}),
    "bce, expanded mean": (sigmoid, BINARY, {"sample_weight": BY_CLASS.expand(7, 13)}),
    "integers": (sigmoid, BINARY.long(), {}),
    "focal": (xent.sigmoid_focal_cross_entropy, BINARY, {}),
    "signs": (xent.logistic_loss, 2 * BINARY - 1, {}),
    "pinball": (lambda x, y, **o: xent.pinball_loss(x, y, over=0.3, under=0.9, **o), SOFT, {}),
}


def results(name: str, dtype: torch.dtype, layout: str, reduction: str) -> list[torch.Tensor]:
    """The loss, and its gradient for an upstream gradient of many numbers, twice."""
    function, labels, options = CALLS[name]
    if "normalizer" in options and reduction != "mean":
        options = {k: v for k, v in options.items() if k != "normalizer"}
    leaf = LAYOUTS[layout](LOGITS.to(dtype)).detach().requires_grad_()
    y = LAYOUTS[layout](labels.to(dtype)) if labels.is_floating_point() else labels
    loss = function(leaf, y, reduction=reduction, **options)
    upstream = torch.linspace(0.3, 1.7, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    if upstream.ndim == 2:
        upstream = upstream.T.contiguous().T
    one = torch.autograd.grad(loss, leaf, torch.ones_like(loss), retain_graph=True)[0]
    return [
        loss,
        one,
        torch.autograd.grad(loss, leaf, upstream)[0],
        function(leaf.detach(), y, reduction=reduction, **options),
    ]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_prepared_calls_give_the_same_bits(name: str, reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, served = SMALL.SmallCalls.find, []

    def counted(*arguments: Any) -> Any:
        call = original(*arguments)
        served.append(call is not None)
        return call

    for dtype, layout in itertools.product(DTYPES, LAYOUTS):
        monkeypatch.setattr(SMALL.SmallCalls, "find", counted)
        prepared = results(name, dtype, layout, reduction)
        monkeypatch.setattr(SMALL.SmallCalls, "find", lambda *_: None)
        for found, expected in zip(prepared, results(name, dtype, layout, reduction), strict=True):
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=f"{dtype} {layout}")
    if name != "bce, expanded mean" or reduction != "mean":
        assert any(served)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), 1e-20])
@pytest.mark.parametrize("which", ["class_weight", "pos_weight", "sample_weight"])
def test_weights_without_meaning(which: str, bad: float) -> None:
    weight = torch.ones(7, 13) if which == "sample_weight" else torch.ones(13)
    weight.view(-1)[4] = bad
    x = LOGITS.float().requires_grad_()
    with pytest.raises(ValueError, match=f"{which}: expected"):
        sigmoid(x, BINARY, **{which: weight}, normalizer=2)
    if which == "class_weight":
        with pytest.raises(ValueError, match="class_weight: expected"):
            softmax(x, LABELS, class_weight=weight)


def test_weights_that_only_torch_takes() -> None:
    x, weight = LOGITS.float(), BY_CLASS.clone()
    weight[3] = -2.0
    theirs = torch.nn.functional
    for name, *arguments in (
        ("cross_entropy", LABELS, weight),
        ("cross_entropy", SOFT.float(), weight),
        ("binary_cross_entropy_with_logits", BINARY.float(), weight),
        ("multilabel_soft_margin_loss", BINARY.float(), weight),
    ):
        assert getattr(compat, name)(x, *arguments) == getattr(theirs, name)(x, *arguments)


@pytest.mark.parametrize("name", ["class weights", "bce, options", "bce, elements"])
@pytest.mark.parametrize("which", ["logits", "labels", "weight"])
def test_memory_that_is_swapped_before_the_backward(name: str, which: str) -> None:
    """A tensor's `.data` may become shorter; nothing beyond its end is read or written."""
    function, labels, options = CALLS[name]
    leaf, y = LOGITS.float().clone().requires_grad_(), labels.clone()
    weights = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    loss = function(leaf, y, **weights)
    changed = {"logits": leaf, "labels": y, "weight": next(v for v in weights.values() if isinstance(v, torch.Tensor))}
    tensor = changed[which]
    tensor.data = (
        torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) if which == "logits" else tensor.data.new_ones(1)
    )
    try:
        (gradient,) = torch.autograd.grad(loss, leaf, torch.tensor(0.5))
    except (ValueError, RuntimeError) as error:
        assert "expected" in str(error) or "shape" in str(error)  # noqa: PT017
    else:
        assert gradient.shape == leaf.shape


def test_tensors_that_outlived_their_transformation() -> None:
    leaked: list[torch.Tensor] = []

    def leak(x: torch.Tensor) -> torch.Tensor:
        leaked.append(x)
        return x.sum()

    torch.func.grad(leak)(LOGITS)
    torch.testing.assert_close(softmax(leaked[0], LABELS), softmax(LOGITS, LABELS))
    torch.testing.assert_close(sigmoid(leaked[0], BINARY), sigmoid(LOGITS, BINARY))
    torch.testing.assert_close(
        softmax(LOGITS, LABELS, class_weight=torch.func.vmap(lambda w: w)(BY_CLASS)),
        softmax(LOGITS, LABELS, class_weight=BY_CLASS),
    )


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_activations(name: str, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    activations = sys.modules["xent.frontends.torch.activations"]
    for dtype, layout in itertools.product(DTYPES, LAYOUTS):
        x = LAYOUTS[layout](LOGITS.to(dtype)).detach().requires_grad_()

        def run(x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
            out = getattr(xent, name)(x, axis=axis)
            upstream = torch.linspace(-1, 2, out.numel()).reshape(out.shape).to(out.dtype)
            return out, *torch.autograd.grad(out, x, upstream)

        small = run()
        monkeypatch.setattr(activations, "_ready", lambda *_: None)
        large = run()
        monkeypatch.undo()
        for found, expected in zip(small, large, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        exact = x.detach().double().requires_grad_()
        truth = run(exact)
        for found, expected in zip(small, truth, strict=True):
            torch.testing.assert_close(
                found.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps
            )


def test_a_sum_of_infinity() -> None:
    x = torch.tensor([[1.0, float("inf"), 2.0], [-float("inf")] * 3, [0.0, 1.0, 2.0]])
    torch.testing.assert_close(xent.logsumexp(x), torch.logsumexp(x, -1), rtol=1e-6, atol=0)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    xent.logsumexp(ours).sum().backward()
    torch.logsumexp(theirs, -1).sum().backward()
    torch.testing.assert_close(ours.grad[[0, 2]], theirs.grad[[0, 2]], equal_nan=True)


FLOATS = LOGITS.float()
COMPAT: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "index": ("cross_entropy", (LABELS,), {}),
    "one row": ("cross_entropy", (FLOATS[0], LABELS[0]), {}),
    "ignored": ("cross_entropy", (SKIPPING, BY_CLASS), {"label_smoothing": 0.1}),
    "nothing left": ("cross_entropy", (torch.full_like(LABELS, -100),), {}),
    "no weight left": ("cross_entropy", (LABELS, torch.zeros(13)), {}),
    "images": ("cross_entropy", (normal(2, 13, 3, 4).float(), torch.full((2, 3, 4), 5)), {}),
    "soft": ("cross_entropy", (SOFT.float(), BY_CLASS), {"label_smoothing": 0.1}),
    "bce": ("binary_cross_entropy_with_logits", (BINARY.float(),), {}),
    "bce, weights": ("binary_cross_entropy_with_logits", (BINARY.float(), BY_ELEMENT), {"pos_weight": BY_CLASS}),
    "bce, by class": ("binary_cross_entropy_with_logits", (BINARY.float(), BY_CLASS), {}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", COMPAT)
def test_the_way_past_the_dispatcher_gives_the_same_bits(
    name: str, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, arguments, options = COMPAT[name]
    own = (arguments[0].is_floating_point() and arguments[0].shape != LOGITS.shape) or name == "one row"
    x, *rest = arguments if own else (FLOATS, *arguments)

    def run() -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        loss = getattr(compat, function)(leaf, *rest, reduction=reduction, **options)
        upstream = torch.linspace(0.3, 1.7, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
        return [loss, *torch.autograd.grad(loss, leaf, upstream)]

    original, served = SMALL.SmallCalls.find, []

    def counted(*arguments: Any) -> Any:
        served.append(original(*arguments))
        return served[-1]

    monkeypatch.setattr(SMALL.SmallCalls, "find", counted)
    short = run()
    assert (served[0] is not None) == (name != "bce, by class")
    monkeypatch.setattr(SMALL.SmallCalls, "find", lambda *_: None)
    for found, expected in zip(short, run(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_options_that_are_equal_but_not_alike() -> None:
    """What is prepared for 1 does not serve True and 1.0, which torch refuses."""
    compat.cross_entropy(FLOATS, LABELS, ignore_index=1)
    for wrong in (True, 1.0, None, [1]):
        with pytest.raises(TypeError, match=r"ignore_index|argument"):
            compat.cross_entropy(FLOATS, LABELS, ignore_index=wrong)
    for reduction in (["mean"], "average", None):
        with pytest.raises(ValueError, match="is not a valid value for reduction"):
            compat.cross_entropy(FLOATS, LABELS, reduction=reduction)
        with pytest.raises(ValueError, match="is not a valid value for reduction"):
            compat.binary_cross_entropy_with_logits(FLOATS, BINARY.float(), reduction=reduction)
    compat.softmax(FLOATS, 1)
    for dim in (True, 1.0, [1], 2, -3):
        for function in (compat.softmax, torch.nn.functional.softmax):
            with pytest.raises((TypeError, IndexError), match=r"dim|Dimension"):
                function(FLOATS, dim)


@pytest.mark.parametrize("value", [Decimal("0.5"), Fraction(1, 2), 0.5 + 0j, "0.5"])
def test_smoothing_that_is_equal_but_no_float(value: Any) -> None:
    compat.cross_entropy(FLOATS, LABELS, label_smoothing=0.5)
    with pytest.raises(TypeError, match=r"label_smoothing"):
        compat.cross_entropy(FLOATS, LABELS, label_smoothing=value)


@pytest.mark.parametrize("size", [1, 40_000])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("how", ["other strides", "no memory", "negative", "storage freed", "in place", "twice"])
def test_gradients_of_activations(name: str, how: str, size: int) -> None:
    plain = FLOATS.repeat(size, 1)
    x, theirs = plain.clone().requires_grad_(), plain.clone().requires_grad_()
    upstream = torch.linspace(-1, 2, plain.numel()).reshape(plain.shape)
    hidden = x * 1
    out = getattr(xent, name)(hidden)
    (expected,) = torch.autograd.grad(getattr(torch, name)(theirs, -1), theirs, upstream, create_graph=True)
    if how == "other strides":
        (found,) = torch.autograd.grad(out, x, upstream.T.contiguous().T)
    elif how == "no memory":
        (found,) = torch.autograd.grad(out, x, torch._efficientzerotensor(plain.shape))
        expected = torch.zeros_like(plain)
    elif how == "negative":
        (found,) = torch.autograd.grad(out, x, torch._neg_view(-upstream))
    elif how == "storage freed":
        hidden.untyped_storage().resize_(0)
        (found,) = torch.autograd.grad(out, x, upstream)
    elif how == "in place":
        hidden.detach().relu_()
        (found,) = torch.autograd.grad(out, x, upstream)
    else:
        (first,) = torch.autograd.grad(out, x, upstream, create_graph=True)
        (found,) = torch.autograd.grad(first.square().sum(), x)
        (expected,) = torch.autograd.grad(expected.square().sum(), theirs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("size", [1, 40_000])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits"])
def test_memory_that_another_takes_the_place_of(name: str, reduction: str, size: int) -> None:
    labels = LABELS.repeat(size) if name == "cross_entropy" else BINARY.float().repeat(size, 1)
    for data, labels_too in (
        (torch.randn(9 * 7 * size, 13), False),
        (torch.randn(3, 5), False),
        (FLOATS.repeat(size, 1).double(), False),
        (None, True),
    ):
        x, y = FLOATS.repeat(size, 1).requires_grad_(), labels.clone()
        loss = getattr(compat, name)(x, y, reduction=reduction)
        if labels_too:
            y.data = y.data[:1]
        else:
            x.data = data
        with pytest.raises(RuntimeError, match=r"as in the forward pass|storage was freed"):
            loss.backward(torch.full_like(loss, 0.5))
    x = FLOATS.repeat(size, 1).requires_grad_()
    loss = getattr(compat, name)(x, labels, reduction=reduction)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="storage was freed"):
        loss.backward(torch.full_like(loss, 0.5))


def without_memory() -> dict[str, torch.Tensor]:
    return {
        "symbolic zeros": torch._efficientzerotensor(FLOATS.shape),
        "functional": torch._to_functional_tensor(FLOATS.clone()),
    }


@pytest.mark.parametrize("kind", ["symbolic zeros", "functional"])
def test_logits_without_memory(kind: str) -> None:
    def outcomes(home: Any) -> list[str]:
        found = []
        for name, arguments in (
            ("cross_entropy", (LABELS,)),
            ("binary_cross_entropy_with_logits", (BINARY.float(),)),
            ("softmax", (1,)),
            ("log_softmax", (1,)),
        ):
            try:
                found.append(f"{name}: {float(getattr(home, name)(without_memory()[kind], *arguments).sum()):.4f}")
            except RuntimeError as error:
                found.append(f"{name}: {type(error).__name__}")
        return found

    assert outcomes(compat) == outcomes(torch.nn.functional)


def test_an_upstream_gradient_that_is_stored_negated() -> None:
    for rows in (1, 40_000):
        x = FLOATS.repeat(rows, 1).requires_grad_()
        y, g = LABELS.repeat(rows), torch.linspace(0.5, 1.5, 7 * rows)
        plain, negated = (
            torch.autograd.grad(compat.cross_entropy(x, y, reduction="none"), x, upstream)[0]
            for upstream in (g, torch._neg_view(-g))
        )
        torch.testing.assert_close(negated, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits"])
def test_saved_logits_that_come_back_with_other_strides(name: str) -> None:
    labels = LABELS if name == "cross_entropy" else BINARY.float()
    upstream = torch.linspace(0.5, 1.5, labels.numel()).reshape(labels.shape)
    x = LAYOUTS["transposed"](FLOATS).requires_grad_()
    plain = getattr(compat, name)(x, labels, reduction="none")
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: t.clone(memory_format=torch.contiguous_format), lambda t: t
    ):
        hooked = getattr(compat, name)(x, labels, reduction="none")
    found, expected = (torch.autograd.grad(loss, x, upstream)[0] for loss in (hooked, plain))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
