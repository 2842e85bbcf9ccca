"""Softmax cross-entropy in Triton: loss and gradient of rows in one kernel, or in the three steps that it is made of.

`softmax_rows` does everything for rows that one program each can work through. Few rows of very many classes are cut
into parts, so that they fill the device: `softmax_collect` makes the statistics of each part, `softmax_conclude` merges
them, `softmax_apply` makes the gradient. That also makes it for other upstream gradients, from the saved statistics of
whole rows. Coefficients are numbers, times one of each row where there is an array of those.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import softcap_slope
from .rows import (
    INVALID_ROW,
    NOWHERE,
    SKIP_ROW,
    SOFTCAP,
    bounded,
    entries,
    finished,
    joined,
    loss_of,
    measure_tile,
    per_row,
    places,
    rows_of,
    seen,
    transformed,
    unseen,
    wide,
)


@triton.jit
def tile(
    x, at, class_stride, t, t_at, t_class, v, start, end, live, temperature, softcap, alpha, beta,
    ACC: tl.constexpr, BLOCK: tl.constexpr, TRANSFORM: tl.constexpr, MEASURE: tl.constexpr,
):  # fmt: skip
    """(x, z, w) of the classes from `start` up to `end`; -inf, -inf and 0 elsewhere and in rows that are not live."""
    k = tl.arange(0, BLOCK)
    here = k < end - start
    inside = live[:, None] & here[None, :]
    raw = tl.load(x + at[:, None] + (start + k.to(tl.int64))[None, :] * class_stride, mask=inside, other=-float("inf"))
    raw = raw.to(ACC)
    z = tl.where(inside, transformed(raw, temperature, softcap, TRANSFORM), -float("inf"))
    w = measure_tile(t, t_at, t_class, v, start, k, here, inside, alpha, beta, ACC) if MEASURE else z
    return raw, z, w


@triton.jit
def swept(
    x, at, class_stride, t, t_at, t_class, v, begin, end, first, live, temperature, softcap, alpha, beta,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, TRANSFORM: tl.constexpr,
    MEASURE: tl.constexpr, ENTROPY: tl.constexpr, ARGMAX: tl.constexpr,
):  # fmt: skip
    """What the classes from `begin` up to `end` amount to, tile by tile; `first`: the number of class 0."""
    top, rest, u, mass, spread, best = unseen(ROWS, BLOCK, ACC)
    for start in range(begin, end, BLOCK):
        _, z, w = tile(
            x, at, class_stride, t, t_at, t_class, v, start, end, live, temperature, softcap, alpha, beta,
            ACC, BLOCK, TRANSFORM, MEASURE,
        )  # fmt: skip
        number = first + start + tl.arange(0, BLOCK).to(tl.int64)
        top, rest, u, mass, spread, best = seen(
            top, rest, u, mass, spread, best, z, w, number, FINE, MEASURE, ENTROPY, ARGMAX
        )
    return joined(top, rest, u, mass, spread, best, FINE)


@triton.jit
def topk_targets(
    x, at, class_stride, topk_index, topk_value, topk, v, row, live, begin, end, temperature, softcap, alpha,
    ACC: tl.constexpr, KPAD: tl.constexpr, TRANSFORM: tl.constexpr,
):  # fmt: skip
    """(x, z, w, class) of each row's top-k targets; w is 0 of those not among the classes from `begin` to `end`."""
    j = tl.arange(0, KPAD)
    there = live[:, None] & (j < topk)[None, :]
    place = row[:, None] * topk + j[None, :]
    number = tl.load(topk_index + place, mask=there, other=-1)
    there = there & (number >= begin) & (number < end)
    w = tl.full((), alpha, ACC) * tl.load(topk_value + place, mask=there, other=0.0).to(ACC)
    if v is not None:
        w = w * tl.load(v + number, mask=there, other=0.0).to(ACC)
    raw = tl.load(x + at[:, None] + number * class_stride, mask=there, other=0.0).to(ACC)
    return raw, transformed(raw, temperature, softcap, TRANSFORM), w, tl.where(there, number, -1)


@triton.jit
def label_logit(
    x, at, class_stride, label, begin, end, live, temperature, softcap, ACC: tl.constexpr, TRANSFORM: tl.constexpr
):
    """z of each row's label; 0 where that is not among the classes from `begin` up to `end`."""
    there = live & (label >= begin) & (label < end)
    raw = tl.load(x + at + label * class_stride, mask=there, other=0.0).to(ACC)
    return tl.where(there, transformed(raw, temperature, softcap, TRANSFORM), 0.0)


@triton.jit
def gradient_tile(
    raw, z, w, k, label, top, rest, mass, entropy, b, c, l, zeta, h, factor, invalid, softcap,
    FINE: tl.constexpr, TRANSFORM: tl.constexpr, MEASURE: tl.constexpr, ENTROPY: tl.constexpr,
):  # fmt: skip
    """The gradient to x."""
    is_label = k[None, :] == label[:, None]
    g = entries(z, w, is_label, top, rest, mass, entropy, b, c, l, zeta, h, factor, FINE, MEASURE, ENTROPY)
    if TRANSFORM == SOFTCAP:
        g = g * softcap_slope(raw, softcap)
    nothing = (b == 0) & (c == 0) & (l == 0) & (zeta == 0) & (h == 0)
    g = tl.where(nothing[:, None], 0.0, g)
    return tl.where(invalid[:, None], float("nan"), g)


@triton.jit
def store_tile(g, at, class_stride, start, end, exists, value, BLOCK: tl.constexpr):
    k = tl.arange(0, BLOCK)
    inside = exists[:, None] & (k < end - start)[None, :]
    where = g + at[:, None] + (start + k.to(tl.int64))[None, :] * class_stride
    tl.store(where, value.to(g.dtype.element_ty), mask=inside)


@triton.jit
def local(label, start, BLOCK: tl.constexpr):
    """The label's number within a tile; -1 elsewhere."""
    return tl.where((label >= start) & (label < start + BLOCK), label - start, -1).to(tl.int32)


@triton.jit
def coefficients(b, c, zeta, b_rows, c_rows, l_rows, zeta_rows, h_rows, row, exists):
    """(b, c, l, zeta, h) of each row; l and h are 0 where there is no array of them."""
    l, h = per_row(0.0, None, row, exists), per_row(0.0, None, row, exists)
    if l_rows is not None:
        l = per_row(1.0, l_rows, row, exists)
    if h_rows is not None:
        h = per_row(1.0, h_rows, row, exists)
    b, c = per_row(b, b_rows, row, exists), per_row(c, c_rows, row, exists)
    return b, c, l, per_row(zeta, zeta_rows, row, exists), h


@triton.jit
def gradient_factor(scale, temperature):
    """What multiplies every entry of the gradient to x: the scale, and dz/dx but for the soft cap."""
    factor = 1.0 / tl.full((), temperature, tl.float64)
    if scale is not None:
        factor = tl.load(scale).to(tl.float64) * factor
    return factor


@triton.jit
def labels_of(index, row, exists):
    """(class, or a mark of none; whether the row is to be read; whether its label is out of range)."""
    label = tl.zeros(row.shape, tl.int64) - 3
    if index is not None:
        label = tl.load(index + row, mask=exists, other=-1)
    return label, exists & (label != SKIP_ROW) & (label != INVALID_ROW), exists & (label == INVALID_ROW)


@triton.jit
def put(out, row, exists, live, invalid, value, absent):
    """A statistic of each row: NaN, or `absent`, where the row is not read."""
    value = tl.where(live, value, absent)
    if value.dtype.is_floating():
        value = tl.where(invalid, float("nan"), value)
    tl.store(out + row, value.to(out.dtype.element_ty), mask=exists)


@triton.jit
def put_results(
    row, exists, live, invalid, top, rest, log_sum, z_label, u, mass, entropy, best, b, c, l, zeta, h,
    loss, top_out, rest_out, mass_out, lse_out, entropy_out, argmax_out,
):  # fmt: skip
    """Loss and statistics of each row, where they are asked for."""
    if loss is not None:
        put(loss, row, exists, live, invalid, loss_of(top, log_sum, z_label, u, entropy, b, c, l, zeta, h), 0.0)
    if top_out is not None:
        put(top_out, row, exists, live, invalid, top, 0.0)
        put(rest_out, row, exists, live, invalid, rest, 0.0)
    if mass_out is not None:
        put(mass_out, row, exists, live, invalid, mass, 0.0)
    if lse_out is not None:
        put(lse_out, row, exists, live, invalid, top + log_sum, 0.0)
    if entropy_out is not None:
        put(entropy_out, row, exists, live, invalid, entropy, 0.0)
    if argmax_out is not None:
        put(argmax_out, row, exists, live, invalid, best, -1)


@triton.jit
def softmax_rows(
    x, members, group_stride, member_stride, class_stride, classes, temperature: tl.float64, softcap: tl.float64,
    index, t, t_group, t_member, t_class, topk_index, topk_value, topk, v, alpha: tl.float64, beta: tl.float64,
    b: tl.float64, c: tl.float64, zeta: tl.float64, b_rows, c_rows, l_rows, zeta_rows, h_rows, scale,
    loss, top_out, rest_out, mass_out, lse_out, entropy_out, argmax_out,
    g, g_group, g_member, g_class,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
    KPAD: tl.constexpr, TRANSFORM: tl.constexpr, MEASURE: tl.constexpr, ENTROPY: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Loss, statistics and gradient of ROWS rows. WHOLE: a tile holds all classes, which are read once."""
    group, member, row, exists = rows_of(tl.program_id(0), members, ROWS)
    at = places(group, member, group_stride, member_stride, VECTOR)
    t_at = places(group, member, t_group, t_member, VECTOR)
    g_at = places(group, member, g_group, g_member, VECTOR)
    classes = wide(classes, VECTOR)
    label, live, invalid = labels_of(index, row, exists)
    b, c, l, zeta, h = coefficients(b, c, zeta, b_rows, c_rows, l_rows, zeta_rows, h_rows, row, exists)
    if lse_out is None:  # what has no weight is not read
        live = live & ((b != 0) | (c != 0) | (l != 0) | (zeta != 0) | (h != 0))
    ARGMAX: tl.constexpr = argmax_out is not None

    if WHOLE:
        raw, z, w = tile(
            x, at, class_stride, t, t_at, t_class, v, 0, classes, live, temperature, softcap, alpha, beta,
            ACC, BLOCK, TRANSFORM, MEASURE,
        )  # fmt: skip
        # each logit is a lane
        none = tl.zeros((ROWS, BLOCK), ACC)
        number = tl.zeros((ROWS, BLOCK), tl.int64) + tl.arange(0, BLOCK)[None, :]
        rest = tl.where(z == -float("inf"), -1.0, none)
        top, rest, u, mass, spread, best = joined(z, rest, none, w if MEASURE else none, none, number, FINE)
    else:
        top, rest, u, mass, spread, best = swept(
            x, at, class_stride, t, t_at, t_class, v, 0, classes, 0, live, temperature, softcap, alpha, beta,
            ACC, FINE, ROWS, BLOCK, TRANSFORM, MEASURE, ENTROPY, ARGMAX,
        )  # fmt: skip
    if topk_index is not None:
        _, z_k, w_k, _ = topk_targets(
            x, at, class_stride, topk_index, topk_value, topk, v, row, live, 0, classes, temperature, softcap, alpha,
            ACC, KPAD, TRANSFORM,
        )  # fmt: skip
        mass += tl.sum(w_k, axis=1)
        base = tl.where(top == -float("inf"), 0.0, top)
        u += tl.sum(tl.where(w_k == 0, 0.0, w_k * (base[:, None] - z_k)), axis=1)
    z_label = label_logit(x, at, class_stride, label, 0, classes, live, temperature, softcap, ACC, TRANSFORM)
    top, rest, log_sum, u, entropy = finished(top, rest, u, mass, spread)
    put_results(
        row, exists, live, invalid, top, rest, log_sum, z_label, u, mass, entropy, best, b, c, l, zeta, h,
        loss, top_out, rest_out, mass_out, lse_out, entropy_out, argmax_out,
    )  # fmt: skip

    if g is not None:
        tl.debug_barrier()  # the gradient may lie where the logits are: no thread still reads its label's
        factor = gradient_factor(scale, temperature)
        k = tl.arange(0, BLOCK)
        if WHOLE:
            value = gradient_tile(
                raw, z, w, k, local(label, 0, BLOCK), top, rest, mass, entropy, b, c, l, zeta, h, factor, invalid,
                softcap, FINE, TRANSFORM, MEASURE, ENTROPY,
            )  # fmt: skip
            store_tile(g, g_at, g_class, 0, classes, exists, tl.where((live | invalid)[:, None], value, 0.0), BLOCK)
        else:
            # the classes that were read last are most likely in a cache
            for back in range(tl.cdiv(classes, BLOCK)):
                start = (tl.cdiv(classes, BLOCK) - 1 - back) * BLOCK
                raw, z, w = tile(
                    x, at, class_stride, t, t_at, t_class, v, start, classes, live, temperature, softcap, alpha, beta,
                    ACC, BLOCK, TRANSFORM, MEASURE,
                )  # fmt: skip
                value = gradient_tile(
                    raw, z, w, k, local(label, start, BLOCK), top, rest, mass, entropy, b, c, l, zeta, h, factor,
                    invalid, softcap, FINE, TRANSFORM, MEASURE, ENTROPY,
                )  # fmt: skip
                value = tl.where((live | invalid)[:, None], value, 0.0)
                store_tile(g, g_at, g_class, start, classes, exists, value, BLOCK)


@triton.jit(do_not_specialize=["first", "rows", "part_number"])
def softmax_collect(
    x, members, group_stride, member_stride, class_stride, classes, temperature: tl.float64, softcap: tl.float64,
    index, t, t_group, t_member, t_class, topk_index, topk_value, topk, v, alpha: tl.float64, beta: tl.float64,
    first, rows, part_classes, part_number, partial, best_out,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, KPAD: tl.constexpr,
    TRANSFORM: tl.constexpr, MEASURE: tl.constexpr, ENTROPY: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The statistics of a part of the classes of ROWS rows.

    Of all classes, `classes` are here, from number `first` on; program (i, j) takes `part_classes` of them as part
    number `part_number` + j. `partial`: [parts, 6, rows].
    """
    group, member, row, exists = rows_of(tl.program_id(0), members, ROWS)
    at = places(group, member, group_stride, member_stride, VECTOR)
    t_at = places(group, member, t_group, t_member, VECTOR)
    label, live, _ = labels_of(index, row, exists)
    ARGMAX: tl.constexpr = best_out is not None
    v_here = v
    if v is not None:
        v_here = v + first
    begin = tl.program_id(1).to(tl.int64) * part_classes
    end = bounded(begin + part_classes, classes, VECTOR)

    top, rest, u, mass, spread, best = swept(
        x, at, class_stride, t, t_at, t_class, v_here, begin, end, first, live, temperature, softcap, alpha, beta,
        ACC, FINE, ROWS, BLOCK, TRANSFORM, MEASURE, ENTROPY, ARGMAX,
    )  # fmt: skip
    here = at - first * class_stride  # where class 0 would be
    if topk_index is not None:
        _, z_k, w_k, _ = topk_targets(
            x, here, class_stride, topk_index, topk_value, topk, v, row, live, first + begin, first + end, temperature,
            softcap, alpha, ACC, KPAD, TRANSFORM,
        )  # fmt: skip
        mass += tl.sum(w_k, axis=1)
        base = tl.where(top == -float("inf"), 0.0, top)
        u += tl.sum(tl.where(w_k == 0, 0.0, w_k * (base[:, None] - z_k)), axis=1)
    z_label = label_logit(
        x, here, class_stride, label, first + begin, first + end, live, temperature, softcap, ACC, TRANSFORM
    )
    out = partial + (part_number + tl.program_id(1)).to(tl.int64) * 6 * rows + row
    tl.store(out, top, mask=exists)
    tl.store(out + rows, rest, mask=exists)
    tl.store(out + 2 * rows, u, mask=exists)
    tl.store(out + 3 * rows, mass, mask=exists)
    tl.store(out + 4 * rows, spread, mask=exists)
    tl.store(out + 5 * rows, z_label, mask=exists)
    if ARGMAX:
        tl.store(best_out + (part_number + tl.program_id(1)).to(tl.int64) * rows + row, best, mask=exists)


@triton.jit(do_not_specialize=["rows", "parts"])
def softmax_conclude(
    rows, parts, partial, best_in, index,
    b: tl.float64, c: tl.float64, zeta: tl.float64, b_rows, c_rows, l_rows, zeta_rows, h_rows,
    loss, top_out, rest_out, mass_out, lse_out, entropy_out, argmax_out,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Loss and statistics of ROWS rows from those of their parts, at most PARTS."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = row < rows
    _, live, invalid = labels_of(index, row, exists)
    b, c, l, zeta, h = coefficients(b, c, zeta, b_rows, c_rows, l_rows, zeta_rows, h_rows, row, exists)
    if lse_out is None:
        live = live & ((b != 0) | (c != 0) | (l != 0) | (zeta != 0) | (h != 0))
    part = tl.arange(0, PARTS).to(tl.int64)
    there = exists[:, None] & (part < parts)[None, :]
    at = partial + (part * 6 * rows)[None, :] + row[:, None]
    z_label = tl.sum(tl.load(at + 5 * rows, mask=there, other=0.0), axis=1)
    best = tl.zeros((ROWS, PARTS), tl.int64)
    if best_in is not None:
        best = tl.load(best_in + (part * rows)[None, :] + row[:, None], mask=there, other=NOWHERE)
    top, rest, u, mass, spread, best = joined(
        tl.load(at, mask=there, other=-float("inf")),
        tl.load(at + rows, mask=there, other=-1.0),
        tl.load(at + 2 * rows, mask=there, other=0.0),
        tl.load(at + 3 * rows, mask=there, other=0.0),
        tl.load(at + 4 * rows, mask=there, other=0.0),
        best,
        FINE,
    )
    top, rest, log_sum, u, entropy = finished(top, rest, u, mass, spread)
    put_results(
        row, exists, live, invalid, top, rest, log_sum, z_label, u, mass, entropy, best, b, c, l, zeta, h,
        loss, top_out, rest_out, mass_out, lse_out, entropy_out, argmax_out,
    )  # fmt: skip


@triton.jit
def known(row, exists, top, rest, mass, entropy, ACC: tl.constexpr):
    """(max, rest, mass, entropy) of rows all of whose classes were seen, as they were saved."""
    none = tl.zeros(row.shape, ACC)
    top = tl.load(top + row, mask=exists, other=0.0)
    rest = tl.load(rest + row, mask=exists, other=0.0)
    if mass is not None:
        mass = tl.load(mass + row, mask=exists, other=0.0)
    else:
        mass = none
    if entropy is not None:
        entropy = tl.load(entropy + row, mask=exists, other=0.0).to(ACC)
    else:
        entropy = none
    return top, rest, mass, entropy


@triton.jit
def is_made(scale, made):
    """Whether the gradient was made for a factor that is this one but for an eighth of an ulp of float32."""
    wanted, had = tl.load(scale).to(tl.float64), tl.load(made).to(tl.float64)
    return (tl.abs(wanted - had) <= tl.abs(wanted) * 2.0**-27) & (tl.abs(wanted) < float("inf"))


@triton.jit(do_not_specialize=["first", "row_blocks"])
def softmax_apply(
    x, members, group_stride, member_stride, class_stride, classes, temperature: tl.float64, softcap: tl.float64,
    index, t, t_group, t_member, t_class, topk_index, topk_value, topk, v, alpha: tl.float64, beta: tl.float64,
    b: tl.float64, c: tl.float64, zeta: tl.float64, b_rows, c_rows, l_rows, zeta_rows, h_rows, scale, made,
    first, row_blocks, top, rest, mass, entropy,
    g, g_group, g_member, g_class,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    TRANSFORM: tl.constexpr, MEASURE: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The gradient to rows all of whose classes were seen, but for their top-k targets; nothing where `made` says that
    it is there. `classes` of them are here, from number `first` on. Each program takes one tile after the other: where
    there is nothing to do, only a few have to find that out."""
    if made is not None:
        if is_made(scale, made):
            return
    ENTROPY: tl.constexpr = h_rows is not None
    v_here = v
    if v is not None:
        v_here = v + first
    factor = gradient_factor(scale, temperature)
    classes = wide(classes, VECTOR)
    tiles = row_blocks.to(tl.int64) * tl.cdiv(classes, BLOCK)
    for number in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        group, member, row, exists = rows_of(number % row_blocks, members, ROWS)
        start = number // row_blocks * BLOCK
        at = places(group, member, group_stride, member_stride, VECTOR)
        t_at = places(group, member, t_group, t_member, VECTOR)
        g_at = places(group, member, g_group, g_member, VECTOR)
        label, live, invalid = labels_of(index, row, exists)
        b_i, c_i, l_i, zeta_i, h_i = coefficients(
            b, c, zeta, b_rows, c_rows, l_rows, zeta_rows, h_rows, row, exists
        )  # fmt: skip
        live = live & ((b_i != 0) | (c_i != 0) | (l_i != 0) | (zeta_i != 0) | (h_i != 0))
        top_i, rest_i, mass_i, entropy_i = known(row, exists, top, rest, mass, entropy, ACC)
        raw, z, w = tile(
            x, at, class_stride, t, t_at, t_class, v_here, start, classes, live, temperature, softcap, alpha, beta,
            ACC, BLOCK, TRANSFORM, MEASURE,
        )  # fmt: skip
        value = gradient_tile(
            raw, z, w, tl.arange(0, BLOCK), local(label - first, start, BLOCK), top_i, rest_i, mass_i, entropy_i,
            b_i, c_i, l_i, zeta_i, h_i, factor, invalid, softcap, FINE, TRANSFORM, MEASURE, ENTROPY,
        )  # fmt: skip
        store_tile(g, g_at, g_class, start, classes, exists, tl.where((live | invalid)[:, None], value, 0.0), BLOCK)


@triton.jit(do_not_specialize=["first", "row_blocks"])
def softmax_topk_entries(
    x, members, group_stride, member_stride, class_stride, classes, temperature: tl.float64, softcap: tl.float64,
    index, t, t_group, t_member, t_class, topk_index, topk_value, topk, v, alpha: tl.float64, beta: tl.float64,
    b: tl.float64, c: tl.float64, zeta: tl.float64, b_rows, c_rows, l_rows, zeta_rows, h_rows, scale, made,
    first, row_blocks, top, rest, mass, entropy,
    g, g_group, g_member, g_class,
    ACC: tl.constexpr, FINE: tl.constexpr, ROWS: tl.constexpr, KPAD: tl.constexpr, TRANSFORM: tl.constexpr,
):  # fmt: skip
    """The entries of the top-k targets of ROWS rows, which the sweeps over all classes leave out."""
    if made is not None:
        if is_made(scale, made):
            return
    group, member, row, exists = rows_of(tl.program_id(0), members, ROWS)
    at = group * group_stride + member * member_stride - first * class_stride
    g_at = group * g_group + member * g_member - first * g_class
    ENTROPY: tl.constexpr = h_rows is not None
    b, c, l, zeta, h = coefficients(b, c, zeta, b_rows, c_rows, l_rows, zeta_rows, h_rows, row, exists)
    live = exists & ((b != 0) | (c != 0) | (l != 0) | (zeta != 0) | (h != 0))
    top, rest, mass, entropy = known(row, exists, top, rest, mass, entropy, ACC)
    raw, z, w, number = topk_targets(
        x, at, class_stride, topk_index, topk_value, topk, v, row, live, first, first + classes, temperature, softcap,
        alpha, ACC, KPAD, TRANSFORM,
    )  # fmt: skip
    base = tl.zeros((ROWS, KPAD), ACC) + tl.full((), beta, ACC)
    if v is not None:
        base = base * tl.load(v + number, mask=number >= 0, other=0.0).to(ACC)
    factor = gradient_factor(scale, temperature)
    nobody = tl.zeros((ROWS, KPAD), tl.int32) != 0
    value = entries(
        z, base + w, nobody, top, rest, mass, entropy, b, c, l, zeta, h, factor, FINE, True, ENTROPY
    )  # fmt: skip
    if TRANSFORM == SOFTCAP:
        value = value * softcap_slope(raw, softcap)
    tl.store(g + g_at[:, None] + number * g_class, value.to(g.dtype.element_ty), mask=live[:, None] & (number >= 0))
