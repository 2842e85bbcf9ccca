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
from numpy.typing import NDArray

from .contenders import Contender
from .data import Array, Problem

Float64 = NDArray[np.float64]

EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
BLOCK = 1 << 22  # elements of the truth that are computed at a time: 32 MiB an array


@dataclass(frozen=True)
class Truth:
    """A problem's solution in float64.

    Attributes:
        loss: in nats.
        gradient: [rows, classes].
        depth: the largest -log p of any class of any row, in nats.
    """

    loss: float
    gradient: Float64
    depth: float


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
    """The definition of the loss, written out."""
    logits = rows_of(problem.logits)
    classes, smoothing = logits.shape[1], problem.case.label_smoothing
    weight = np.ones(classes) if problem.class_weight is None else problem.class_weight.astype(np.float64)
    gradient = np.empty(logits.shape)
    total = mass = depth = 0.0
    step = max(1, BLOCK // classes)
    for block in (slice(start, start + step) for start in range(0, len(logits), step)):
        log_p = log_softmax(logits[block].astype(np.float64))
        target = dense_target(problem, block)
        kept = target.any(1, keepdims=True)
        measure = weight * ((1 - smoothing) * target + kept * smoothing / classes)
        total -= float((measure * log_p).sum())
        mass += float((weight * target).sum())
        gradient[block] = measure.sum(1, keepdims=True) * np.exp(log_p) - measure
        depth = max(depth, -float(log_p.min()))
    gradient /= mass
    return Truth(total / mass, gradient, depth)


def log_softmax(z: Float64) -> Float64:
    """Log-probabilities of rows of logits, in their place."""
    z -= z.max(1, keepdims=True)
    z -= np.log(np.exp(z).sum(1, keepdims=True))
    return z


def dense_target(problem: Problem, block: slice) -> Float64:
    """One probability a class, for some of the rows; all 0 in ignored ones."""
    if problem.case.soft:
        return np.asarray(rows_of(problem.labels)[block], np.float64)
    labels = problem.labels.reshape(-1, 1)[block]
    return np.asarray(labels == np.arange(problem.case.shape[1]), np.float64)


def rows_of(array: Array) -> Array:
    """[rows, classes] of an array whose classes are on axis 1."""
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


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
