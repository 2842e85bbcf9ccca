"""The check that comes before the timing: every result against a float64 truth.

Errors are relative: that of the loss to the true loss; that of the gradient, which is the largest of any entry, to the
largest true entry. Two rules are held to:

1. Nobody is further from the truth than a computation that keeps its log-probabilities in the result's dtype: `eps` of
   that dtype times 1 + the largest -log p. Whoever is computes something else.
2. xent is no further from the truth than any peer, plus two `eps` of its result's dtype: one because results are
   rounded, one because the largest error of a few rows is a matter of luck.

The dtype is the logits', but for xent's losses, which are float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .contenders import Contender
from .data import Array, Problem, Truth, rows_of
from .families import family

EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


@dataclass(frozen=True)
class Error:
    """How far a loss and a gradient (None: not computed) are from the truth, relative to it; never NaN."""

    loss: float
    gradient: float | None


@dataclass(frozen=True)
class Verdict:
    """A contender's error and what it breaks of the rules, in words."""

    error: Error
    disagreements: list[str]


def truth(problem: Problem) -> Truth:
    """The definition of the loss, in float64."""
    return family(problem.case).truth(problem)


def error(outcome: tuple[Any, Any], true: Truth) -> Error:
    """How far a contender's loss and gradient are from the truth; infinitely, where they are NaN."""
    loss, gradient = outcome
    of_loss = relative(in_numpy(loss) - true.loss, true.loss)
    return Error(
        of_loss, None if gradient is None else relative(rows_of(in_numpy(gradient)) - true.gradient, true.gradient)
    )


def relative(difference: Array, true: Any) -> float:
    """The largest difference over the largest true value."""
    off = float(np.abs(difference).max() / (np.abs(true).max() or 1.0))
    return math.inf if math.isnan(off) else off


def in_numpy(array: Any) -> Array:
    """A NumPy array, or a torch.Tensor as one."""
    return array.detach().double().numpy() if hasattr(array, "detach") else np.asarray(array)


def check(found: Sequence[Contender]) -> dict[str, Verdict]:
    """Runs every contender but the copy once, and judges its result. By name."""
    problems = {id(contender.problem): contender.problem for contender in found}
    verdicts: dict[str, Verdict] = {}
    for problem in problems.values():
        true = truth(problem)
        rivals = [c for c in found if c.problem is problem and c.role != "copy"]
        errors = {c.name: error(c.step(), true) for c in rivals}
        peers = {c.name: errors[c.name] for c in rivals if c.role == "peer"}
        for c in rivals:
            verdicts[c.name] = Verdict(errors[c.name], disagreements(c, errors[c.name], true, peers))
    return verdicts


def disagreements(contender: Contender, mine: Error, true: Truth, peers: dict[str, Error]) -> list[str]:
    """What a contender's error breaks of the rules; empty if it agrees.

    Args:
        contender: whose error it is.
        mine: the error.
        true: what it is relative to.
        peers: by name, the errors on the same problem that xent may not exceed.
    """
    of_gradient = EPS[contender.problem.case.dtype]
    of_loss = EPS["float32"] if contender.role == "xent" else of_gradient
    bound = 1 + true.depth
    limits = [("(1 + the largest -log p)·eps", bound * of_loss, bound * of_gradient)]
    if contender.role == "xent":
        limits += [
            (f"{name}'s error + 2·eps", peer.loss + 2 * of_loss, (peer.gradient or 0.0) + 2 * of_gradient)
            for name, peer in peers.items()
        ]
    return [
        f"DISAGREES: {contender.name}: the {what} has an error of {off:.3g}, expected at most {most:.3g}, {limit}."
        for limit, loss, gradient in limits
        for what, off, most in (("loss", mine.loss, loss), ("gradient", mine.gradient, gradient))
        if off is not None and off > most
    ]
