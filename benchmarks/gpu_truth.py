"""What `gpu.py` holds results to before it times them: the definition in float64, and the two rules of `xent bench`.

The loss is compared as it is; gradients in a few rows, those of a weight in those of a few classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from gpu_contenders import IGNORED, Case, Inputs, Step
from torch import Tensor

from xent.bench.agreement import EPS

UPSTREAM = 0.37  # of the gradients that are compared; a gradient made for 1 has to be scaled
_CHUNK = 512  # rows whose logits are in float64 at a time


class Truth(NamedTuple):
    """The loss, some rows of each gradient with their numbers, and the largest -log p of the rows that count."""

    loss: float
    gradients: list[tuple[Tensor, Tensor]]
    depth: float


class Errors(NamedTuple):
    """Of the loss, relative; of the gradients, the largest of any entry over the largest true one. Never NaN."""

    loss: float
    gradient: float


@torch.no_grad()
def truth(inputs: Inputs) -> Truth:
    """The mean over rows that are not ignored, and its gradient times `UPSTREAM`."""
    case, labels = inputs.case, inputs.labels
    wide = inputs.tensors[1].double() if case.width else None
    few_rows, few_classes = some(case.rows, labels.device), some(case.classes, labels.device)
    counted = (labels != IGNORED).double()
    factor = UPSTREAM / float(counted.sum())

    def residuals(rows: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """(nll, p - [k = y]) of some rows, in all classes or in some."""
        x = inputs.tensors[0][rows].double()
        logits = x if wide is None else x @ wide.T
        lse = logits.logsumexp(1)
        chosen = labels[rows].clamp(min=0)
        nll = (lse - logits.gather(1, chosen[:, None])[:, 0]) * counted[rows]
        at = torch.arange(case.classes, device=labels.device) if classes is None else classes
        found = (logits[:, at] - lse[:, None]).exp() - (at == chosen[:, None]).double()
        return nll, found * counted[rows, None]

    every = torch.arange(case.rows, device=labels.device).split(_CHUNK)
    parts = [residuals(rows, few_classes) for rows in every]
    nll = torch.cat([part[0] for part in parts])
    of_rows = factor * residuals(few_rows, None)[1]
    gradients = [(few_rows, of_rows if wide is None else of_rows @ wide)]
    if wide is not None:
        of_classes = sum(part[1].T @ inputs.tensors[0][rows].double() for part, rows in zip(parts, every, strict=True))
        gradients.append((few_classes, factor * of_classes))
    return Truth(float(nll.sum() / counted.sum()), gradients, float(nll.max()))


def some(n: int, device: torch.device) -> Tensor:
    """The first numbers below n, the last ones, and some between."""
    return torch.tensor(sorted({*range(min(n, 3)), n // 3, n // 2, *range(max(n - 3, 0), n)}), device=device)


def errors(step: Step, true: Truth) -> Errors:
    """How far a step made with `UPSTREAM` is from the truth."""
    loss = step.forward()
    gradients = step.backward(loss)
    off = abs(float(loss.detach()) - true.loss) / abs(true.loss)
    worst = [
        float((found[rows].double() - expected).abs().max() / expected.abs().max())
        for found, (rows, expected) in zip(gradients, true.gradients, strict=True)
    ]
    return Errors(_never_nan(off), max(map(_never_nan, worst)))


def _never_nan(error: float) -> float:
    return math.inf if math.isnan(error) else error


def disagreement(name: str, mine: Errors, true: Truth, case: Case, peers: Sequence[tuple[str, Errors]]) -> str:
    """What an error breaks of the rules, in words; empty if it agrees.

    1. Nobody errs by more than a computation that keeps its log-probabilities in the tensors' dtype.
    2. xent errs by no more than any peer, plus two units of rounding of the result.

    xent's loss of given logits is float32 at least.
    """
    eps = EPS[case.dtype]
    of_loss = EPS["float32"] if name == "xent" and not case.width else eps
    bound = 1 + true.depth
    limits = [("(1 + the largest -log p)·eps", bound * of_loss, bound * eps)]
    if name == "xent":
        limits += [(f"{n}'s error + 2·eps", e.loss + 2 * of_loss, e.gradient + 2 * eps) for n, e in peers]
    for limit, loss, gradient in limits:
        for what, off, most in (("loss", mine.loss, loss), ("gradient", mine.gradient, gradient)):
            if off > most:
                return f"the {what} has an error of {off:.2g}, expected at most {most:.2g}, {limit}"
    return ""
