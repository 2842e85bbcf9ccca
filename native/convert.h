// Between memory and the compute type: the four dtypes, any stride.
#pragma once

#include "simd.h"
#include "xent.h"

namespace xent {
namespace XENT_ISA {

template <class To, class From>
inline To bit_cast(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}

struct bf16 {
  uint16_t bits;
  static inline float to_float(bf16 x) { return bit_cast<float>(uint32_t(x.bits) << 16); }
  static inline bf16 from_float(float f) {  // round to nearest even
    const uint32_t u = bit_cast<uint32_t>(f);
    const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40;
    return {uint16_t((u & 0x7fffffff) > 0x7f800000 ? nan : rounded)};
  }
};

// After F. Giesen's half-precision conversions: selects only, so that loops over them vectorise.
struct f16 {
  uint16_t bits;
  static inline float to_float(f16 x) {
    const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, magnitude = uint32_t(x.bits & 0x7fff) << 13;
    const float scaled = bit_cast<float>(magnitude) * 5.192296858534828e33f;  // 2^112
    const uint32_t finite = bit_cast<uint32_t>(scaled), special = magnitude | 0x7f800000;
    return bit_cast<float>((magnitude >= (0x7c00u << 13) ? special : finite) | sign);
  }
  static inline f16 from_float(float f) {  // round to nearest even
    const uint32_t u = bit_cast<uint32_t>(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    const uint32_t huge = a > 0x7f800000 ? 0x7e00 : 0x7c00;
    const uint32_t tiny = bit_cast<uint32_t>(bit_cast<float>(a) + 0.5f) - 0x3f000000;
    const uint32_t normal = (a + 0xc8000fffu + ((a >> 13) & 1)) >> 13;
    return {uint16_t((a >= 0x47800000 ? huge : a < 0x38800000 ? tiny : normal) | sign)};
  }
};

template <class T, class S>
inline T widen(S x) {
  return T(x);
}
template <class T>
inline T widen(bf16 x) {
  return T(bf16::to_float(x));
}
template <class T>
inline T widen(f16 x) {
  return T(f16::to_float(x));
}

template <class S, class T>
struct Narrow {
  static inline S of(T x) { return S(x); }
};
template <class T>
struct Narrow<bf16, T> {
  static inline bf16 of(T x) { return bf16::from_float(float(x)); }
};
template <class T>
struct Narrow<f16, T> {
  static inline f16 of(T x) { return f16::from_float(float(x)); }
};

inline i64 item_size(Dtype d) { return d == Dtype::f64 ? 8 : d == Dtype::f32 ? 4 : 2; }

// Calls f(S{}) with S the element type of `d`.
template <class F>
inline void with_type(Dtype d, F f) {
  switch (d) {
    case Dtype::f32: return f(float{});
    case Dtype::f64: return f(double{});
    case Dtype::bf16: return f(bf16{});
    case Dtype::f16: return f(f16{});
    case Dtype::i8: return f(int8_t{});
    case Dtype::u8: return f(uint8_t{});
    case Dtype::i16: return f(int16_t{});
    case Dtype::u16: return f(uint16_t{});
    case Dtype::i32: return f(int32_t{});
    case Dtype::u32: return f(uint32_t{});
    case Dtype::i64: return f(int64_t{});
    case Dtype::u64: return f(uint64_t{});
  }
}

// Calls f with a number of the type that logits of this dtype are computed in.
template <class F>
inline auto with_compute_type(Dtype logits, F f) {
  return logits == Dtype::f64 ? f(double{}) : f(float{});
}

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr Dtype value = Dtype::f32;
};
template <>
struct dtype_of<double> {
  static constexpr Dtype value = Dtype::f64;
};

// n elements from element `offset` on, `stride` apart, as T.
template <class T>
inline void read(const Array& a, i64 offset, i64 stride, i64 n, T* __restrict out) {
  with_type(a.dtype, [&](auto tag) {
    using S = decltype(tag);
    const S* __restrict p = reinterpret_cast<const S*>(a.data) + offset;
    constexpr i64 piece = 4 * 64 / sizeof(T);
    i64 i = 0;
    for (; stride == 1 && i + piece <= n; i += piece) {
      for (i64 byte = 0; byte < i64(piece * sizeof(S)); byte += 64) prefetch(reinterpret_cast<const char*>(p + i + n) + byte);
      for (i64 j = 0; j < piece; ++j) out[i + j] = widen<T>(p[i + j]);
    }
    if (stride == 1)
      for (; i < n; ++i) out[i] = widen<T>(p[i]);
    else
      for (i64 i = 0; i < n; ++i) out[i] = widen<T>(p[i * stride]);
  });
}

// The same elements without a copy where their type is T already, else through `buffer`.
template <class T>
inline const T* view_or_read(const Array& a, i64 offset, i64 n, T* buffer) {
  if (a.dtype == dtype_of<T>::value) return reinterpret_cast<const T*>(a.data) + offset;
  read(a, offset, 1, n, buffer);
  return buffer;
}

template <class T>
inline void write(const Array& a, i64 offset, i64 stride, i64 n, const T* __restrict in) {
  with_type(a.dtype, [&](auto tag) {
    using S = decltype(tag);
    S* __restrict p = reinterpret_cast<S*>(a.data) + offset;
    if (stride == 1)
      for (i64 i = 0; i < n; ++i) p[i] = Narrow<S, T>::of(in[i]);
    else
      for (i64 i = 0; i < n; ++i) p[i * stride] = Narrow<S, T>::of(in[i]);
  });
}

// Zero bytes; past the caches if `streamed`.
inline void zero(char* p, i64 bytes, bool streamed) {
  if (!streamed) {
    memset(p, 0, size_t(bytes));
    return;
  }
  constexpr i64 size = XENT_VECTOR_BYTES;
  const i64 odd = i64(reinterpret_cast<uintptr_t>(p) % size), head = odd ? size - odd : 0;
  if (head >= bytes) return zero(p, bytes, false);
  memset(p, 0, size_t(head));
  i64 i = head;
  for (; i + size <= bytes; i += size) stream(reinterpret_cast<float*>(p + i), Vec<float>{});
  memset(p + i, 0, size_t(bytes - i));
}

template <class T>
inline void fill(const Array& a, i64 offset, i64 stride, i64 n, T value) {
  with_type(a.dtype, [&](auto tag) {
    using S = decltype(tag);
    S* p = reinterpret_cast<S*>(a.data) + offset;
    for (i64 i = 0; i < n; ++i) p[i * stride] = Narrow<S, T>::of(value);
  });
}

}  // namespace XENT_ISA
}  // namespace xent
