"""Sampled losses on tensors. Eager calls on one list of sampled classes have a derivative made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...kernels.native import DTYPE_CODES, Candidates, address, pooled
from ...options import SoftmaxOptions, softmax_options
from ...sampling import logits as sampling_logits
from ...sampling.hits import AccidentalHits
from ...sampling.proposal import Proposal
from .. import sampled
from .activations import logsumexp
from .arrays import (
    NAMESPACE,
    TORCH_DTYPES,
    PlainFunction,
    are_plain,
    by_reference,
    gather_lines,
    gradient_of_lines,
    is_transformed,
)
from .small import SmallCalls
from .small_softmax import SmallSoftmax, ready_softmax
from .softmax_loss import softmax_cross_entropy

Reference = Callable[[Tensor, Tensor, Tensor | None], Tensor]
_NO_HITS = AccidentalHits(np.empty(0, np.int64), np.empty(0, np.int64))


class CandidateCall:
    """The logits of one call, and the gradients that follow from theirs."""

    __slots__ = ("dtype", "ids", "proposal", "reference", "sparse", "temperature")

    def __init__(self, reference: Reference, proposal: Proposal, dtype: str, temperature: float, sparse: bool) -> None:
        """`reference`: the result in torch's operations."""
        self.reference, self.proposal, self.dtype = reference, proposal, dtype
        self.temperature, self.sparse = temperature, sparse
        self.ids = torch.from_numpy(np.concatenate([proposal.true_ids.reshape(-1), proposal.sampled_ids]))

    def logits(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """[N, T + S], and the lines of the weight, [N·T + S, D]."""
        proposal, (rows, count) = self.proposal, self.proposal.true_ids.shape
        x = self._rows(inputs)
        x = x if self.temperature == 1.0 else x / self.temperature
        lines, out = _buffers(x.dtype, (*self.ids.shape, x.shape[1]), (rows, count + len(proposal.sampled_ids)))
        gather_lines(weight, self.ids, lines)
        added = None if bias is None else gather_lines(bias, self.ids, lines.new_empty(self.ids.shape))
        hit_rows, hit_columns = proposal.hits or _NO_HITS
        complete = self._native(x, lines).logits
        # nothing but the arithmetic from here on: after a product the caches hold no code of Python's
        torch.mm(x, lines[rows * count :].t(), out=out[:, count:])
        complete(
            0 if added is None else added.data_ptr(),
            self.temperature,
            address(proposal.true_shift),
            address(proposal.sampled_shift),
            address(hit_rows),
            address(hit_columns),
            hit_rows.size,
            out.data_ptr(),
        )
        return out, lines

    def gradients(
        self, tensors: tuple[Any, ...], lines: Tensor, upstream: Tensor, scale: float, wanted: tuple[bool, ...]
    ) -> list[Any]:
        """The gradients to inputs, weight and bias that are wanted, for `scale` times that to the logits."""
        inputs, weight, bias = tensors
        first, count = self.proposal.true_ids.size, self.proposal.true_ids.shape[1]
        x, scale = self._rows(inputs), scale / self.temperature
        shapes = x.shape, lines.shape, self.ids.shape
        made = [x.new_empty(shape) if want else None for shape, want in zip(shapes, wanted, strict=True)]
        to_inputs, to_lines, to_bias = made
        places = [0 if array is None else array.data_ptr() for array in made]
        sampled, of_sampled = upstream[:, count:], lines[first:]
        to_sampled = None if to_lines is None else to_lines[first:]
        self._native(x, lines).gradients(upstream.data_ptr(), scale, *places)
        if to_inputs is not None:
            to_inputs.addmm_(sampled, of_sampled, alpha=scale)
        if to_sampled is not None:
            to_sampled.addmm_(sampled.t(), x, beta=0, alpha=scale)
        return [
            None if to_inputs is None else to_inputs.view(inputs.shape).to(inputs.dtype),
            None if to_lines is None else gradient_of_lines(weight, self.ids, to_lines, self.sparse),
            None if to_bias is None else gradient_of_lines(bias, self.ids, to_bias, self.sparse),
        ]

    def _native(self, x: Tensor, lines: Tensor) -> Candidates:
        """`x`, `lines`: contiguous, in the dtype of the products."""
        rows, count = self.proposal.true_ids.shape
        return Candidates(
            *(rows, count, len(self.proposal.sampled_ids), x.shape[1], DTYPE_CODES[self.dtype]),
            *(x.data_ptr(), lines.data_ptr()),
        )

    def _rows(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(-1, inputs.shape[-1]).to(TORCH_DTYPES[self.dtype]).contiguous()


def _buffers(dtype: torch.dtype, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Two uninitialised contiguous tensors, in one buffer."""
    split = math.prod(first)
    buffer = torch.from_numpy(pooled(max(split + math.prod(second), 1) * dtype.itemsize)).view(dtype)
    return buffer[:split].view(first), buffer[split : split + math.prod(second)].view(second)


class CandidateLogits(PlainFunction):
    """As `sampling.logits.sampled_logits`, for one list of sampled classes."""

    @staticmethod
    def forward(ctx: Any, call: CandidateCall, *tensors: Any) -> Tensor:
        """`tensors`: inputs, weight and bias."""
        out, lines = call.logits(*tensors)
        ctx.call = call
        ctx.save_for_backward(*tensors, lines)
        return out.view(*tensors[0].shape[:-1], out.shape[1])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        *tensors, lines = ctx.saved_tensors
        return None, *_backward(ctx, tuple(tensors), lines, upstream, None)


_losses = SmallCalls(SmallSoftmax, ready_softmax)  # prepared as those of small batches are, whatever their size


class CandidateSoftmax(PlainFunction):
    """The softmax loss of such logits for one true class, a number: its gradient is made in their place."""

    @staticmethod
    def forward(
        ctx: Any, call: CandidateCall, options: SoftmaxOptions, normalizer: float | None, *tensors: Any
    ) -> Tensor:
        logits, lines = call.logits(*tensors)
        labels = (_zeros(logits.shape[0]), None)
        found = cast(SmallSoftmax, _losses.find(logits, labels, options, normalizer, True))  # rows in a line have one
        loss = logits.new_empty(())
        found.ready.fill(logits, labels, logits if any(ctx.needs_input_grad) else None, loss)
        ctx.call = call
        ctx.save_for_backward(*tensors, lines, logits)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        *tensors, lines, gradient = ctx.saved_tensors
        return None, None, None, *_backward(ctx, tuple(tensors), lines, upstream, gradient)


def _backward(
    ctx: Any, tensors: tuple[Any, ...], lines: Tensor, upstream: Tensor, gradient: Tensor | None
) -> list[Any]:
    """`gradient`: to the logits, of a loss whose upstream gradient is a number."""
    call: CandidateCall = ctx.call
    wanted = tuple(ctx.needs_input_grad[-3:])
    if is_transformed((upstream,)):
        return by_reference(lambda *t: (call.reference(*t),), tensors, (upstream,), wanted)
    if gradient is None:
        return call.gradients(tensors, lines, upstream.reshape(-1, upstream.shape[-1]).contiguous(), 1.0, wanted)
    return call.gradients(tensors, lines, gradient, float(upstream), wanted)


def _is_ordinary(proposal: Proposal, *tensors: Tensor | None) -> bool:
    """Whether all values are known, and all rows have one list of sampled classes."""
    if torch.compiler.is_compiling() or not isinstance(proposal.sampled_ids, np.ndarray):
        return False
    return proposal.sampled_ids.ndim == 1 and are_plain(tensors)


def candidate_logits(
    xp: Any,
    lines: Any,
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    proposal: Proposal,
    dtype: str,
    temperature: float,
) -> Any:
    """As `sampling.logits.sampled_logits`."""

    def reference(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        return sampling_logits.sampled_logits(NAMESPACE, lines, inputs, weight, bias, proposal, dtype, temperature)

    if not _is_ordinary(proposal, inputs, weight, bias):
        return reference(inputs, weight, bias)
    call = CandidateCall(reference, proposal, dtype, temperature, lines.keywords["sparse"])
    return CandidateLogits.apply(call, inputs, weight, bias)


def candidate_softmax(
    xp: Any,
    lines: Any,
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    proposal: Proposal,
    dtype: str,
    temperature: float,
    reduction: str,
    normalizer: Any,
) -> Any:
    """The softmax loss of these logits; None where it is not made along with them."""
    options = softmax_options(reduction=reduction)
    if options.reduction == "none" or not (normalizer is None or type(normalizer) in (int, float)):
        return None
    rows, count = proposal.true_ids.shape
    if count != 1 or not rows or not _is_ordinary(proposal, inputs, weight, bias):
        return None

    def reference(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        logits = sampling_logits.sampled_logits(NAMESPACE, lines, inputs, weight, bias, proposal, dtype, temperature)
        return softmax_cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            _zeros(rows),
            options,
            class_weight=None,
            sample_weight=None,
            normalizer=normalizer,
            return_stats=False,
            validate=True,
        )

    call = CandidateCall(reference, proposal, dtype, temperature, lines.keywords["sparse"])
    return CandidateSoftmax.apply(call, options, normalizer, inputs, weight, bias)


def _zeros(count: int) -> Tensor:
    """Labels of the first class."""
    return torch.zeros(count, dtype=torch.int64, device="cpu")


_sampled_loss = partial(sampled.sampled_loss, NAMESPACE, candidate_logits, logsumexp, softmax_of=candidate_softmax)


def sampled_loss(inputs: Tensor, weight: Any, *arguments: Any, **options: Any) -> Any:
    """As `frontends.sampled.sampled_loss`."""
    device = inputs.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return _sampled_loss(inputs, weight, *arguments, **options)
    # the products are float32's, as the loss is: what the region made narrower is widened, not the weight cut
    with torch.autocast(device, enabled=False):
        if isinstance(weight, Tensor) and inputs.is_floating_point():
            inputs = inputs.to(torch.promote_types(inputs.dtype, weight.dtype))
        return _sampled_loss(inputs, weight, *arguments, **options)
