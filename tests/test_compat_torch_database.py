"""Every sample of torch's own operator and module databases, through `xent.compat.torch`.

A result counts as right when it is no further from float64 truth than torch's own, plus rounding to its dtype.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.utils._pytree import tree_map

import xent.compat.torch as compat

FUNCTIONS = {
    "nn.functional.cross_entropy": compat.cross_entropy,
    "nn.functional.nll_loss": compat.nll_loss,
    "nn.functional.binary_cross_entropy": compat.binary_cross_entropy,
    "nn.functional.binary_cross_entropy_with_logits": compat.binary_cross_entropy_with_logits,
    "nn.functional.kl_div": compat.kl_div,
    "nn.functional.soft_margin_loss": compat.soft_margin_loss,
    "nn.functional.multilabel_soft_margin_loss": compat.multilabel_soft_margin_loss,
    "nn.functional.linear_cross_entropy": compat.linear_cross_entropy,
    "log_softmax": compat.log_softmax,
    "softmax": compat.softmax,
    "logsumexp": compat.logsumexp,
}
OPERATORS = {f"{op.name} {op.variant_test_name}".strip(): op for op in op_db if op.name in FUNCTIONS}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MODULES = {
    info.module_cls: getattr(compat, info.module_cls.__name__)
    for info in module_db
    if getattr(compat, info.module_cls.__name__, info.module_cls) is not info.module_cls
}

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own about deprecated arguments: they are tested elsewhere


def test_the_databases_have_what_is_tested() -> None:
    assert {op.name for op in OPERATORS.values()} == set(FUNCTIONS)
    assert len(MODULES) >= 4


def leaves(given: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    tree_map(lambda x: found.append(x) if isinstance(x, torch.Tensor) and x.is_floating_point() else None, given)
    return found


def in_double(given: Any) -> Any:
    """The same arguments in float64, as new leaves; without torch's chunking, which half precision alone has."""
    given = given[0], {name: x for name, x in given[1].items() if name != "options"}

    def convert(x: Any) -> Any:
        if isinstance(x, torch.Tensor) and x.is_floating_point():
            return x.detach().double().requires_grad_(x.requires_grad)
        return torch.float64 if isinstance(x, torch.dtype) else x

    return tree_map(convert, given)


def results(function: Callable[..., Any], given: Any) -> list[torch.Tensor]:
    """The value, and the gradients to whatever asks for one, for an upstream gradient that is not 1."""
    args, kwargs = given
    value = function(*args, **kwargs)
    wanted = [x for x in leaves(given) if x.requires_grad]
    if not wanted or not value.requires_grad:
        return [value.detach()]
    random = torch.Generator().manual_seed(value.numel())
    upstream = (1.5 + torch.rand(value.shape, generator=random, dtype=torch.float64)).to(value.dtype)
    gradients = torch.autograd.grad(value, wanted, upstream, allow_unused=True)
    return [value.detach(), *(g for g in gradients if g is not None)]


def check(ours: list[torch.Tensor], theirs: list[torch.Tensor], truth: list[torch.Tensor], name: str = "") -> None:
    # the rounding of logits that are ten times as large as any gradient, in products summed up in another order
    slack = 16 if "linear" in name else 1
    assert len(ours) == len(theirs)
    for own, other, exact in zip(ours, theirs, truth, strict=True):
        assert own.dtype == other.dtype
        assert own.shape == other.shape
        eps = torch.finfo(own.dtype).eps
        fine = torch.isfinite(exact) & torch.isfinite(other)
        error, allowed = (own.double() - exact).abs(), (other.double() - exact).abs()
        room = allowed[fine].max() if fine.any() else 0.0
        # rounding of the result, and of the largest numbers that it is a difference of
        largest = exact[torch.isfinite(exact)].abs().max() if torch.isfinite(exact).any() else 0.0
        near = error <= room + 4 * eps * exact.abs() + slack * eps * largest + torch.finfo(own.dtype).smallest_normal
        if own.dtype == torch.float64:  # truth is torch's own result
            near = error <= 1e-12 * (1 + exact.abs())
        same = (own.double() == exact) | (own.isnan() & exact.isnan())
        assert (near | same | (~torch.isfinite(other) & (error <= 4 * eps * exact.abs()))).all(), (own, other, exact)


def samples(name: str, dtype: torch.dtype, requires_grad: bool) -> Iterator[Any]:
    op = OPERATORS[name]
    for sample in op.sample_inputs("cpu", dtype, requires_grad=requires_grad):
        yield (sample.input, *sample.args), sample.kwargs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATORS)
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    op, function, seen = OPERATORS[name], FUNCTIONS[OPERATORS[name].name], 0
    if dtype not in op.supported_dtypes("cpu"):
        pytest.skip("torch has no such kernel")
    for requires_grad in (True, False):
        for given in samples(name, dtype, requires_grad):
            check(results(function, given), results(op.op, given), results(op.op, in_double(given)), name)
            seen += 1
    assert seen


@pytest.mark.parametrize("name", OPERATORS)
def test_second_derivatives_and_forward_mode(name: str) -> None:
    op, function, seen = OPERATORS[name], FUNCTIONS[OPERATORS[name].name], 0
    for args, kwargs in samples(name, torch.float64, True):
        x, *rest = args
        if not (isinstance(x, torch.Tensor) and x.numel()):
            continue
        random = torch.Generator().manual_seed(seen)
        direction = torch.randn(x.shape, generator=random, dtype=torch.float64)
        seen += 1

        def second(f: Callable[..., Any], x: torch.Tensor = x, rest: Any = rest, kwargs: Any = kwargs) -> torch.Tensor:
            value = f(x, *rest, **kwargs)
            (first,) = torch.autograd.grad(value.square().sum(), x, create_graph=True)
            return torch.autograd.grad((first * direction).sum(), x)[0]  # noqa: B023

        def forward(f: Callable[..., Any], x: torch.Tensor = x, rest: Any = rest, kwargs: Any = kwargs) -> Any:
            return torch.func.jvp(lambda x: f(x, *rest, **kwargs), (x.detach(),), (direction,))  # noqa: B023

        if op.supports_gradgrad and "options" not in kwargs:
            torch.testing.assert_close(second(function), second(op.op), rtol=1e-9, atol=1e-10)
        if op.supports_forward_ad:
            torch.testing.assert_close(forward(function), forward(op.op), rtol=1e-10, atol=1e-12)
    assert seen


@pytest.mark.parametrize("name", OPERATORS)
def test_tensors_with_gaps(name: str) -> None:
    op, function, seen = OPERATORS[name], FUNCTIONS[OPERATORS[name].name], 0
    for sample in op.sample_inputs("cpu", torch.float32, requires_grad=True):
        given = (sample.input, *sample.args), sample.kwargs
        spread = sample.noncontiguous()
        loose = (spread.input, *spread.args), spread.kwargs
        check(results(function, loose), results(op.op, given), results(op.op, in_double(given)), name)
        seen += 1
    assert seen


@pytest.mark.parametrize("name", [name for name, op in OPERATORS.items() if op.error_inputs_func is not None])
def test_errors(name: str) -> None:
    op, seen = OPERATORS[name], 0
    for case in op.error_inputs("cpu"):
        with pytest.raises(case.error_type, match=case.error_regex):
            FUNCTIONS[op.name](case.sample_input.input, *case.sample_input.args, **case.sample_input.kwargs)
        seen += 1
    assert seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("info", [i for i in module_db if i.module_cls in MODULES], ids=lambda i: i.module_cls.__name__)
def test_modules(info: Any, dtype: torch.dtype) -> None:
    seen = 0
    for sample in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True):
        made = []
        for cls in (MODULES[info.module_cls], info.module_cls):
            torch.manual_seed(0)
            made.append(cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).to(dtype))
        made[0].load_state_dict(made[1].state_dict())
        assert isinstance(made[0], info.module_cls)
        assert repr(made[0]) == repr(made[1])
        given = sample.forward_input.args, sample.forward_input.kwargs
        exact = results(made[1].double(), in_double(given))
        made[1].to(dtype)
        ours, theirs = results(made[0], given), results(made[1], given)
        check(ours, theirs, exact)
        seen += 1
    assert seen


def test_a_warning_is_torchs() -> None:
    """Deprecated arguments override the reduction, and warn in the same words."""
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    labels = torch.ones(4, 3)
    for name, target in (
        ("cross_entropy", y),
        ("binary_cross_entropy_with_logits", labels),
        ("soft_margin_loss", labels),
        ("multilabel_soft_margin_loss", labels),
    ):
        for legacy in ({"size_average": False}, {"reduce": False}, {"size_average": True, "reduce": True}):
            said, found = [], []
            for module in (compat, torch.nn.functional):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    found.append(getattr(module, name)(x, target, **legacy))
                said.append([re.sub(r"\s+", " ", str(w.message)) for w in caught])
            assert said[0] == said[1]
            assert said[0]
            torch.testing.assert_close(found[0], found[1])
