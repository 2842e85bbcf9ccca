"""Tensors as memory with rows, and as the array API."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import (
    get_dynamic_layer_stack_depth,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    is_legacy_batchedtensor,
)
from torch.autograd import forward_ad
from torch.nn import Parameter

from ...errors import type_error
from ...kernels import native
from ...kernels.native import DTYPE_CODES, POOLED_BYTES, Memory, PerRow, pooled
from ...losses.weights import check_normalizer
from ...problem import dense_strides, row_layout
from ..numpy.arrays import as_array

_NAMES = "float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"
DTYPE_NAMES = {getattr(torch, name): name for name in _NAMES.split()}
TORCH_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
CODES = {TORCH_DTYPES[name]: code for name, code in DTYPE_CODES.items()}


def dtype_name(tensor: Tensor) -> str:
    """The dtype in the names that `problem` checks; one that it does not know, in torch's words."""
    return DTYPE_NAMES.get(tensor.dtype) or str(tensor.dtype)


def memory(tensor: Tensor, axis: int) -> Memory:
    """The rows of a CPU tensor along `axis`; copied where they are not evenly spaced."""
    layout = row_layout(tensor.shape, tensor.stride(), axis)
    if layout is None:
        return memory(tensor.contiguous(), axis)
    # a view of its own keeps the storage alive, whatever becomes of the tensor's `.data`
    return Memory(tensor.data_ptr(), CODES[tensor.dtype], layout, tensor.detach())


def empty_like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor of the shape and memory order of a CPU tensor, a large one from the pool."""
    dtype = dtype or tensor.dtype
    nbytes = tensor.numel() * dtype.itemsize
    if nbytes < POOLED_BYTES and tensor.is_contiguous():
        return torch.empty_like(tensor, dtype=dtype)
    # no view of anything, since autograd refuses to let views that a Function returns be changed in place
    storage = torch.from_numpy(pooled(nbytes)).untyped_storage()
    strides = dense_strides(tuple(tensor.shape), tensor.stride())
    return torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, tensor.shape, strides)


def output_like(tensor: Tensor, axis: int) -> tuple[Tensor, Memory]:
    """An uninitialised tensor like `tensor` and its rows; in the plain order where that of `tensor` has no rows."""
    out = empty_like(tensor)
    layout = row_layout(out.shape, out.stride(), axis)
    if layout is None:
        return output_like(torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"), axis)
    return out, Memory(out.data_ptr(), CODES[out.dtype], layout, out)


class _Namespace:
    """The array API in torch's words, for the reference, and the conversions of this front-end."""

    bool, nan = torch.bool, math.nan
    exp, log, log1p, expm1, tanh, abs = torch.exp, torch.log, torch.log1p, torch.expm1, torch.tanh, torch.abs
    logaddexp, maximum, isfinite = torch.logaddexp, torch.maximum, torch.isfinite
    equal, not_equal = torch.eq, torch.ne
    concat = torch.cat
    where, sum, all, argmax, take = torch.where, torch.sum, torch.all, torch.argmax, torch.take
    arange, any, asarray, broadcast_to = torch.arange, torch.any, torch.as_tensor, torch.broadcast_to
    permute_dims, flatten, reshape = torch.permute, torch.flatten, torch.reshape
    zeros_like, ones_like = torch.zeros_like, torch.ones_like
    expand_dims, searchsorted = torch.unsqueeze, torch.searchsorted
    stop_gradient = torch.detach

    @staticmethod
    def sort(x: Tensor) -> Tensor:
        return torch.sort(x).values

    @staticmethod
    def own(array: Any, like: Tensor) -> Tensor:
        """An array that the library made, or a tensor, where `like` is; without a copy on the CPU."""
        return array if isinstance(array, Tensor) else torch.from_numpy(array).to(like.device)

    @staticmethod
    def gather(x: Tensor, ids: Tensor) -> Tensor:
        """The lines of `x` with these numbers."""
        return torch.index_select(x, 0, ids)

    @staticmethod
    def lines(x: Tensor, ids: Tensor, dtype: str, sparse: Any = False) -> Tensor:
        """The same in a dtype, in which repeated lines of a gradient add up, too; a sparse one if asked for."""
        wide = TORCH_DTYPES[dtype]
        if x.dtype != wide:
            if not torch.compiler.is_compiling():
                return _WideLines.apply(x, ids, wide, sparse)  # type: ignore[no-any-return, no-untyped-call]
            x = x.to(wide)  # a compiler widens only what is gathered
        if x.ndim == 1:
            return torch.gather(x, 0, ids, sparse_grad=sparse)
        return torch.nn.functional.embedding(ids, x, sparse=sparse)

    @staticmethod
    def top(x: Tensor, k: int) -> Tensor:
        """Where the k largest numbers are, the first of equal ones before."""
        return torch.sort(x, descending=True, stable=True).indices[:k]

    @staticmethod
    def moveaxis(x: Tensor, source: int, to: int) -> Tensor:
        # where nothing moves there is no view either: forward mode refuses views of inputs that are views themselves
        return x if source - to in (0, x.ndim) else torch.movedim(x, source, to)

    @staticmethod
    def take_along_axis(x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return torch.gather(x, axis, indices)  # torch.take_along_dim binds traced graphs to one batch size

    @staticmethod
    def shape(x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    @staticmethod
    def astype(x: Tensor, dtype: str) -> Tensor:
        return x.to(TORCH_DTYPES[dtype])

    @staticmethod
    def dtype_name(x: Tensor) -> str:
        return dtype_name(x)

    @staticmethod
    def is_readable(x: Tensor) -> Any:
        return is_readable(x)

    @staticmethod
    def numpy_of(x: Tensor) -> Any:
        return numpy_of(x)

    @staticmethod
    def values(x: Tensor) -> Any:
        """The values, on whichever device they are; None of a tensor that has none."""
        if is_readable(x):
            return numpy_of(x)
        if torch.compiler.is_compiling() or _is_watched() or x.is_meta:
            return None
        with torch._C._DisableFuncTorch():
            here = x.detach() if x.is_cpu else x.detach().cpu()
            return numpy_of(here) if is_memory(here) else None

    @staticmethod
    def fetched(x: Tensor) -> Any:
        """A copy in the memory of the processor if it is elsewhere."""
        return numpy_of(x.cpu())

    @staticmethod
    def placed(array: Any, like: Tensor) -> Tensor:
        """An array of NumPy as a tensor on the device of another."""
        return torch.from_numpy(array).to(like.device)

    @staticmethod
    def as_array(argument: str, value: Any, like: Tensor) -> Tensor:
        return as_tensor(argument, value, like)

    @staticmethod
    def widest(x: Tensor, otherwise: str) -> str:
        return "float64" if x.is_cpu else otherwise  # not every device has it

    @staticmethod
    def divisor(normalizer: Any, reduction: str, dtype: str) -> Any:
        return divisor(normalizer, reduction, torch.compiler.is_compiling())


NAMESPACE = _Namespace()


def gather_lines(array: Tensor, ids: Tensor, out: Tensor) -> Tensor:
    """The lines of an array with these numbers, in range, into a contiguous tensor, which may be wider."""
    found = out if out.dtype is array.dtype else torch.empty_like(out, dtype=array.dtype)
    if array.ndim == 1 or array.stride(1) == 1:
        size = array.itemsize
        where = array.data_ptr(), array.stride(0) * size, found[:1].numel() * size
        native.gather_lines(*where, ids.data_ptr(), len(ids), found.data_ptr())
    else:
        torch.index_select(array, 0, ids, out=found)
    return out if found is out else out.copy_(found)


def gradient_of_lines(array: Tensor, ids: Tensor, lines: Tensor, sparse: bool) -> Tensor:
    """The gradient to an array of which some lines were used, from those to the lines, which may be wider."""
    if lines.dtype == array.dtype:
        if sparse:
            return torch.sparse_coo_tensor(ids[None], lines, array.shape, check_invariants=False)
        return torch.zeros_like(array).index_add_(0, ids, lines)
    if not sparse:
        return torch.zeros_like(array, dtype=lines.dtype).index_add(0, ids, lines).to(array.dtype)
    numbers, places = torch.unique(ids, return_inverse=True)
    rows = lines.new_zeros(len(numbers), *lines.shape[1:]).index_add_(0, places, lines).to(array.dtype)
    return torch.sparse_coo_tensor(numbers[None], rows, array.shape, check_invariants=False, is_coalesced=True)


class _WideLines(torch.autograd.Function):
    """Lines of an array in a wider dtype, in which those of its gradient add up."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, ids: Tensor, dtype: torch.dtype, sparse: bool) -> Tensor:
        return torch.index_select(x, 0, ids).to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ids, _, ctx.sparse = inputs
        ctx.save_for_backward(x, ids)
        ctx.save_for_forward(x, ids)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        x, ids = ctx.saved_tensors
        return gradient_of_lines(x, ids, upstream, ctx.sparse), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return torch.index_select(tangent, 0, ctx.saved_tensors[1]).float()


# With Triton's interpreter the CPU plays a GPU: its tensors go to Triton's kernels, and nothing reads them.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is ordinary memory of the CPU: no other device, subclass, tracer or sparse layout."""
    return are_plain((tensor,))


def are_plain(tensors: Iterable[Tensor | None]) -> bool:
    """Whether all of them are, or None."""
    return is_unobserved() and all(t is None or is_memory(t) for t in tensors)


def is_unobserved() -> bool:
    """Whether no transformation is at work and nothing records torch's operations, a compiler's graph apart."""
    return not _is_transformed() if torch.compiler.is_compiling() else is_eager()


def is_eager() -> bool:
    """Whether torch's operations run as they are called: nothing traces, transforms or records them."""
    return not (
        torch.compiler.is_compiling()
        or get_dynamic_layer_stack_depth() > 0
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
    )


def is_memory(tensor: Any) -> bool:
    """What `is_plain` asks of the tensor itself; one that outlived its transformation has no memory."""
    return not INTERPRETED and is_ordinary(tensor) and tensor.is_cpu


def is_ordinary(tensor: Any) -> bool:
    """Whether a tensor is nothing but strided numbers on some device."""
    if torch.compiler.is_compiling():
        return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
    return is_ordinary_in_eager_mode(tensor)


def is_ordinary_in_eager_mode(tensor: Any) -> bool:
    """The same where no graph is traced."""
    if not ((type(tensor) is Tensor or type(tensor) is Parameter) and tensor.layout is torch.strided):
        return False
    if is_functorch_wrapped_tensor(tensor) or tensor.is_nested or tensor.is_conj() or tensor.is_neg():
        return False
    return has_memory(tensor)


def has_memory(tensor: Tensor) -> bool:
    """Whether the numbers of a strided tensor exist: not those of torch's symbolic zeros, nor of storage given back."""
    return tensor.data_ptr() != 0 or tensor.numel() == 0


def check_memory(tensors: Iterable[Tensor]) -> None:
    """Raises RuntimeError where tensors that the backward pass reads have given their storage back."""
    if any(t.data_ptr() == 0 and t.numel() for t in tensors):
        expected = (
            "logits, labels, weights: expected the memory of the forward pass, got tensors whose storage was freed. "
        )
        raise RuntimeError(f"{expected}Keep what the backward pass needs.")


def _is_transformed() -> bool:
    """Whether a transformation of functions is at work, or forward mode."""
    return get_dynamic_layer_stack_depth() > 0 or forward_ad._current_level >= 0


def _is_watched() -> bool:
    """Whether something records torch's operations, which work on addresses would slip past."""
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._get_tracing_state() is not None


def is_readable(tensor: Tensor) -> bool:
    """Whether a plain tensor's values are there: not while a graph is traced."""
    return is_eager() and is_memory(tensor)


def readable_integers(tensor: Tensor) -> Any:
    """The values of integers as a NumPy array, also inside transformations; None where they are not to be had."""
    if torch.compiler.is_compiling() or _is_watched():
        return None
    while is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    if not is_memory(tensor):
        return None
    with torch._C._DisableFuncTorch():
        return tensor.numpy()


def is_number_or_none(value: Any) -> bool:
    """Whether a normalizer is what can be prepared for."""
    return value is None or type(value) is int or type(value) is float


def is_batched(upstream: tuple[Tensor | None, ...]) -> bool:
    """Whether gradients are being made for many upstream gradients at once, which have no single number."""
    for g in upstream:  # noqa: SIM110  # a generator takes longer; the first kind is that of `is_grads_batched`
        if g is not None and (is_legacy_batchedtensor(g) or is_batchedtensor(g)):
            return True
    return False


class PlainFunction(torch.autograd.Function):
    """A function of plain tensors: `is_plain` has answered what torch's `apply` would ask about transformations."""

    apply = torch._C._FunctionBase.__dict__["apply"]


def is_saving_by_hooks() -> bool:
    """Whether what is saved for the backward pass goes through hooks, as under checkpoints: keep nothing else then."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def is_transformed(upstream: tuple[Tensor | None, ...]) -> bool:
    """Whether a backward pass is itself differentiated, vectorised or traced, so that it has no numbers to read."""
    return is_differentiated() or torch.compiler.is_compiling() or is_batched(upstream)


def is_differentiated() -> bool:
    """Whether what a backward pass computes may be differentiated again."""
    return torch.is_grad_enabled() or _is_transformed()


def by_reference(
    reference: Any, tensors: tuple[Any, ...], cotangents: tuple[Tensor | None, ...], wanted: tuple[bool, ...] = (True,)
) -> list[Tensor | None]:
    """The vector-Jacobian product of a function's outputs, differentiable if it may be differentiated.

    `wanted`: which of the tensors have a gradient.
    """
    used = [at for at, g in enumerate(cotangents) if g is not None]
    upstream = tuple(cotangents[at] for at in used)

    def of(*some: Tensor) -> tuple[Tensor, ...]:
        left = iter(some)
        outputs = reference(*(next(left) if want else t for t, want in zip(tensors, wanted, strict=True)))
        return tuple(outputs[at] for at in used)

    sources = [t for t, want in zip(tensors, wanted, strict=True) if want]
    if _is_transformed():
        found = iter(torch.func.vjp(of, *sources)[1](upstream))
    else:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            # aliases, since one of them may have been made from another: the update of a low rank, a tied embedding
            aliases = [t.view_as(t) if again else t.detach().requires_grad_() for t in sources]
            found = iter(torch.autograd.grad(of(*aliases), aliases, upstream, create_graph=again, allow_unused=True))
    return [next(found) if want else None for want in wanted]


def numpy_of(tensor: Tensor | None) -> Any:
    """Small arrays (weights, labels) as NumPy, without a copy where the dtype exists there."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.double() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def as_tensor(argument: str, value: Any, like: Tensor) -> Tensor:
    """A tensor on the device of `like`; anything that NumPy understands is copied to one."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise type_error(argument, "a dense tensor", str(value.layout), "Convert it with .to_dense().")
        return value
    if torch.compiler.is_compiling() and isinstance(value, np.ndarray):
        return torch.as_tensor(value, device=like.device)  # which is one there, without a dtype to look at
    array = as_array(argument, value)
    try:
        narrow = array.dtype == np.float64 and not like.is_cpu and like.dtype is not torch.float64  # some have none
        if narrow or array.dtype.name == "bfloat16":
            array = array.astype("float32")
        return torch.tensor(array.copy(), device=like.device)
    except TypeError as error:
        raise type_error(argument, "an array of numbers", f"dtype {array.dtype}", "Convert it to numbers.") from error


def divisor(normalizer: Any, reduction: str, traced: bool) -> Any:
    """The checked normalizer as a number; while a graph is traced a tensor stays one, for its value is not known."""
    if traced and isinstance(normalizer, Tensor):
        check_normalizer(1.0, reduction)
        return normalizer
    return check_normalizer(normalizer, reduction)


def cotangent(upstream: Tensor) -> PerRow:
    """An upstream gradient as a number, or flat float64."""
    if upstream.ndim == 0:
        return float(upstream)
    if upstream._is_zerotensor():  # without memory
        return 0.0
    return upstream.detach().resolve_neg().to(torch.float64).contiguous().view(-1).numpy()


def wants_gradient(normalizer: Any) -> bool:
    """Whether a normalizer is a tensor that is differentiated: the loss is divided by it then."""
    if not isinstance(normalizer, Tensor) or torch.compiler.is_compiling():
        return False
    recorded = normalizer.requires_grad and torch.is_grad_enabled()
    return recorded or is_functorch_wrapped_tensor(normalizer)


_LOGITS_ONLY = frozenset({"logits"})
_NOTHING: frozenset[str] = frozenset()


def wanted_gradients(logits: Tensor, others: list[tuple[str, Tensor]]) -> frozenset[str]:
    """Names of the arguments that need a gradient."""
    if not torch.is_grad_enabled():
        return _NOTHING
    if any(tensor.requires_grad for _, tensor in others):
        names = {name for name, tensor in others if tensor.requires_grad}
        return frozenset(names | {"logits"} if logits.requires_grad else names)
    return _LOGITS_ONLY if logits.requires_grad else _NOTHING
