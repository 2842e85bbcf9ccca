// Operations on a block: a contiguous piece of one row, short enough to stay in the first-level cache.
#pragma once

#include "convert.h"

namespace xent {
namespace XENT_ISA {

// Four vectors at a time hide the latency of the arithmetic; 64 such steps a block keep the rounding of the float sums
// small, since blocks are added up in double.
template <class T>
constexpr i64 block_size = 64 * 4 * Simd<T>::width;

template <class T>
struct Range {
  T max, min;

  // What to subtract: a row of -inf (or NaN) alone has no finite maximum.
  T shift() const { return max == T(-INFINITY) ? T(0) : max; }
  bool shallow() const { return min - shift() >= Simd<T>::shallow; }
};

// Calls step(vector index 0..3, offset) over whole vectors and tail(offset, count) for the rest.
template <class T, class Step, class Tail>
inline void over_vectors(i64 n, Step step, Tail tail) {
  constexpr i64 w = Simd<T>::width;
  i64 i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    step(0, i);
    step(1, i + w);
    step(2, i + 2 * w);
    step(3, i + 3 * w);
  }
  for (; i + w <= n; i += w) step(0, i);
  if (i < n) tail(i, n - i);
}

template <class T>
inline Range<T> block_range(const T* z, i64 n) {
  Vec<T> hi[4], lo[4];
  for (int q = 0; q < 4; ++q) {
    hi[q] = splat<T>(T(-INFINITY));
    lo[q] = splat<T>(T(INFINITY));
  }
  T tail_hi = T(-INFINITY), tail_lo = T(INFINITY);
  over_vectors<T>(
      n,
      [&](int q, i64 i) {
        const Vec<T> x = load(z + i);
        hi[q] = vmax<T>(x, hi[q]);
        lo[q] = vmin<T>(x, lo[q]);
      },
      [&](i64 i, i64 count) {
        for (i64 j = i; j < i + count; ++j) {
          tail_hi = z[j] > tail_hi ? z[j] : tail_hi;
          tail_lo = z[j] < tail_lo ? z[j] : tail_lo;
        }
      });
  const Vec<T> top = vmax<T>(vmax<T>(hi[0], hi[1]), vmax<T>(hi[2], hi[3]));
  const Vec<T> bottom = vmin<T>(vmin<T>(lo[0], lo[1]), vmin<T>(lo[2], lo[3]));
  for (int j = 0; j < Simd<T>::width; ++j) {
    tail_hi = top[j] > tail_hi ? top[j] : tail_hi;
    tail_lo = bottom[j] < tail_lo ? bottom[j] : tail_lo;
  }
  return {tail_hi, tail_lo};
}

// Σ e^(z-shift) in two parts: the elements equal to the shift, counted, and all others, summed. Kept apart because
// 1 + rest would lose the rest where one class leads by a wide margin.
struct ExpSum {
  double count, rest;

  double total() const { return count + rest; }
};

template <class T, bool Deep, bool Store>
inline ExpSum block_exp_of(const T* z, i64 n, T shift, T* e) {
  constexpr i64 w = Simd<T>::width;
  Vec<T> rest[4] = {}, count[4] = {};
  const Vec<T> m = splat<T>(shift);
  const auto step = [&](int q, Vec<T> x) {
    const Vec<T> y = exp_difference<T, Deep>(x, m);
    rest[q] += x - m == 0 ? Vec<T>{} : y;
    count[q] += x - m == 0 ? splat<T>(1) : Vec<T>{};
    return y;
  };
  i64 padded = 0;
  over_vectors<T>(
      n,
      [&](int q, i64 i) {
        prefetch(z + i + n);
        const Vec<T> y = step(q, load(z + i));
        if (Store) store(e + i, y);
      },
      [&](i64 i, i64 m) {
        const Vec<T> y = step(0, load_first(z + i, m, shift));  // the padding counts as leaders
        if (Store) store_first(e + i, y, m);
        padded = w - m;
      });
  return {double(sum_lanes<T>((count[0] + count[1]) + (count[2] + count[3]))) - double(padded),
          double(sum_lanes<T>((rest[0] + rest[1]) + (rest[2] + rest[3])))};
}

// e may be null: sums only.
template <class T>
inline ExpSum block_exp(const T* z, i64 n, const Range<T>& range, T* e) {
  const T shift = range.shift();
  if (range.shallow()) return e ? block_exp_of<T, false, true>(z, n, shift, e) : block_exp_of<T, false, false>(z, n, shift, e);
  return e ? block_exp_of<T, true, true>(z, n, shift, e) : block_exp_of<T, true, false>(z, n, shift, e);
}

// Σ e·(shift - z), with 0·inf = 0.
template <class T>
inline double block_entropy(const T* z, const T* e, i64 n, T shift) {
  Vec<T> sum[4] = {};
  T tail = 0;
  over_vectors<T>(
      n,
      [&](int q, i64 i) {
        const Vec<T> y = load(e + i);
        sum[q] += y == 0 ? Vec<T>{} : y * (shift - load(z + i));
      },
      [&](i64 i, i64 m) {
        for (i64 j = i; j < i + m; ++j) tail += e[j] == 0 ? T(0) : e[j] * (shift - z[j]);
      });
  return double(sum_lanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]))) + double(tail);
}

// The target measure w = v·(alpha·t + beta) of a block; t and v may be absent.
template <class T>
struct Measure {
  const T *t, *v;
  double alpha, beta;
};

// Calls f with the measure as a function of a load: the four shapes of it are compiled apart.
template <class T, class F>
inline void with_measure(const Measure<T>& w, F f) {
  const T alpha = T(w.alpha), beta = T(w.beta);
  const T *t = w.t, *v = w.v;
  if (t && v)
    f([=](auto at) { return at(v) * (alpha * at(t) + beta); });
  else if (t)
    f([=](auto at) { return alpha * at(t) + beta; });
  else if (v)
    f([=](auto at) { return at(v) * beta; });
  else
    f([=](auto at) { return at.constant(beta); });
}

// How to load what a measure is made of: a whole vector, or the first elements of one.
template <class T>
struct At {
  i64 i;
  inline Vec<T> operator()(const T* p) const { return load(p + i); }
  inline Vec<T> constant(T x) const { return splat<T>(x); }
};
template <class T>
struct AtFirst {
  i64 i, n;
  inline Vec<T> operator()(const T* p) const { return load_first(p + i, n, T(0)); }
  inline Vec<T> constant(T x) const {
    T lanes[Simd<T>::width];
    for (int j = 0; j < Simd<T>::width; ++j) lanes[j] = j < n ? x : T(0);
    return load(lanes);
  }
};

// Σ v·t.
template <class T>
inline double block_mass(const T* t, const T* v, i64 n) {
  Vec<T> sum[4] = {};
  T tail = 0;
  over_vectors<T>(
      n, [&](int q, i64 i) { sum[q] += v ? load(t + i) * load(v + i) : load(t + i); },
      [&](i64 i, i64 m) {
        for (i64 j = i; j < i + m; ++j) tail += v ? t[j] * v[j] : t[j];
      });
  return double(sum_lanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]))) + double(tail);
}

struct MeasureSum {
  double mass, u;  // Σ w and Σ w·(shift - z), with 0·inf = 0
};

// The sums for w = v·t, or w = v where there is no t.
template <class T>
inline MeasureSum block_measure_of(const T* z, i64 n, T shift, const T* t, const T* v) {
  Vec<T> mass[4] = {}, u[4] = {};
  const Measure<T> unit{t, v, 1.0, t ? 0.0 : 1.0};
  with_measure(unit, [&](auto weight) {
    const auto step = [&](int q, Vec<T> w, Vec<T> x) {
      mass[q] += w;
      u[q] += w == 0 ? Vec<T>{} : w * (shift - x);
    };
    over_vectors<T>(
        n,
        [&](int q, i64 i) {
          prefetch(t + i + n);
          step(q, weight(At<T>{i}), load(z + i));
        },
        [&](i64 i, i64 m) { step(0, weight(AtFirst<T>{i, m}), load_first(z + i, m, shift)); });
  });
  return {double(sum_lanes<T>((mass[0] + mass[1]) + (mass[2] + mass[3]))),
          double(sum_lanes<T>((u[0] + u[1]) + (u[2] + u[3])))};
}

// alpha and beta are factors of whole sums, in double: beta added up class by class would round the same way every time.
template <class T>
inline MeasureSum block_measure(const T* z, i64 n, T shift, const Measure<T>& w) {
  MeasureSum sum{0, 0};
  const auto add = [&](double factor, const T* t) {
    if (factor == 0) return;
    const MeasureSum part = block_measure_of<T>(z, n, shift, t, w.v);
    sum.mass += factor * part.mass;
    sum.u += factor * part.u;
  };
  if (w.t) add(w.alpha, w.t);
  add(w.beta, nullptr);
  return sum;
}

// out = e·f, or e·f - c·w.
template <class T, bool Stream>
inline void block_gradient_of(const T* e, i64 n, T f, T c, const Measure<T>* measure, T* out) {
  const auto put = [&](i64 i, Vec<T> v) { Stream ? stream(out + i, v) : store(out + i, v); };
  if (!measure) {
    over_vectors<T>(
        n, [&](int, i64 i) { put(i, load(e + i) * f); },
        [&](i64 i, i64 m) {
          for (i64 j = i; j < i + m; ++j) out[j] = e[j] * f;
        });
    return;
  }
  with_measure(*measure, [&](auto weight) {
    over_vectors<T>(
        n, [&](int, i64 i) { put(i, load(e + i) * f - c * weight(At<T>{i})); },
        [&](i64 i, i64 m) { store_first(out + i, load_first(e + i, m, T(0)) * f - c * weight(AtFirst<T>{i, m}), m); });
  });
}

template <class T>
inline void block_gradient(const T* e, i64 n, T f, T c, const Measure<T>* measure, T* out, bool streamed) {
  if (!streamed) return block_gradient_of<T, false>(e, n, f, c, measure, out);
  const i64 odd = i64(reinterpret_cast<uintptr_t>(out) % XENT_VECTOR_BYTES) / i64(sizeof(T));
  const i64 head = odd ? Simd<T>::width - odd : 0;  // up to the first aligned element
  if (head >= n) return block_gradient_of<T, false>(e, n, f, c, measure, out);
  if (!head) return block_gradient_of<T, true>(e, n, f, c, measure, out);
  block_gradient_of<T, false>(e, head, f, c, measure, out);
  Measure<T> rest{};
  if (measure) rest = {measure->t ? measure->t + head : nullptr, measure->v ? measure->v + head : nullptr, measure->alpha, measure->beta};
  block_gradient_of<T, true>(e + head, n - head, f, c, measure ? &rest : nullptr, out + head);
}

// out += e·f·((kappa + shift) - z): the gradient of the entropy, with 0·inf = 0.
template <class T>
inline void block_entropy_gradient(const T* z, const T* e, i64 n, T f, T shift, T kappa, T* out) {
  for (i64 i = 0; i < n; ++i) out[i] += e[i] == 0 ? T(0) : e[i] * f * ((shift - z[i]) + kappa);
}

// z from x. Divisions, not products with a rounded reciprocal: the loss multiplies whatever error z has.
template <class T>
inline void block_transform(const T* x, i64 n, T temperature, T softcap, T* z) {
  if (softcap == 0) {
    for (i64 i = 0; i < n; ++i) z[i] = x[i] / temperature;
    return;
  }
  const auto cap = [&](Vec<T> v) { return vtanh<T>(v / softcap) * softcap / temperature; };
  over_vectors<T>(
      n, [&](int, i64 i) { store(z + i, cap(load(x + i))); },
      [&](i64 i, i64 m) { store_first(z + i, cap(load_first(x + i, m, T(0))), m); });
}

// out *= the derivative of the soft cap.
template <class T>
inline void block_softcap_gradient(const T* x, i64 n, T softcap, T* out) {
  over_vectors<T>(
      n, [&](int, i64 i) { store(out + i, load(out + i) * sech2<T>(load(x + i) / softcap)); },
      [&](i64 i, i64 m) {
        store_first(out + i, load_first(out + i, m, T(0)) * sech2<T>(load_first(x + i, m, T(0)) / softcap), m);
      });
}

}  // namespace XENT_ISA
}  // namespace xent
