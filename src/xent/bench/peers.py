"""xent's rivals: the same loss as PyTorch and plain NumPy compute it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .data import Problem
from .steps import Loss, Outcome, Step, numpy_logits, torch_or_none, torch_step


def torch_loss(problem: Problem) -> Loss:
    """`torch.nn.functional.cross_entropy` with the options of a case; it ignores label -100 unasked."""
    cross_entropy = torch_or_none().nn.functional.cross_entropy
    label_smoothing = problem.case.label_smoothing

    def loss(logits: Any, labels: Any, class_weight: Any) -> Any:
        return cross_entropy(logits, labels, weight=class_weight, label_smoothing=label_smoothing)

    return loss


def eager_step(problem: Problem) -> Step:
    """PyTorch as it comes."""
    return torch_step(problem, torch_loss(problem))


def compiled_step(problem: Problem) -> Step:
    """The same through `torch.compile`, compiled by a first call.

    Raises:
        Exception: whatever the compiler ran into; it needs a C++ compiler at run time.
    """
    torch = torch_or_none()
    torch.compiler.reset()  # every case compiles the same function anew, and torch gives up after eight
    step = torch_step(problem, torch.compile(torch_loss(problem), fullgraph=True, dynamic=False))
    step()
    return step


def numpy_can(problem: Problem) -> bool:
    """Whether `numpy_step` computes this case: the plain loss alone, in a dtype of NumPy's."""
    case = problem.case
    return not (case.label_smoothing or case.class_weight or case.ignored or case.dtype == "bfloat16")


def numpy_step(problem: Problem) -> Step:
    """The textbook's formula: log-softmax after subtracting the maximum, and softmax minus target as gradient."""
    logits, labels, backward = numpy_logits(problem), problem.labels, problem.case.backward
    if not problem.case.soft:
        labels = np.expand_dims(labels, 1)
    rows = logits.size // logits.shape[1]

    def step() -> Outcome:
        log_p = logits - logits.max(1, keepdims=True)
        p = np.exp(log_p)
        total = p.sum(1, keepdims=True)
        log_p -= np.log(total)
        picked = labels * log_p if problem.case.soft else np.take_along_axis(log_p, labels, 1)
        loss = -picked.sum() / rows
        if not backward:
            return loss, None
        p /= total
        if problem.case.soft:
            p -= labels
        else:
            np.put_along_axis(p, labels, np.take_along_axis(p, labels, 1) - 1, 1)
        p /= rows
        return loss, p

    return step
