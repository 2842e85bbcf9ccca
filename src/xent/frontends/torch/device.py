"""Tensors on devices that Triton's kernels run on."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from ...caching import remember
from ...errors import value_error
from ...losses.weights import finite_weights, usable_or_nan
from ...problem import RowLayout, row_layout
from .arrays import INTERPRETED, NAMESPACE, is_ordinary, is_plain, is_unobserved

# None stands in for a package that tests hide.
_HAS_TRITON = sys.modules.get("triton", ...) is not None and importlib.util.find_spec("triton") is not None
# What stands for a GPU in Triton's interpreter, which runs one program after the other.
_INTERPRETED_PROCESSORS = 4


def is_on_device(tensor: Any) -> bool:
    """Whether a tensor is strided numbers that Triton's kernels can read: on CUDA, or in the interpreter on the CPU."""
    if not (is_ordinary(tensor) and (tensor.is_cpu if INTERPRETED else tensor.is_cuda)):
        return False
    return _HAS_TRITON if torch.compiler.is_compiling() else _can_use_triton()


def is_plain_on_device(tensor: Tensor) -> bool:
    """The same, and no transformation or recorder is at work, which work on addresses would slip past."""
    return is_on_device(tensor) and is_unobserved()


def kernels_for(tensors: Iterable[Tensor]) -> Literal["native", "triton"] | None:
    """The kernels that can read all of these tensors, the logits first."""
    first, *others = tensors
    if is_plain(first):
        return "native" if all(is_plain(t) for t in others) else None
    # one that lies elsewhere is reported by name later
    return "triton" if is_plain_on_device(first) and first.numel() and all(is_ordinary(t) for t in others) else None


@remember
def _can_use_triton() -> bool:
    if not _HAS_TRITON:
        reason = "Triton is not installed"
    elif "tensorflow" in sys.modules and "triton" not in sys.modules:
        reason = "TensorFlow is loaded, and Triton after it would end the process: import triton before tensorflow"
    else:
        return True
    warnings.warn(f"losses of CUDA tensors run in torch's operations, more slowly: {reason}", stacklevel=2)
    return False


def processors(device: torch.device) -> int:
    """How many multiprocessors a device has."""
    return _INTERPRETED_PROCESSORS if INTERPRETED else _multiprocessors(device)


@remember
def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Makes a tensor's device the one that kernels are launched on."""
    return nullcontext() if INTERPRETED else torch.cuda.device(tensor.device)


def check_device(logits: Tensor, others: dict[str, Any]) -> None:
    """All arguments are where the logits are.

    Raises:
        ValueError: one is on another device.
    """
    for name, tensor in others.items():
        if tensor is not None and tensor.device != logits.device:
            expected = f"a tensor on the device of the logits, {logits.device}"
            raise value_error(name, expected, str(tensor.device), f"Move it with {name}.to(logits.device).")


def placed(tensor: Tensor, axis: int) -> tuple[Tensor, RowLayout]:
    """A tensor with its rows along `axis`; copied where they are not evenly spaced."""
    layout = row_layout(tensor.shape, tensor.stride(), axis)
    return placed(tensor.contiguous(), axis) if layout is None else (tensor.detach(), layout)


def output_like(tensor: Tensor, axis: int) -> tuple[Tensor, RowLayout]:
    """An uninitialised tensor like `tensor` and its rows; in the plain order where that of `tensor` has no rows."""
    out = torch.empty_like(tensor)
    layout = row_layout(out.shape, out.stride(), axis)
    if layout is None:
        return output_like(torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device), axis)
    return out, layout


def weights_of(argument: str, weight: Tensor | None, dtype: torch.dtype, validate: bool) -> Tensor | None:
    """Weights in the dtype computed in, without gaps; NaN for what the CPU refuses, unless it may be waited for."""
    if weight is None:
        return None
    weight = weight.detach()
    if validate:
        finite_weights(argument, weight.double().cpu().numpy())
        return weight.to(dtype).contiguous()
    found: Tensor = usable_or_nan(NAMESPACE, weight.to(dtype))
    return found.contiguous()


def number_on(device: torch.device, number: float) -> Tensor:
    """A scalar of float64 on a device, without a copy that would be waited for."""
    return torch.full((), number, dtype=torch.float64, device=device)


def reciprocal(normalizer: Any, device: torch.device) -> Tensor:
    """1 / normalizer of a checked number, or of a scalar tensor; NaN of one that cannot be a divisor."""
    if not isinstance(normalizer, Tensor):
        return number_on(device, 1.0 / normalizer)
    if normalizer.numel() != 1:
        got = f"shape {tuple(normalizer.shape)}"
        raise value_error("normalizer", "a positive finite number", got, "Pass the global number of rows.")
    wide = normalizer.detach().to(device, torch.float64).reshape(())
    return torch.where(torch.isfinite(wide) & (wide > 0), 1.0 / wide, torch.nan)
