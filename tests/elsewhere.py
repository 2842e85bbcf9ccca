"""Losses on a device that is not the CPU, on a machine that has none: a check in a process of its own.

The device is made of the CPU's operations behind a dispatcher that refuses tensors of two devices in one operation. By
itself it is one without kernels, as mps and xpu are, and refuses float64, too. With TRITON_INTERPRET=1 it plays a GPU
whose kernels are interpreted; then it refuses whatever would wait for the device.

Registering a device cannot be undone, hence the process. Exit status 1, with the traceback, at the first mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import elementwise_cases
import registry
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import xent
from xent.frontends.torch import arrays
from xent.frontends.torch.device import kernels_for
from xent.frontends.torch.small import are_constants

DEVICE = "elsewhere"
IS_GPU = arrays.INTERPRETED
aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default, aten.nonzero.default}


class Elsewhere(Tensor):
    """A tensor on the device; `here` is what it holds."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        if here.dtype is torch.float64 and not IS_GPU:
            raise TypeError("this device has no float64")
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        out = Tensor._make_wrapper_subclass(cls, here.shape, dtype=here.dtype, device=torch.device(DEVICE, 0), **layout)
        out.here = here
        return out

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        fetches = op is aten._to_copy.default and torch.device(kwargs.get("device") or DEVICE).type == "cpu"
        if IS_GPU and (fetches or op in WAITING):
            raise RuntimeError(f"{op} waits for the device")
        if fetches:
            return op(args[0].here, **kwargs)
        if any(not isinstance(t, Elsewhere) and t.ndim for t in tensors):
            raise RuntimeError(f"{op}: tensors on two devices")
        out = op(*_pytree.tree_map(here, args), **_pytree.tree_map(here, kwargs))
        given = {id(t.here): t for t in tensors if isinstance(t, Elsewhere)}  # what is written in place stays itself

        def there(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return given[id(value)] if id(value) in given else Elsewhere(value)

        return _pytree.tree_map(there, out)


def here(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.here
    return torch.device("cpu") if isinstance(value, torch.device) else value


def make(op: Any, *args: Any, **kwargs: Any) -> Any:
    """What has no tensor among its arguments: zeros and the like."""
    return Elsewhere(op(*_pytree.tree_map(here, args), **_pytree.tree_map(here, kwargs)))


def register() -> list[torch.library.Library]:
    """Makes the device known to torch, as long as the result lives."""
    _setup_privateuseone_for_python_backend(DEVICE)
    everything, numbers = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(make, "PrivateUse1")
    # which torch would make in place of an empty tensor, and resize that
    numbers.impl("arange", lambda end, *, dtype=None, **_: Elsewhere(torch.arange(end, dtype=dtype)), "PrivateUse1")
    return [everything, numbers]


def play_gpu() -> None:
    """Tensors of the device go to the kernels, and so do their contents."""
    from triton.runtime.interpreter import InterpretedFunction

    arrays.Parameter = Elsewhere  # type: ignore[misc]  # one of the two classes without surprises
    Elsewhere.is_cpu = Elsewhere.is_cuda = True  # the first is what stands for a GPU in the interpreter
    Elsewhere.data_ptr = lambda self: self.here.data_ptr()
    run = InterpretedFunction.run
    InterpretedFunction.run = lambda self, *args, **options: run(self, *map(here, args), **options)


def moved(value: Any) -> Any:
    """Tensors, also in a class of the library's own, on the device."""
    if isinstance(value, xent.TopK):
        return xent.TopK(moved(value.indices), moved(value.values))
    if isinstance(value, xent.Positives):
        return xent.Positives(moved(value.classes), moved(value.starts))
    if isinstance(value, xent.samplers.Candidates):
        return xent.samplers.Candidates(*map(moved, value))
    return Elsewhere(value.detach().clone()) if isinstance(value, Tensor) else value


def compare(name: str, function: Callable[..., Any], leaves: list[Tensor], *args: Any, **options: Any) -> None:
    """Results, and gradients for upstream gradients other than 1, are those of the CPU to a few units of rounding."""

    def run(leaves: list[Tensor], *args: Any, **options: Any) -> list[Tensor]:
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        found = function(*leaves, *args, **options)
        loss, *others = found if isinstance(found, tuple) else (found,)
        outputs = [loss, *(x for stats in others for x in (stats.lse, stats.entropy))]
        random = torch.Generator().manual_seed(1)
        upstream = [(0.25 + torch.rand(x.shape, generator=random)).to(x.dtype) for x in outputs]
        if isinstance(loss, Elsewhere):
            upstream = [Elsewhere(g) for g in upstream]
        return [*outputs, *torch.autograd.grad(outputs, leaves, upstream)]

    expected = run(leaves, *args, **options)
    found = run([moved(t) for t in leaves], *map(moved, args), **{k: moved(v) for k, v in options.items()})
    for ours, theirs in zip(found, expected, strict=True):
        if not isinstance(ours, Elsewhere):
            raise AssertionError(f"{name}: a result is on {ours.device}")
        units = 32 * torch.finfo(theirs.dtype).eps
        largest = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(
            ours.here, theirs, rtol=units, atol=units * largest, msg=lambda said: f"{name}: {said}"
        )


def dense_losses() -> None:
    for dtype in ("float32",) if IS_GPU else ("float32", "bfloat16", "float16"):
        for case in registry.CASES:
            for reduction in ("mean", "none"):
                batch = registry.make_batch(case, (4, 3), 7, dtype=dtype)
                if reduction == "none" and "normalizer" in batch.options:
                    continue
                options = {**registry.torch_options(batch), "reduction": reduction, "return_stats": dtype == "float32"}
                logits, labels = registry.tensor(batch.logits), registry.torch_labels(batch)
                compare(f"{case.name}, {dtype}", xent.softmax_cross_entropy, [logits], labels, **options)
        for each in elementwise_cases.CASES:
            batch = elementwise_cases.make_batch(each, (4, 3, 7), dtype=dtype)
            logits, labels = registry.tensor(batch.logits), elementwise_cases.torch_labels(batch.labels)
            function, options = getattr(xent, batch.function), elementwise_cases.torch_options(batch)
            compare(f"{each.name}, {dtype}", function, [logits], labels, **options)


def other_losses() -> None:
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(6, 5, generator=random), torch.randn(9, 5, generator=random)
    b, y = torch.randn(9, generator=random), torch.randint(9, (6,), generator=random)
    z, soft = torch.randn(6, 9, generator=random) * 3, torch.randn(6, 9, generator=random).softmax(1)
    binary = (soft > 0.2).float()
    lists = xent.Positives(torch.tensor([1, 4, 0, 8]), torch.tensor([0, 2, 2, 3, 4, 4, 4]))
    for reduction in ("mean", "sum", "none"):
        own = {"reduction": reduction}

        def linear(x: Tensor, w: Tensor, b: Tensor, y: Any, **own: Any) -> Tensor:
            return xent.linear_softmax_cross_entropy(x, w, y, bias=b, **own)

        def linear_sigmoid(x: Tensor, w: Tensor, b: Tensor, y: Any, **own: Any) -> Tensor:
            return xent.linear_sigmoid_cross_entropy(x, w, y, bias=b, **own)

        compare(f"linear, {reduction}", linear, [x, w, b], y, **own)
        compare(f"linear, soft, {reduction}", linear, [x, w, b], soft, **own)
        compare(f"linear sigmoid, {reduction}", linear_sigmoid, [x, w, b], binary, **own)
        compare(f"linear sigmoid, lists, {reduction}", linear_sigmoid, [x, w, b], lists, **own)
        compare(f"lists, {reduction}", xent.sigmoid_cross_entropy, [z], lists, **own)
        compare(f"focal, {reduction}", xent.focal_cross_entropy, [z], y, **own)
        compare(f"poly, {reduction}", xent.poly_cross_entropy, [z], y, **own)
        compare(f"from probabilities, {reduction}", xent.cross_entropy_from_probs, [soft], y, **own)
        compare(f"binary, {reduction}", xent.binary_cross_entropy_from_probs, [soft], binary, **own)
        compare(f"divergence, {reduction}", xent.kl_divergence, [soft], soft.flip(1), **own)
    for name in ("softmax", "log_softmax", "logsumexp", "sigmoid", "log_sigmoid"):
        compare(name, getattr(xent, name), [z])
    compare("selected", lambda x, w, y: xent.selective_log_softmax(x, w, y), [x, w], y)


def sampled_losses() -> None:
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(6, 5, generator=random), torch.randn(9, 5, generator=random)
    b, items = torch.randn(9, generator=random), torch.randn(8, 5, generator=random)
    ids = torch.tensor([3, 1, 3, 2, 0, 5, 5, 7])
    compare("in batch", xent.in_batch_softmax_loss, [x, items], item_ids=ids, log_q=torch.linspace(-2, -1, 8))
    for trues in (1, 2):
        y = torch.randint(9, (6, trues), generator=random)
        drawn = xent.samplers.LogUniform(9, 4, seed=1).sample(y.numpy())
        candidates = xent.samplers.Candidates(*(torch.as_tensor(part) for part in drawn))
        for function in (xent.sampled_softmax_loss, xent.nce_loss, xent.negative_sampling_loss):

            def sampled(x: Tensor, w: Tensor, b: Tensor, y: Tensor, c: Any, s: Tensor, of: Any = function) -> Any:
                return of(x, w, y, bias=b, candidates=c, sample_weight=s)

            name = f"{function.__name__}, {trues}"
            compare(name, sampled, [x, w, b], y, candidates, torch.linspace(0.5, 2, 6))


def main() -> None:
    libraries = register()
    bare = torch._C._acc.create_empty_tensor([3, 4], torch.float32)  # of torch's own class, as on a real device
    assert type(bare) is Tensor
    assert kernels_for([bare]) is None
    assert not are_constants(bare, ())
    if IS_GPU:
        play_gpu()
        assert kernels_for([moved(torch.ones(2, 3))]) == "triton"
    dense_losses()
    other_losses()
    sampled_losses()
    del libraries


if __name__ == "__main__":
    main()
