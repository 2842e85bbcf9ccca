"""Losses of single numbers on memory of the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import label_error, value_error
from ..formulas import mean_scale
from ..kernels.native import ElementwiseLines, Memory, PreparedElementwise
from ..labels import Positives, TopK, refuse
from ..options import ElementwiseOptions
from ..problem import INTEGER_DTYPES, RowLayout, Shape
from .labels import int64_labels
from .weights import LARGEST, SMALLEST


class PositiveLists(NamedTuple):
    """Positive classes of each row, sorted: [rows + 1] and their concatenation."""

    starts: NDArray[np.int64]
    classes: NDArray[np.int64]


def takes_lists(labels_name: str, labels: Any, options: ElementwiseOptions) -> bool:
    """Whether the labels are lists of positive classes, which only the sigmoid family takes, without ignored ones."""
    refuse(labels_name, labels, TopK, "Top-k targets belong to softmax_cross_entropy.")
    if not isinstance(labels, Positives):
        return False
    if options.ends_only or options.kind == "pinball":
        refuse(labels_name, labels, Positives, "Lists of positive classes belong to sigmoid_cross_entropy.")
    if options.ignore_index is not None:
        remedy = "Every class that is not in a list is negative; use sample_weight to leave elements out."
        raise value_error("ignore_index", "None with xent.Positives", repr(options.ignore_index), remedy)
    return True


def check_list_shapes(classes: Shape, starts: Shape | None, dtypes: tuple[str, str], logits: Shape) -> tuple[int, int]:
    """What can be said of lists of positive classes without looking at them: how many rows and classes there are.

    Args:
        dtypes: of classes and starts. What holds nothing may have any.

    Raises:
        ValueError: dtypes or shapes that do not fit.
    """
    if not logits:
        raise value_error("logits", "a class axis for labels given as Positives", "a scalar", "Pass logits[None].")
    count, rows = logits[-1], math.prod(logits[:-1])
    for name, shape, dtype in (("labels.classes", classes, dtypes[0]), ("labels.starts", starts, dtypes[1])):
        if shape is not None and dtype not in INTEGER_DTYPES and 0 not in shape:
            raise value_error(name, "integers", f"dtype {dtype}", "Class indices and offsets are integers.")
    if starts is None and (classes[:-1] != logits[:-1] or len(classes) != len(logits)):
        got = f"shape {classes}"
        raise value_error("labels.classes", f"shape {(*logits[:-1], 'k')}", got, "Pad short lists with -1.")
    if starts is not None and starts != (rows + 1,):
        raise _bad_starts(rows, math.prod(classes), f"shape {starts}")
    return rows, count


def _bad_starts(rows: int, total: int, got: str) -> ValueError:
    expected = f"shape ({rows + 1},): offsets that rise from 0 to {total}"
    return value_error("labels.starts", expected, got, "Row r has the classes classes[starts[r]:starts[r + 1]].")


def positive_lists(classes: NDArray[Any], starts: NDArray[Any] | None, logits: Shape) -> PositiveLists:
    """Lists of positive classes as the kernels take them.

    Raises:
        IndexError: a class out of range. ValueError: shapes that do not fit, a class twice in a row.
    """
    dtypes = classes.dtype.name, "" if starts is None else starts.dtype.name
    rows, count = check_list_shapes(classes.shape, None if starts is None else starts.shape, dtypes, tuple(logits))
    if starts is None:
        padded = int64_labels(classes).reshape(rows, classes.shape[-1])
        kept = padded != -1
        row = np.repeat(np.arange(rows), padded.shape[1]).reshape(padded.shape)[kept]
        flat, ends = padded[kept], np.cumsum(kept.sum(axis=1))
    else:
        flat, bounds = int64_labels(classes), int64_labels(starts)
        if bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != flat.size:
            raise _bad_starts(rows, flat.size, f"{bounds.tolist()[:8]}")
        ends = bounds[1:]
        row = np.repeat(np.arange(rows), np.diff(bounds))
    outside = (flat < 0) | (flat >= count)
    if outside.any():
        first = int(np.argmax(outside))
        remedy = "Map the classes into the range; pad short lists with -1."
        raise label_error("labels.classes", int(row[first]), int(flat[first]), count, remedy)
    ordered = np.sort(row * count + flat)
    flat = ordered - row * count  # `row` rises already
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        first = int(np.argmax(twice))
        raise value_error(
            "labels.classes",
            "classes of a row that differ",
            f"class {flat[first]} more than once in row {row[first]}",
            "Name each positive class once.",
        )
    return PositiveLists(np.concatenate(([0], ends)).astype(np.int64), np.ascontiguousarray(flat))


def some_positives(lists: PositiveLists, rows: slice, classes: slice) -> PositiveLists:
    """The positive classes of some rows that are among some classes, which are numbered anew."""
    bounds = lists.starts[rows.start : rows.stop + 1]
    given = lists.classes[bounds[0] : bounds[-1]]
    here = (given >= classes.start) & (given < classes.stop)
    starts = np.concatenate(([0], np.cumsum(here)))[bounds - bounds[0]]
    return PositiveLists(starts, given[here] - classes.start)


def check_labels(argument: str, labels: Any, options: ElementwiseOptions, numpy_of: Callable[[Any], Any]) -> None:
    """Labels as a matrix are what they must be; looked at a few rows at a time, for which `numpy_of` gives arrays."""
    step = max(1, (1 << 20) // max(labels.shape[-1], 1))
    for start in range(0, len(labels), step):
        some = numpy_of(labels[start : start + step])
        if not _fine(some, options).all():
            raise bad_label(argument, numpy_of(labels), options)


def _fine(labels: NDArray[Any], options: ElementwiseOptions) -> Any:
    """Which labels are what they must be."""
    fine = (labels >= options.low) & (labels <= options.high)
    if options.ends_only:
        fine = (labels == options.low) | (labels == options.high)
    return fine if options.ignore_index is None else fine | (labels == options.ignore_index)


def bad_label(argument: str, labels: Any, options: ElementwiseOptions) -> ValueError:
    """The error that names the first label that is not what it must be."""
    array = np.asarray(labels)
    fine = _fine(array, options)
    expected = f"numbers in [{options.low:g}, {options.high:g}]"
    remedy = "Scale soft labels to this range, or pass validate=False to use them as they are."
    if options.ends_only:
        expected, remedy = f"{options.low:g} or {options.high:g}", "Map labels in {0, 1} with 2*y - 1."
    elif array.dtype.kind in "iu" and array.size and array.max() > options.high:
        remedy = "Class indices belong to softmax_cross_entropy; for several classes a row pass 0/1 or xent.Positives."
    at = tuple(int(i) for i in np.unravel_index(int(np.argmin(fine)), array.shape))
    return value_error(argument, expected, f"{array[at]} at {at}", remedy)


def activation(logits: Memory, out: Memory, log: bool) -> None:
    """The sigmoid, as the slope of a negative label's loss; or its logarithm, as minus a positive label's loss."""
    lines = ElementwiseLines(logits, "logistic", positive=-1.0 if log else 1.0)
    if log:
        lines.meaning(1.0, 1.0, 0.0, 0.0, 0.0, False)
    lines.run(1.0, out if log else None, None if log else out)


def _lines(
    options: ElementwiseOptions,
    logits: Memory,
    labels: Memory | PositiveLists,
    pos_weight: Memory | None,
    weights: list[Memory],
) -> ElementwiseLines:
    """The numbers, what their labels mean, and what weighs them."""
    lines = ElementwiseLines(
        logits,
        options.kind,
        positive=options.positive,
        negative=options.negative,
        gamma_pos=options.gamma_pos,
        gamma_neg=options.gamma_neg,
        clip=options.clip,
    )
    if isinstance(labels, PositiveLists):
        lines.positives(labels.starts, labels.classes)
    else:
        lines.labels(labels)
    lines.meaning(options.alpha, options.beta, options.rest, options.low, options.high, options.ends_only)
    if options.ignore_index is not None:
        lines.ignore(options.ignore_index)
    if pos_weight is not None:
        lines.pos_weight(pos_weight)
    for slot, weight in enumerate(weights):
        lines.weight(slot, weight)
    return lines


def elements_of(lists: PositiveLists, classes: int) -> NDArray[np.int64]:
    """The numbers of positive elements of rows of so many classes, in C order; rising."""
    rows = np.arange(len(lists.starts) - 1)
    return np.repeat(rows, np.diff(lists.starts)) * classes + lists.classes


class WeightNumbers(NamedTuple):
    """How many different numbers an array of weights has, contiguous in memory, and whether they are float64."""

    size: int
    wide: bool


def prepared_loss(
    options: ElementwiseOptions,
    logits: Memory,
    labels: Memory,
    output: RowLayout,
    *,
    pos_weight: tuple[Memory, WeightNumbers] | None,
    weights: list[tuple[Memory, WeightNumbers]],
    mean_over: tuple[int, float] | None,
    denominator: float,
    validate: bool,
) -> PreparedElementwise:
    """The loss, ready for any memory of these layouts; the addresses here are 0.

    Args:
        mean_over: which of the weights is summed up for the denominator, and how often each of its numbers counts.
        denominator: of a mean without such a weight.
    """
    loss = _lines(options, logits, labels, pos_weight and pos_weight[0], [at for at, _ in weights]).prepared(output)
    if pos_weight is not None:
        loss.weigh(0, *pos_weight[1])
    for slot, (_, numbers) in enumerate(weights):
        loss.weigh(1 + slot, *numbers)
    if mean_over is not None:
        loss.mean_over(1 + mean_over[0], mean_over[1])
    loss.scale = mean_scale(denominator)
    loss.per_element = options.reduction == "none"
    loss.validate = bool(validate)
    loss.bound_weights(SMALLEST, LARGEST)
    return loss


class ElementwiseLoss:
    """One loss of single numbers: checked, its coefficients made, ready to run."""

    def __init__(
        self,
        options: ElementwiseOptions,
        logits: Memory,
        labels: Memory | PositiveLists,
        *,
        pos_weight: Memory | None = None,
        weights: list[Memory],
        denominator: float,
        validate: bool,
    ) -> None:
        """`weights`: at most two factors of an element's loss; `denominator`: of the mean."""
        self.options, self.validate = options, validate
        lines = _lines(options, logits, labels, pos_weight, weights)
        self._lines = lines
        self.scale = mean_scale(denominator)

    def run(self, loss: Memory | None = None, gradient: Memory | None = None) -> tuple[float, bool]:
        """(the reduced loss, whether a label was bad), and in the same pass each loss and the gradient."""
        total, bad = self._lines.run(self.scale, loss, gradient)
        return total * self.scale, bad and self.validate

    def gradient(self, into: Memory, upstream: float | Memory) -> None:
        """The vector-Jacobian product for one upstream gradient, or one an element."""
        if isinstance(upstream, float):
            self._lines.run(self.scale * upstream, None, into)
        else:
            self._lines.weight(2, upstream)
            self._lines.run(self.scale, None, into)
