"""A loss as one timed step: a forward pass, or a forward and a backward pass, on the arrays of a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import xent

from .data import Array, Problem, numpy_logits

Loss = Callable[[Any, Any, Any], Any]  # (logits, labels, weights or None) -> mean loss
Outcome = tuple[Any, Any]  # the loss and the gradient to the logits (None without a backward pass)
Step = Callable[[], Any]


def torch_or_none() -> Any:
    """The module torch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def torch_arrays(problem: Problem, labels: Array) -> tuple[Any, Any, Any]:
    """Logits, labels and weights as tensors; the logits in the case's dtype."""
    torch = torch_or_none()
    dtype = getattr(torch, problem.case.dtype)
    weight = None if problem.weight is None else torch.from_numpy(problem.weight).to(dtype)
    return torch.from_numpy(problem.logits).to(dtype), torch.from_numpy(labels), weight


def torch_step(problem: Problem, loss: Loss, labels: Array) -> Step:
    """One step of training on PyTorch through autograd, or of evaluation under `torch.no_grad()`."""
    torch = torch_or_none()
    logits, labels, weight = torch_arrays(problem, labels)
    logits = logits.detach().requires_grad_(problem.case.backward)

    def train() -> Outcome:
        value = loss(logits, labels, weight)
        value.backward()
        # Whoever times the step drops this, on the clock: each pays for the release of its own gradient, and none is
        # left to the next contender.
        gradient, logits.grad = logits.grad, None
        return value, gradient

    def evaluate() -> Outcome:
        with torch.no_grad():
            return loss(logits, labels, weight), None

    return train if problem.case.backward else evaluate


def numpy_step(problem: Problem, loss: Loss) -> Step:
    """One step of a loss of xent's on NumPy arrays."""
    arrays = numpy_logits(problem), problem.labels, problem.weight
    value_and_grad = xent.value_and_grad(loss)

    def evaluate() -> Outcome:
        return loss(*arrays), None

    return (lambda: value_and_grad(*arrays)) if problem.case.backward else evaluate


def copy_step(problem: Problem) -> Step:
    """A copy of the logits into memory that is in use already: PyTorch's, on all its threads, if it is installed."""
    if torch_or_none() is None:
        source = numpy_logits(problem)
        target = np.zeros_like(source)
        return lambda: np.copyto(target, source)
    logits = torch_arrays(problem, problem.labels)[0]
    copied = logits.clone()
    return lambda: copied.copy_(logits)
