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

inline double softmax(const Softmax& p, const Coefficients& k, const Statistics& s, const Array& g) {
  if (p.rows() == 0) return 0;
  return with_compute_type(p.logits.dtype, [&](auto type) {
    return with_sweep<decltype(type)>(p, k, s, g, [](auto& sweep) { return sweep.run(); });
  });
}

// In parts: rows whose classes lie side by side, as those of the matrices that linear losses make.
inline void softmax_collect(const Softmax& p, i64 first, bool entropy, Partial* rows) {
  if (p.classes == 0) return;
  with_compute_type(p.logits.dtype, [&](auto type) {
    Rows<decltype(type)>(p, {}, {}, {}).collect(first, entropy, rows);
  });
}

inline double softmax_conclude(const Partial* rows, i64 n, const Coefficients& k, const Statistics& s) {
  double* losses = s.loss ? s.loss : static_cast<double*>(scratch(6, n * 8));
  for (i64 r = 0; r < n; ++r) {
    const Row row = finished(rows[r]);
    losses[r] = row.loss(RowCoefficients(k, r));
    row.put(s, r, losses[r]);
  }
  return ordered_sum(losses, n);
}

inline void softmax_apply(const Softmax& p, const Coefficients& k, i64 first, const Partial* rows, const Array& g) {
  if (p.rows() == 0 || p.classes == 0) return;
  with_compute_type(p.logits.dtype, [&](auto type) { Rows<decltype(type)>(p, k, {}, g).apply(first, rows); });
}

inline void log_softmax(const Softmax& p, const Array& out) {
  if (p.rows() == 0) return;
  with_compute_type(p.logits.dtype, [&](auto type) {
    const Coefficients none;
    const Statistics nothing;
    with_sweep<decltype(type)>(p, none, nothing, out, [](auto& sweep) { sweep.log_softmax(); });
  });
}

// Rows whose classes lie side by side, summed one by one.
template <class T>
inline void mass_of_rows(const Softmax& p, const T* v, double* mass) {
  constexpr i64 block = block_size<T>;
  parallel(p.rows(), 1 + 16384 / p.classes, [&](i64 begin, i64 end) {
    T* buffer = static_cast<T*>(scratch(3, block * i64(sizeof(T))));
    for (i64 r = begin; r < end; ++r) {
      const i64 first = r / p.inner * p.dense.outer + r % p.inner * p.dense.inner;
      mass[r] = 0;
      for (i64 k = 0; k < p.classes; k += block) {
        const i64 n = p.classes - k < block ? p.classes - k : block;
        mass[r] += block_mass<T>(view_or_read(p.dense, first + k, n, buffer), v ? v + k : nullptr, n);
      }
    }
  });
}

// All other layouts: neighbouring rows together, a class at a time.
template <class T>
inline void mass_of_columns(const Softmax& p, const T* v, double* mass) {
  constexpr i64 lanes = 256;
  const i64 tiles = (p.inner + lanes - 1) / lanes;
  parallel(p.outer * tiles, 1 + 16384 / (p.classes * lanes), [&](i64 begin, i64 end) {
    T t[lanes];
    for (i64 tile = begin; tile < end; ++tile) {
      const i64 o = tile / tiles, i = tile % tiles * lanes, n = p.inner - i < lanes ? p.inner - i : lanes;
      double* sum = mass + o * p.inner + i;
      for (i64 j = 0; j < n; ++j) sum[j] = 0;
      for (i64 k = 0; k < p.classes; ++k) {
        read(p.dense, o * p.dense.outer + k * p.dense.cls + i * p.dense.inner, p.dense.inner, n, t);
        const double weight = v ? double(v[k]) : 1.0;
        for (i64 j = 0; j < n; ++j) sum[j] += weight * double(t[j]);
      }
    }
  });
}

inline void softmax_mass(const Softmax& p, double* mass) {
  with_compute_type(p.logits.dtype, [&](auto type) {
    using T = decltype(type);
    const T* v = class_weights<T>(p, 7);
    p.dense.cls == 1 ? mass_of_rows<T>(p, v, mass) : mass_of_columns<T>(p, v, mass);
  });
}

}  // namespace XENT_ISA
}  // namespace xent
