"""Labels and sums on the device, so that nothing of a loss is waited for."""

from __future__ import annotations

import triton
import triton.language as tl

from .rows import INVALID_ROW, SKIP_ROW


@triton.jit(do_not_specialize=["rows", "classes"])
def resolve_labels(labels, rows, classes, ignore: tl.int64, index, kept, HAS_IGNORE: tl.constexpr, BLOCK: tl.constexpr):
    """Labels as the kernels take them: a class, -1 for an ignored row, -2 for a label out of range; and of each block
    how many rows are not ignored."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = row < rows
    given = tl.load(labels + row, mask=exists, other=0)
    outside = (given < 0) | (given.to(tl.uint64) >= classes)
    number = tl.where(outside, INVALID_ROW, given.to(tl.int64))
    if HAS_IGNORE:
        number = tl.where(given == ignore, SKIP_ROW, number)
    tl.store(index + row, number, mask=exists)
    tl.store(kept + tl.program_id(0), tl.sum((exists & (number != SKIP_ROW)).to(tl.float64)))


@triton.jit(do_not_specialize=["n"])
def ordered_sum(numbers, factors, n, scale, out, INVERSE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """Sums of chunks of numbers (times factors, if there are any) in double and in a fixed order, times `scale`.

    INVERSE: 1 / sum, and 0 of a sum of 0: what a mean is multiplied by.
    """
    begin = tl.program_id(0).to(tl.int64) * CHUNK
    lanes = tl.zeros((BLOCK,), tl.float64)
    for start in range(begin, tl.minimum(begin + CHUNK, n), BLOCK):
        at = start + tl.arange(0, BLOCK)
        there = at < n
        some = tl.load(numbers + at, mask=there, other=0.0).to(tl.float64)
        if factors is not None:
            weight = tl.load(factors + at, mask=there, other=0.0).to(tl.float64)
            some = tl.where(weight == 0, 0.0, some * weight)
        lanes += some
    sum = tl.sum(lanes)
    if INVERSE:
        sum = tl.where(sum == 0, 0.0, 1.0 / tl.where(sum == 0, 1.0, sum))
    if scale is not None:
        sum = sum * tl.load(scale)
    tl.store(out + tl.program_id(0), sum.to(out.dtype.element_ty))


@triton.jit
def scale_unless_one(x, n, factor, BLOCK: tl.constexpr):
    """Multiplies numbers by a scalar on the device; where that is 1 only a few programs have to find that out."""
    by = tl.load(factor)
    if by == 1:
        return
    for start in range(tl.program_id(0).to(tl.int64) * BLOCK, n, tl.num_programs(0).to(tl.int64) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        some = tl.load(x + at, mask=at < n, other=0.0)
        tl.store(x + at, (some * by).to(x.dtype.element_ty), mask=at < n)
