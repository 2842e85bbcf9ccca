"""The softmax family: one label a row, as a class index or as a probability for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

import xent

from .cases import Case
from .data import Array, Float64, Problem, Truth, blocks, numpy_logits, rows_of
from .steps import Loss, Outcome, Step

IGNORED = -100  # torch's default, which xent is told


def heeded(case: Case) -> frozenset[str]:
    """The options of a case that these functions know."""
    return frozenset({"soft", "label_smoothing", "class_weight", "ignored"})


def labels(random: np.random.Generator, case: Case) -> tuple[Array, Array]:
    """int64 class indices, of which the case's share is ignored, or float32 soft targets; the same for all."""
    if case.soft:
        targets = random.standard_exponential(case.shape, dtype=np.float32)
        targets /= targets.sum(1, keepdims=True)
        return targets, targets
    indices = random.integers(case.shape[1], size=case.shape[:1] + case.shape[2:], dtype=np.int64)
    ignored = random.permutation(indices.size)[: round(case.ignored * indices.size)]
    indices.reshape(-1)[ignored] = IGNORED
    return indices, indices


def xent_loss(case: Case) -> Loss:
    """`xent.softmax_cross_entropy` with the options of a case."""
    ignore_index = IGNORED if case.ignored else None

    def loss(logits: Any, labels: Any, weight: Any) -> Any:
        return xent.softmax_cross_entropy(
            logits,
            labels,
            axis=1,
            class_weight=weight,
            label_smoothing=case.label_smoothing,
            ignore_index=ignore_index,
        )

    return loss


def torch_loss(functional: Any, case: Case) -> Loss:
    """`torch.nn.functional.cross_entropy` with the options of a case; it ignores label -100 unasked."""

    def loss(logits: Any, labels: Any, weight: Any) -> Any:
        return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=case.label_smoothing)

    return loss


def numpy_step(problem: Problem) -> Step:
    """The textbook's formula: log-softmax after subtracting the maximum, and softmax minus target as gradient."""
    logits, labels, backward = numpy_logits(problem), problem.plain_labels, problem.case.backward
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


def truth(problem: Problem) -> Truth:
    """The definition of the loss, written out."""
    logits = rows_of(problem.logits)
    classes, smoothing = logits.shape[1], problem.case.label_smoothing
    weight = np.ones(classes) if problem.weight is None else problem.weight.astype(np.float64)
    gradient = np.empty(logits.shape)
    total = mass = depth = 0.0
    for block in blocks(*logits.shape):
        log_p = _log_softmax(logits[block].astype(np.float64))
        target = _dense_target(problem, block)
        kept = target.any(1, keepdims=True)
        measure = weight * ((1 - smoothing) * target + kept * smoothing / classes)
        total -= float((measure * log_p).sum())
        mass += float((weight * target).sum())
        gradient[block] = measure.sum(1, keepdims=True) * np.exp(log_p) - measure
        depth = max(depth, -float(log_p.min()))
    gradient /= mass
    return Truth(total / mass, gradient, depth)


def _log_softmax(z: Float64) -> Float64:
    """Log-probabilities of rows of logits, in their place."""
    z -= z.max(1, keepdims=True)
    z -= np.log(np.exp(z).sum(1, keepdims=True))
    return z


def _dense_target(problem: Problem, block: slice) -> Float64:
    """One probability a class, for some of the rows; all 0 in ignored ones."""
    if problem.case.soft:
        return np.asarray(rows_of(problem.labels)[block], np.float64)
    labels = problem.labels.reshape(-1, 1)[block]
    return np.asarray(labels == np.arange(problem.case.shape[1]), np.float64)
