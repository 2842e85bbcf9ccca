"""The kernels of the losses of single numbers as calls: tensors in, results into tensors that the caller brings."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton.language as tl

from ...problem import RowLayout
from . import elementwise
from .launch import OPTIONS, TYPES
from .shapes import RESIDENT, TILE, Shape, apply_shape, lines

# Elements of lists that one program takes.
ENTRIES = 256


class Meaning(NamedTuple):
    """What a label means, as `Elementwise` of native/xent.h has it. `checked`: elements with other labels are NaN."""

    kind: str
    alpha: float
    beta: float
    rest: float
    low: float
    high: float
    ends_only: bool
    ignore: float | None
    positive: float
    negative: float
    gamma_pos: float
    gamma_neg: float
    clip: float
    checked: bool

    def loss(self, pos_weight: bool) -> tl.constexpr:
        """Which of the kernels' losses it is."""
        if self.kind == "pinball":
            return elementwise.PINBALL
        if self.kind == "modulated":
            return elementwise.CLIPPED if self.clip else elementwise.MODULATED
        shares = self.alpha * self.high + self.beta + self.rest
        unit = not pos_weight and self.positive == self.negative == shares == 1.0
        return elementwise.UNIT if unit else elementwise.LOGISTIC


class Operand(NamedTuple):
    """Numbers, and how they are walked."""

    numbers: Any
    layout: RowLayout


class Into(NamedTuple):
    """Where results go: partial sums of the losses and how many were infinite, [sums] float64; each loss, and the
    gradient times the scalar `scale`, in one layout. None where they are not wanted."""

    layout: RowLayout
    sums: Any = None
    infinite: Any = None
    loss: Any = None
    gradient: Any = None
    scale: Any = None


class ElementwiseTiles:
    """Logits, labels and weights on the device, ready to run."""

    def __init__(
        self,
        meaning: Meaning,
        x: Operand,
        y: Operand | None,
        *,
        pos_weight: Operand | None,
        weights: tuple[Operand | None, Operand | None],
        bounds: tuple[float, float],
        number_bytes: int,
        processors: int,
        entries: Any = None,
        marks: Any = None,
    ) -> None:
        """
        Args:
            bounds: between which weights lie that are not 0; others are taken for NaN.
            number_bytes: of the type computed in. processors: multiprocessors of the device.
            entries: numbers, in C order, of the elements with the label 1 where there are no labels; negative ones are
                none. Rows are one group then. marks: a weight of each row.
        """
        self.meaning, self.x, self.y, self.pos_weight, self.weights = meaning, x, y, pos_weight, weights
        self.bounds, self.entries, self.marks = bounds, entries, marks
        self._place, self._classes = lines(x.layout), x.layout.classes
        self._shape = _shape(x.layout)
        self._programs = _programs(self._shape, processors)
        self._number_bytes = number_bytes

    @property
    def sums(self) -> int:
        """How many partial sums there are."""
        return self._programs + self._list_programs

    @property
    def _list_programs(self) -> int:
        return 0 if self.entries is None else -(-self.entries.numel() // ENTRIES)

    def run(self, into: Into, made: Any = None, upstream: Operand | None = None) -> None:
        """What `into` has room for; nothing where the gradient was made for the scalar `made` already, which the device
        compares with the scale. `upstream`: the upstream gradient of each loss."""
        m = self.meaning
        # half precision needs no more than the hardware's own exponential, but for the loss of each element
        fine = self._number_bytes == 4 and (self.x.numbers.element_size() == 4 or into.loss is not None)
        kernel = {
            "ACC": TYPES[self._number_bytes],
            "FINE": fine,
            "KIND": m.loss(self.pos_weight is not None).value,
            **OPTIONS,
        }
        factors = m.positive, m.negative, m.gamma_pos, m.gamma_neg, m.clip, *self.bounds
        strides = lines(into.layout).strides
        others = self.pos_weight, *self.weights
        elementwise.elementwise_tiles[(self._programs,)](
            *(self.x.numbers, self._place.members, self._classes, self._shape.row_blocks, *self._place.strides),
            *(argument for operand in (self.y, *others) for argument in _arguments(operand)),
            *(self.marks, *_arguments(upstream)),
            *(m.alpha, m.beta, m.rest, m.low, m.high, 0.0 if m.ignore is None else m.ignore, *factors),
            *(into.scale, made, into.sums, into.infinite, into.loss, into.gradient, *strides),
            ENDS_ONLY=m.ends_only,
            CHECKED=m.checked and self.y is not None,
            HAS_IGNORE=m.ignore is not None,
            ROWS=self._shape.rows,
            BLOCK=self._shape.block,
            num_warps=self._number_bytes,  # eight numbers a thread, of float64 four
            **kernel,
        )
        if not self._list_programs:
            return
        rest = None if into.sums is None else into.sums[self._programs :]
        rest_infinite = None if into.infinite is None else into.infinite[self._programs :]
        elementwise.elementwise_positives[(self._list_programs,)](
            *(self.entries, self.entries.numel(), self._classes),
            *(argument for operand in (self.x, *others) for argument in _of_rows(operand)),
            *(self.marks, *_of_rows(upstream)),
            *(m.alpha, m.beta, m.rest, m.high, *factors),
            *(into.scale, made, rest, rest_infinite, into.loss, into.gradient, *strides[1:]),
            BLOCK=ENTRIES,
            num_warps=4,
            **kernel,
        )


class KeptMass:
    """Σ s over the elements whose label is not ignored."""

    def __init__(
        self,
        layout: RowLayout,
        s: Operand | None,
        y: Operand | None,
        ignore: float | None,
        bounds: tuple[float, float],
        processors: int,
    ) -> None:
        """`layout`: that of one of the two; without labels nothing is ignored, and without s each element counts 1."""
        self._layout, self._arguments = layout, (*_arguments(y), *_arguments(s), ignore or 0.0, *bounds)
        self._shape = _shape(layout)
        self.sums = _programs(self._shape, processors)

    def run(self, into: Any) -> None:
        """Partial sums, [sums] float64."""
        elementwise.kept_mass[(self.sums,)](
            *(lines(self._layout).members, self._layout.classes, self._shape.row_blocks, *self._arguments, into),
            ROWS=self._shape.rows,
            BLOCK=self._shape.block,
            num_warps=8,
            **OPTIONS,
        )


def _arguments(operand: Operand | None) -> tuple[Any, ...]:
    return (None, 0, 0, 0) if operand is None else (operand.numbers, *lines(operand.layout).strides)


def _of_rows(operand: Operand | None) -> tuple[Any, ...]:
    """The same where rows are one group."""
    numbers, _, member, step = _arguments(operand)
    return numbers, member, step


def _shape(layout: RowLayout) -> Shape:
    """That of a gradient, in smaller tiles: of each number more is kept."""
    shape = apply_shape(lines(layout), layout.classes, 4)
    block = min(shape.block, TILE // shape.rows)
    return shape._replace(block=block, parts=-(-layout.classes // block))


def _programs(shape: Shape, processors: int) -> int:
    return min(shape.row_blocks * shape.parts, RESIDENT * processors)
