"""The native kernels seen from Python: strided memory in, row statistics and gradients out.

Nothing here knows a framework. An array is an address with strides (`Memory`), kept alive by its `owner`; per-row
numbers are NumPy arrays of float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._native import Candidates as Candidates
from .._native import PreparedActivation as PreparedActivation
from .._native import PreparedElementwise as PreparedElementwise
from .._native import PreparedSoftmax as PreparedSoftmax
from .._native import address as address
from .._native import gather_lines as gather_lines
from ..problem import RowLayout

DTYPE_CODES = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3}
# Labels of elementwise losses may be integers; a boolean is a byte of 0 or 1.
LABEL_CODES = DTYPE_CODES | {
    "int8": 4,
    "uint8": 5,
    "bool": 5,
    "int16": 6,
    "uint16": 7,
    "int32": 8,
    "uint32": 9,
    "int64": 10,
    "uint64": 11,
}

# Buffers from here on come from the pool; smaller ones are cheap anywhere.
POOLED_BYTES = 1 << 20


class Memory(NamedTuple):
    """An array in memory, as rows: an address, a dtype code, and where its rows lie. `owner` keeps it alive."""

    address: int
    dtype: int
    layout: RowLayout
    owner: Any

    def arguments(self) -> tuple[int, int, int, int, int]:
        """Address, dtype and strides, as every native function takes them."""
        layout = self.layout
        return self.address, self.dtype, layout.outer_stride, layout.class_stride, layout.inner_stride


class IndexLabels(NamedTuple):
    """Class indices, one a row: contiguous int64 at an address, in `owner`. `given`: as the user gave them."""

    address: int
    owner: Any
    given: Any


def pooled(nbytes: int) -> NDArray[np.uint8]:
    """Uninitialised bytes; large ones from the pool, to which they return when the array dies."""
    if nbytes < POOLED_BYTES:
        return np.empty(nbytes, np.uint8)
    return _native.buffer(nbytes)


class Resolved(NamedTuple):
    """Labels as kernels read them: a class, -1 for an ignored row, -2 for a label out of range.

    `changed` is None where the labels could stay as they are.
    """

    labels: IndexLabels
    changed: NDArray[np.int64] | None
    kept: int  # rows that are not ignored
    first_bad: int  # the first row whose label is out of range, or -1


# Where the label of a row is not among the classes at hand.
ELSEWHERE = -3


# What a prepared loss returns where a weight is none; else the place of a bad label, or -1.
BAD_WEIGHT = -2


def ordered_sum(numbers: NDArray[np.float64]) -> float:
    """The sum of contiguous numbers in the order that all kernels have."""
    return _native.ordered_sum(address(numbers), numbers.size)


def resolve_labels(labels: IndexLabels, rows: int, classes: int, ignore_index: int | None) -> Resolved:
    """Checks labels and marks the rows that are not to be read."""
    ignores, ignore = (False, 0) if ignore_index is None else (True, ignore_index)
    kept, bad = _native.resolve_labels(labels.address, rows, classes, ignores, ignore)
    if kept == rows and bad < 0:
        return Resolved(labels, None, kept, bad)
    out = np.empty(rows, np.int64)
    _native.resolve_labels(labels.address, rows, classes, ignores, ignore, address(out))
    return Resolved(IndexLabels(address(out), out, labels.given), out, kept, bad)


PerRow = float | NDArray[np.float64]


class RowCoefficients(NamedTuple):
    """loss_i = b·nll + c·u + l·lse + zeta·lse² + h·entropy: numbers, or one a row. `scale`: of sum and gradient."""

    b: PerRow = 0.0
    c: PerRow = 0.0
    l: PerRow = 0.0  # noqa: E741
    zeta: PerRow = 0.0
    h: PerRow = 0.0
    scale: float = 1.0


def _pair(value: PerRow) -> tuple[float, int]:
    """A coefficient as the native function takes it: a number, or the address of one a row."""
    return (value, 0) if isinstance(value, float) else (0.0, address(value))


def _pairs(coefficients: RowCoefficients) -> tuple[Any, ...]:
    b, c, l, zeta, h, scale = coefficients  # noqa: E741
    return (*_pair(b), *_pair(c), *_pair(l), *_pair(zeta), *_pair(h), scale)


_NOWHERE = (0, 0, 0, 0, 0)


class RowResults(NamedTuple):
    """The scaled sum of the losses, and per-row results: arrays, or None where not asked for."""

    total: float
    loss: Any
    lse: Any
    entropy: Any
    argmax: Any
    mass: Any = None


class PartialRows:
    """What was seen of rows whose classes are never all there at once."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._state = np.empty((rows, _native.PARTIAL_BYTES // 8))
        _native.partials(address(self._state), rows)

    def at(self, row: int) -> int:
        """The address of what was seen of a row and those after it."""
        return address(self._state) + row * self._state.strides[0]

    def conclude(self, coefficients: RowCoefficients, statistics: bool) -> RowResults:
        """The loss of each row all of whose classes were seen, and lse, entropy and argmax if asked for."""
        n = self.rows
        loss = np.empty(n)
        top, log_sum, entropy, argmax = (np.empty(n if statistics else 0, t) for t in (float, float, float, np.int64))
        where = (address(a) if statistics else 0 for a in (top, log_sum, entropy, argmax))
        total = _native.conclude(self.at(0), n, *_pairs(coefficients), address(loss), *where, 0)
        stats = (top + log_sum, entropy, argmax) if statistics else (None, None, None)
        return RowResults(total * coefficients.scale, loss, *stats)


class SoftmaxRows:
    """Logits and targets on the native kernels, ready to run as often as wanted."""

    __slots__ = ("_keep", "_native", "rows")

    def __init__(
        self, logits: Memory, labels: IndexLabels | None = None, *, temperature: float = 1.0, softcap: float = 0.0
    ) -> None:
        """`labels`: resolved class indices, if rows have any."""
        outer, classes, inner, *strides = logits.layout
        self.rows = outer * inner
        self._keep: list[Any] = [logits.owner, labels]
        index = 0 if labels is None else labels.address
        self._native = _native.Softmax(
            outer, classes, inner, logits.address, logits.dtype, *strides, temperature, softcap, index
        )

    def measure(self, class_weight: NDArray[np.float64] | None, alpha: float, beta: float) -> None:
        """The target measure v·(alpha·t + beta); t is 0 unless `dense` or `topk` gives it."""
        self._keep.append(class_weight)
        self._native.measure(address(class_weight), alpha, beta)

    def dense(self, target: Memory) -> None:
        self._keep.append(target.owner)
        self._native.dense(*target.arguments())

    def topk(self, indices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Contiguous [rows, k]; the classes of a row differ and lie in range."""
        self._keep += [indices, values]
        self._native.topk(address(indices), address(values), indices.shape[-1])

    def target_mass(self) -> NDArray[np.float64]:
        """Σ_k v_k·t_k of dense targets, per row."""
        mass = np.empty(self.rows)
        self._native.mass(address(mass))
        return mass

    def run(
        self,
        coefficients: RowCoefficients,
        gradient: Memory | None = None,
        *,
        rows: bool = False,
        statistics: bool = False,
        mass: bool = False,
    ) -> RowResults:
        """The sum of the losses times `scale`, and what else is asked for.

        Args:
            gradient: where the gradient goes.
            rows: the loss of each row. statistics: lse, entropy and argmax of each row. mass: Σ_k w_k of each row.
        """
        pairs, scale = _pairs(coefficients), coefficients.scale
        where = _NOWHERE if gradient is None else gradient.arguments()
        if not (rows or statistics or mass):
            return RowResults(self._native.run(*pairs, 0, *where, 0, 0, 0, 0, 0) * scale, None, None, None, None)
        n = self.rows
        loss = np.empty(n)
        masses = np.empty(n) if mass else None
        if not statistics:
            total = self._native.run(*pairs, address(loss), *where, 0, 0, 0, 0, address(masses))
            return RowResults(total * scale, loss, None, None, None, masses)
        top, log_sum, entropy, argmax = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
        total = self._native.run(
            *pairs,
            address(loss),
            *where,
            address(top),
            address(log_sum),
            address(entropy),
            address(argmax),
            address(masses),
        )
        return RowResults(total * scale, loss, top + log_sum, entropy, argmax, masses)

    def collect(self, seen: PartialRows, row: int, first: int, entropy: bool) -> None:
        """Adds these classes, from number `first` on, to what was seen of the rows from number `row` on."""
        self._native.collect(first, entropy, seen.at(row))

    def apply(self, seen: PartialRows, row: int, first: int, coefficients: RowCoefficients, gradient: Memory) -> None:
        """The gradient to these classes of rows all of whose classes were seen."""
        self._native.apply(first, seen.at(row), *_pairs(coefficients), *gradient.arguments())

    def log_softmax(self, out: Memory) -> None:
        self._native.log_softmax(*out.arguments())

    def prepared(self, gradient: RowLayout) -> PreparedSoftmax:
        """These rows for other addresses of logits and labels, with gradients of a layout."""
        return PreparedSoftmax(self._native, gradient[3:])

    def prepared_activation(self, out: RowLayout) -> PreparedActivation:
        return PreparedActivation(self._native, out[3:])


class ElementwiseLines:
    """Numbers with a label each on the native kernels, ready to run as often as wanted."""

    __slots__ = ("_keep", "_native")

    KINDS = ("logistic", "modulated", "pinball")

    def __init__(
        self,
        logits: Memory,
        kind: str,
        *,
        positive: float = 1.0,
        negative: float = 1.0,
        gamma_pos: float = 0.0,
        gamma_neg: float = 0.0,
        clip: float = 0.0,
    ) -> None:
        """`positive`, `negative`: factors of the two parts of the loss (of pinball, the cost over and under)."""
        self._keep: list[Any] = [logits.owner]
        self._native = _native.Elementwise(
            *logits.layout[:3],
            self.KINDS.index(kind),
            *logits.arguments(),
            positive,
            negative,
            gamma_pos,
            gamma_neg,
            clip,
        )

    def labels(self, labels: Memory) -> None:
        self._keep.append(labels.owner)
        self._native.labels(*labels.arguments())

    def positives(self, starts: NDArray[np.int64], classes: NDArray[np.int64]) -> None:
        """Positive classes of each row: [rows + 1] and their concatenation, sorted within a row."""
        self._keep += [starts, classes]
        self._native.positives(address(starts), address(classes))

    def meaning(self, alpha: float, beta: float, rest: float, low: float, high: float, ends_only: bool) -> None:
        """alpha·y + beta of a label y is positive, alpha·(high - y) + rest negative; y is in [low, high], or an end."""
        self._native.meaning(alpha, beta, rest, low, high, ends_only)

    def ignore(self, label: float) -> None:
        self._native.ignore(label)

    def pos_weight(self, weight: Memory) -> None:
        self._keep.append(weight.owner)
        self._native.pos_weight(*weight.arguments())

    def weight(self, slot: int, weight: Memory) -> None:
        """One of three factors of an element's loss."""
        self._keep.append(weight.owner)
        self._native.weight(slot, *weight.arguments())

    def run(self, scale: float, loss: Memory | None, gradient: Memory | None) -> tuple[float, bool]:
        """(the sum of the losses, whether a label was bad); `scale` multiplies the gradient."""
        into = _NOWHERE if loss is None else loss.arguments()
        return self._native.run(scale, *into, *(_NOWHERE if gradient is None else gradient.arguments()))

    def prepared(self, out: RowLayout) -> PreparedElementwise:
        """These lines for other addresses of all arrays, with gradients and losses of a layout."""
        return PreparedElementwise(self._native, out[3:])
