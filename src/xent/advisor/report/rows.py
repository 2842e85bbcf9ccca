"""Logits and labels as rows of classes, a block at a time, whatever they lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import label_error, type_error, value_error

BLOCK_ELEMENTS = 2**20
Array = NDArray[Any]
Progress = Callable[[int, int], None]  # told how many examples are done, of how many


class Source(Protocol):
    """What a block of examples can be read from: an array, or one in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: slice, /) -> Array: ...


@dataclass(frozen=True)
class Block:
    """Some rows: logits [n, C], and labels [n] (class indices) or [n, C] (one number a class)."""

    start: int
    logits: Array
    labels: Array


@dataclass(frozen=True)
class Rows:
    """Logits and labels that belong together.

    Attributes:
        logits, labels: as they were given; the first axis is that of examples.
        axis: the class axis of the logits, the last one or that after the examples.
        form: "index": a class a row; "dense": a number for each class; "lists": the positive classes, filled with -1.
    """

    logits: Source
    labels: Source
    axis: int
    form: str

    @property
    def classes(self) -> int:
        return self.logits.shape[self.axis]

    @property
    def count(self) -> int:
        return prod(self.logits.shape) // self.classes

    @property
    def soft(self) -> bool:
        """Whether labels are shares instead of classes."""
        return self.form == "dense" and self.labels.dtype.kind == "f"

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """All rows in order."""
        examples = self.logits.shape[0]
        rows_each = self.count // examples
        step = max(1, BLOCK_ELEMENTS // (rows_each * self.classes))
        for start in range(0, examples, step):
            logits = np.moveaxis(self.logits[start : start + step], self.axis, -1).reshape(-1, self.classes)
            first = start * rows_each
            yield Block(first, logits, self._numbers(self.labels[start : start + step], first, len(logits)))
            progress(min(start + step, examples), examples)

    def _numbers(self, labels: Array, first: int, rows: int) -> Array:
        if self.form == "index":
            return labels.reshape(rows).astype(np.int64, copy=False)
        labels = np.moveaxis(labels, self.axis, -1) if self.form == "dense" else labels
        labels = labels.reshape(rows, labels.shape[-1])
        if self.form == "dense":
            return labels.astype(np.uint8) if labels.dtype == bool else labels
        check_range(labels.max(axis=1, initial=-1), first, self.classes, least=-1)
        dense = np.zeros((rows, self.classes), np.uint8)
        at, place = np.nonzero(labels >= 0)
        dense[at, labels[at, place]] = 1
        return dense


def softmax_rows(logits: Source, labels: Source) -> Rows:
    """Logits with class indices, or with soft labels.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not belong together.
    """
    shape = _checked_shape(logits)
    whole = labels.dtype.kind in "iub"
    if whole and labels.dtype != bool:
        for axis in (len(shape) - 1, 1):
            if shape[:axis] + shape[axis + 1 :] == labels.shape:
                return Rows(logits, labels, axis, "index")
    if not whole and labels.shape == shape:
        return Rows(logits, labels, len(shape) - 1, "dense")
    if not whole and labels.shape == shape[:-1]:
        raise type_error("labels", "integers as class indices", labels.dtype.name, "Save them as int64.")
    raise value_error(
        "labels",
        f"class indices of shape {shape[:-1]} or soft labels of shape {shape}",
        f"{labels.dtype.name} of shape {labels.shape}",
        "Drop axes of length 1; for several classes a row use --loss sigmoid.",
    )


def sigmoid_rows(logits: Source, labels: Source) -> Rows:
    """Logits with a label a class, or with lists of positive classes.

    Raises:
        ValueError: shapes that do not belong together.
    """
    shape = _checked_shape(logits)
    padded = getattr(labels, "padded", False)
    if labels.shape == shape and not padded:
        return Rows(logits, labels, len(shape) - 1, "dense")
    if labels.dtype.kind in "iu" and len(labels.shape) == len(shape) and labels.shape[:-1] == shape[:-1]:
        return Rows(logits, labels, len(shape) - 1, "lists")
    raise value_error(
        "labels",
        f"a label a class, of shape {shape}, or lists of positive classes filled up with -1",
        f"{labels.dtype.name} of shape {labels.shape}",
        "For one class a row use --loss softmax.",
    )


def check_range(labels: Array, start: int, classes: int, ignore_index: int | None = None, least: int = 0) -> None:
    """
    Raises:
        IndexError: a class that is not there; the message names its row.
    """
    bad = (labels < least) | (labels >= classes)
    if ignore_index is not None:
        bad &= labels != ignore_index
    if bad.any():
        at = int(np.argmax(bad))
        remedy = "Map the labels into the range, or name the label to skip with --ignore-index."
        raise label_error("labels", start + at, int(labels[at]), classes, remedy)


def sampled(count: int, most: int) -> NDArray[np.bool_]:
    """Which of `count` rows to keep so that at most `most` are kept: each equally likely, the same at every run."""
    if count <= most:
        return np.ones(count, bool)
    kept = np.zeros(count, bool)
    kept[np.random.default_rng(0).choice(count, max(1, most), replace=False, shuffle=False)] = True
    return kept


def _checked_shape(logits: Source) -> tuple[int, ...]:
    if logits.dtype.kind != "f":
        raise type_error("logits", "floats", logits.dtype.name, "Save the model's unnormalised scores.")
    if len(logits.shape) < 2 or 0 in logits.shape:
        got = f"shape {logits.shape}"
        raise value_error("logits", "rows of classes, none of them empty", got, "Save [rows, classes].")
    return logits.shape
