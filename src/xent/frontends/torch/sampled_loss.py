"""Logits of true and sampled classes on tensors: one buffer, and the derivative by hand, in eager calls."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...sampling import logits as sampling_logits
from ...sampling.proposal import Proposal
from .. import sampled
from .activations import logsumexp
from .arrays import (
    NAMESPACE,
    TORCH_DTYPES,
    PlainFunction,
    by_reference,
    gradient_of_lines,
    is_plain,
    is_transformed,
)


class CandidateLogits(PlainFunction):
    """As `sampling.logits.sampled_logits`, for one list of sampled classes."""

    @staticmethod
    def forward(ctx: Any, reference: Any, fixed: tuple[Proposal, torch.dtype, float, bool], *tensors: Any) -> Tensor:
        """`reference`: the same in torch's operations. `tensors`: inputs, weight and bias."""
        inputs, weight, bias = tensors
        proposal, dtype, temperature, _ = fixed
        ids = torch.cat([proposal.true_ids.reshape(-1), proposal.sampled_ids])
        lines = torch.nn.functional.embedding(ids, weight).to(dtype)
        ctx.reference, ctx.fixed, ctx.ids = reference, fixed, ids
        ctx.save_for_backward(*tensors, lines)
        x, (rows, count) = _rows(inputs, dtype), proposal.true_ids.shape
        x = x if temperature == 1.0 else x / temperature
        of_true, of_sampled = _split(lines, rows * count)
        out = x.new_empty(rows, count + len(of_sampled))
        true, sampled = _split(out, count, 1)
        torch.sum(x.unsqueeze(1) * of_true.view(rows, count, x.shape[1]), -1, out=true)
        added = None if bias is None else bias.index_select(0, ids).to(dtype)
        if added is not None and temperature != 1.0:
            added /= temperature
        if proposal.true_shift is not None:
            less = torch.cat([proposal.true_shift.reshape(-1), proposal.sampled_shift]).to(dtype)
            added = less.neg_() if added is None else added.sub_(less)
        if added is None:
            torch.mm(x, of_sampled.t(), out=sampled)
        else:
            to_true, to_sampled = _split(added, rows * count)
            true += to_true.view(rows, count)
            torch.addmm(to_sampled, x, of_sampled.t(), out=sampled)
        if proposal.hits is not None:
            places: list[Tensor | None] = [torch.from_numpy(part) for part in proposal.hits]
            sampled.index_put_(places, out.new_tensor(-torch.inf))
        return out.view(*inputs.shape[:-1], out.shape[1])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        *tensors, lines = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[2:])
        if is_transformed((upstream,)):
            return None, None, *by_reference(lambda *t: (ctx.reference(*t),), tuple(tensors), (upstream,), wanted)
        inputs, weight, bias = tensors
        proposal, dtype, temperature, sparse = ctx.fixed
        g = upstream.reshape(-1, upstream.shape[-1])
        if temperature != 1.0:
            g = g / temperature
        rows, count = proposal.true_ids.shape
        true, sampled = _split(g, count, 1)
        of_true, of_sampled = _split(lines, rows * count)
        x = _rows(inputs, dtype)
        found: list[Any] = [None, None, None]
        if wanted[0]:
            of_x = torch.mm(sampled, of_sampled)
            for t, line in zip(true.unbind(1), of_true.view(rows, count, x.shape[1]).unbind(1), strict=True):
                of_x.addcmul_(t.unsqueeze(1), line)
            found[0] = of_x.view(inputs.shape).to(inputs.dtype)
        if wanted[1]:
            made = torch.empty_like(lines)
            to_true, to_sampled = _split(made, rows * count)
            torch.mul(true.unsqueeze(2), x.unsqueeze(1), out=to_true.view(rows, count, x.shape[1]))
            torch.mm(sampled.t(), x, out=to_sampled)
            found[1] = gradient_of_lines(weight, ctx.ids, made, sparse)
        if wanted[2]:
            found[2] = gradient_of_lines(bias, ctx.ids, torch.cat([true.reshape(-1), sampled.sum(0)]), sparse)
        return None, None, *found


def _split(tensor: Tensor, at: int, axis: int = 0) -> tuple[Tensor, Tensor]:
    return tensor.tensor_split((at,), axis)  # type: ignore[return-value]


def _rows(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    return inputs.reshape(-1, inputs.shape[-1]).to(dtype)


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

    tensors = [t for t in (inputs, weight, bias, *proposal[:-1]) if t is not None]
    # one list for all rows, whose hits are pairs of places
    ordinary = proposal.sampled_ids.ndim == 1 and not isinstance(proposal.hits, Tensor)
    ordinary = ordinary and not torch.compiler.is_compiling()
    if not (ordinary and all(is_plain(t) for t in tensors)):
        return reference(inputs, weight, bias)
    fixed = proposal, TORCH_DTYPES[dtype], temperature, lines.keywords["sparse"]
    return CandidateLogits.apply(reference, fixed, inputs, weight, bias)


_sampled_logits = partial(sampled.sampled_logits, NAMESPACE, candidate_logits, logsumexp)


def sampled_logits(inputs: Tensor, weight: Any, *arguments: Any, **options: Any) -> sampled.Sampled:
    """As `frontends.sampled.sampled_logits`."""
    device = inputs.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return _sampled_logits(inputs, weight, *arguments, **options)
    # the products are float32's, as the loss is: what the region made narrower is widened, not the weight cut
    with torch.autocast(device, enabled=False):
        return _sampled_logits(inputs.to(weight.dtype), weight, *arguments, **options)
