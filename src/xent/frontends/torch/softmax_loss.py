"""Softmax cross-entropy on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...formulas import RowFunction
from ...kernels import reference
from ...kernels.native import IndexLabels
from ...labels import Positives, TopK, refuse
from ...losses.labels import int64_labels, topk_arrays
from ...losses.softmax import SoftmaxLoss, Stats
from ...losses.weights import check_normalizer
from ...options import SoftmaxOptions
from ...plan import loss_plan
from ...problem import SoftmaxProblem, check_class_weight, check_sample_weight, softmax_problem
from .arrays import (
    NAMESPACE,
    TORCH_DTYPES,
    as_tensor,
    cotangent,
    dtype_name,
    is_plain,
    memory,
    numpy_of,
    output_like,
    outside_graphs,
    wanted_gradients,
)


def flat_labels(labels: Tensor | TopK, problem: SoftmaxProblem, validate: bool) -> Any:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(labels, TopK):
        return topk_arrays(numpy_of(labels.indices), numpy_of(labels.values), problem.classes, validate)
    if problem.target == "dense":
        return memory(labels.detach(), problem.axis)
    flat = labels.contiguous() if labels.dtype is torch.int64 else torch.from_numpy(int64_labels(labels.numpy()))
    return IndexLabels(flat.data_ptr(), flat, labels)


class SoftmaxCrossEntropy(torch.autograd.Function):
    """The loss, or (loss, lse, entropy, argmax) where the call asks for statistics.

    A scalar loss makes its gradient in the forward pass and hands it over to the first backward; a later backward, and
    one of a loss per row, makes it again from the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: _Call) -> Any:
        ctx.save_for_backward(logits, *call.tensors)
        ctx.call = call
        ctx.gradient, results = call.run(logits, gradient=call.one_pass)
        if len(results) == 1:
            return results[0]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(results[3])
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        ready = gradient is not None and not torch.is_grad_enabled()
        alone = len(upstream) == 1 or (upstream[1] is None and upstream[2] is None)
        if ready and alone and upstream[0] is not None and float(upstream[0]) == 1.0:
            return gradient, None
        return ctx.call.vjp(ctx.saved_tensors[0], upstream, gradient), None


class _Call:
    """One call of softmax cross-entropy, with what its derivatives need."""

    __slots__ = ("arguments", "dtype", "function", "loss", "one_pass", "options", "problem", "return_stats")

    def __init__(self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...]) -> None:
        self.problem, self.options, self.arguments = problem, options, arguments
        self.dtype = TORCH_DTYPES[problem.accumulate]
        self.return_stats = False
        self.one_pass = False
        self.function: RowFunction | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Labels and weights, saved beside the logits so that a change in place before the backward is noticed."""
        labels, class_weight, sample_weight, _ = self.arguments
        given = (labels.indices, labels.values) if isinstance(labels, TopK) else (labels,)
        return tuple(t for t in (*given, class_weight, sample_weight) if t is not None)

    def prepare(self, logits: Tensor, validate: bool) -> None:
        """Checks what the arrays hold, and readies the kernel."""
        labels, class_weight, sample_weight, normalizer = self.arguments
        self.loss = SoftmaxLoss(
            self.problem,
            self.options,
            memory(logits, self.problem.axis),
            flat_labels(labels, self.problem, validate),
            class_weight=numpy_of(class_weight),
            sample_weight=numpy_of(sample_weight),
            normalizer=normalizer,
            validate=validate,
            function=self.function,
        )

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The gradient if it is wanted, and (loss,) or (loss, lse, entropy, argmax)."""
        out, into = output_like(logits, self.problem.axis) if gradient else (None, None)
        results = self.loss.run(into, statistics=self.return_stats)
        if self.options.reduction != "none":
            loss = torch.scalar_tensor(results.total, dtype=self.dtype)
        else:
            loss = self.per_row(results.loss)
        if not self.return_stats:
            return out, (loss,)
        argmax = torch.from_numpy(results.argmax).view(self.problem.batch_shape)
        return out, (loss, self.per_row(results.lse), self.per_row(results.entropy), argmax)

    def per_row(self, values: Any) -> Tensor:
        return torch.from_numpy(values).to(self.dtype).view(self.problem.batch_shape)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        """The gradient for any upstream gradients, in `out` if there is one; differentiable under `create_graph`."""
        loss, lse, entropy = (*upstream, None, None)[:3]
        if torch.is_grad_enabled():
            pairs = zip(self.reference(logits), (loss, lse, entropy), strict=False)
            used = [(output, g) for output, g in pairs if g is not None]
            outputs, cotangents = zip(*used, strict=True)
            return torch.autograd.grad(outputs, logits, cotangents, create_graph=True)[0]
        if out is None:
            out, into = output_like(logits, self.problem.axis)
        else:
            into = memory(out, self.problem.axis)
        self.loss.gradient(
            into,
            0.0 if loss is None else cotangent(loss),
            lse=None if lse is None else cotangent(lse),
            entropy=None if entropy is None else cotangent(entropy),
        )
        return out

    def check_without_memory(self) -> None:
        """The checks that need no values: for tracers, other devices and wrappers."""
        _, class_weight, sample_weight, _ = self.arguments
        if class_weight is not None:
            check_class_weight(tuple(class_weight.shape), self.problem.classes)
        if sample_weight is not None:
            check_sample_weight(tuple(sample_weight.shape), self.problem.batch_shape)

    def reference(self, logits: Tensor) -> tuple[Tensor, ...]:
        labels, class_weight, sample_weight, normalizer = self.arguments
        if isinstance(labels, TopK):
            labels = (labels.indices.long(), labels.values.to(self.dtype))
        elif self.problem.target == "index":
            labels = labels.long()
        else:
            labels = labels.to(self.dtype)
        loss, stats = reference.softmax_cross_entropy(
            NAMESPACE,
            self.problem,
            self.options,
            logits.to(self.dtype),
            labels,
            class_weight=None if class_weight is None else class_weight.to(self.dtype),
            sample_weight=None if sample_weight is None else sample_weight.to(self.dtype),
            normalizer=normalizer,
            function=self.function,
        )
        return loss, stats.lse, stats.entropy, stats.argmax


@outside_graphs
def softmax_cross_entropy(
    logits: Tensor,
    labels: Any,
    options: SoftmaxOptions,
    *,
    class_weight: Any,
    sample_weight: Any,
    normalizer: Any,
    return_stats: bool,
    validate: bool,
    function: RowFunction | None = None,
) -> Any:
    refuse("labels", labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    if isinstance(labels, TopK):
        target: Any = TopK(
            as_tensor("labels.indices", labels.indices, logits), as_tensor("labels.values", labels.values, logits)
        )
        described, tensors = target.indices, [("labels", target.values)]
    else:
        described = target = as_tensor("labels", labels, logits)
        tensors = [("labels", target)]
    problem = softmax_problem(
        logits.shape, dtype_name(logits), options.axis, described.shape, dtype_name(described), target is not described
    )
    if class_weight is not None:
        class_weight = as_tensor("class_weight", class_weight, logits)
        tensors.append(("class_weight", class_weight))
    if sample_weight is not None:
        sample_weight = as_tensor("sample_weight", sample_weight, logits)
        tensors.append(("sample_weight", sample_weight))
    if normalizer is not None:
        normalizer = check_normalizer(normalizer, options.reduction)
    wants = wanted_gradients(logits, tensors)
    plain = is_plain(logits) and is_plain(described)
    if plain and (len(tensors) > 1 or target is not described):
        plain = all(is_plain(t) for _, t in tensors)
    plan = loss_plan(plain_memory=plain, wants=wants, scalar=options.reduction != "none")
    call = _Call(problem, options, (target, class_weight, sample_weight, normalizer))
    call.return_stats, call.function = return_stats, function
    call.one_pass = plan.gradient_in_forward
    if plain:
        call.prepare(logits, validate)
    else:
        call.check_without_memory()
    if plan.kernel == "reference":
        loss, *stats = call.reference(logits)
    else:
        if wants:
            results = SoftmaxCrossEntropy.apply(logits, call)  # type: ignore[no-untyped-call]
        else:
            results = call.run(logits, gradient=False)[1]
            if not return_stats:
                return results[0]
        if not return_stats:
            return results
        loss, *stats = results
    return (loss, Stats(*stats)) if return_stats else loss
