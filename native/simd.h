// Vectors of one instruction set, and the elementary functions on them.
//
// Included once per instruction set (see isa/), with XENT_ISA naming the namespace and XENT_VECTOR_BYTES the register
// size. The code is written over GCC's and Clang's vector types, so an instruction set is a pair of compiler flags and no
// intrinsics. Nothing here may be shared between instruction sets: everything lives in namespace XENT_ISA, and no
// inline function of the standard library is called, because the linker would merge copies compiled for different
// processors.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

// For the arithmetic of a row, whose branches vanish only where its coefficients are known to be 0.
#define XENT_INLINE inline __attribute__((always_inline))

namespace xent {
namespace XENT_ISA {

using i64 = int64_t;

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using V = float __attribute__((vector_size(XENT_VECTOR_BYTES)));
  using I = int32_t __attribute__((vector_size(XENT_VECTOR_BYTES)));
  using Int = int32_t;
  static constexpr int width = XENT_VECTOR_BYTES / 4;
  // exp_nonpositive
  static constexpr float log2e = 1.44269504088896341f, ln2_hi = 0.693359375f, ln2_lo = -2.12194440054690583e-4f;
  static constexpr float magic = 12582912.f + 127;  // 1.5·2^23 + exponent bias: round, and leave n + bias in the low bits
  static constexpr int mantissa = 23;
  static constexpr float shallow = -87.f;  // above this e^x is a normal number
  static constexpr float floor = -104.f;   // below this e^x rounds to 0
  static constexpr float deep_shift = 64.f, deep_factor = 5.42101086242752217e-20f;  // 2^-64
  // Remez fit of e^r on |r| <= ln2/2, relative error 2.6e-9
  static constexpr int degree = 6;
  static constexpr float exp_poly[degree + 1] = {1.0f,           1.0000000497027135202f,  0.50000004349219304398f,
                                                 0.16666365188978751309f, 0.041664775713699418493f,
                                                 0.008379030272930223447f, 0.0014061312594051531412f};
};

template <>
struct Simd<double> {
  using V = double __attribute__((vector_size(XENT_VECTOR_BYTES)));
  using I = int64_t __attribute__((vector_size(XENT_VECTOR_BYTES)));
  using Int = int64_t;
  static constexpr int width = XENT_VECTOR_BYTES / 8;
  static constexpr double log2e = 1.44269504088896340736, ln2_hi = 6.93145751953125e-1, ln2_lo = 1.42860682030941723212e-6;
  static constexpr double magic = 6755399441055744.0 + 1023;
  static constexpr int mantissa = 52;
  static constexpr double shallow = -708.0, floor = -746.0;
  static constexpr double deep_shift = 512.0, deep_factor = 7.45834073120020674e-155;  // 2^-512
  // Remez fit, relative error 1.8e-17
  static constexpr int degree = 11;
  static constexpr double exp_poly[degree + 1] = {1.0,
                                                  1.0000000000000005599,
                                                  0.50000000000000055835,
                                                  0.16666666666657287362,
                                                  0.041666666666573488035,
                                                  0.0083333333377207364783,
                                                  0.0013888888932392683176,
                                                  0.00019841261484678657375,
                                                  0.000024801504445030310986,
                                                  2.756425772359622307e-6,
                                                  2.7626324084276593401e-7,
                                                  2.2981317489017007974e-8};
};

template <class T>
using Vec = typename Simd<T>::V;
template <class T>
using Int = typename Simd<T>::I;

template <class T>
inline Vec<T> splat(T x) {
  return Vec<T>{} + x;
}

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
inline void store(T* p, Vec<T> v) {
  memcpy(p, &v, sizeof v);
}

// Past the caches, where the processor can: p is aligned to the vector. For results that are larger than the caches, so
// that memory is not read before it is overwritten.
template <class T>
inline void stream(T* p, Vec<T> v) {
#if XENT_VECTOR_BYTES == 64 && defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif XENT_VECTOR_BYTES == 32 && defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#elif XENT_VECTOR_BYTES == 16 && defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)v);
#else
  store(p, v);
#endif
}

// Asks for memory that will soon be read; any address will do. The sweeps ask for the block after the one they work on:
// it is most often the next in memory, and processors' own prefetchers stop at the end of every page.
inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

// Orders streamed stores before what follows.
inline void stream_fence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

// The first n lanes; the others hold `fill`.
template <class T>
inline Vec<T> load_first(const T* p, i64 n, T fill) {
  T lanes[Simd<T>::width];
  for (int i = 0; i < Simd<T>::width; ++i) lanes[i] = i < n ? p[i] : fill;
  return load(lanes);
}

template <class T>
inline void store_first(T* p, Vec<T> v, i64 n) {
  T lanes[Simd<T>::width];
  store(lanes, v);
  for (i64 i = 0; i < n; ++i) p[i] = lanes[i];
}

template <class T>
inline T sum_lanes(Vec<T> v) {  // a tree, so the order is fixed
  T lanes[Simd<T>::width];
  store(lanes, v);
  for (int half = Simd<T>::width / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

template <class T>
inline Vec<T> vmax(Vec<T> a, Vec<T> b) {  // b where a is NaN
  return a > b ? a : b;
}

template <class T>
inline Vec<T> vmin(Vec<T> a, Vec<T> b) {  // b where a is NaN
  return a < b ? a : b;
}

template <class T>
inline Vec<T> vabs(Vec<T> a) {
  return a < 0 ? -a : a;
}

// e^(x + low) for x <= 0 or NaN, low being what rounding left out of x; at most 1 ulp from the truth for normal results.
// The argument is reduced by ln2 in two parts (Cody and Waite), then the polynomial, times 2^n made by a shift into the
// exponent.
// Deep = false: x must be above Simd::shallow. Deep = true: any x, with gradual underflow, and -inf gives exactly 0
// without raising underflow (a masked underflow costs a microcode assist).
template <class T, bool Deep, class... Low>
XENT_INLINE Vec<T> exp_nonpositive(Vec<T> x, Low... low) {
  using S = Simd<T>;
  Vec<T> d = x;
  if (Deep) d = x < S::floor ? Vec<T>{} : x;
  Vec<T> t = d * S::log2e + S::magic;
  const Vec<T> n = t - S::magic;
  Vec<T> r = d - n * S::ln2_hi;
  r = r - n * S::ln2_lo;
  if constexpr (sizeof...(Low) != 0) r = (r + ... + low);
  Vec<T> p = splat<T>(S::exp_poly[S::degree]);
  for (int i = S::degree - 1; i >= 0; --i) p = p * r + S::exp_poly[i];
  Vec<T> e;
  if (Deep) {
    const auto deep = d < S::shallow;
    t = deep ? t + S::deep_shift : t;
    e = p * (Vec<T>)((Int<T>)t << S::mantissa);
    e = deep ? e * S::deep_factor : e;
    e = x < S::floor ? Vec<T>{} : e;
  } else {
    e = p * (Vec<T>)((Int<T>)t << S::mantissa);
  }
  return e;
}

// e^(z - m) for z <= m. The difference is rounded, which at -60 would cost five digits of a float's seven, so the error of
// the subtraction (Knuth's two-sum) goes along.
template <class T, bool Deep>
inline Vec<T> exp_difference(Vec<T> z, Vec<T> m) {
  const Vec<T> d = z - m, back = d - z;
  const Vec<T> low = (z - (d - back)) - (m + back);
  return exp_nonpositive<T, Deep>(d, low);
}

// tanh(x), at most 2 ulp: Cephes' rational for |x| < 0.625, else from e^(-2|x|).
template <class T>
inline Vec<T> vtanh(Vec<T> x) {
  const Vec<T> a = vabs<T>(x), s = x * x;
  const Vec<T> e = exp_nonpositive<T, true>(a * T(-2));
  const Vec<T> big = (T(1) - e) / (T(1) + e);
  const Vec<T> p = (T(-9.64399179425052238628E-1) * s + T(-9.92877231001918586564E1)) * s + T(-1.61468768441708447952E3);
  const Vec<T> q = ((s + T(1.12811678491632931402E2)) * s + T(2.23548839060100448583E3)) * s + T(4.84406305325125486048E3);
  const Vec<T> small = x + x * s * (p / q);
  return a < T(0.625) ? small : (x < 0 ? -big : big);
}

// 1 - tanh(x)^2 without the cancellation.
template <class T>
inline Vec<T> sech2(Vec<T> x) {
  const Vec<T> e = exp_nonpositive<T, true>(vabs<T>(x) * T(-2));
  return T(4) * e / ((T(1) + e) * (T(1) + e));
}

// log(u) + rest for positive normal u, at most 1 ulp: fdlibm's log. NaN stays NaN, log(0) is -inf.
inline Vec<double> log_plus(Vec<double> u, Vec<double> rest) {
  const Int<double> bits = (Int<double>)u;
  // u = 2^k·(1 + f), 1 + f in [sqrt(1/2), sqrt(2))
  const Int<double> k = (bits - 0x3fe6a09e667f3bcdLL) >> 52;
  const Vec<double> f = (Vec<double>)(bits - (k << 52)) - 1.0;
  const Vec<double> kd = __builtin_convertvector(k, Vec<double>);
  const Vec<double> h = f / (f + 2.0), z = h * h, w = z * z;
  const Vec<double> even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const Vec<double> odd =
      z * (6.666666666666735130e-01 +
           w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  const Vec<double> half = 0.5 * f * f;
  const Vec<double> low = kd * 1.90821492927058770002e-10 + rest;
  const Vec<double> y = kd * 6.93147180369123816490e-01 - ((half - (h * (half + even + odd) + low)) - f);
  return u == 0 ? splat<double>(-INFINITY) : y;
}

// log(1 + s) for -1 <= s < 2^60, at most 1 ulp: the rounding of 1 + s is put back.
inline Vec<double> log1p_of(Vec<double> s) {
  const Vec<double> u = s + 1.0;
  return log_plus(u, (u < 2.0 ? s - (u - 1.0) : 1.0 - (u - s)) / u);
}

}  // namespace XENT_ISA
}  // namespace xent
