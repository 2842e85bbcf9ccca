"""Calls of softmax cross-entropy on plain tensors: checked, and ready to run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...formulas import RowFunction
from ...kernels import reference
from ...kernels.native import POOLED_BYTES, IndexLabels
from ...labels import TopK
from ...losses.labels import int64_labels, topk_arrays
from ...losses.softmax import SoftmaxLoss
from ...options import SoftmaxOptions
from ...problem import SoftmaxProblem, check_class_weight, check_sample_weight
from .arrays import (
    NAMESPACE,
    TORCH_DTYPES,
    cotangent,
    memory,
    numpy_of,
    output_like,
)
from .loss_function import LossCall


def flat_labels(labels: Tensor | TopK, problem: SoftmaxProblem, validate: bool) -> Any:
    """Labels as `SoftmaxLoss` takes them."""
    if isinstance(labels, TopK):
        return topk_arrays(numpy_of(labels.indices), numpy_of(labels.values), problem.classes, validate)
    if problem.target == "dense":
        return memory(labels.detach(), problem.axis)
    flat = labels.contiguous() if labels.dtype is torch.int64 else torch.from_numpy(int64_labels(labels.numpy()))
    return IndexLabels(flat.data_ptr(), flat, labels)


class SoftmaxCall(LossCall):
    """One call of softmax cross-entropy, with what its derivatives need."""

    __slots__ = ("arguments", "dtype", "function", "loss", "one_pass", "options", "problem", "return_stats")

    def __init__(self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...]) -> None:
        self.problem, self.options, self.arguments = problem, options, arguments
        self.dtype = TORCH_DTYPES[problem.accumulate]
        self.return_stats = False
        self.one_pass = False
        self.function: RowFunction | None = None
        self.loss: Any = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
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

    def release(self, logits: Tensor) -> None:
        if logits.numel() * logits.itemsize >= POOLED_BYTES:
            self.loss = None

    def run(self, logits: Tensor, gradient: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        out, into = output_like(logits, self.problem.axis) if gradient else (None, None)
        results = self.loss.run(into, statistics=self.return_stats)
        if self.options.reduction != "none":
            loss = torch.scalar_tensor(results.total, dtype=self.dtype, device="cpu")
        else:
            loss = self.per_row(results.loss)
        if not self.return_stats:
            return out, (loss,)
        argmax = torch.from_numpy(results.argmax.reshape(self.problem.batch_shape))
        return out, (loss, self.per_row(results.lse), self.per_row(results.entropy), argmax)

    def per_row(self, values: Any) -> Tensor:
        return torch.from_numpy(values.reshape(self.problem.batch_shape)).to(self.dtype)

    def vjp(self, logits: Tensor, upstream: tuple[Tensor | None, ...], out: Tensor | None) -> Tensor:
        loss, lse, entropy = (*upstream, None, None)[:3]
        if self.loss is None:
            self.prepare(logits, False)
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
