// Softmax over many rows at once, a lane each: for short rows, and for a class axis that is not the last.
//
// A tile is as many rows as fill a few vectors. Where its lanes lie side by side in memory (N, C, H, W) it is read in
// place; otherwise, and for half precision, it is transposed into a small buffer. Lanes do not mix, so a row's result does
// not depend on its neighbours.
#pragma once

#include "row.h"

namespace xent {
namespace XENT_ISA {

template <class T, int Q>
class Columns {
 public:
  Columns(const Softmax& p, const Coefficients& k, const Statistics& s, const Array& gradient)
      : p_(p), k_(k), s_(s), g_(gradient) {
    v_ = class_weights<T>(p, 7);
    slope_ = 1 / p.temperature;
    transformed_ = p.temperature != 1 || p.softcap != 0;
    entropy_ = s.entropy || k.h.rows || k.h.value != 0;
    argmax_ = s.argmax || (gradient && p.dense);
    label_only_ = label_only(p, k) && !any(s) && !s.loss;
    side_by_side_ = p.inner >= lanes;
    tiles_a_plane_ = side_by_side_ ? (p.inner + lanes - 1) / lanes : 0;
  }

  double run() {
    const i64 n = tiles();
    double* sums = static_cast<double*>(scratch(6, n * 8));
    for_tiles([&](const Tile& tile, i64 t) { sums[t] = loss(tile); });
    return ordered_sum(sums, n);
  }

  void log_softmax() {
    for_tiles([&](const Tile& tile, i64) {
      Lanes a;
      const Input z = statistics(tile, a, nullptr);
      T* out = buffer(0);
      for (i64 k = 0; k < p_.classes; ++k)
        for (int j = 0; j < lanes; ++j) out[k * lanes + j] = (z.data[k * z.step + j] - T(a.max[j])) - T(a.log_sum[j]);
      scatter(tile, out);
    });
  }

 private:
  static constexpr int width = Simd<T>::width, lanes = Q * width;
  // Classes added up in the compute type before the sum goes to double: a lane adds one after the other, so short runs
  // keep the rounding small.
  static constexpr i64 stretch = sizeof(T) == 8 ? 8 : 16;

  struct Tile {
    i64 first, count;  // rows
    bool side_by_side;
  };

  struct Input {
    const T* data;
    i64 step;  // from class to class
  };

  struct Lanes {  // of a tile, per row
    T max[lanes], min[lanes];
    double rest[lanes], log_sum[lanes], mass[lanes], u[lanes], entropy[lanes];
  };

  // Sums of a lane each, in double. For double itself the rounding of each addition is kept and added at the end.
  struct Sums {
    double sum[lanes] = {}, low[lanes] = {};

    void add(const Vec<T>* part) {
      T x[lanes];
      for (int q = 0; q < Q; ++q) store(x + q * width, part[q]);
      for (int j = 0; j < lanes; ++j) {
        const double a = sum[j], b = double(x[j]), s = a + b, back = s - a;
        if (sizeof(T) == 8) low[j] += (a - (s - back)) + (b - back);
        sum[j] = s;
      }
    }
    void put(double* out) const {  // an infinite sum has no rounding
      for (int j = 0; j < lanes; ++j) out[j] = low[j] - low[j] == 0 ? sum[j] + low[j] : sum[j];
    }
  };

  i64 tiles() const {
    return side_by_side_ ? p_.outer * tiles_a_plane_ : (p_.rows() + lanes - 1) / lanes;
  }

  template <class F>
  void for_tiles(F f) {
    parallel(tiles(), 1 + 16384 / (p_.classes * lanes), [&](i64 begin, i64 end) {
      for (i64 t = begin; t < end; ++t) f(tile(t), t);
    });
  }

  Tile tile(i64 t) const {
    if (!side_by_side_) {
      const i64 first = t * lanes, left = p_.rows() - first;
      return {first, left < lanes ? left : lanes, false};
    }
    const i64 i = t % tiles_a_plane_ * lanes, left = p_.inner - i;
    return {t / tiles_a_plane_ * p_.inner + i, left < lanes ? left : lanes, true};
  }

  i64 offset(const Array& a, i64 row) const { return row / p_.inner * a.outer + row % p_.inner * a.inner; }

  // Slots: 0 exponentials and gradient, 2 logits, 3 target, 4 raw logits for the soft cap's derivative.
  T* buffer(int slot) const { return static_cast<T*>(scratch(slot, p_.classes * lanes * i64(sizeof(T)))); }

  void gather(const Array& a, const Tile& tile, T* out) const {
    for (i64 k = 0; tile.count < lanes && k < p_.classes; ++k)
      for (i64 j = tile.count; j < lanes; ++j) out[k * lanes + j] = 0;
    if (tile.side_by_side) {
      const i64 first = offset(a, tile.first);
      for (i64 k = 0; k < p_.classes; ++k) read(a, first + k * a.cls, a.inner, tile.count, out + k * lanes);
      return;
    }
    with_type(a.dtype, [&](auto tag) {
      using S = decltype(tag);
      const i64 classes = p_.classes, step = a.cls;
      if (tile.count == lanes && p_.inner == 1) {  // evenly spaced rows
        const S* x = reinterpret_cast<const S*>(a.data) + offset(a, tile.first);
        for (i64 k = 0; k < classes; ++k)
          for (int j = 0; j < lanes; ++j) out[k * lanes + j] = widen<T>(x[k * step + j * a.outer]);
        return;
      }
      for (i64 j = 0; j < tile.count; ++j) {
        const S* x = reinterpret_cast<const S*>(a.data) + offset(a, tile.first + j);
        T* column = out + j;
        for (i64 k = 0; k < classes; ++k) column[k * lanes] = widen<T>(x[k * step]);
      }
    });
  }

  void scatter(const Tile& tile, const T* in) const {
    if (tile.side_by_side) {
      const i64 first = offset(g_, tile.first);
      for (i64 k = 0; k < p_.classes; ++k) write(g_, first + k * g_.cls, g_.inner, tile.count, in + k * lanes);
      return;
    }
    with_type(g_.dtype, [&](auto tag) {
      using S = decltype(tag);
      const i64 classes = p_.classes, step = g_.cls;
      for (i64 j = 0; j < tile.count; ++j) {
        S* x = reinterpret_cast<S*>(g_.data) + offset(g_, tile.first + j);
        const T* column = in + j;
        for (i64 k = 0; k < classes; ++k) x[k * step] = Narrow<S, T>::of(column[k * lanes]);
      }
    });
  }

  bool in_place(const Array& a, const Tile& tile) const {
    return tile.side_by_side && tile.count == lanes && a.inner == 1 && a.dtype == dtype_of<T>::value;
  }

  Input logits(const Tile& tile) const {
    if (!transformed_ && in_place(p_.logits, tile))
      return {reinterpret_cast<const T*>(p_.logits.data) + offset(p_.logits, tile.first), p_.logits.cls};
    T* z = buffer(2);
    gather(p_.logits, tile, z);
    if (transformed_) block_transform<T>(z, p_.classes * lanes, T(p_.temperature), T(p_.softcap), z);
    return {z, lanes};
  }

  // Calls f(class, vector index, w) for the whole tile, w = v·(alpha·t + beta).
  template <class F>
  void each_weight(const T* t, T alpha, T beta, F f) const {
    for (i64 k = 0; k < p_.classes; ++k) {
      const T v = v_ ? v_[k] : T(1);
      for (int q = 0; q < Q; ++q)
        f(k, q, t ? v * (alpha * load(t + k * lanes + q * width) + beta) : splat<T>(v * beta));
    }
  }

  // Logits of the tile; their statistics in `a`, e^(z-max) in `e` if it is not null.
  Input statistics(const Tile& tile, Lanes& a, T* e) const {
    const Input z = logits(tile);
    Vec<T> hi[Q], lo[Q];
    for (int q = 0; q < Q; ++q) {
      hi[q] = splat<T>(T(-INFINITY));
      lo[q] = splat<T>(T(INFINITY));
    }
    for (i64 k = 0; k < p_.classes; ++k)
      for (int q = 0; q < Q; ++q) {
        const Vec<T> x = load(z.data + k * z.step + q * width);
        hi[q] = vmax<T>(x, hi[q]);
        lo[q] = vmin<T>(x, lo[q]);
      }
    bool shallow = true;
    for (int q = 0; q < Q; ++q) {
      hi[q] = hi[q] == T(-INFINITY) ? Vec<T>{} : hi[q];
      store(a.max + q * width, hi[q]);
      store(a.min + q * width, lo[q] - hi[q]);
    }
    for (int j = 0; j < lanes; ++j) shallow &= a.min[j] >= Simd<T>::shallow;
    shallow ? exponentials<false>(z, a, e) : exponentials<true>(z, a, e);
    for (int j = 0; j < lanes; j += Simd<double>::width)
      store(a.log_sum + j, log1p_of(load(a.rest + j)));
    return z;
  }

  template <bool Deep>
  void exponentials(const Input& z, Lanes& a, T* e) const {
    Sums all_rest, all_leaders, all_entropy;
    Vec<T> max[Q];
    for (int q = 0; q < Q; ++q) max[q] = load(a.max + q * width);
    for (i64 first = 0; first < p_.classes; first += stretch) {
      const i64 last = first + stretch < p_.classes ? first + stretch : p_.classes;
      Vec<T> rest[Q] = {}, count[Q] = {}, entropy[Q] = {};
      for (i64 k = first; k < last; ++k)
        for (int q = 0; q < Q; ++q) {
          const Vec<T> x = load(z.data + k * z.step + q * width);
          const Vec<T> y = exp_difference<T, Deep>(x, max[q]);
          rest[q] += x - max[q] == 0 ? Vec<T>{} : y;
          count[q] += x - max[q] == 0 ? splat<T>(1) : Vec<T>{};
          if (entropy_) entropy[q] += y == 0 ? Vec<T>{} : y * (max[q] - x);
          if (e) store(e + k * lanes + q * width, y);
          prefetch(z.data + k * z.step + q * width + lanes);
        }
      all_rest.add(rest);
      all_leaders.add(count);
      if (entropy_) all_entropy.add(entropy);
    }
    all_rest.put(a.rest);
    all_entropy.put(a.entropy);
    for (int j = 0; j < lanes; ++j)  // -1 for a row of -inf alone: lse is -inf, p is 0/0
      a.rest[j] += all_leaders.sum[j] - 1;
  }

  // alpha and beta are factors of whole sums, as in blocks.h.
  void measure(const Input& z, const T* t, Lanes& a) const {
    for (int j = 0; j < lanes; ++j) a.mass[j] = a.u[j] = 0;
    if (t) add_measure(p_.alpha, z, t, a);
    add_measure(p_.beta, z, nullptr, a);
  }

  void add_measure(double factor, const Input& z, const T* t, Lanes& a) const {
    if (factor == 0) return;
    Sums all_mass, all_u;
    Vec<T> max[Q], mass[Q] = {}, u[Q] = {};
    for (int q = 0; q < Q; ++q) max[q] = load(a.max + q * width);
    each_weight(t, 1, t ? 0 : 1, [&](i64 k, int q, Vec<T> w) {
      mass[q] += w;
      u[q] += w == 0 ? Vec<T>{} : w * (max[q] - load(z.data + k * z.step + q * width));
      if (q == Q - 1 && ((k + 1) % stretch == 0 || k + 1 == p_.classes)) {
        all_mass.add(mass);
        all_u.add(u);
        for (int i = 0; i < Q; ++i) mass[i] = u[i] = Vec<T>{};
      }
    });
    double sums[lanes];
    all_mass.put(sums);
    for (int j = 0; j < lanes; ++j) a.mass[j] += factor * sums[j];
    all_u.put(sums);
    for (int j = 0; j < lanes; ++j) a.u[j] += factor * sums[j];
  }

  bool base_measure() const { return p_.measure && (p_.dense || p_.beta != 0); }

  // Whether no row of the tile is wanted: then its logits are not read.
  bool untouched(const Tile& tile) const {
    for (i64 r = tile.first; r < tile.first + tile.count; ++r) {
      if (p_.index && p_.index[r] == skip_row) continue;
      if ((p_.index && p_.index[r] == invalid_row) || any(s_) || !RowCoefficients(k_, r).nothing()) return false;
    }
    return true;
  }

  struct Entry {  // a gradient entry made one by one
    i64 k;
    int lane;
    T value;
  };

  // What the sweep that writes the gradient needs: numbers of each row, and the entries it must not make itself.
  struct Gradient {
    T all[lanes] = {}, c[lanes] = {}, h[lanes] = {}, surprise[lanes] = {}, fill[lanes] = {};
    bool entropy = false, filled = false;
    Entry* entries = nullptr;
    i64 n_entries = 0;
  };

  double loss(const Tile& tile) {
    T* e = g_ ? buffer(0) : nullptr;
    if (untouched(tile)) {
      for (i64 j = 0; j < tile.count; ++j) Row().put(s_, tile.first + j, 0.0);
      if (g_) {
        for (i64 i = 0; i < p_.classes * lanes; ++i) e[i] = 0;
        scatter(tile, e);
      }
      return 0;
    }
    Lanes a;
    const Input z = statistics(tile, a, e);
    const T* t = nullptr;
    if (p_.dense) {
      T* target = buffer(3);
      gather(p_.dense, tile, target);
      t = target;
    }
    if (base_measure()) measure(z, t, a);
    Gradient g;
    g.entries = static_cast<Entry*>(scratch(1, lanes * (2 + p_.topk) * i64(sizeof(Entry))));
    const double sum = label_only_ ? summarise<true>(tile, z, a, t, e, g) : summarise<false>(tile, z, a, t, e, g);
    if (g_) gradient(tile, z, a, t, e, g);
    return sum;
  }

  // The loss of each row, and what its gradient needs; returns their sum. LabelOnly: nothing but b·nll is asked for.
  template <bool LabelOnly>
  double summarise(const Tile& tile, const Input& z, const Lanes& a, const T* t, const T* e, Gradient& g) const {
    double values[lanes];
    for (int j = 0; j < tile.count; ++j) {
      const i64 r = tile.first + j, label = p_.index ? p_.index[r] : 0;
      const RowCoefficients k = LabelOnly ? RowCoefficients(k_.b.value) : RowCoefficients(k_, r);
      if (label < 0 || (k.nothing() && !any(s_))) {
        const double value = label == invalid_row ? NAN : 0.0;
        Row none;
        none.max = none.log_sum = none.entropy = value;
        if (!LabelOnly) none.put(s_, r, value);
        g.fill[j] = T(value);
        g.filled = true;
        values[j] = value;
        continue;
      }
      const Row row = summary<LabelOnly>(a, z, j, r);
      const double value = row.loss(k);
      if (!LabelOnly) row.put(s_, r, value);
      values[j] = value;
      if (!g_) continue;
      if (!LabelOnly && k.nothing()) {  // only its statistics are wanted
        g.filled = true;
        continue;
      }
      g.fill[j] = 1;
      const RowGradient d(row, k, k_.scale);
      g.all[j] = T(d.all * d.inverse * slope_);
      const auto entry = [&](i64 c, double w) {
        const double value = d.entry(double(z.data[c * z.step + j]), double(e[c * lanes + j]), p_.index && c == label, w);
        g.entries[g.n_entries++] = {c, j, T(value * slope_)};
      };
      if (LabelOnly) {
        entry(label, 0.0);
        continue;
      }
      g.c[j] = T(d.c * slope_);
      if (d.h != 0) {
        g.entropy = true;
        g.h[j] = T(d.h * d.inverse * slope_);
        g.surprise[j] = T(d.surprise);
      }
      special_entries(p_, r, row, [&](i64 c) { return double(t[c * lanes + j]); }, entry);
    }
    return ordered_sum(values, tile.count);
  }

  template <bool LabelOnly>
  XENT_INLINE Row summary(const Lanes& a, const Input& z, int j, i64 r) const {
    const auto logit = [&](i64 c) { return double(z.data[c * z.step + j]); };
    Row row;
    row.max = double(a.max[j]);
    row.rest = a.rest[j];
    row.log_sum = a.log_sum[j];
    if (p_.index) row.z_label = logit(p_.index[r]);
    if (LabelOnly) return row;
    if (entropy_) row.entropy = row.log_sum + a.entropy[j] / (1 + row.rest);
    if (base_measure()) {
      row.mass = a.mass[j];
      row.u = a.u[j] + row.mass * row.log_sum;
    }
    add_topk(p_, r, row.max, row.log_sum, row, logit);
    if (argmax_) {
      row.argmax = 0;
      while (row.argmax + 1 < p_.classes && logit(row.argmax) != row.max) ++row.argmax;
    }
    return row;
  }

  void gradient(const Tile& tile, const Input& z, const Lanes& a, const T* t, T* e, const Gradient& g) const {
    const bool direct = in_place(g_, tile);
    T* out = direct ? reinterpret_cast<T*>(g_.data) + offset(g_, tile.first) : e;
    const i64 step = direct ? g_.cls : lanes;
    Vec<T> all[Q], c[Q];
    for (int q = 0; q < Q; ++q) {
      all[q] = load(g.all + q * width);
      c[q] = load(g.c + q * width);
    }
    if (g.entropy) {
      for (i64 k = 0; k < p_.classes; ++k)
        for (int q = 0; q < Q; ++q) {
          const Vec<T> y = load(e + k * lanes + q * width);
          const Vec<T> d = load(a.max + q * width) - load(z.data + k * z.step + q * width);
          const Vec<T> sum = y * all[q] + (y == 0 ? Vec<T>{} : y * load(g.h + q * width) * (d + load(g.surprise + q * width)));
          store(e + k * lanes + q * width, sum);
        }
      for (int q = 0; q < Q; ++q) all[q] = splat<T>(1);
    }
    if (base_measure()) {
      each_weight(t, T(p_.alpha), T(p_.beta), [&](i64 k, int q, Vec<T> w) {
        store(out + k * step + q * width, load(e + k * lanes + q * width) * all[q] - c[q] * w);
      });
    } else {
      for (i64 k = 0; k < p_.classes; ++k)
        for (int q = 0; q < Q; ++q) store(out + k * step + q * width, load(e + k * lanes + q * width) * all[q]);
    }
    for (i64 i = 0; i < g.n_entries; ++i) out[g.entries[i].k * step + g.entries[i].lane] = g.entries[i].value;
    if (p_.softcap != 0) {
      T* x = buffer(2);
      gather(p_.logits, tile, x);
      for (i64 k = 0; k < p_.classes; ++k) block_softcap_gradient<T>(x + k * lanes, lanes, T(p_.softcap), out + k * step);
    }
    if (g.filled)  // rows that were not wanted, or whose label is invalid
      for (int j = 0; j < tile.count; ++j)
        for (i64 k = 0; g.fill[j] != 1 && k < p_.classes; ++k) out[k * step + j] = g.fill[j];
    if (!direct) scatter(tile, out);
  }

  const Softmax& p_;
  const Coefficients& k_;
  const Statistics& s_;
  const Array& g_;
  const T* v_ = nullptr;
  double slope_ = 1;  // dz/dx, but for the soft cap
  bool transformed_ = false, entropy_ = false, argmax_ = false, side_by_side_ = false, label_only_ = false;
  i64 tiles_a_plane_ = 0;
};

}  // namespace XENT_ISA
}  // namespace xent
