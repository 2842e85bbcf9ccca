"""The numbers of a report on exclusive classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from ...errors import value_error
from .measures import MOST_PAIRS, MOST_SHOWN, ByClass, Confusion, Measures, Temperature, shares, temperature_of
from .rows import Block, Progress, Rows, check_range, sampled

SAMPLE_BYTES = 2**27  # of the logits that the temperature is fitted on
Array = NDArray[Any]


def measure(rows: Rows, ignore_index: int | None, progress: Progress) -> Measures:
    """Reads all rows once. A row with soft labels is of the class with the largest share.

    Raises:
        IndexError: a label out of range. ValueError: no row counts.
    """
    classes = rows.classes
    chosen = sampled(rows.count, SAMPLE_BYTES // (classes * rows.logits.dtype.itemsize))
    sums, floor, broken = np.zeros(classes), 0.0, 0
    labels, found, confidence, outcomes, sample_labels = [], [], [], [], []
    sample, taken = np.empty((np.count_nonzero(chosen), classes), rows.logits.dtype), 0
    for block in rows.blocks(progress):
        losses, stats = _evaluated(block, ignore_index)
        counts = np.isfinite(losses) & np.isfinite(stats.lse)
        if rows.form == "index":
            ignored = block.labels == ignore_index
            broken += int(np.count_nonzero(~counts & ~ignored))
            counts &= ~ignored
            of = block.labels[counts]
        else:
            broken += int(np.count_nonzero(~counts))
            of = block.labels[counts].argmax(axis=1)
            floor += _entropy(block.labels[counts])
        top = stats.argmax[counts]
        sums += np.bincount(of, weights=losses[counts], minlength=classes)
        labels.append(of)
        found.append(top)
        confidence.append(_confidence(block.logits[counts][np.arange(len(top)), top], stats.lse[counts]))
        outcomes.append(_outcomes(block.labels[counts], top))
        keep = counts & chosen[block.start : block.start + len(counts)]
        sample_labels.append(block.labels[keep])
        sample[taken : taken + len(sample_labels[-1])] = block.logits[keep]
        taken += len(sample_labels[-1])
    label, prediction = np.concatenate(labels), np.concatenate(found)
    counted, right = len(label), label == prediction
    if not counted:
        remedy = "Look at the findings of xent check."
        raise value_error("labels", "a row that counts", "only ignored rows and rows without a finite loss", remedy)
    hits = np.bincount(label[right], minlength=classes)
    counts_by_class = np.bincount(label, minlength=classes)
    recall = shares(hits, counts_by_class)
    return Measures(
        rows=rows.count,
        classes=classes,
        counted=counted,
        ignored=rows.count - counted - broken,
        broken=broken,
        loss=float(sums.sum() / counted),
        accuracy=float(right.mean()),
        floor=floor / counted if rows.soft else None,
        all_right=None,
        by_class=ByClass(
            counts=counts_by_class,
            loss=shares(sums, counts_by_class),
            accuracy=recall,
            recall=recall,
            precision=shares(hits, np.bincount(prediction, minlength=classes)),
        ),
        confusion=_confusion(label, prediction, classes),
        probabilities=np.concatenate(confidence),
        outcomes=np.concatenate(outcomes),
        right=right,
        temperature=_temperature(sample[:taken], np.concatenate(sample_labels)),
    )


def _evaluated(block: Block, ignore_index: int | None) -> tuple[Array, Any]:
    """Losses and statistics of a block."""
    index = block.labels.ndim == 1
    if index:
        check_range(block.labels, block.start, block.logits.shape[1], ignore_index)
    losses, stats = xent.softmax_cross_entropy(
        block.logits,
        block.labels,
        ignore_index=ignore_index if index else None,
        reduction="none",
        return_stats=True,
    )
    return losses.astype(np.float64), stats


def _confidence(largest: Array, lse: Array) -> Array:
    """The probability of the class with the largest logit."""
    return np.exp(np.minimum(largest.astype(np.float64) - lse, 0.0))


def _outcomes(labels: Array, predictions: Array) -> Array:
    """Whether the predictions are right; with soft labels, the share that the label gives the predicted class."""
    return labels == predictions if labels.ndim == 1 else labels[np.arange(len(predictions)), predictions]


def _entropy(targets: Array) -> float:
    """-Σ t·log t over all rows, 0 where t is 0."""
    t = targets.astype(np.float64)
    return float(-np.sum(t * np.log(np.where(t > 0, t, 1.0))))


def _confusion(label: Array, prediction: Array, classes: int) -> Confusion:
    """All classes where few, else those of the most frequent mistakes, the most frequent first."""
    wrong = label != prediction
    codes, times = np.unique(label[wrong] * classes + prediction[wrong], return_counts=True)
    order = np.argsort(-times, kind="stable")
    pairs = [(int(codes[k] // classes), int(codes[k] % classes), int(times[k])) for k in order[:200]]
    if classes <= MOST_SHOWN:
        shown = np.arange(classes)
    else:
        shown = np.array(list(dict.fromkeys(c for pair in pairs for c in pair[:2]))[:MOST_SHOWN], np.int64)
    place = np.full(classes, len(shown))
    place[shown] = np.arange(len(shown))
    size = len(shown) + 1
    matrix = np.bincount(place[label] * size + place[prediction], minlength=size * size).reshape(size, size)
    return Confusion(shown, matrix[:-1, :-1], matrix[:-1, -1], pairs[:MOST_PAIRS])


def _temperature(logits: Array, labels: Array) -> Temperature:
    mass = 1.0 if labels.ndim == 1 else labels.sum(axis=1, dtype=np.float64)

    def run(temperature: float) -> tuple[Array, Any]:
        losses, stats = xent.softmax_cross_entropy(
            logits, labels, temperature=temperature, reduction="none", return_stats=True
        )
        return losses.astype(np.float64), stats

    def slope(temperature: float) -> float:
        losses, stats = run(temperature)
        return float(np.mean(losses - mass * stats.entropy) * temperature)

    def at(temperature: float) -> tuple[Array, Array, Array]:
        losses, stats = run(temperature)
        largest = logits[np.arange(len(logits)), stats.argmax].astype(np.float64) / temperature
        return losses, _confidence(largest, stats.lse), _outcomes(labels, stats.argmax)

    return temperature_of(slope, at, len(logits))
