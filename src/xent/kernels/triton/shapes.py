"""How rows are cut into programs: a small table by the number of classes, the layout and the device.

A program holds a tile in registers: 16 to 32 numbers a thread. Rows that fit are read once; over longer ones the tile
moves twice, and the second time finds them in the cache. Sizes are powers of two, so that one kernel serves every
vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...problem import RowLayout

# The longest row that is read once.
LONGEST_WHOLE = 16384
# Classes of longer rows that are worked on at a time; of a gradient alone.
SWEEP, APPLY = 8192, 4096
# Rows worked on at a time where they, and not their classes, lie side by side; and how many of their classes.
LANES, STEPS = 128, 32
# Numbers in a tile of short rows.
TILE = 1024
# Registers that a warp should have for its numbers.
BYTES_A_WARP = 2048
# Programs that a multiprocessor has at the same time, more or less.
RESIDENT = 8


class Lines(NamedTuple):
    """Rows as members of groups, with strides: what the kernels address."""

    groups: int
    members: int
    group_stride: int
    member_stride: int
    class_stride: int

    @property
    def strides(self) -> tuple[int, int, int]:
        return self[2:]


def lines(layout: RowLayout) -> Lines:
    """Rows o·inner + i; of an array with one row an inner step, or an outer one, these are all one group."""
    if layout.inner == 1:
        return Lines(1, layout.outer, 0, layout.outer_stride, layout.class_stride)
    return Lines(layout.outer, layout.inner, layout.outer_stride, layout.inner_stride, layout.class_stride)


class Shape(NamedTuple):
    """Rows and classes of a tile, whether it holds whole rows, the warps of a program, and how rows are cut."""

    rows: int
    block: int
    whole: bool
    row_blocks: int
    parts: int
    part_classes: int
    warps: int


def power_of_two(n: int) -> int:
    """The next one that is not smaller."""
    return 1 << max(n - 1, 0).bit_length()


def warps(numbers: int, bytes_each: int = 4) -> int:
    """Warps for a tile of so many numbers, each of which keeps so many bytes in registers."""
    return max(4, min(16, numbers * bytes_each // BYTES_A_WARP))


def softmax_shape(place: Lines, classes: int, processors: int, bytes_each: int) -> Shape:
    """The shape for rows of `classes` on a device of so many multiprocessors.

    Args:
        bytes_each: what a program keeps of each logit in registers, next to float32 and an index target, which are 4:
            twice as much for a measure or the entropy, four times as much for float64.
    """
    block, share = power_of_two(classes), bytes_each // 4
    if _across(place):
        rows = min(LANES, power_of_two(place.members))
        block = min(block, STEPS // share)
        whole = block >= classes
    else:
        whole = block <= LONGEST_WHOLE // share
        rows = max(1, min(TILE // block, power_of_two(place.members)))
        block = block if whole else SWEEP // share
    row_blocks = _row_blocks(place, rows)
    parts, part_classes = 1, classes
    if 2 * row_blocks <= processors and classes >= 2 * SWEEP:
        block, whole = min(block, SWEEP // share), False
        parts = max(1, min(-(-classes // block), 2 * processors // row_blocks))
        part_classes = -(-classes // (parts * block)) * block
        parts = -(-classes // part_classes)
    return Shape(rows, block, whole, row_blocks, parts, part_classes, warps(rows * block, bytes_each))


def apply_shape(place: Lines, classes: int, bytes_each: int) -> Shape:
    """The shape where each number's gradient is made on its own."""
    block = power_of_two(classes)
    if _across(place):
        rows, block = min(LANES, power_of_two(place.members)), min(block, STEPS)
    else:
        block = min(block, APPLY)
        rows = max(1, min(TILE // block, power_of_two(place.members)))
    parts = -(-classes // block)
    return Shape(rows, block, parts == 1, _row_blocks(place, rows), parts, block, warps(rows * block, bytes_each))


def vector(classes: int, *places: Lines) -> int:
    """The power of two, 16 at most, of which the number of classes and the beginnings of rows are multiples; 1 where
    classes do not lie side by side."""
    if any(place.class_stride != 1 for place in places):
        return 1
    sizes = (classes, *(size for place in places for size in (place.group_stride, place.member_stride)))
    return math.gcd(16, *sizes)


def _across(place: Lines) -> bool:
    """Whether rows lie side by side, and not their classes."""
    return place.class_stride != 1 and place.member_stride == 1 and place.members > 1


def _row_blocks(place: Lines, rows: int) -> int:
    return place.groups * -(-place.members // rows)
