// The softmax kernels of one instruction set: which sweep serves which layout.
#pragma once

#include "columns.h"
#include "rows.h"

namespace xent {
namespace XENT_ISA {

// Below this a row is too short to fill vectors by itself.
constexpr i64 short_row = 64;
// A tile of four vectors a class stays in the second-level cache up to here.
constexpr i64 wide_tile = 1024;

template <class T, class F>
inline auto with_sweep(const Softmax& p, const Coefficients& k, const Statistics& s, const Array& g, F f) {
  const bool contiguous = p.logits.cls == 1 && (!p.dense || p.dense.cls == 1) && (!g || g.cls == 1);
  if (contiguous && p.classes > short_row) {
    Rows<T> rows(p, k, s, g);
    return f(rows);
  }
  if (p.classes <= wide_tile) {
    Columns<T, 4> columns(p, k, s, g);
    return f(columns);
  }
  Columns<T, 1> columns(p, k, s, g);
  return f(columns);
}

template <class F>
inline auto with_compute_type(const Softmax& p, F f) {
  return p.logits.dtype == Dtype::f64 ? f(double{}) : f(float{});
}

inline double softmax(const Softmax& p, const Coefficients& k, const Statistics& s, const Array& g) {
  if (p.rows() == 0) return 0;
  return with_compute_type(p, [&](auto type) {
    return with_sweep<decltype(type)>(p, k, s, g, [](auto& sweep) { return sweep.run(); });
  });
}

inline void log_softmax(const Softmax& p, const Array& out) {
  if (p.rows() == 0) return;
  with_compute_type(p, [&](auto type) {
    const Coefficients none;
    const Statistics nothing;
    with_sweep<decltype(type)>(p, none, nothing, out, [](auto& sweep) { sweep.log_softmax(); });
  });
}

inline void softmax_mass(const Softmax& p, double* mass) {
  with_compute_type(p, [&](auto type) {
    using T = decltype(type);
    constexpr i64 block = block_size<T>;
    const T* v = class_weights<T>(p, 7);
    parallel(p.rows(), 1 + 16384 / p.classes, [&](i64 begin, i64 end) {
      T* buffer = static_cast<T*>(scratch(3, block * i64(sizeof(T))));
      for (i64 r = begin; r < end; ++r) {
        const i64 first = r / p.inner * p.dense.outer + r % p.inner * p.dense.inner;
        double sum = 0;
        for (i64 k = 0; k < p.classes; k += block) {
          const i64 n = p.classes - k < block ? p.classes - k : block, at = first + k * p.dense.cls;
          const T* t = buffer;
          if (p.dense.cls == 1)
            t = view_or_read(p.dense, at, n, buffer);
          else
            read(p.dense, at, p.dense.cls, n, buffer);
          sum += block_mass<T>(t, v ? v + k : nullptr, n);
        }
        mass[r] = sum;
      }
    });
  });
}

}  // namespace XENT_ISA
}  // namespace xent
