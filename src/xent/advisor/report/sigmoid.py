"""The numbers of a report on labels that do not exclude each other: each class of each row is a decision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from ...errors import value_error
from .measures import MOST_PAIRS, MOST_SHOWN, ByClass, Confusion, Measures, Temperature, shares, temperature_of
from .rows import Progress, Rows, sampled

SAMPLE_DECISIONS = 2**21  # that calibration is judged by
Array = NDArray[Any]


def measure(rows: Rows, ignore_index: int | None, progress: Progress) -> Measures:
    """Reads all rows once. A class is found where its logit is positive, and there where its label is at least 0.5.

    Raises:
        IndexError: a list with a class out of range. ValueError: no decision counts, or labels outside [0, 1].
    """
    classes = rows.classes
    chosen = sampled(rows.count, SAMPLE_DECISIONS // classes)
    decisions, positives, found, hits, right = (np.zeros(classes, np.int64) for _ in range(5))
    sums, floor, broken, faultless = np.zeros(classes), 0.0, 0, 0
    kept_logits, kept_labels, kept_counts = [], [], []
    for block in rows.blocks(progress):
        x, y = block.logits, block.labels
        ignored = y == ignore_index if ignore_index is not None else np.zeros(y.shape, bool)
        _check_labels(y, ignored, block.start)
        losses = xent.sigmoid_cross_entropy(x, y, ignore_index=ignore_index, reduction="none").astype(np.float64)
        finite = np.isfinite(losses)
        counts = finite & ~ignored
        broken += int(np.count_nonzero(~finite & ~ignored))
        there, raised = (y >= 0.5) & counts, (x > 0) & counts
        wrong = there ^ raised
        sums += np.where(counts, losses, 0.0).sum(axis=0)
        decisions += counts.sum(axis=0)
        positives += there.sum(axis=0)
        found += raised.sum(axis=0)
        hits += (there & raised).sum(axis=0)
        right += (counts & ~wrong).sum(axis=0)
        faultless += int(np.count_nonzero(~wrong.any(axis=1)))
        if rows.soft:
            floor += _entropy(y[counts])
        keep = chosen[block.start : block.start + len(x)]
        kept_logits.append(x[keep])
        kept_labels.append(y[keep])
        kept_counts.append(counts[keep])
    counted = int(decisions.sum())
    if not counted:
        remedy = "Look at the findings of xent check."
        raise value_error("labels", "a decision that counts", "only ignored ones and infinite losses", remedy)
    logits, labels, counts = map(np.concatenate, (kept_logits, kept_labels, kept_counts))
    errors = positives + found - 2 * hits
    probabilities, outcomes = xent.sigmoid(logits[counts].astype(np.float64)), labels[counts].astype(np.float64)
    return Measures(
        rows=rows.count,
        classes=classes,
        counted=counted,
        ignored=rows.count * classes - counted - broken,
        broken=broken,
        loss=float(sums.sum() / counted),
        accuracy=float(right.sum() / counted),
        floor=floor / counted if rows.soft else None,
        all_right=faultless / rows.count,
        by_class=ByClass(
            counts=positives,
            loss=shares(sums, decisions),
            accuracy=shares(right, decisions),
            recall=shares(hits, positives),
            precision=shares(hits, found),
        ),
        confusion=_confusion(errors, (labels >= 0.5) & counts, (logits > 0) & counts),
        probabilities=probabilities,
        outcomes=outcomes,
        right=(logits[counts] > 0) == (outcomes >= 0.5),
        temperature=_temperature(logits[counts], labels[counts], len(logits)),
    )


def _check_labels(labels: Array, ignored: Array, start: int) -> None:
    bad = ~((labels >= 0) & (labels <= 1)) & ~ignored
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        got = f"{labels[row][bad[row]][0]} in row {start + row}"
        remedy = "Save a 0 or 1 for each class, or name the label to skip with --ignore-index."
        raise value_error("labels", "numbers in [0, 1]", got, remedy)


def _entropy(labels: Array) -> float:
    """-Σ y·log y + (1 - y)·log(1 - y) over all labels, 0 where y is 0 or 1."""
    y = labels.astype(np.float64)
    both = np.stack([y, 1 - y])
    return float(-np.sum(both * np.log(np.where(both > 0, both, 1.0))))


def _confusion(errors: Array, there: Array, raised: Array) -> Confusion:
    """The classes with the most wrong decisions: which is missed in rows where which other is raised falsely."""
    classes = len(errors)
    shown = np.arange(classes) if classes <= MOST_SHOWN else np.argsort(-errors, kind="stable")[:MOST_SHOWN]
    missed = (there & ~raised)[:, shown].astype(np.int64)
    false = (raised & ~there).astype(np.int64)
    matrix = missed.T @ false[:, shown]
    together = sorted(((int(n), i, j) for (i, j), n in np.ndenumerate(matrix) if n), key=lambda pair: -pair[0])
    pairs = [(int(shown[i]), int(shown[j]), n) for n, i, j in together[:MOST_PAIRS]]
    others = missed.T @ false.sum(axis=1) - matrix.sum(axis=1)
    np.fill_diagonal(matrix, (there & raised)[:, shown].sum(axis=0))
    return Confusion(shown, matrix, others, pairs)


def _temperature(logits: Array, labels: Array, rows: int) -> Temperature:
    x, y = logits.astype(np.float64), labels.astype(np.float64)

    def slope(temperature: float) -> float:
        return float(np.mean(x * (xent.sigmoid(x / temperature) - y)))

    def at(temperature: float) -> tuple[Array, Array, Array]:
        z = x / temperature
        return xent.sigmoid_cross_entropy(z, y, reduction="none"), xent.sigmoid(z), y

    return temperature_of(slope, at, rows)
