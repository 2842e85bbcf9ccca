"""A loss as one timed step: a forward pass, or a forward and a backward pass, on the arrays of a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import xent

from .data import IGNORED, Array, Problem

Loss = Callable[[Any, Any, Any], Any]  # (logits, labels, class weights or None) -> mean loss
Outcome = tuple[Any, Any]  # the loss and the gradient to the logits (None without a backward pass)
Step = Callable[[], Any]


def torch_or_none() -> Any:
    """The module torch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def xent_loss(problem: Problem) -> Loss:
    """xent's loss with the options of a case, on the arrays of any framework."""
    case = problem.case
    ignore_index = IGNORED if case.ignored else None

    def loss(logits: Any, labels: Any, class_weight: Any) -> Any:
        return xent.softmax_cross_entropy(
            logits,
            labels,
            axis=1,
            class_weight=class_weight,
            label_smoothing=case.label_smoothing,
            ignore_index=ignore_index,
        )

    return loss


def torch_arrays(problem: Problem) -> tuple[Any, Any, Any]:
    """Logits, labels and class weights as tensors; the logits in the case's dtype."""
    torch = torch_or_none()
    dtype = getattr(torch, problem.case.dtype)
    weight = None if problem.class_weight is None else torch.from_numpy(problem.class_weight).to(dtype)
    return torch.from_numpy(problem.logits).to(dtype), torch.from_numpy(problem.labels), weight


def torch_step(problem: Problem, loss: Loss) -> Step:
    """One step of training on PyTorch through autograd, or of evaluation under `torch.no_grad()`."""
    torch = torch_or_none()
    logits, labels, class_weight = torch_arrays(problem)
    logits = logits.detach().requires_grad_(problem.case.backward)

    def train() -> Outcome:
        value = loss(logits, labels, class_weight)
        value.backward()
        gradient, logits.grad = logits.grad, None  # dropped by the caller: nothing is left to the next contender
        return value, gradient

    def evaluate() -> Outcome:
        with torch.no_grad():
            return loss(logits, labels, class_weight), None

    return train if problem.case.backward else evaluate


def xent_numpy_step(problem: Problem) -> Step:
    """xent on NumPy arrays."""
    loss = xent_loss(problem)
    arrays = numpy_logits(problem), problem.labels, problem.class_weight
    value_and_grad = xent.value_and_grad(loss)

    def evaluate() -> Outcome:
        return loss(*arrays), None

    return (lambda: value_and_grad(*arrays)) if problem.case.backward else evaluate


def numpy_logits(problem: Problem) -> Array:
    """The logits in the case's dtype, which must be one of NumPy's."""
    return problem.logits.astype(problem.case.dtype, copy=False)


def copy_step(problem: Problem) -> Step:
    """A copy of the logits into memory that is in use already: PyTorch's, on all its threads, if it is installed."""
    if torch_or_none() is None:
        source = numpy_logits(problem)
        target = np.zeros_like(source)
        return lambda: np.copyto(target, source)
    logits = torch_arrays(problem)[0]
    copied = logits.clone()
    return lambda: copied.copy_(logits)
