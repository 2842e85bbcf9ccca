// Losses of one number and one label each: logistic, focal and asymmetric, pinball.
//
// An element x with label y contributes w·(the loss of a positive label for a share of y, and of a negative one for the rest):
// t = alpha·y + beta and 1 - t, made without the difference, so label smoothing and labels in {-1, 1} are three numbers. Everything is read as lines along one axis;
// what is not contiguous or not of the compute type goes through buffers of a block.
#pragma once

#include "row.h"

namespace xent {
namespace XENT_ISA {

// log(1 + e) for 0 <= e <= 1, at most 2 ulp. 1 + e = 2^k·(1 + f) with f exact: e itself, or (e - 1)/2 where e is large.
inline Vec<float> log1p_unit(Vec<float> e) {
  const auto large = e > 0.41421356f;
  const Vec<float> f = large ? (e - 1.f) * 0.5f : e;
  const Vec<float> s = f * f;
  // Cephes' logf on [sqrt(1/2), sqrt(2)]
  Vec<float> p = splat(7.0376836292E-2f);
  p = p * f - 1.1514610310E-1f;
  p = p * f + 1.1676998740E-1f;
  p = p * f - 1.2420140846E-1f;
  p = p * f + 1.4249322787E-1f;
  p = p * f - 1.6668057665E-1f;
  p = p * f + 2.0000714765E-1f;
  p = p * f - 2.4999993993E-1f;
  p = p * f + 3.3333331174E-1f;
  const Vec<float> k = large ? splat(1.f) : Vec<float>{};
  const Vec<float> tail = p * s * f + k * -2.12194440e-4f - 0.5f * s;
  return (tail + f) + k * 0.693359375f;
}

inline Vec<double> log1p_unit(Vec<double> e) { return log1p_of(e); }

// The parts of the logistic function that all its losses share.
template <class T>
struct Logistic {
  Vec<T> positive, negative;  // σ(x) and σ(-x), each accurate where it is small
  Vec<T> up, down;            // softplus(x) = -log σ(-x), and softplus(-x) = -log σ(x)
  Vec<T> log, size;           // the larger of the two is size + log, the smaller log

  explicit XENT_INLINE Logistic(Vec<T> x) {
    const Vec<T> e = exp_nonpositive<T, true>(-vabs<T>(x));
    const Vec<T> large = T(1) / (T(1) + e), small = e * large;
    log = log1p_unit(e);
    size = vabs<T>(x);
    const auto right = x > 0;
    positive = right ? large : small;
    negative = right ? small : large;
    up = right ? x + log : log;
    down = right ? log : log - x;
    // NaN compares false everywhere, but went through `log`
  }
};

template <class T>
struct LossAndSlope {
  Vec<T> loss, slope;
};

// Products in which a factor of 0 gives 0 whatever the other is.
template <class T>
XENT_INLINE Vec<T> times(Vec<T> zero_or_not, Vec<T> x) {
  return zero_or_not == 0 ? Vec<T>{} : zero_or_not * x;
}

// pos_weight·t·softplus(-x) + (1 - t)·softplus(x)
template <class T>
struct LogisticLoss {
  T positive, negative;
  explicit LogisticLoss(const Elementwise& p) : positive(T(p.positive)), negative(T(p.negative)) {}
  XENT_INLINE LossAndSlope<T> operator()(Vec<T> x, Vec<T> t, Vec<T> rest, Vec<T> pos_weight) const {
    const Logistic<T> l(x);
    const Vec<T> a = pos_weight * t * positive, b = rest * negative;
    return {times<T>(a, l.down) + times<T>(b, l.up), b * l.positive - a * l.negative};
  }
};

// The same with each part times a power of the probability of being wrong: (1 - p)^gamma_pos for the positive part,
// max(p - clip, 0)^gamma_neg for the negative (Lin et al. 2017, Ridnik et al. 2021).
template <class T>
struct ModulatedLoss {
  T positive, negative, gamma_pos, gamma_neg, clip;
  explicit ModulatedLoss(const Elementwise& p)
      : positive(T(p.positive)),
        negative(T(p.negative)),
        gamma_pos(T(p.gamma_pos)),
        gamma_neg(T(p.gamma_neg)),
        clip(T(p.clip)) {}

  XENT_INLINE LossAndSlope<T> operator()(Vec<T> x, Vec<T> t, Vec<T> rest, Vec<T> pos_weight) const {
    const Logistic<T> l(x);
    const Vec<T> a = pos_weight * t * positive, b = rest * negative;
    // (1 - p)^gamma = e^(-gamma·softplus(x))
    const auto right = x > 0;
    const Vec<T> none = {};
    const Vec<T> of_pos = power(right ? l.size : none, l.log, gamma_pos);
    const Vec<T> pos = of_pos * l.down;
    const Vec<T> pos_slope = -of_pos * (times<T>(gamma_pos * l.positive, l.down) + l.negative);
    Vec<T> neg, neg_slope;
    if (clip == 0) {
      const Vec<T> of_neg = power(right ? none : l.size, l.log, gamma_neg);
      neg = times<T>(of_neg, l.up);
      neg_slope = of_neg * (times<T>(gamma_neg * l.negative, l.up) + l.positive);
    } else {
      const auto live = l.positive > clip;
      const Vec<T> p = live ? l.positive - clip : splat<T>(1);
      const Vec<T> q = l.negative + clip;  // 1 - p
      const Vec<T> of_neg = power(none, -log_of<false>(p), gamma_neg);
      const Vec<T> log_q = p < T(0.5) ? -log_of<true>(-p) : -log_of<false>(q);
      const Vec<T> slope = (gamma_neg * log_q / p + T(1) / q) * of_neg * l.positive * l.negative;
      neg = live ? of_neg * log_q : Vec<T>{};
      neg_slope = live ? slope : Vec<T>{};
      // NaN is not above the clip, and must not vanish
      neg = x == x ? neg : x;
      neg_slope = x == x ? neg_slope : x;
    }
    return {times<T>(a, pos) + times<T>(b, neg), times<T>(a, pos_slope) + times<T>(b, neg_slope)};
  }

  // e^(-gamma·(size + log)). A rounded exponent of -60 would cost five digits, so its rounding goes along: of the product
  // gamma·size (Dekker) and of the sum (Knuth).
  static XENT_INLINE Vec<T> power(Vec<T> size, Vec<T> log, T gamma) {
    if (gamma == 0) return splat<T>(1);
    constexpr T splitter = sizeof(T) == 4 ? T(4097) : T(134217729);
    const T gs = gamma * splitter, gh = gs - (gs - gamma), gl = gamma - gh;
    const Vec<T> bounded = size < T(1e6) ? size : splat<T>(1e6);  // beyond, the power is 0 anyhow; NaN stays in `log`
    const Vec<T> ss = bounded * splitter, sh = ss - (ss - bounded), sl = bounded - sh;
    const Vec<T> product = bounded * gamma;
    const Vec<T> of_product = ((sh * gh - product) + sh * gl + sl * gh) + sl * gl;
    const Vec<T> other = log * gamma, sum = product + other, back = sum - product;
    const Vec<T> of_sum = (product - (sum - back)) + (other - back);
    return exp_nonpositive<T, true>(-sum, -(of_product + of_sum));
  }
  // log(x) for x in (0, 1], or log(1 + x) for x in (-1, 0], through the double ones.
  template <bool PlusOne>
  static XENT_INLINE Vec<T> log_of(Vec<T> x) {
    T lanes[Simd<T>::width];
    double wide[Simd<T>::width];
    store(lanes, x);
    for (int i = 0; i < Simd<T>::width; ++i) wide[i] = double(lanes[i]);
    for (int i = 0; i < Simd<T>::width; i += Simd<double>::width) store(wide + i, PlusOne ? log1p_of(load(wide + i)) : log_plus(load(wide + i), Vec<double>{}));
    for (int i = 0; i < Simd<T>::width; ++i) lanes[i] = T(wide[i]);
    return load(lanes);
  }
};

// over·max(d, 0) + under·max(-d, 0), d = x - t.
template <class T>
struct PinballLoss {
  T over, under;
  explicit PinballLoss(const Elementwise& p) : over(T(p.positive)), under(T(p.negative)) {}
  XENT_INLINE LossAndSlope<T> operator()(Vec<T> x, Vec<T> t, Vec<T>, Vec<T>) const {
    const Vec<T> d = x - t;
    Vec<T> slope = d > 0 ? splat<T>(over) : splat<T>(-under);
    slope = d == 0 ? Vec<T>{} : slope;
    slope = d == d ? slope : d;
    return {times<T>(slope, d), slope};
  }
};

// One operand of a block: as many elements as there are, or one number for all.
template <class T>
struct Operand {
  const T* data;
  bool varies;

  XENT_INLINE Vec<T> at(i64 i) const { return varies ? load(data + i) : splat<T>(*data); }
};

template <class T, class Loss>
class Lines {
 public:
  Lines(const Elementwise& p, const Array& loss, const Array& gradient, double scale)
      : p_(p), loss_(loss), g_(gradient), scale_(scale), f_(p) {
    // along the axis in which logits lie side by side
    along_inner_ = p.inner > 1 && p.logits.inner == 1;
    length_ = along_inner_ ? p.inner : p.classes;
    lines_ = along_inner_ ? p.outer * p.classes : p.outer * p.inner;
    weighted_ = p.weight[0] || p.weight[1] || p.weight[2] || p.has_ignore;
    streamed_ = gradient && p.outer * p.classes * p.inner * i64(sizeof(T)) >= streamed_from;
  }

  Total run() {
    const i64 blocks = (length_ + block - 1) / block, pieces = lines_ * blocks;
    const i64 group = (pieces + 65535) / 65536, groups = (pieces + group - 1) / group;
    double* sums = static_cast<double*>(scratch(6, groups * 8));
    bool bad = false;
    const i64 grain = 1 + 16384 / (group * (length_ < block ? length_ : block));
    parallel(groups, grain, [&](i64 begin, i64 end) {
      bool wrong = false;
      for (i64 i = begin; i < end; ++i) {
        sums[i] = 0;
        for (i64 piece = i * group; piece < pieces && piece < (i + 1) * group; ++piece)
          sums[i] += one(piece / blocks, piece % blocks * block, wrong);
      }
      if (wrong) __atomic_store_n(&bad, true, __ATOMIC_RELAXED);
      if (streamed_) stream_fence();
    });
    return {ordered_sum(sums, groups), bad};
  }

 private:
  // Each lane adds up 16 elements at most before the sum goes to double.
  static constexpr i64 block = 16 * 4 * Simd<T>::width;

  i64 step(const Array& a) const { return along_inner_ ? a.inner : a.cls; }
  i64 start(const Array& a, i64 line, i64 first) const {
    const i64 n = along_inner_ ? p_.classes : p_.inner;
    return line / n * a.outer + line % n * (along_inner_ ? a.cls : a.inner) + first * step(a);
  }

  // Elements of an array, or what an absent one stands for.
  Operand<T> operand(const Array& a, i64 line, i64 first, i64 n, const T& absent, T* buffer) const {
    if (!a) return {&absent, false};
    const i64 at = start(a, line, first);
    if (step(a) == 0) {
      read(a, at, 1, 1, buffer);
      return {buffer, false};
    }
    if (step(a) == 1 && a.dtype == dtype_of<T>::value) return {reinterpret_cast<const T*>(a.data) + at, true};
    read(a, at, step(a), n, buffer);
    return {buffer, true};
  }

  // Labels given as lists of positive classes: a line of zeros with ones in it.
  Operand<T> positives(i64 line, i64 first, i64 n, T* buffer) const {
    for (i64 i = 0; i < n; ++i) buffer[i] = 0;
    for (i64 j = p_.positive_start[line]; j < p_.positive_start[line + 1]; ++j) {
      const i64 k = p_.positive_class[j] - first;
      if (k >= n) break;  // they are sorted
      if (k >= 0) buffer[k] = 1;
    }
    return {buffer, true};
  }

  double one(i64 line, i64 first, bool& wrong) const {
    const i64 n = length_ - first < block ? length_ - first : block;
    constexpr i64 padded = block + 64;
    T* buffers = static_cast<T*>(scratch(2, 8 * padded * i64(sizeof(T))));
    const T zero = 0, unit = 1;
    const Operand<T> x = operand(p_.logits, line, first, n, zero, buffers);
    const Operand<T> y = p_.positive_start ? positives(line, first, n, buffers + padded)
                                           : operand(p_.labels, line, first, n, zero, buffers + padded);
    const Operand<T> pos = operand(p_.pos_weight, line, first, n, unit, buffers + 2 * padded);
    Operand<T> w[3];
    for (int i = 0; i < 3; ++i) w[i] = operand(p_.weight[i], line, first, n, unit, buffers + (3 + i) * padded);
    T* loss = loss_ ? buffers + 6 * padded : nullptr;
    T* gradient = g_ ? buffers + 7 * padded : nullptr;
    const double sum = weighted_ ? sweep<true>(x, y, pos, w, n, loss, gradient, wrong)
                                 : sweep<false>(x, y, pos, w, n, loss, gradient, wrong);
    if (loss) write(loss_, start(loss_, line, first), step(loss_), n, loss);
    if (gradient) put(line, first, n, gradient);
    return sum;
  }

  template <bool Weighted>
  double sweep(const Operand<T>& x, const Operand<T>& y, const Operand<T>& pos, const Operand<T>* w, i64 n, T* loss,
               T* gradient, bool& wrong) const {
    const T alpha = T(p_.alpha), beta = T(p_.beta), rest = T(p_.rest), ignore = T(p_.ignore);
    const T low = T(p_.low), high = T(p_.high);
    const T scale = T(scale_);
    Vec<T> sum[4] = {}, bad = {};
    const auto step = [&](int q, Vec<T> at_x, Vec<T> at_y, Vec<T> at_pos, const auto& weight) {
      const Vec<T> one = splat<T>(1), none = {};
      const auto ignored = Weighted && p_.has_ignore ? at_y == ignore : none != none;
      Vec<T> outside = at_y >= low ? none : one;
      outside = at_y <= high ? outside : one;
      if (p_.ends_only) outside = (at_y == low ? none : one) * (at_y == high ? none : one);
      bad += ignored ? none : outside;
      LossAndSlope<T> out = f_(at_x, alpha * at_y + beta, alpha * (high - at_y) + rest, at_pos);
      if (Weighted) {
        const Vec<T> product = ignored ? none : weight(0) * weight(1) * weight(2);
        out.loss = times<T>(product, out.loss);
        out.slope = times<T>(product, out.slope);
      }
      sum[q] += out.loss;
      out.slope = out.slope * scale;
      return out;
    };
    over_vectors<T>(
        n,
        [&](int q, i64 i) {
          const LossAndSlope<T> out = step(q, x.at(i), y.at(i), pos.at(i), [&](int j) { return w[j].at(i); });
          if (loss) store(loss + i, out.loss);
          if (gradient) store(gradient + i, out.slope);
        },
        [&](i64 i, i64 m) {
          const auto first = [&](const Operand<T>& a, T fill) {
            return a.varies ? load_first(a.data + i, m, fill) : a.at(i);
          };
          // what lies beyond the end must be a valid label and add nothing
          const Vec<T> before = sum[0];
          const LossAndSlope<T> out =
              step(0, first(x, T(0)), first(y, low), first(pos, T(1)), [&](int j) { return first(w[j], T(0)); });
          T lanes[Simd<T>::width];
          store(lanes, out.loss);
          for (i64 j = m; j < Simd<T>::width; ++j) lanes[j] = 0;
          sum[0] = before + load(lanes);
          if (loss) store_first(loss + i, out.loss, m);
          if (gradient) store_first(gradient + i, out.slope, m);
        });
    wrong |= sum_lanes<T>(bad) != 0;
    return double(sum_lanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3])));
  }

  void put(i64 line, i64 first, i64 n, const T* in) const {
    const i64 at = start(g_, line, first);
    if (streamed_ && step(g_) == 1 && g_.dtype == dtype_of<T>::value)
      copy_streamed(in, n, reinterpret_cast<T*>(g_.data) + at);
    else
      write(g_, at, step(g_), n, in);
  }

  static void copy_streamed(const T* in, i64 n, T* out) {
    const i64 odd = i64(reinterpret_cast<uintptr_t>(out) % XENT_VECTOR_BYTES) / i64(sizeof(T));
    i64 i = odd ? Simd<T>::width - odd : 0;
    if (i > n) i = n;
    memcpy(out, in, size_t(i) * sizeof(T));
    for (; i + Simd<T>::width <= n; i += Simd<T>::width) stream(out + i, load(in + i));
    memcpy(out + i, in + i, size_t(n - i) * sizeof(T));
  }

  const Elementwise& p_;
  const Array& loss_;
  const Array& g_;
  const double scale_;
  const Loss f_;
  bool along_inner_ = false, weighted_ = false, streamed_ = false;
  i64 length_ = 0, lines_ = 0;
};

inline Total elementwise(const Elementwise& p, const Array& loss, const Array& gradient, double scale) {
  if (p.outer * p.classes * p.inner == 0) return {0, false};
  return with_compute_type(p.logits.dtype, [&](auto type) {
    using T = decltype(type);
    switch (p.loss) {
      case Elementwise::logistic: return Lines<T, LogisticLoss<T>>(p, loss, gradient, scale).run();
      case Elementwise::modulated: return Lines<T, ModulatedLoss<T>>(p, loss, gradient, scale).run();
      default: return Lines<T, PinballLoss<T>>(p, loss, gradient, scale).run();
    }
  });
}

}  // namespace XENT_ISA
}  // namespace xent
