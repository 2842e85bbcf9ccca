"""The kernels as calls: tensors in, results into tensors that the caller brings."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton.language as tl

from ...problem import RowLayout
from . import rows as tile_rows
from . import softmax, sums
from .shapes import RESIDENT, TILE, Shape, apply_shape, lines, power_of_two, softmax_shape, vector, warps

# Every operation as it is written: a contracted product and sum would not cancel where the formulas cancel.
OPTIONS = {"enable_fp_fusion": False}
TYPES = {4: tl.float32, 8: tl.float64}


class PerRow(NamedTuple):
    """A number, times one of each row where there is an array of them."""

    value: float = 1.0
    rows: Any = None


class RowCoefficients(NamedTuple):
    """loss_i = b·nll + c·u + l·lse + zeta·lse² + h·entropy; of l and h one a row, or None. `scale`: of the gradient, a
    scalar on the device, or None for 1."""

    b: PerRow = PerRow(0.0)
    c: PerRow = PerRow(0.0)
    l: Any = None
    zeta: PerRow = PerRow(0.0)
    h: Any = None
    scale: Any = None

    def arguments(self) -> tuple[Any, ...]:
        """As the kernels take them, without the scale."""
        numbers = self.b.value, self.c.value, self.zeta.value
        return (*numbers, self.b.rows, self.c.rows, self.l, self.zeta.rows, self.h)


class Results(NamedTuple):
    """Where the results of each row go, [rows] in the type computed in (argmax int64); None where they are not wanted.

    `top`, `rest` (Σ e^(z-top) - 1), `mass` and `entropy` are what a later gradient needs.
    """

    loss: Any = None
    top: Any = None
    rest: Any = None
    mass: Any = None
    lse: Any = None
    entropy: Any = None
    argmax: Any = None


class Target(NamedTuple):
    """What the rows are compared with: `index` [rows] resolved labels; `dense` soft targets with their layout; top-k
    classes and masses [rows, k]; and the measure v·(alpha·t + beta), if `measured`."""

    index: Any = None
    dense: Any = None
    dense_layout: RowLayout | None = None
    topk_index: Any = None
    topk_value: Any = None
    class_weight: Any = None
    measured: bool = False
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def topk(self) -> int:
        return 0 if self.topk_index is None else int(self.topk_index.shape[-1])

    def arguments(self) -> tuple[Any, ...]:
        where = (0, 0, 0) if self.dense_layout is None else lines(self.dense_layout).strides
        of_topk = self.topk_index, self.topk_value, self.topk
        return (self.index, self.dense, *where, *of_topk, self.class_weight, self.alpha, self.beta)


class Saved(NamedTuple):
    """Of rows all of whose classes were seen: the maximum, Σ e^(z-max) - 1, and where the target or a coefficient asks
    for them the target's mass and the entropy."""

    top: Any
    rest: Any
    mass: Any = None
    entropy: Any = None


class SoftmaxRows:
    """Logits and targets on the device, ready to run."""

    def __init__(
        self,
        x: Any,
        layout: RowLayout,
        target: Target,
        *,
        number_bytes: int,
        processors: int,
        temperature: float = 1.0,
        softcap: float = 0.0,
        first: int = 0,
    ) -> None:
        """
        Args:
            number_bytes: of the type computed in. processors: multiprocessors of the device.
            softcap: 0 for none. first: the number of class 0 of these, where they are a part of all.
        """
        self.target, self.processors, self.first = target, processors, first
        self._place, self._classes = lines(layout), layout.classes
        self.rows = self._place.groups * self._place.members
        transform = tile_rows.SOFTCAP if softcap else tile_rows.PLAIN if temperature == 1.0 else tile_rows.TEMPERATURE
        self._head = (x, self._place.members, *self._place.strides, self._classes, temperature, softcap)
        self._bytes = 4 if number_bytes == 4 else 16  # the functions of float64 take registers of their own
        self._kernel = {
            "ACC": TYPES[number_bytes],
            "FINE": number_bytes == 4 and x.element_size() == 4,  # half precision needs no more than the hardware's own
            "TRANSFORM": transform.value,
            **OPTIONS,
        }

    def _vector(self, gradient: RowLayout | None) -> int:
        layouts = [layout for layout in (gradient, self.target.dense_layout) if layout is not None]
        return vector(self._classes, self._place, *map(lines, layouts))

    def shape(self, statistics: bool) -> Shape:
        """How the rows are cut; `statistics`: entropy and argmax are wanted."""
        bytes_each = self._bytes * (2 if self.target.measured or statistics else 1)
        return softmax_shape(self._place, self._classes, self.processors, bytes_each)

    def run(self, k: RowCoefficients, out: Results, gradient: Any = None, layout: RowLayout | None = None) -> None:
        """Loss and statistics of rows that are not cut into parts, and in the same pass the gradient, if there is a
        tensor for it; top-k targets need `top`, `rest` and `mass` for that."""
        shape = self.shape(out.argmax is not None)
        into = (None, 0, 0, 0) if layout is None else (gradient, *lines(layout).strides)
        softmax.softmax_rows[(shape.row_blocks,)](
            *(*self._head, *self.target.arguments(), *k.arguments(), k.scale, *out, *into),
            ROWS=shape.rows,
            BLOCK=shape.block,
            WHOLE=shape.whole,
            KPAD=power_of_two(self.target.topk),
            MEASURE=self.target.measured,
            ENTROPY=out.entropy is not None,
            VECTOR=self._vector(layout),
            num_warps=shape.warps,
            **self._kernel,
        )
        if layout is not None:
            self._topk_entries(k, Saved(out.top, out.rest, out.mass, out.entropy), gradient, layout, None)

    def collect(self, partial: Any, best: Any, number: int, statistics: bool) -> int:
        """The statistics of these classes as parts number `number` and following; returns the number after them.

        Args:
            partial: [parts, 6, rows]. best: [parts, rows] int64, or None without `statistics`, entropy and argmax.
        """
        shape = self.shape(statistics)
        softmax.softmax_collect[(shape.row_blocks, shape.parts)](
            *(*self._head, *self.target.arguments(), self.first, self.rows, shape.part_classes, number),
            *(partial, best),
            ROWS=shape.rows,
            BLOCK=shape.block,
            KPAD=power_of_two(self.target.topk),
            MEASURE=self.target.measured,
            ENTROPY=statistics,
            VECTOR=self._vector(None),
            num_warps=shape.warps,
            **self._kernel,
        )
        return number + shape.parts

    def conclude(self, partial: Any, best: Any, parts: int, k: RowCoefficients, out: Results) -> None:
        """Loss and statistics of rows from those of all parts."""
        padded = power_of_two(parts)
        rows = max(1, min(64, 2 * TILE // padded))
        softmax.softmax_conclude[(-(-self.rows // rows),)](
            *(self.rows, parts, partial, best, self.target.index, *k.arguments(), *out),
            ACC=self._kernel["ACC"],
            FINE=self._kernel["FINE"],
            ROWS=rows,
            PARTS=padded,
            num_warps=warps(rows * padded),
            **OPTIONS,
        )

    def gradient(self, k: RowCoefficients, saved: Saved, into: Any, layout: RowLayout, made: Any = None) -> None:
        """The gradient to these classes, given whole rows; nothing where it was made for the scalar `made` already,
        which the device compares with the scale."""
        shape = apply_shape(self._place, self._classes, self._bytes)
        tiles = shape.row_blocks * shape.parts
        softmax.softmax_apply[(min(tiles, RESIDENT * self.processors),)](
            *(*self._head, *self.target.arguments(), *k.arguments(), k.scale, made),
            *(self.first, shape.row_blocks, *saved, into, *lines(layout).strides),
            ROWS=shape.rows,
            BLOCK=shape.block,
            MEASURE=self.target.measured,
            VECTOR=self._vector(layout),
            num_warps=shape.warps,
            **self._kernel,
        )
        self._topk_entries(k, saved, into, layout, made)

    def _topk_entries(self, k: RowCoefficients, saved: Saved, into: Any, layout: RowLayout, made: Any) -> None:
        if self.target.topk_index is None:
            return
        padded = power_of_two(self.target.topk)
        rows = max(1, min(TILE // padded, power_of_two(self._place.members)))
        blocks = self._place.groups * -(-self._place.members // rows)
        softmax.softmax_topk_entries[(blocks,)](
            *(*self._head, *self.target.arguments(), *k.arguments(), k.scale, made),
            *(self.first, blocks, *saved, into, *lines(layout).strides),
            ROWS=rows,
            KPAD=padded,
            num_warps=4,
            **self._kernel,
        )


def resolve_labels(labels: Any, classes: int, ignore_index: int | None, index: Any, kept: Any) -> None:
    """Contiguous labels as the kernels take them, into `index` [rows] int64; and how many are not ignored in each block
    of `LABELS` rows, into `kept` float64."""
    rows = labels.numel()
    sums.resolve_labels[(kept.numel(),)](
        *(labels, rows, classes, 0 if ignore_index is None else ignore_index, index, kept),
        HAS_IGNORE=ignore_index is not None,
        BLOCK=LABELS,
        num_warps=4,
        **OPTIONS,
    )


# Labels and numbers to add up that one program takes.
LABELS, CHUNK = 1024, 1 << 16


def ordered_sum(
    numbers: Any, out: Any, *, factors: Any = None, scale: Any = None, inverse: bool = False, chunks: Any = None
) -> None:
    """Σ numbers·factors in a fixed order, times `scale`, into the scalar `out`; or the reciprocal of the sum, 0 of 0.

    Args:
        chunks: room for one number of float64 for each `CHUNK` numbers, if they are more than that.
    """
    n = numbers.numel()

    def add(of: Any, weights: Any, many: int, into: Any, programs: int, last: bool) -> None:
        sums.ordered_sum[(programs,)](
            *(of, weights, many, scale if last else None, into),
            INVERSE=inverse and last,
            BLOCK=2048,
            CHUNK=CHUNK,
            num_warps=8,
            **OPTIONS,
        )

    if n <= CHUNK:
        add(numbers, factors, n, out, 1, True)
        return
    pieces = -(-n // CHUNK)
    add(numbers, factors, n, chunks, pieces, False)
    ordered_sum(chunks[:pieces], out, scale=scale, inverse=inverse, chunks=chunks[pieces:])


def scale_unless_one(x: Any, factor: Any, processors: int) -> None:
    """Multiplies contiguous numbers by a scalar on the device, in place."""
    block = 4096
    programs = min(-(-x.numel() // block), RESIDENT * processors)
    sums.scale_unless_one[(programs,)](x, x.numel(), factor, BLOCK=block, num_warps=8, **OPTIONS)
