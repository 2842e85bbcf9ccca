"""Losses of single numbers in Triton, by the formulas of `native/elementwise.h`.

Logits, labels and weights are walked together in tiles of ROWS rows and BLOCK classes, each with strides of its own, 0
along axes that share a number; what is contiguous everywhere is one long row. Lists of positive classes take a second
kernel, which makes their elements anew, since the first takes every label for 0.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import exp_of_difference, exp_with_rest, log1p
from .rows import rows_of
from .softmax import is_made

# The loss of an element. UNIT: logistic, without factors, the two shares of a label adding up to 1. CLIPPED: modulated,
# with a clip that is not 0.
LOGISTIC = tl.constexpr(0)
UNIT = tl.constexpr(1)
MODULATED = tl.constexpr(2)
CLIPPED = tl.constexpr(3)
PINBALL = tl.constexpr(4)


@triton.jit
def times(factor, x):
    """A product in which a factor of 0 gives 0 whatever the other is."""
    return tl.where(factor == 0, 0.0, factor * x)


@triton.jit
def log1p_unit(e):
    """log(1 + e) for 0 <= e <= 1 or NaN, at most 2 ulp: e - e²·q(e), q being the fit of `native/elementwise.h`."""
    if e.dtype == tl.float64:
        return log1p(e)
    q = 0.00331847589116
    q = q * e - 0.0202045998759
    q = q * e + 0.0576644720779
    q = q * e - 0.106805583213
    q = q * e + 0.153553979664
    q = q * e - 0.196954011287
    q = q * e + 0.249585875424
    q = q * e - 0.33330511333
    q = q * e + 0.499999327641
    return e - e * e * q


@triton.jit
def logistic(x, a, b, UNIT_SHARES: tl.constexpr, FINE: tl.constexpr):
    """a·softplus(-x) + b·softplus(x), and its slope, from one e^-|x|: nothing cancels."""
    e = exp_of_difference(-tl.abs(x), 0.0, FINE)
    log = log1p_unit(e)
    right = x > 0
    near, far = tl.where(right, b, -a), tl.where(right, -a, b)
    slope = (near + far * e) / (1.0 + e)
    if UNIT_SHARES:
        return times(near, x) + log, slope
    return times(near, x) + times(a + b, log), tl.where((a == 0) & (b == 0), 0.0, slope)


@triton.jit
def power(size, log, gamma, FINE: tl.constexpr):
    """e^(-gamma·(size + log)). A rounded exponent of -60 would cost five digits, so its rounding goes along."""
    bounded = tl.where(size < 1e6, size, 1e6)  # beyond, the power is 0 anyhow; NaN stays in `log`
    product = bounded * gamma
    other = log * gamma
    sum = product + other
    back = sum - product
    low = tl.fma(bounded, gamma, -product) + ((product - (sum - back)) + (other - back))
    if FINE:
        return exp_with_rest(-sum, -low)
    e = tl.exp(-sum)
    return e - e * low


@triton.jit
def modulated(x, a, b, gamma_pos, gamma_neg, clip, WITH_CLIP: tl.constexpr, FINE: tl.constexpr):
    """Each part times a power of the probability of being wrong: (1 - p)^gamma_pos of the positive one,
    max(p - clip, 0)^gamma_neg of the negative one."""
    size = tl.abs(x)
    e = exp_of_difference(-size, 0.0, FINE)
    log = log1p_unit(e)
    sum = 1.0 + e
    large = 1.0 / sum
    if WITH_CLIP:  # of which a difference is taken, and a power: what sum and quotient have rounded off goes along
        large += large * (tl.fma(-large, sum, 1.0) - large * (e - (sum - 1.0)))
    small = e * large
    right = x > 0
    p, q = tl.where(right, large, small), tl.where(right, small, large)  # σ(x) and σ(-x), accurate where small
    up, down = tl.where(right, x + log, log), tl.where(right, log, log - x)  # -log q and -log p
    # (1 - p)^gamma = e^(-gamma·softplus(x))
    of_pos = power(tl.where(right, size, 0.0), log, gamma_pos, FINE)
    pos = of_pos * down
    pos_slope = -of_pos * (times(gamma_pos * p, down) + q)
    if WITH_CLIP:
        live = p > clip
        kept, wrong = tl.where(live, p - clip, 1.0), q + clip  # wrong = 1 - kept
        of_neg = power(tl.zeros_like(x), -tl.log(kept), gamma_neg, FINE)
        near_zero = kept < 0.5
        log_wrong = -tl.where(near_zero, log1p(tl.where(near_zero, -kept, 0.0)), tl.log(wrong))
        slope = (gamma_neg * log_wrong / kept + 1.0 / wrong) * of_neg * p * q
        # NaN is not above the clip, and must not vanish
        neg = tl.where(live, of_neg * log_wrong, tl.where(x == x, 0.0, x))
        neg_slope = tl.where(live, slope, tl.where(x == x, 0.0, x))
    else:
        of_neg = power(tl.where(right, 0.0, size), log, gamma_neg, FINE)
        neg = times(of_neg, up)
        neg_slope = of_neg * (times(gamma_neg * q, up) + p)
    return times(a, pos) + times(b, neg), times(a, pos_slope) + times(b, neg_slope)


@triton.jit
def pinball(d, over, under):
    """over·max(d, 0) + under·max(-d, 0)."""
    slope = tl.where(d > 0, over, -under)
    slope = tl.where(d == d, tl.where(d == 0, 0.0, slope), d)
    return times(slope, d), slope


@triton.jit
def loss_and_slope(
    x, y, pos, alpha, beta, rest, high, positive, negative, gamma_pos, gamma_neg, clip,
    KIND: tl.constexpr, FINE: tl.constexpr,
):  # fmt: skip
    """Of elements x with labels y, without the weight that loss and slope share. pos: of the positive part, or None."""
    a = alpha * y + beta
    if KIND == PINBALL:
        return pinball(x - a, positive, negative)
    b = alpha * (high - y) + rest
    if KIND == UNIT:
        return logistic(x, a, b, True, FINE)
    if pos is not None:
        a = pos * a
    a, b = a * positive, b * negative
    if KIND == LOGISTIC:
        return logistic(x, a, b, False, FINE)
    return modulated(x, a, b, gamma_pos, gamma_neg, clip, KIND == CLIPPED, FINE)


@triton.jit
def tile_at(group, member, k, group_stride, member_stride, class_stride):
    """Where the numbers of a tile lie."""
    return (group * group_stride + member * member_stride)[:, None] + (k * class_stride)[None, :]


@triton.jit
def usable(weights, at, inside, smallest, largest, ACC: tl.constexpr):
    """Weights; NaN where they would be refused if they could be looked at."""
    w = tl.load(weights + at, mask=inside, other=0).to(ACC)
    fine = (w == 0) | ((w >= tl.full((), smallest, ACC)) & (w <= tl.full((), largest, ACC)))
    return tl.where(fine, w, float("nan"))


@triton.jit
def weight_of(
    v, v_at, s, s_at, marks, mark_at, upstream, u_at, inside, smallest, largest, ACC: tl.constexpr
):  # fmt: skip
    """The product of what weighs elements, and of the upstream gradient of each."""
    w = tl.zeros(inside.shape, ACC) + 1.0
    if v is not None:
        w = w * usable(v, v_at, inside, smallest, largest, ACC)
    if s is not None:
        w = w * usable(s, s_at, inside, smallest, largest, ACC)
    if marks is not None:
        w = w * tl.load(marks + mark_at, mask=inside, other=0.0).to(ACC)
    if upstream is not None:
        w = w * tl.load(upstream + u_at, mask=inside, other=0.0).to(ACC)
    return w


@triton.jit
def elementwise_tiles(
    x, members, classes, row_blocks, x_group, x_member, x_class,
    y, y_group, y_member, y_class,
    pos, pos_group, pos_member, pos_class,
    v, v_group, v_member, v_class,
    s, s_group, s_member, s_class,
    marks,
    upstream, u_group, u_member, u_class,
    alpha: tl.float64, beta: tl.float64, rest: tl.float64, low: tl.float64, high: tl.float64, ignore: tl.float64,
    positive: tl.float64, negative: tl.float64, gamma_pos: tl.float64, gamma_neg: tl.float64, clip: tl.float64,
    smallest: tl.float64, largest: tl.float64,
    scale, made, sums, infinite, loss, g, out_group, out_member, out_class,
    ACC: tl.constexpr, FINE: tl.constexpr, KIND: tl.constexpr, ENDS_ONLY: tl.constexpr, CHECKED: tl.constexpr,
    HAS_IGNORE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The loss of each element, their sum by programs, and the gradient times `scale`; each where there is a tensor for
    it, and nothing where `made` says that the gradient is there. Each program takes one tile after the other: where
    there is nothing to do, only a few have to find that out.

    CHECKED: an element whose label is not what it must be is NaN. `marks`: a weight of each row. `infinite`: how many
    losses are; they are not in the sums then, out of which no other label could take them again.
    """
    if made is not None:
        if is_made(scale, made):
            return
    alpha, beta, rest = tl.full((), alpha, ACC), tl.full((), beta, ACC), tl.full((), rest, ACC)
    low, high, ignore = tl.full((), low, ACC), tl.full((), high, ACC), tl.full((), ignore, ACC)
    positive, negative = tl.full((), positive, ACC), tl.full((), negative, ACC)
    gamma_pos, gamma_neg = tl.full((), gamma_pos, ACC), tl.full((), gamma_neg, ACC)
    clip = tl.full((), clip, ACC)
    factor = tl.full((), 1.0, ACC)
    if scale is not None:
        factor = tl.load(scale).to(ACC)
    lanes = tl.zeros((ROWS, BLOCK), tl.float64)
    infinities = tl.zeros((ROWS, BLOCK), tl.int32)
    tiles = tl.full((), row_blocks, tl.int64) * tl.cdiv(classes, BLOCK)
    for number in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        group, member, row, exists = rows_of(number % row_blocks, members, ROWS)
        start = number // row_blocks * BLOCK
        inside = exists[:, None] & (tl.arange(0, BLOCK) < classes - start)[None, :]
        k = start + tl.arange(0, BLOCK)
        at_x = tl.load(x + tile_at(group, member, k, x_group, x_member, x_class), mask=inside, other=0.0).to(ACC)
        if y is not None:
            at_y = tl.load(y + tile_at(group, member, k, y_group, y_member, y_class), mask=inside, other=0).to(ACC)
        else:
            at_y = tl.zeros((ROWS, BLOCK), ACC)
        w = weight_of(
            v, tile_at(group, member, k, v_group, v_member, v_class),
            s, tile_at(group, member, k, s_group, s_member, s_class),
            marks, row[:, None],
            upstream, tile_at(group, member, k, u_group, u_member, u_class),
            inside, smallest, largest, ACC,
        )  # fmt: skip
        if HAS_IGNORE:
            w = tl.where(at_y == ignore, 0.0, w)
        if CHECKED:
            if ENDS_ONLY:
                fine = (at_y == low) | (at_y == high)
            else:
                fine = (at_y >= low) & (at_y <= high)
            at_y = tl.where(fine, at_y, float("nan"))
        at_pos = pos
        if pos is not None:
            at_pos = usable(
                pos, tile_at(group, member, k, pos_group, pos_member, pos_class), inside, smallest, largest, ACC
            )  # fmt: skip
        value, slope = loss_and_slope(
            at_x, at_y, at_pos, alpha, beta, rest, high, positive, negative, gamma_pos, gamma_neg, clip, KIND, FINE
        )  # fmt: skip
        value = times(w, value)
        out = tile_at(group, member, k, out_group, out_member, out_class)
        if sums is not None:
            counts = inside
            if infinite is not None:
                counts = inside & (value != float("inf"))
                infinities += (inside & (value == float("inf"))).to(tl.int32)
            lanes += tl.where(counts, value, 0.0).to(tl.float64)
        if loss is not None:
            tl.store(loss + out, value, mask=inside)
        if g is not None:
            tl.store(g + out, (times(w, slope) * factor).to(g.dtype.element_ty), mask=inside)
    if sums is not None:
        tl.store(sums + tl.program_id(0), tl.sum(lanes))
        if infinite is not None:
            tl.store(infinite + tl.program_id(0), tl.sum(infinities.to(tl.float64)))


@triton.jit
def elementwise_positives(
    entries, count, classes,
    x, x_member, x_class,
    pos, pos_member, pos_class,
    v, v_member, v_class,
    s, s_member, s_class,
    marks,
    upstream, u_member, u_class,
    alpha: tl.float64, beta: tl.float64, rest: tl.float64, high: tl.float64,
    positive: tl.float64, negative: tl.float64, gamma_pos: tl.float64, gamma_neg: tl.float64, clip: tl.float64,
    smallest: tl.float64, largest: tl.float64,
    scale, made, sums, infinite, loss, g, out_member, out_class,
    ACC: tl.constexpr, FINE: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The same of elements row·classes + class with the label 1, which were made with the label 0: their loss and
    gradient are written over, and the sum is of the differences. Negative entries are none."""
    if made is not None:
        if is_made(scale, made):
            return
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    entry = tl.load(entries + at, mask=at < count, other=-1)
    inside = entry >= 0
    row, k = entry // classes, entry % classes
    alpha, beta, rest = tl.full((), alpha, ACC), tl.full((), beta, ACC), tl.full((), rest, ACC)
    high, clip = tl.full((), high, ACC), tl.full((), clip, ACC)
    positive, negative = tl.full((), positive, ACC), tl.full((), negative, ACC)
    gamma_pos, gamma_neg = tl.full((), gamma_pos, ACC), tl.full((), gamma_neg, ACC)
    at_x = tl.load(x + row * x_member + k * x_class, mask=inside, other=0.0).to(ACC)
    w = weight_of(
        v, row * v_member + k * v_class, s, row * s_member + k * s_class, marks, row,
        upstream, row * u_member + k * u_class, inside, smallest, largest, ACC,
    )  # fmt: skip
    at_pos = pos
    if pos is not None:
        at_pos = usable(pos, row * pos_member + k * pos_class, inside, smallest, largest, ACC)
    zero = tl.zeros((BLOCK,), ACC)
    value, slope = loss_and_slope(
        at_x, zero + 1.0, at_pos, alpha, beta, rest, high, positive, negative, gamma_pos, gamma_neg, clip, KIND, FINE
    )
    value = times(w, value)
    out = row * out_member + k * out_class
    if sums is not None:
        before, _ = loss_and_slope(
            at_x, zero, at_pos, alpha, beta, rest, high, positive, negative, gamma_pos, gamma_neg, clip, KIND, FINE
        )
        before = times(w, before)
        left_out = before == float("inf")
        change = value.to(tl.float64) - tl.where(left_out, 0.0, before).to(tl.float64)
        tl.store(sums + tl.program_id(0), tl.sum(tl.where(inside, change, 0.0)))
        tl.store(infinite + tl.program_id(0), -tl.sum((inside & left_out).to(tl.float64)))
    if loss is not None:
        tl.store(loss + out, value, mask=inside)
    if g is not None:
        factor = tl.full((), 1.0, ACC)
        if scale is not None:
            factor = tl.load(scale).to(ACC)
        tl.store(g + out, (times(w, slope) * factor).to(g.dtype.element_ty), mask=inside)


@triton.jit
def kept_mass(
    members, classes, row_blocks,
    y, y_group, y_member, y_class,
    s, s_group, s_member, s_class,
    ignore: tl.float64, smallest: tl.float64, largest: tl.float64, sums,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Σ s over the elements whose label is not `ignore`, by programs; over all without labels, of ones without s."""
    lanes = tl.zeros((ROWS, BLOCK), tl.float64)
    tiles = tl.full((), row_blocks, tl.int64) * tl.cdiv(classes, BLOCK)
    for number in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        group, member, _, exists = rows_of(number % row_blocks, members, ROWS)
        start = number // row_blocks * BLOCK
        inside = exists[:, None] & (tl.arange(0, BLOCK) < classes - start)[None, :]
        k = start + tl.arange(0, BLOCK)
        mass = tl.zeros((ROWS, BLOCK), tl.float64) + 1.0
        if s is not None:
            at = tile_at(group, member, k, s_group, s_member, s_class)
            mass = usable(s, at, inside, smallest, largest, tl.float64)
        if y is not None:
            at = tile_at(group, member, k, y_group, y_member, y_class)
            label = tl.load(y + at, mask=inside, other=0).to(tl.float64)
            mass = tl.where(label == tl.full((), ignore, tl.float64), 0.0, mass)
        lanes += tl.where(inside, mass, 0.0)
    tl.store(sums + tl.program_id(0), tl.sum(lanes))
