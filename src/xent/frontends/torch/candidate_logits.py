"""Logits of true and sampled classes on tensors: one buffer, and the derivative by hand, in eager calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...sampling import logits as sampling_logits
from ...sampling.proposal import Proposal
from .arrays import NAMESPACE, PlainFunction, by_reference, dtype_name, is_plain, is_transformed


class CandidateLogits(PlainFunction):
    """As `sampling.logits.sampled_logits`, for one list of sampled classes."""

    @staticmethod
    def forward(ctx: Any, reference: Any, fixed: tuple[Proposal, float, bool], *tensors: Any) -> Tensor:
        """`reference`: the same in torch's operations. `tensors`: inputs, weight and bias."""
        inputs, weight, bias = tensors
        proposal, temperature, _ = fixed
        ctx.reference, ctx.fixed = reference, fixed
        rows = [torch.nn.functional.embedding(ids, weight) for ids in (proposal.true_ids, proposal.sampled_ids)]
        ctx.save_for_backward(*tensors, *rows)
        x, (of_true, of_sampled) = _rows(inputs, temperature), rows
        count = proposal.true_ids.shape[1]
        out = x.new_empty(len(x), count + len(of_sampled))
        true, sampled = out[:, :count], out[:, count:]
        torch.sum(x[:, None, :] * of_true, -1, out=true)
        added: list[Any] = [None, None]
        for at, (ids, shift) in enumerate(
            ((proposal.true_ids, proposal.true_shift), (proposal.sampled_ids, proposal.sampled_shift))
        ):
            if bias is not None:
                added[at] = bias[ids] / temperature if temperature != 1.0 else bias[ids]
            if shift is not None:
                less = shift.to(out.dtype)
                added[at] = less.neg_() if added[at] is None else added[at] - less
        if added[0] is not None:
            true += added[0]
        if added[1] is None:
            torch.mm(x, of_sampled.t(), out=sampled)
        else:
            torch.addmm(added[1], x, of_sampled.t(), out=sampled)
        if proposal.hits is not None:
            sampled.masked_fill_(proposal.hits, -torch.inf)
        return out.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        *tensors, of_true, of_sampled = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[2:])
        if is_transformed((upstream,)):
            return None, None, *by_reference(lambda *t: (ctx.reference(*t),), tuple(tensors), (upstream,), wanted)
        inputs, weight, bias = tensors
        proposal, temperature, sparse = ctx.fixed
        g = upstream.reshape(-1, upstream.shape[-1])
        if temperature != 1.0:
            g = g / temperature
        count = proposal.true_ids.shape[1]
        true, sampled = g[:, :count], g[:, count:]
        x = _rows(inputs, 1.0)
        found: list[Any] = [None, None, None]
        if wanted[0]:
            found[0] = torch.mm(sampled, of_sampled).add_((true[:, None, :] @ of_true)[:, 0]).view(inputs.shape)
        ids = torch.cat([proposal.true_ids.reshape(-1), proposal.sampled_ids])
        if wanted[1]:
            lines = x.new_empty(len(ids), x.shape[1])
            torch.mul(true[:, :, None], x[:, None, :], out=lines[: true.numel()].view(*true.shape, -1))
            torch.mm(sampled.t(), x, out=lines[true.numel() :])
            found[1] = _gradient(weight, ids, lines, sparse)
        if wanted[2]:
            found[2] = _gradient(bias, ids, torch.cat([true.reshape(-1), sampled.sum(0)]), sparse)
        return None, None, *found


def _rows(inputs: Tensor, temperature: float) -> Tensor:
    x = inputs.reshape(-1, inputs.shape[-1])
    return x if temperature == 1.0 else x / temperature


def _gradient(array: Tensor, ids: Tensor, lines: Tensor, sparse: bool) -> Tensor:
    """The gradient to an array of which some lines were used."""
    if sparse:
        return torch.sparse_coo_tensor(ids[None], lines, array.shape, check_invariants=False)
    return torch.zeros_like(array).index_add_(0, ids, lines)


def candidate_logits(
    xp: Any,
    gather: Any,
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    proposal: Proposal,
    dtype: str,
    temperature: float,
) -> Any:
    """As `sampling.logits.sampled_logits`."""

    def reference(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        return sampling_logits.sampled_logits(NAMESPACE, gather, inputs, weight, bias, proposal, dtype, temperature)

    tensors = [t for t in (inputs, weight, bias, *proposal) if t is not None]
    ordinary = proposal.sampled_ids.ndim == 1 and dtype == dtype_name(inputs) and not torch.compiler.is_compiling()
    if not (ordinary and all(is_plain(t) for t in tensors)):
        return reference(inputs, weight, bias)
    return CandidateLogits.apply(reference, (proposal, temperature, gather.keywords["sparse"]), inputs, weight, bias)
