// The log-uniform distribution of one instruction set: quickly, and only where the C library would say the same.
//
// Classes are whole parts of exponentials, and probabilities are rounded to float, so both are known exactly unless the
// approximation lies within its error of a step. Those few are left to the caller: a class is -1, a probability NaN.
#pragma once

#include "simd.h"
#include "xent.h"

namespace xent {
namespace XENT_ISA {

// Whole parts of e^(u·log_range) - 1, u being the fractions of pairs of words (Words::fraction64), top = e^log_range.
//
// e^(u·log_range - log_range)·top differs from what the C library gives by less than 2e-14 of it for log_range < 44: the
// argument, log_range and the library's own argument are each rounded, to 2^-53·44 = 5e-15.
inline void log_uniform_ids(const uint32_t* words, i64 n, double log_range, double top, i64* ids) {
  using V = Vec<double>;
  using I = Int<double>;
  constexpr i64 width = Simd<double>::width;
  constexpr double shift = 6755399441055744.0;  // 1.5·2^52: adding it rounds, and leaves the number in the low bits
  i64 i = 0;
  for (; i + width <= n; i += width) {
    I pair;
    memcpy(&pair, words + 2 * i, sizeof pair);
    const I high = (pair & 0xfffff) << 32, low = (pair >> 32) & 0xffffffff;
    const V u = (V)(high | low | 0x3ff0000000000000LL) - 1.0;
    const V y = exp_nonpositive<double, false>(u * log_range - log_range) * top;
    const V shifted = y + shift, nearest = shifted - shift;
    const I whole = (I)shifted - (I)splat<double>(shift) + (nearest > y);  // a true comparison is -1
    const auto sure = (vabs<double>(y - nearest) > y * 1e-13) & (y < 1125899906842624.0);
    const I id = sure ? whole - 1 : I{} - 1;
    memcpy(ids + i, &id, sizeof id);
  }
  for (; i < n; ++i) ids[i] = -1;
}

// log((k + 2) / (k + 1)) / log_range in float. The quotients are the C library's; logarithm and division are right to 2
// units in the last place, and the C library's are, which makes 1e-15.
inline void log_uniform_probabilities(const i64* ids, i64 n, double log_range, float* p) {
  using V = Vec<double>;
  using I = Int<double>;
  using F = float __attribute__((vector_size(XENT_VECTOR_BYTES / 2)));
  constexpr i64 width = Simd<double>::width;
  constexpr double two52 = 4503599627370496.0;  // added to the bits of a whole number below it, they are those of a double
  i64 i = 0;
  for (; i + width <= n; i += width) {
    I id;
    memcpy(&id, ids + i, sizeof id);
    const V k = (V)(id + (I)splat<double>(two52)) - two52;
    const V exact = log_plus((k + 2.0) / (k + 1.0), V{}) / log_range;
    const F below = __builtin_convertvector(exact * (1 - 1e-14), F), above = __builtin_convertvector(exact * (1 + 1e-14), F);
    // classes of 2^52 and more have wrong bits above, which make their k negative or infinite, or too large
    const F large = __builtin_convertvector(k, F);
    const F sure = (below == above) & (large < 4503599627370496.f) & (large >= 0.f) ? below : F{} + NAN;
    memcpy(p + i, &sure, sizeof sure);
  }
  for (; i < n; ++i) p[i] = NAN;
}

}  // namespace XENT_ISA
}  // namespace xent
