"""The sigmoid family: each class of a row is positive or not, on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

import xent

from .cases import Case
from .data import Array, Problem, Truth, blocks, numpy_logits, rows_of
from .steps import Loss, Outcome, Step


def heeded(case: Case) -> frozenset[str]:
    """The options of a case that these functions know."""
    return frozenset({"positives"} if case.loss == "soft margin" else {"positives", "pos_weight"})


def labels(random: np.random.Generator, case: Case) -> tuple[Array, Array]:
    """Dense float32 labels, 0 or 1, as torch wants them; or lists of positives [rows, k] for xent, dense for others."""
    if not case.positives:
        dense = random.integers(2, size=case.shape).astype(np.float32)
        return dense, dense
    rows, classes = case.shape
    lists = np.stack([random.choice(classes, case.positives, replace=False, shuffle=False) for _ in range(rows)])
    dense = np.zeros(case.shape, np.float32)
    np.put_along_axis(dense, lists, 1, 1)
    return lists, dense


def xent_loss(case: Case) -> Loss:
    """`xent.sigmoid_cross_entropy` with the options of a case."""

    def loss(logits: Any, labels: Any, weight: Any) -> Any:
        return xent.sigmoid_cross_entropy(
            logits, xent.Positives(labels) if case.positives else labels, pos_weight=weight
        )

    return loss


def torch_loss(functional: Any, case: Case) -> Loss:
    """`binary_cross_entropy_with_logits`, or `multilabel_soft_margin_loss`, which knows no weight of the positives."""

    def bce(logits: Any, labels: Any, weight: Any) -> Any:
        return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)

    def soft_margin(logits: Any, labels: Any, weight: Any) -> Any:
        return functional.multilabel_soft_margin_loss(logits, labels)

    return soft_margin if case.loss == "soft margin" else bce


def numpy_step(problem: Problem) -> Step:
    """The textbook's formula: max(x, 0) - x·y + log(1 + e^-|x|), and sigmoid minus label as gradient."""
    logits, labels, backward = numpy_logits(problem), problem.plain_labels, problem.case.backward

    def step() -> Outcome:
        small = np.exp(-np.abs(logits))
        loss = (np.maximum(logits, 0) - logits * labels + np.log1p(small)).mean()
        if not backward:
            return loss, None
        p = np.where(logits < 0, small, 1) / (1 + small)
        p -= labels
        p /= logits.size
        return loss, p

    return step


def truth(problem: Problem) -> Truth:
    """The definition of the loss, written out."""
    logits, labels = rows_of(problem.logits), rows_of(problem.plain_labels)
    weight = np.ones(logits.shape[1]) if problem.weight is None else problem.weight.astype(np.float64)
    gradient = np.empty(logits.shape)
    total = depth = 0.0
    for block in blocks(*logits.shape):
        x, y = logits[block].astype(np.float64), labels[block].astype(np.float64)
        of_positive, of_negative = np.logaddexp(0, -x), np.logaddexp(0, x)
        total += float((weight * y * of_positive + (1 - y) * of_negative).sum())
        gradient[block] = (1 - y) * np.exp(-of_positive) - weight * y * np.exp(-of_negative)
        depth = max(depth, float(of_positive.max()), float(of_negative.max()))
    gradient /= logits.size
    return Truth(total / logits.size, gradient, depth)
