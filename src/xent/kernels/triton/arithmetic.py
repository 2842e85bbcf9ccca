"""Elementary functions in Triton: exact ones where Triton's own are approximate or missing.

Triton's `exp` and `log` of float32 are the hardware's approximations, whose error grows with the argument; `log1p` and
`tanh` it has for devices only, not in its interpreter.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# log2(e) less its rounding to float32
LOG2E_LOW = tl.constexpr(1.9259629911266175e-8)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def exp_of_difference(z, top, FINE: tl.constexpr):
    """e^(z - top) for z <= top, top finite. FINE: float32 to about 2 ulp, the difference's rounding included."""
    d = z - top
    if not FINE:
        return tl.exp(d)
    # what rounding left out of the difference (Knuth's two-sum)
    back = d - z
    return exp_with_rest(d, (z - (d - back)) - (top + back))


@triton.jit
def exp_with_rest(d, low):
    """e^(d + low) of float32, to about 2 ulp, where `low` is what d <= 0 left out by rounding."""
    # what rounding leaves out of the product with log2(e), too
    t = d * LOG2E
    rest = tl.fma(d, LOG2E, -t) + (d * LOG2E_LOW + low * LOG2E)
    e = tl.exp2(t)
    return tl.where(e > 0, e + e * (rest * LN2), e)  # whose rest is NaN where d is -inf


@triton.jit
def log1p(x):
    """log(1 + x) for x >= -1 to a few ulps, small x included: corrected by what 1 + x rounded off (Kahan)."""
    u = 1.0 + x
    exact = u == 1.0
    safe = tl.where(exact, 1.0, u - 1.0)
    found = tl.where(exact, x, tl.log(u) * (x / safe))
    return tl.where((x == float("inf")) | (x == -1.0), tl.log(u), found)


@triton.jit
def softcap_of(x, cap):
    """cap·tanh(x / cap)."""
    cap = tl.full((), cap, x.dtype)
    y = x / cap
    size = tl.abs(y)
    e = tl.exp(-2.0 * size)
    far = 1.0 - 2.0 * e / (1.0 + e)
    q = y * y
    if x.dtype == tl.float64:
        # Lambert's continued fraction
        r = 21.0 + 0.0 * q
        for n in tl.static_range(10):
            r = (19.0 - 2.0 * n) + q / r
        near = size / r
    else:
        # Cephes' tanhf
        p = -5.70498872745e-3
        p = p * q + 2.06390887954e-2
        p = p * q + -5.37397155531e-2
        p = p * q + 1.33314422036e-1
        p = p * q + -3.33332819422e-1
        near = size + size * q * p
    found = tl.where(size < 0.625, near, far)
    return cap * tl.where(y < 0, -found, found)


@triton.jit
def softcap_slope(x, cap):
    """The derivative of `softcap_of`, 1 - tanh², made without the difference."""
    e = tl.exp(-2.0 * tl.abs(x / tl.full((), cap, x.dtype)))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))
