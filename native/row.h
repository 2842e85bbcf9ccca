// What a row of logits amounts to, however it was swept: its statistics, its loss, and the few gradient entries that
// need care.
#pragma once

#include "blocks.h"

namespace xent {
namespace XENT_ISA {

// A gradient of this many bytes is in no cache when it is needed next: it is written past them.
constexpr i64 streamed_from = i64(1) << 26;

struct RowCoefficients {
  double b, c, l, zeta, h;

  XENT_INLINE RowCoefficients(const Coefficients& k, i64 row)
      : b(k.b[row]), c(k.c[row]), l(k.l[row]), zeta(k.zeta[row]), h(k.h[row]) {}
  XENT_INLINE explicit RowCoefficients(double label_only) : b(label_only), c(0), l(0), zeta(0), h(0) {}

  XENT_INLINE bool nothing() const { return b == 0 && c == 0 && l == 0 && zeta == 0 && h == 0; }
};

// Whether the loss of every row is one number times the nll of its label.
inline bool label_only(const Softmax& p, const Coefficients& k) {
  const auto zero = [](const PerRow& x) { return !x.rows && x.value == 0; };
  return p.index && !p.measure && !k.b.rows && zero(k.c) && zero(k.l) && zero(k.zeta) && zero(k.h);
}

inline bool any(const Statistics& s) { return s.max || s.log_sum || s.entropy || s.argmax; }

struct Row {
  double max = 0;       // of z; 0 where it is -inf
  double rest = 0;      // Σ e^(z-max) - 1: without the leader, whose term is 1
  double log_sum = 0;   // log(1 + rest)
  double z_label = 0;   // where there is a label
  double u = 0, mass = 0;
  double entropy = 0;
  i64 argmax = -1;

  double lse() const { return max + log_sum; }

  // Every term with a coefficient of 0 is 0, whatever its statistic.
  XENT_INLINE double loss(const RowCoefficients& k) const {
    double sum = 0;
    if (k.b != 0) sum += k.b * ((max - z_label) + log_sum);
    if (k.c != 0) sum += k.c * u;
    if (k.l != 0) sum += k.l * lse();
    if (k.zeta != 0) sum += k.zeta * lse() * lse();
    if (k.h != 0) sum += k.h * entropy;
    return sum;
  }

  XENT_INLINE void put(const Statistics& s, i64 row, double value) const {
    if (s.max) s.max[row] = max;
    if (s.log_sum) s.log_sum[row] = log_sum;
    if (s.entropy) s.entropy[row] = entropy;
    if (s.argmax) s.argmax[row] = argmax;
    if (s.mass) s.mass[row] = mass;
    if (s.loss) s.loss[row] = value;
  }
};

// A row all of whose classes were seen.
XENT_INLINE Row finished(const Partial& p) {
  Row row;
  row.max = p.max == -INFINITY ? 0.0 : p.max;
  row.rest = p.rest;
  row.log_sum = log1p(p.rest);
  row.z_label = p.z_label;
  row.mass = p.mass;
  row.u = p.u + p.mass * row.log_sum;
  row.entropy = row.log_sum + p.spread / (1 + p.rest);
  row.argmax = p.argmax;
  return row;
}

// Adds what later classes amount to. Only the sum with the smaller maximum is scaled, so that a leader's term stays 1.
inline void absorb(Partial& seen, const Partial& more) {
  const bool rises = more.max > seen.max, level = more.max == seen.max;
  const Partial &high = rises ? more : seen, &low = rises ? seen : more;
  const double below = level ? 0.0 : low.max - high.max, scale = exp(below), total = 1 + low.rest;
  Partial sum = high;
  if (level)
    sum.rest += total;
  else if (total != 0)
    sum.rest += scale * total;
  if (total != 0) sum.spread += scale * (low.spread - below * total);
  sum.mass += low.mass;
  sum.u += low.u + (low.mass == 0 ? 0.0 : low.mass * -below);
  sum.z_label = seen.z_label + more.z_label;
  if (level) sum.argmax = seen.argmax >= 0 ? seen.argmax : more.argmax;
  seen = sum;
}

// What turns the exponentials of a row into its gradient, all·p - c·w - b·[k = label], with p = e^(z-max)/(1 + rest).
struct RowGradient {
  double b, c, h, measure, other, all, inverse, leader_gap, max, surprise;

  XENT_INLINE RowGradient(const Row& row, const RowCoefficients& k, double scale) {
    b = k.b * scale;
    c = k.c * scale;
    h = k.h * scale;
    measure = c != 0 ? c * row.mass : 0.0;
    other = (k.l + (k.zeta != 0 ? 2 * k.zeta * row.lse() : 0.0)) * scale;
    all = b + measure + other;
    inverse = 1 / (1 + row.rest);
    leader_gap = row.rest * inverse;  // 1 - p of a class whose logit is the maximum
    max = row.max;
    surprise = row.log_sum - row.entropy;
  }

  // The entry of one class, from its logit, e^(z-max) and measure. Where the class leads, all·p - b would cancel: it is made
  // from 1 - p, and for a one-hot target the differences before it are exactly 0.
  XENT_INLINE double entry(double z, double e, bool is_label, double w) const {
    const double p = e * inverse, to_label = is_label ? b : 0.0, to_class = c != 0 ? c * w : 0.0;
    const double of_entropy = h != 0 && p != 0 ? h * p * ((max - z) + surprise) : 0.0;
    if (z != max) return all * p - to_label - to_class + of_entropy;
    return (b - to_label) + (measure - to_class) + other - all * leader_gap + of_entropy;
  }
};

// The measure of class k without top-k targets, t being its soft target.
XENT_INLINE double measure_at(const Softmax& p, double t, i64 k) {
  if (!p.measure) return 0;
  return (p.class_weight ? p.class_weight[k] : 1.0) * (p.alpha * t + p.beta);
}

// What the j-th top-k target of a row adds to the measure of its class.
inline double topk_measure(const Softmax& p, i64 row, i64 j) {
  const i64 k = p.topk_index[row * p.topk + j];
  return (p.class_weight ? p.class_weight[k] : 1.0) * p.alpha * p.topk_value[row * p.topk + j];
}

// Adds the top-k targets of a row to its u, relative to `max` and `log_sum`, and to its mass; logit(k) gives z_k.
template <class Sums, class Logit>
XENT_INLINE void add_topk(const Softmax& p, i64 r, double max, double log_sum, Sums& row, Logit logit) {
  if (!p.topk_index) return;
  for (i64 j = 0; j < p.topk; ++j) {
    const i64 k = p.topk_index[r * p.topk + j];
    const double w = k < 0 ? 0.0 : topk_measure(p, r, j);
    if (w == 0) continue;
    row.mass += w;
    row.u += w * ((max - logit(k)) + log_sum);
  }
}

// Calls entry(class, measure) for the classes of a row whose gradient entry is made one by one: the label and the top-k
// targets, which the sweep over all classes leaves out, and the leader of a dense target. soft(k) gives t_k.
template <class Soft, class Entry>
XENT_INLINE void special_entries(const Softmax& p, i64 r, const Row& row, Soft soft, Entry entry) {
  if (p.index && p.index[r] >= 0) entry(p.index[r], measure_at(p, 0.0, p.index[r]));
  if (p.topk_index)
    for (i64 j = 0; j < p.topk; ++j) {
      const i64 k = p.topk_index[r * p.topk + j];
      if (k >= 0) entry(k, measure_at(p, 0.0, k) + topk_measure(p, r, j));
    }
  if (p.dense && row.argmax >= 0) entry(row.argmax, measure_at(p, soft(row.argmax), row.argmax));
}

// z of one logit, by the very functions that transform whole blocks.
template <class T>
inline T transform_one(const Softmax& p, T x) {
  if (p.temperature == 1 && p.softcap == 0) return x;
  T z;
  block_transform<T>(&x, 1, T(p.temperature), T(p.softcap), &z);
  return z;
}

template <class T>
inline T softcap_gradient_one(const Softmax& p, T x) {
  T g = 1;
  if (p.softcap != 0) block_softcap_gradient<T>(&x, 1, T(p.softcap), &g);
  return g;
}

// Class weights in the compute type, in a buffer of the calling thread that the workers read.
template <class T>
inline const T* class_weights(const Softmax& p, int slot) {
  if (!p.class_weight) return nullptr;
  T* v = static_cast<T*>(scratch(slot, p.classes * i64(sizeof(T))));
  for (i64 k = 0; k < p.classes; ++k) v[k] = T(p.class_weight[k]);
  return v;
}

// Splits [0, n) over the threads; body(begin, end).
template <class Body>
inline void parallel(i64 n, i64 grain, Body body) {
  parallel_run(
      n, grain, [](void* context, i64 begin, i64 end) { (*static_cast<Body*>(context))(begin, end); }, &body);
}

}  // namespace XENT_ISA
}  // namespace xent
