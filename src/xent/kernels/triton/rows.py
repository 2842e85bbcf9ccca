"""Rows of logits in Triton: where they lie, what a tile of them amounts to, and its gradient, as in `native/row.h`.

A program works on ROWS rows, in tiles of BLOCK classes. Rows are members of groups, so that a class axis may lie
anywhere: element (group, member, class) is at group·group_stride + member·member_stride + class·class_stride. Class
numbers within a tile have 32 bits, everything else has 64.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import exp_of_difference, log1p, softcap_of

# Entries of `index` that are not classes.
SKIP_ROW = tl.constexpr(-1)
INVALID_ROW = tl.constexpr(-2)

# Larger than every class number.
NOWHERE = tl.constexpr(2**62)

# What a row's logits go through.
PLAIN = tl.constexpr(0)
TEMPERATURE = tl.constexpr(1)
SOFTCAP = tl.constexpr(2)


@triton.jit
def rows_of(block, members, ROWS: tl.constexpr):
    """(group, members, row numbers, which of them exist) of a block of rows."""
    blocks = tl.cdiv(members, ROWS)
    group = (block // blocks).to(tl.int64)
    member = (block % blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    return group, member, group * members + member, member < members


# The compiler loads vectors where it knows that rows and the ends of their classes are multiples of a power of two;
# of sizes it sees by itself only whether they are multiples of 16. It is told where such a number is made.


@triton.jit
def places(group, member, group_stride, member_stride, VECTOR: tl.constexpr):
    """Where rows begin, which is at multiples of VECTOR."""
    at = group * group_stride + member * member_stride
    if VECTOR > 1:
        at = tl.multiple_of(at, VECTOR)
    return at


@triton.jit
def wide(classes, VECTOR: tl.constexpr):
    """A number of classes, a multiple of VECTOR, as 64 bits."""
    number = tl.full((), classes, tl.int64)
    if VECTOR > 1:
        number = tl.multiple_of(number, VECTOR)
    return number


@triton.jit
def bounded(end, classes, VECTOR: tl.constexpr):
    """The smaller one of two multiples of VECTOR."""
    least = tl.minimum(tl.full((), end, tl.int64), classes)
    if VECTOR > 1:
        least = tl.multiple_of(least, VECTOR)
    return least


@triton.jit
def transformed(x, temperature, softcap, TRANSFORM: tl.constexpr):
    """z = softcap·tanh(x / softcap) / temperature."""
    if TRANSFORM == SOFTCAP:
        x = softcap_of(x, softcap)
    if TRANSFORM != PLAIN:
        x = x / tl.full((), temperature, x.dtype)
    return x


@triton.jit
def per_row(number, rows, row, exists):
    """A number, times one of each row where there is an array of them; in float64, as all arithmetic of single rows."""
    out = tl.zeros(row.shape, tl.float64) + tl.full((), number, tl.float64)
    if rows is not None:
        out = out * tl.load(rows + row, mask=exists, other=0.0).to(tl.float64)
    return out


@triton.jit
def measure_tile(t, at, t_class, v, start, k, here, inside, alpha, beta, ACC: tl.constexpr):
    """w = v·(alpha·t + beta) of the classes start + k, of those `here`."""
    if t is not None:
        soft = tl.load(t + at[:, None] + (start + k.to(tl.int64))[None, :] * t_class, mask=inside, other=0.0).to(ACC)
        w = tl.full((), alpha, ACC) * soft + tl.full((), beta, ACC)
    else:
        w = tl.zeros(inside.shape, ACC) + tl.full((), beta, ACC)
    if v is not None:
        w = w * tl.load(v + start + k, mask=here, other=0.0).to(ACC)[None, :]
    return tl.where(inside, w, 0.0)


@triton.jit
def unseen(ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """Lanes that saw nothing yet. A lane is what `Partial` in native/xent.h is: (max, Σ e^(z-max) - 1, u, mass, spread,
    the leader's class)."""
    none = tl.zeros((ROWS, BLOCK), ACC)
    return none - float("inf"), none - 1.0, none, none, none, tl.zeros((ROWS, BLOCK), tl.int64) + NOWHERE


@triton.jit
def seen(
    top, rest, u, mass, spread, best, z, w, number,
    FINE: tl.constexpr, MEASURE: tl.constexpr, ENTROPY: tl.constexpr, ARGMAX: tl.constexpr,
):  # fmt: skip
    """Adds one logit to each lane: one exponential, and a leader's own term, 1, stays out of the sum."""
    rises = z > top
    high, low = tl.maximum(top, z), tl.minimum(top, z)
    e = tl.where(low == -float("inf"), 0.0, exp_of_difference(low, high, FINE))
    if ENTROPY:
        apart = tl.where(low == -float("inf"), 0.0, high - low)
        spread = tl.where(rises, e * (spread + (1.0 + rest) * apart), spread + e * apart)
    if MEASURE:
        lift = tl.where(top == -float("inf"), 0.0, high - top)
        base = tl.where(high == -float("inf"), 0.0, high)
        u += tl.where(mass == 0, 0.0, mass * lift) + tl.where(w == 0, 0.0, w * (base - z))
        mass += w
    if ARGMAX:
        best = tl.where(rises | (best == NOWHERE), number[None, :], best)
    rest = tl.where(rises, (1.0 + rest) * e, rest + e)
    # where z is NaN it is neither above nor below, and must not vanish
    return tl.where(rises, z, top), tl.where(z == z, rest, z), u, mass, spread, best


@triton.jit
def joined(top, rest, u, mass, spread, best, FINE: tl.constexpr):
    """What the lanes of each row amount to together, in the same terms."""
    high = tl.max(top, axis=1)
    base = tl.where(high == -float("inf"), 0.0, high)[:, None]
    leads = top == high[:, None]
    e = exp_of_difference(top, base, FINE)
    lift = base - top
    total = 1.0 + rest
    some = tl.sum(tl.where(leads, rest, total * e), axis=1) + (tl.sum(tl.where(leads, 1.0, 0.0), axis=1) - 1.0)
    some = tl.where(high == float("inf"), float("nan"), some)  # inf - inf, wherever it is
    u = tl.sum(u + tl.where(mass == 0, 0.0, mass * lift), axis=1)
    spread = tl.sum(tl.where(e == 0, 0.0, e * (spread + total * lift)), axis=1)
    best = tl.min(tl.where(leads, best, NOWHERE), axis=1)
    return high, some, u, tl.sum(mass, axis=1), spread, best


@triton.jit
def finished(top, rest, u, mass, spread):
    """(max, rest, log(1 + rest), u, entropy) of rows all of whose classes were seen."""
    top = tl.where(top == -float("inf"), 0.0, top)
    log_sum = log1p(rest)
    u = u + tl.where(mass == 0, 0.0, mass * log_sum)
    return top, rest, log_sum, u, log_sum + spread / (1.0 + rest)


@triton.jit
def loss_of(top, log_sum, z_label, u, entropy, b, c, l, zeta, h):
    """Every term with a coefficient of 0 is 0, whatever its statistic."""
    top, log_sum = top.to(tl.float64), log_sum.to(tl.float64)
    lse = top + log_sum
    sum = tl.where(b != 0, b * ((top - z_label) + log_sum), 0.0)
    sum += tl.where(c != 0, c * u, 0.0)
    sum += tl.where(l != 0, l * lse, 0.0)
    sum += tl.where(zeta != 0, zeta * lse * lse, 0.0)
    return sum + tl.where(h != 0, h * entropy, 0.0)


@triton.jit
def entries(
    z, w, is_label, top, rest, mass, entropy, b, c, l, zeta, h, scale,
    FINE: tl.constexpr, MEASURE: tl.constexpr, ENTROPY: tl.constexpr,
):  # fmt: skip
    """The gradient to z, times `scale`: A·p_k - c·w_k - b·[k = y] + h·p_k·(lse - z_k - entropy).

    Where a class leads, A·p - b would cancel: it is made from 1 - p, and for a one-hot target the differences before it
    are exactly 0.
    """
    b, c, h = b * scale, c * scale, h * scale
    log_sum = log1p(rest)
    other = (l + tl.where(zeta != 0, 2.0 * zeta * (top + log_sum), 0.0)) * scale
    measure = tl.where(c != 0, c * mass, 0.0) if MEASURE else 0.0 * c
    every = b + measure + other
    inverse = 1.0 / (1.0 + rest.to(tl.float64))
    gap = (every * rest * inverse).to(z.dtype)[:, None]
    all_of_p = (every * inverse).to(z.dtype)[:, None]
    b, c, measure, other = b.to(z.dtype)[:, None], c.to(z.dtype)[:, None], measure.to(z.dtype), other.to(z.dtype)
    e = exp_of_difference(z, top[:, None], FINE)
    to_label = tl.where(is_label, b, 0.0)
    of_leader, of_others = (b - to_label) + (other[:, None] - gap), all_of_p * e - to_label
    if MEASURE:
        to_class = tl.where(c != 0, c * w, 0.0)
        of_leader += measure[:, None] - to_class
        of_others -= to_class
    g = tl.where(z == top[:, None], of_leader, of_others)
    if ENTROPY:
        p = e * inverse.to(z.dtype)[:, None]
        surprise = (top[:, None] - z) + (log_sum - entropy)[:, None]
        h = h.to(z.dtype)[:, None]
        g += tl.where((h == 0) | (p == 0), 0.0, h * p * surprise)
    return g
