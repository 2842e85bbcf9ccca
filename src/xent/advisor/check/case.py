"""One call of a loss under examination: the arrays, the options, and what a pass over them tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import api
from ...errors import type_error, value_error
from ...labels import Positives, TopK, refuse
from ...options import sigmoid_options, softmax_options
from ...problem import INTEGER_DTYPES, LOGIT_DTYPES, check_class_weight, check_sample_weight, softmax_problem
from .arrays import Lines, evenly

# The losses by what the first argument is, and what a row of it stands for.
SOFTMAX = ("softmax", "nll", "kl", "probs")  # exclusive classes: logits, log-probabilities (twice), probabilities
BINARY = ("sigmoid", "binary_probs", "logistic")  # every number for itself: logits, probabilities, scores with signs
LOSSES = SOFTMAX + BINARY
LIBRARIES = ("torch", "tensorflow", "keras", "optax", "jax")
BLOCK_BYTES = 64 << 20  # how much is looked at in one go
EXACT = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 3e-2}
MASK = -9e3  # below this lies what a mask has written (-1e4, -1e9), not what a layer has computed
PIECE_NUMBERS = 1 << 18
SAMPLE_ROWS, SAMPLE_NUMBERS = 2048, 1 << 20


@dataclass(frozen=True)
class Options:
    """The options of the loss, and what the user can tell about its use; the names are those of `check`."""

    loss: str = "softmax"
    axis: int | None = None
    class_weight: Any = None
    sample_weight: Any = None
    pos_weight: Any = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    reduction: str = "mean"
    log_target: bool = False
    value: Any = None
    gradient: Any = None
    step: int | None = None
    history: Sequence[Any] = ()
    tokens: Any = None
    microbatch_rows: Sequence[int] | None = None
    loss_scale: float = 1.0
    framework: str | None = None
    memory: int | None = None

    def class_axis(self, axes: int) -> int:
        """The class axis of so many, from the front; PyTorch's cross-entropy has it second."""
        default = 1 if self.framework == "torch" and self.loss in ("softmax", "nll") and axes > 1 else -1
        return (default if self.axis is None else self.axis) % max(axes, 1)

    @property
    def skipped_label(self) -> int | None:
        """`ignore_index`, with PyTorch's default."""
        torch = self.framework == "torch" and self.loss in SOFTMAX
        return -100 if self.ignore_index is None and torch else self.ignore_index

    def check(self) -> None:
        """Refuses what is of another type, or names nothing."""
        if self.loss not in LOSSES:
            expected = ", ".join(map(repr, LOSSES))
            raise value_error("loss", expected, repr(self.loss), "Name the loss that you call.")
        if self.framework not in (None, *LIBRARIES):
            expected = f"None, {', '.join(map(repr, LIBRARIES))}"
            raise value_error("framework", expected, repr(self.framework), "Name the library whose loss you call.")
        for name in ("axis", "step", "memory"):
            given = getattr(self, name)
            if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
                raise type_error(name, "an integer or None", repr(given), f"Pass an int for {name}.")
        if not all(isinstance(entry, Mapping) for entry in self.history):
            raise type_error("history", 'dicts with "step", "loss", "lse"', "others", "Pass what watch.history holds.")
        if self.softmax:
            axis = -1 if self.axis is None else self.axis
            softmax_options(
                axis,
                self.label_smoothing,
                self.ignore_index,
                self.temperature,
                self.softcap,
                self.z_loss,
                self.reduction,
            )
        else:
            sigmoid_options(self.label_smoothing, self.ignore_index, self.reduction)

    @property
    def softmax(self) -> bool:
        return self.loss in SOFTMAX


@dataclass
class Sample:
    """Some rows, in float64."""

    rows: NDArray[np.int64]
    """[R]: their numbers."""
    values: NDArray[np.float64]
    """[R, C]"""
    targets: NDArray[np.float64] | None
    """[R, C] of labels that have a number for each class."""

    @cached_property
    def lse(self) -> NDArray[np.float64]:
        """[R]: log Σ exp of the values."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            top = self.values.max(1)
            top = np.where(np.isfinite(top), top, 0.0)
            return np.asarray(top + np.log(np.exp(self.values - top[:, None]).sum(1)))


@dataclass
class Case:
    """Arrays and options, and facts about them that are worked out once, when the first rule asks."""

    logits: Lines
    labels: Any
    """Lines, TopK or Positives."""
    options: Options
    progress: Callable[[int, int], None] | None = None
    kind: str = field(init=False)
    """Of the labels: "index", "dense", "topk", "positives"; "other" where the shapes do not belong together."""

    def __post_init__(self) -> None:
        self.options.check()
        if self.logits.dtype not in LOGIT_DTYPES:
            raise type_error("logits", " or ".join(LOGIT_DTYPES), self.logits.dtype, "Convert them to floats.")
        axis = self.options.axis
        if axis is not None and not -len(self.logits.shape) <= axis < len(self.logits.shape):
            raise value_error("axis", f"an axis of logits of shape {self.logits.shape}", str(axis), "Name an axis.")
        self.kind = self._kind()

    @property
    def exact(self) -> float:
        """How far rounding may leave the sum of a row's probabilities from 1, or its log-sum-exp from 0."""
        return EXACT.get(self.logits.dtype, EXACT["float32"])

    # shapes

    @property
    def softmax(self) -> bool:
        return self.options.softmax

    @property
    def scores(self) -> bool:
        """Whether the logits are single scores, without an axis of classes."""
        return not self.softmax and len(self.logits.shape) < 2 and not isinstance(self.labels, Positives)

    @property
    def axis(self) -> int:
        """The class axis, from the front; of single scores the last one."""
        return self.options.class_axis(len(self.logits.shape))

    @property
    def classes(self) -> int:
        if self.scores:
            return 1
        return self.logits.shape[self.axis]

    @property
    def batch(self) -> tuple[int, ...]:
        shape = self.logits.shape
        if self.scores:
            return shape
        return shape[: self.axis] + shape[self.axis + 1 :]

    @property
    def rows(self) -> int:
        return math.prod(self.batch)

    def _kind(self) -> str:
        if isinstance(self.labels, TopK):
            refuse("labels", self.labels, Positives if self.softmax else TopK, "Pass 0 and 1, or xent.Positives.")
            return "topk"
        if isinstance(self.labels, Positives):
            refuse("labels", self.labels, Positives if self.softmax else TopK, "Pass class indices, or xent.TopK.")
            return "positives"
        shape = self.labels.shape
        if self.softmax and shape == self.batch and self.labels.dtype in INTEGER_DTYPES:
            return "index"
        return "dense" if shape == self.logits.shape else "other"

    def refuse_others(self) -> None:
        """Raises what the loss would, where arrays do not belong together."""
        o = self.options
        if self.softmax:
            if o.class_weight is not None:
                check_class_weight(Lines("class_weight", o.class_weight).shape, self.classes)
            if o.sample_weight is not None:
                check_sample_weight(Lines("sample_weight", o.sample_weight).shape, self.batch)
        if self.kind != "other":
            return
        if self.softmax:
            softmax_problem(
                self.logits.shape, self.logits.dtype, self.axis, self.labels.shape, self.labels.dtype, False
            )
        expected = f"the shape of the logits, {self.logits.shape}"
        raise value_error(
            "labels", expected, f"shape {self.labels.shape}", "Pass the labels that belong to the logits."
        )

    # labels

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Class indices [rows]."""
        return np.asarray(self.labels[...]).reshape(-1).astype(np.int64)

    @cached_property
    def ignored(self) -> NDArray[np.bool_]:
        """[rows]: of index labels, those to skip."""
        skip = self.options.skipped_label
        return np.zeros(self.rows, bool) if skip is None or self.kind != "index" else self.index == skip

    @cached_property
    def misplaced(self) -> NDArray[np.bool_]:
        """[rows]: index labels that are no class and not to be skipped."""
        if self.kind != "index":
            return np.zeros(self.rows, bool)
        return ((self.index < 0) | (self.index >= self.classes)) & ~self.ignored

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """[rows]: those that count and can."""
        kept = ~(self.ignored | self.misplaced)
        if self.options.sample_weight is not None:
            weights = np.asarray(Lines("sample_weight", self.options.sample_weight)[...])
            if weights.size == self.rows:
                kept &= weights.reshape(-1) != 0
        return kept

    @cached_property
    def class_counts(self) -> NDArray[np.float64]:
        """[classes]: how often each is the label, or the mass it has."""
        return self._label_sums[1]

    @cached_property
    def label_mass(self) -> NDArray[np.float64]:
        """[rows]: the sum of the labels of a row."""
        return self._label_sums[0]

    @cached_property
    def _label_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.kind == "index":
            kept = self.index[self.kept]
            return np.ones(self.rows), np.bincount(kept, minlength=self.classes).astype(np.float64)
        if self.kind == "topk":
            indices, values = (Lines("labels", a)[...] for a in (self.labels.indices, self.labels.values))
            inside = (indices >= 0) & (indices < self.classes)
            weighed = np.bincount(indices[inside], values[inside], self.classes).astype(np.float64)
            return values.reshape(self.rows, -1).sum(1, dtype=np.float64), weighed
        if self.kind == "positives":
            classes = Lines("labels", self.labels.classes)[...]
            inside = (classes >= 0) & (classes < self.classes)
            if self.labels.starts is None:
                lengths = inside.reshape(self.rows, -1).sum(1)
            else:
                lengths = np.diff(Lines("labels", self.labels.starts)[...])
            return lengths.astype(np.float64), np.bincount(classes[inside], minlength=self.classes).astype(np.float64)
        masses, sums = [np.zeros(0)], np.zeros(self.classes)
        for block in self.blocks():
            part = self._rows_of(self.labels[block])
            if self.options.ignore_index is not None:
                part = np.where(self._skipped(part), 0, part)
            for piece in _pieces(part):
                masses.append(_row_sums(piece))
                sums += _row_sums(piece.T)
        return np.concatenate(masses), sums

    # the pass over the logits

    def blocks(self) -> list[slice]:
        """Ranges of the first axis; one where that is the class axis."""
        shape = self.logits.shape
        if self.softmax and self.axis == 0:
            return [slice(None)] if self.rows else []
        line = max(math.prod(shape[1:]) * 4, 1)
        step = max(BLOCK_BYTES // line, 1)
        return [slice(a, min(a + step, shape[0])) for a in range(0, shape[0], step)] if self.rows else []

    def _rows_of(self, part: NDArray[Any]) -> NDArray[Any]:
        """A block as [rows, classes]."""
        if self.scores:
            return part.reshape(-1, 1)
        return np.moveaxis(part, self.axis, -1).reshape(-1, self.classes)

    def _skipped(self, labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Which numbers of dense labels do not count: of binary losses, each may be ignored by itself."""
        skip = None if self.softmax else self.options.ignore_index
        return np.zeros(labels.shape, bool) if skip is None else labels == skip

    @cached_property
    def nll(self) -> NDArray[np.float64]:
        """[rows]: the cross-entropy of each, without weights and smoothing; of rows that are not kept, of class 0."""
        return self._losses(0.0)

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """[rows]: the same with label smoothing."""
        return self._losses(self.options.label_smoothing) if self.options.label_smoothing else self.nll

    def _losses(self, label_smoothing: float) -> NDArray[np.float64]:
        found = [np.zeros(0)]
        for block in self._told(self.blocks()):
            loss = api.softmax_cross_entropy(
                self.logits[block],
                self._labels_of(block),
                axis=self.axis,
                reduction="none",
                validate=False,
                temperature=self.options.temperature,
                softcap=self.options.softcap,
                label_smoothing=label_smoothing,
            )
            found.append(np.asarray(loss, np.float64).reshape(-1))
        return np.concatenate(found)

    @cached_property
    def suspects(self) -> Sample:
        """Rows whose loss is not finite, the first ones if they are very many."""
        if self.softmax:
            found = [np.flatnonzero(~np.isfinite(self.smoothed))]
        else:
            found, first = [np.zeros(0, np.int64)], 0
            for block in self._told(self.blocks()):
                part = self._rows_of(self.logits[block])
                if self.kind == "dense" and self.options.ignore_index is not None:
                    part = np.where(self._skipped(self._rows_of(self.labels[block])), 0, part)
                for piece in _pieces(part):
                    odd = np.flatnonzero(~np.isfinite(_row_sums(piece)))  # of finite numbers, too, if they overflow
                    found.append(first + odd[~np.isfinite(piece[odd]).all(1)])
                    first += len(piece)
        return self._sample(np.concatenate(found)[: self._sample_size])

    @cached_property
    def _clean_index(self) -> NDArray[np.int64]:
        """Class indices in the batch's shape; 0 in place of those that do not count."""
        return np.where(self.kept, self.index, 0).reshape(self.batch)

    def _labels_of(self, block: slice) -> Any:
        """The labels of a block, as the loss takes them."""
        if self.kind == "index":
            return self._clean_index[block] if self.batch else self._clean_index[()]
        if self.kind == "topk":
            return TopK(*(Lines("labels", a)[block] for a in (self.labels.indices, self.labels.values)))
        labels = self.labels[block]
        labels = labels if labels.dtype.kind == "f" else labels.astype(np.float32)
        return np.exp(labels) if self.options.log_target else labels

    def _told(self, blocks: list[slice]) -> Any:
        for at, block in enumerate(blocks):
            yield block
            if self.progress is not None:
                self.progress(at + 1, len(blocks))

    @cached_property
    def mean(self) -> float:
        """The mean loss without weights, over what is finite; NaN where that is nothing."""
        if self.softmax:
            losses = self.nll[self.kept]
            losses = losses[np.isfinite(losses)]
        else:
            losses = self._elementwise(self.sample.values, self.sample.targets)
        return float(losses.mean()) if losses.size else float("nan")

    def _elementwise(self, values: NDArray[Any], targets: NDArray[Any] | None) -> NDArray[Any]:
        """The loss of each number that can have one."""
        if targets is None or not values.size:
            return np.zeros(0)
        fine = np.isfinite(values) & np.isfinite(targets)
        if self.options.loss == "logistic":
            fine &= np.abs(targets) == 1
            return np.asarray(api.logistic_loss(values[fine], targets[fine], reduction="none"))
        fine &= (targets >= 0) & (targets <= 1)
        if self.options.loss == "binary_probs":
            fine &= (values >= 0) & (values <= 1)
            return np.asarray(api.binary_cross_entropy_from_probs(values[fine], targets[fine], reduction="none"))
        return np.asarray(api.sigmoid_cross_entropy(values[fine], targets[fine], reduction="none"))

    @cached_property
    def sample(self) -> Sample:
        """Rows that count."""
        rows = np.flatnonzero(self.kept)
        return self._sample(rows[evenly(len(rows), self._sample_size)])

    @property
    def _sample_size(self) -> int:
        return max(1, min(SAMPLE_ROWS, SAMPLE_NUMBERS // max(self.classes, 1)))

    def _sample(self, rows: NDArray[np.int64]) -> Sample:
        targets = self.picked(self.labels, rows) if self.kind == "dense" else None
        values = self.picked(self.logits, rows)
        if targets is not None:
            skipped = self._skipped(targets)
            values, targets = np.where(skipped, 0.0, values), np.where(skipped, 0.0, targets)
            if self.options.log_target:
                targets = np.exp(targets)
        return Sample(rows, values, targets)

    def picked(self, array: Lines, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rows of an array of the logits' shape, [R, classes]."""
        out = np.empty((len(rows), self.classes))
        if not len(rows):
            return out
        if len(self.logits.shape) == 1:
            whole = np.asarray(array[...], np.float64)
            return whole[rows][:, None] if self.scores else whole[None]
        if self.softmax and self.axis == 0:
            return np.asarray(self._rows_of(array[...])[rows], np.float64)
        per_line = self.rows // self.logits.shape[0]
        if per_line == 1 and array.in_memory:
            return np.asarray(self._rows_of(array[rows]), np.float64)
        for line in np.unique(rows // per_line):
            wanted = np.flatnonzero(rows // per_line == line)
            part = self._rows_of(array[int(line) : int(line) + 1])
            out[wanted] = part[rows[wanted] - line * per_line]
        return out


def _pieces(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Some rows at a time, few enough to stay in the cache while they are read twice."""
    step = max(1, PIECE_NUMBERS // max(rows.shape[1], 1))
    for first in range(0, len(rows), step):
        yield rows[first : first + step]


def _row_sums(rows: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of each row; of floats by a matrix product, which is several times faster."""
    if rows.dtype.kind != "f":
        return np.asarray(rows.sum(1, dtype=np.float64))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(rows @ np.ones(rows.shape[1], rows.dtype), np.float64)
