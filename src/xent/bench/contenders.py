"""Everything that is timed on a problem: xent, its rivals, and a copy of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from . import peers
from .data import Problem
from .families import family, none_ignored
from .steps import Step, copy_step, numpy_step, torch_or_none, torch_step


@dataclass(frozen=True)
class Contender:
    """One way to compute a problem.

    Attributes:
        name: as tables show it.
        role: "xent", "peer", or "copy", which computes no loss.
        problem: what it computes: the case's, but for the variant that shows what ignored rows save.
        step: one call; returns the loss and the gradient.
    """

    name: str
    role: Literal["xent", "peer", "copy"]
    problem: Problem
    step: Step


def contenders(problem: Problem, compile: bool = True) -> tuple[list[Contender], list[str]]:
    """Those that can compute a problem here, and notes on those that cannot."""
    found: list[Contender] = []
    notes: list[str] = []
    torch = torch_or_none()
    loss = family(problem.case).xent_loss(problem.case)
    if torch is not None:
        found.append(Contender("xent (torch)", "xent", problem, torch_step(problem, loss, problem.labels)))
    if problem.case.dtype != "bfloat16":
        found.append(Contender("xent (NumPy)", "xent", problem, numpy_step(problem, loss)))
    if torch is not None and problem.case.ignored:
        kept = none_ignored(problem)
        kept_loss = family(kept.case).xent_loss(kept.case)
        found.append(Contender("xent, all kept", "xent", kept, torch_step(kept, kept_loss, kept.labels)))
    if torch is not None:
        found.append(Contender("torch", "peer", problem, peers.eager_step(problem)))
    else:
        notes.append("torch is not installed: neither torch nor torch.compile is timed, and memcpy is NumPy's.")
    if torch is not None and compile:
        try:
            found.append(Contender("torch.compile", "peer", problem, peers.compiled_step(problem)))
        except Exception as error:  # compilers fail in ways of their own, and xent's numbers do not depend on them
            reason = " ".join(str(error).split())[:200]
            notes.append(f"torch.compile is left out, it failed with {type(error).__name__}: {reason}")
    if peers.numpy_can(problem):
        found.append(Contender("NumPy", "peer", problem, peers.numpy_step(problem)))
    found.append(Contender("memcpy", "copy", problem, copy_step(problem)))
    return found, notes
