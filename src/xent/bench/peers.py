"""xent's rivals: the same loss as PyTorch and plain NumPy compute it."""

from __future__ import annotations

from .data import Problem
from .families import family, options
from .steps import Loss, Step, torch_or_none, torch_step


def torch_loss(problem: Problem) -> Loss:
    """The function of `torch.nn.functional` that computes a case."""
    return family(problem.case).torch_loss(torch_or_none().nn.functional, problem.case)


def eager_step(problem: Problem) -> Step:
    """PyTorch as it comes."""
    return torch_step(problem, torch_loss(problem), problem.plain_labels)


def compiled_step(problem: Problem) -> Step:
    """The same through `torch.compile`, compiled by a first call.

    Raises:
        Exception: whatever the compiler ran into; it needs a C++ compiler at run time.
    """
    torch = torch_or_none()
    torch.compiler.reset()  # every case compiles the same function anew, and torch gives up after eight
    loss = torch.compile(torch_loss(problem), fullgraph=True, dynamic=False)
    step = torch_step(problem, loss, problem.plain_labels)
    step()
    return step


def numpy_can(problem: Problem) -> bool:
    """Whether `numpy_step` computes this case: a plain loss, whatever its labels, in a dtype of NumPy's."""
    return options(problem.case) <= {"soft", "positives"} and problem.case.dtype != "bfloat16"


def numpy_step(problem: Problem) -> Step:
    """The textbook's formula."""
    return family(problem.case).numpy_step(problem)
