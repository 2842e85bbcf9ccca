"""Which arguments are ordinary: of the kinds that xent and torch both take, so that xent's kernels can serve them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import Parameter

from ...frontends.torch.arrays import is_readable
from ...kernels.native import POOLED_BYTES

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
REDUCTIONS = ("mean", "sum", "none")


def is_logits(input: Any) -> bool:
    """A dense tensor of a float dtype with at least one element; tensors of other classes are torch's to serve."""
    dense = type(input) in (Tensor, Parameter, FakeTensor) and input.layout is torch.strided and not input.is_nested
    return dense and input.dtype in FLOATS and input.numel() != 0


def are_small_logits(input: Tensor, weight: Tensor) -> bool:
    """Whether logits that a head makes are so few that storing them costs nothing, and as exact as sums are."""
    if torch.compiler.is_compiling() or input.itemsize < 4:
        return False
    return input.numel() * weight.shape[0] * input.itemsize < POOLED_BYTES * input.shape[-1]


def is_weight(weight: Any, input: Tensor) -> bool:
    """None, or weights of the logits' dtype and device; not while a graph is traced, for torch takes any, xent not."""
    if weight is None:
        return True
    alike = isinstance(weight, Tensor) and weight.dtype == input.dtype and weight.device == input.device
    return alike and not torch.compiler.is_compiling()


def is_spread(weight: Any, input: Tensor) -> bool:
    """Such weights that broadcast to the logits without enlarging them."""
    if weight is None or not is_weight(weight, input):
        return weight is None
    if weight.shape == input.shape:
        return True
    if weight.ndim > input.ndim:
        return False
    pairs = zip(reversed(weight.shape), reversed(input.shape), strict=False)
    return all(own in (1, size) for own, size in pairs)


def is_index(target: Any, input: Tensor) -> bool:
    """Class indices of torch's two dtypes, of which it takes the second without further axes only."""
    if not (isinstance(target, Tensor) and target.layout is torch.strided and target.device == input.device):
        return False
    return target.dtype is torch.int64 or (target.dtype is torch.uint8 and input.ndim <= 2)


def laid_out(result: Tensor, like: Tensor) -> Tensor:
    """A result of the logits' memory order in the plain order, if another tensor's is plain."""
    return result.contiguous() if like.is_contiguous() else result


def is_like(target: Any, input: Tensor) -> bool:
    """A target of the logits' shape, dtype and device."""
    return (
        isinstance(target, Tensor)
        and target.shape == input.shape
        and target.dtype == input.dtype
        and target.device == input.device
        and target.layout is torch.strided
    )


def is_label(ignore_index: Any) -> bool:
    """Whether torch takes this for a label, of 64 bits."""
    return isinstance(ignore_index, int) and not isinstance(ignore_index, bool) and -(2**63) <= ignore_index < 2**63


def smoothing(label_smoothing: Any) -> float | None:
    """Label smoothing as torch reads it, where all below 0 and NaN are 0; None if it is torch's to refuse."""
    if not isinstance(label_smoothing, float | int) or label_smoothing > 1:
        return None
    return float(label_smoothing) if label_smoothing > 0 else 0.0


def in_dtype_of(loss: Tensor, input: Tensor) -> Tensor:
    """A float32 loss in the dtype that torch returns: the input's, and float32 under autocast."""
    if loss.dtype == input.dtype or torch.is_autocast_enabled(input.device.type):
        return loss
    return loss.to(input.dtype)


def nan_of_nothing(loss: Tensor, target: Tensor, weight: Tensor | None, ignore: int) -> Tensor:
    """The mean as torch has it, NaN where nothing counts. The gradient stays 0."""
    if is_readable(loss) and loss.item() != 0:
        return loss
    kept = target.long() != ignore  # bytes would wrap the number round
    mass = kept.sum() if weight is None else (weight[torch.where(kept, target, 0).long()] * kept).sum()
    return loss + torch.where(mass == 0, math.nan, 0.0).to(loss.dtype)


def has_axis(input: Tensor, dim: Any) -> bool:
    """Whether `dim` is one axis that the tensor has."""
    return isinstance(dim, int) and not isinstance(dim, bool) and -input.ndim <= dim < input.ndim
