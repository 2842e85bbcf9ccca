// Losses of one number and one label each: logistic, focal and asymmetric, pinball.
//
// An element x with label y contributes w·(the loss of a positive label for a share of y, and of a negative one for the rest):
// t = alpha·y + beta and 1 - t, made without the difference, so label smoothing and labels in {-1, 1} are three numbers. Everything is read as lines along one axis;
// what is not contiguous or not of the compute type goes through buffers of a block.
#pragma once

#include "row.h"

namespace xent {
namespace XENT_ISA {

// log(1 + e) for 0 <= e <= 1 or NaN, at most 2 ulp: e - e²·q(e), q being a Remez fit that leaves a relative error of 5e-9.
XENT_INLINE Vec<float> log1p_unit(Vec<float> e) {
  Vec<float> q = splat(0.00331847589116f);
  q = q * e - 0.0202045998759f;
  q = q * e + 0.0576644720779f;
  q = q * e - 0.106805583213f;
  q = q * e + 0.153553979664f;
  q = q * e - 0.196954011287f;
  q = q * e + 0.249585875424f;
  q = q * e - 0.33330511333f;
  q = q * e + 0.499999327641f;
  return e - e * e * q;
}

inline Vec<double> log1p_unit(Vec<double> e) { return log1p_of(e); }

template <class T>
struct LossAndSlope {
  Vec<T> loss, slope;
};

// Products in which a factor of 0 gives 0 whatever the other is.
template <class T>
XENT_INLINE Vec<T> times(Vec<T> zero_or_not, Vec<T> x) {
  return zero_or_not == 0 ? Vec<T>{} : zero_or_not * x;
}

// pos_weight·t·softplus(-x) + (1 - t)·softplus(x), with e = e^-|x|. Either softplus is log(1 + e), and the one on whose side
// x lies is |x| more; either sigmoid is 1/(1 + e), or e times that on the other side. Nothing cancels. Where both weights
// are 1 (`Unit`) the two shares add up to 1.
template <class T, bool Unit>
struct LogisticLoss {
  T positive, negative;
  explicit LogisticLoss(const Elementwise& p) : positive(T(p.positive)), negative(T(p.negative)) {}

  template <bool Deep>
  XENT_INLINE LossAndSlope<T> at(Vec<T> x, Vec<T> t, Vec<T> rest, Vec<T> pos_weight) const {
    const Vec<T> e = exp_nonpositive<T, Deep>(-vabs<T>(x)), log = log1p_unit(e);
    const Vec<T> a = Unit ? t : pos_weight * t * positive, b = Unit ? rest : rest * negative;
    const auto right = x > 0;
    const Vec<T> near = right ? b : -a, far = right ? -a : b;
    const Vec<T> slope = (near + far * e) / (T(1) + e);
    if (Unit) return {times<T>(near, x) + log, slope};
    const auto none = (a == 0) & (b == 0);
    return {times<T>(near, x) + times<T>(a + b, log), none ? Vec<T>{} : slope};
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

  template <bool>
  XENT_INLINE LossAndSlope<T> at(Vec<T> x, Vec<T> t, Vec<T> rest, Vec<T> pos_weight) const {
    const Vec<T> none = {}, size = vabs<T>(x);
    const Vec<T> e = exp_nonpositive<T, true>(-size), log = log1p_unit(e);
    const Vec<T> large = T(1) / (T(1) + e), small = e * large;
    const auto right = x > 0;
    const Vec<T> p = right ? large : small, q = right ? small : large;  // σ(x) and σ(-x), accurate where small
    const Vec<T> up = right ? x + log : log, down = right ? log : log - x;  // -log q and -log p
    const Vec<T> a = pos_weight * t * positive, b = rest * negative;
    // (1 - p)^gamma = e^(-gamma·softplus(x))
    const Vec<T> of_pos = power(right ? size : none, log, gamma_pos);
    const Vec<T> pos = of_pos * down;
    const Vec<T> pos_slope = -of_pos * (times<T>(gamma_pos * p, down) + q);
    Vec<T> neg, neg_slope;
    if (clip == 0) {
      const Vec<T> of_neg = power(right ? none : size, log, gamma_neg);
      neg = times<T>(of_neg, up);
      neg_slope = of_neg * (times<T>(gamma_neg * q, up) + p);
    } else {
      const auto live = p > clip;
      const Vec<T> kept = live ? p - clip : splat<T>(1), wrong = q + clip;  // wrong = 1 - kept
      const Vec<T> of_neg = power(none, -log_of<false>(kept), gamma_neg);
      const Vec<T> log_wrong = kept < T(0.5) ? -log_of<true>(-kept) : -log_of<false>(wrong);
      const Vec<T> slope = (gamma_neg * log_wrong / kept + T(1) / wrong) * of_neg * p * q;
      neg = live ? of_neg * log_wrong : none;
      neg_slope = live ? slope : none;
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

  template <bool>
  XENT_INLINE LossAndSlope<T> at(Vec<T> x, Vec<T> t, Vec<T>, Vec<T>) const {
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

template <bool B>
struct Flag {
  static constexpr bool value = B;
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
    streamed_ = gradient && gradient.data != p.logits.data &&
                p.outer * p.classes * p.inner * i64(sizeof(T)) >= streamed_from;
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

  const T* elements(const Array& a, i64 line, i64 first, i64 n, T* buffer) const {
    const i64 at = start(a, line, first);
    if (step(a) == 1 && a.dtype == dtype_of<T>::value) return reinterpret_cast<const T*>(a.data) + at;
    read(a, at, step(a), n, buffer);
    return buffer;
  }

  // The same, or what an absent array stands for.
  Operand<T> operand(const Array& a, i64 line, i64 first, i64 n, const T& absent, T* buffer) const {
    if (!a) return {&absent, false};
    if (step(a) != 0) return {elements(a, line, first, n, buffer), true};
    read(a, start(a, line, first), 1, 1, buffer);
    return {buffer, false};
  }

  // Labels given as lists of positive classes: zeros with ones in them, where there are any.
  Operand<T> positives(i64 line, i64 first, i64 n, T* buffer) const {
    const i64* j = p_.positive_class + p_.positive_start[line];
    const i64* const end = p_.positive_class + p_.positive_start[line + 1];
    for (i64 left = end - j; left > 0;) {  // the first one in this block; they are sorted
      const i64 half = left / 2;
      if (j[half] < first) j += half + 1, left -= half + 1;
      else left = half;
    }
    buffer[0] = 0;
    if (j == end || *j >= first + n) return {buffer, false};
    memset(buffer, 0, size_t(n) * sizeof(T));
    for (; j < end && *j < first + n; ++j) buffer[*j - first] = 1;
    return {buffer, true};
  }

  double one(i64 line, i64 first, bool& wrong) const {
    const i64 n = length_ - first < block ? length_ - first : block;
    constexpr i64 padded = block + 64;
    T* buffers = static_cast<T*>(scratch(2, 8 * padded * i64(sizeof(T))));
    const T zero = 0, unit = 1;
    const T* x = elements(p_.logits, line, first, n, buffers);
    Operand<T> y = p_.positive_start ? positives(line, first, n, buffers + padded)
                                     : operand(p_.labels, line, first, n, zero, buffers + padded);
    const Operand<T> pos = operand(p_.pos_weight, line, first, n, unit, buffers + 2 * padded);
    Operand<T> w[3];
    for (int i = 0; i < 3; ++i) w[i] = operand(p_.weight[i], line, first, n, unit, buffers + (3 + i) * padded);
    if (!p_.positive_start && p_.labels && !labels_fit(y, n)) {
      wrong = true;
      if (p_.bad_is_nan) y = bad_as_nan(y, n, buffers + padded);
    }
    T* loss = loss_ ? buffers + 6 * padded : nullptr;
    T* gradient = g_ ? buffers + 7 * padded : nullptr;
    const Range<T> range = block_range(x, n);
    const bool deep = range.max > -Simd<T>::shallow || range.min < Simd<T>::shallow;
    const auto with_depth = [&](auto is_deep) {
      return weighted_ ? sweep<true, is_deep.value>(x, y, pos, w, n, loss, gradient)
                       : sweep<false, is_deep.value>(x, y, pos, w, n, loss, gradient);
    };
    const double sum = deep ? with_depth(Flag<true>{}) : with_depth(Flag<false>{});
    if (loss) write(loss_, start(loss_, line, first), step(loss_), n, loss);
    if (gradient) put(line, first, n, gradient);
    return sum;
  }

  XENT_INLINE Int<T> fits(Vec<T> label) const {
    const T low = T(p_.low), high = T(p_.high);
    const Int<T> fine = p_.ends_only ? (label == low) | (label == high) : (label >= low) & (label <= high);
    return p_.has_ignore ? fine | (label == T(p_.ignore)) : fine;
  }

  Operand<T> bad_as_nan(const Operand<T>& y, i64 n, T* buffer) const {
    const i64 count = y.varies ? n : 1;
    for (i64 i = 0; i < count; ++i) {
      const T label = y.data[i];
      buffer[i] = fits(splat<T>(label))[0] ? label : T(NAN);
    }
    return {buffer, y.varies};
  }

  bool labels_fit(const Operand<T>& y, i64 n) const {
    const T low = T(p_.low);
    Int<T> fine = ~Int<T>{};
    const auto look = [&](Vec<T> at) { fine &= fits(at); };
    if (!y.varies)
      look(y.at(0));
    else
      over_vectors<T>(
          n, [&](int, i64 i) { look(load(y.data + i)); }, [&](i64 i, i64 m) { look(load_first(y.data + i, m, low)); });
    return sum_lanes<T>(fine ? Vec<T>{} : splat<T>(1)) == 0;
  }

  template <bool Weighted, bool Deep>
  double sweep(const T* x, const Operand<T>& y, const Operand<T>& pos, const Operand<T>* w, i64 n, T* loss,
               T* gradient) const {
    const T alpha = T(p_.alpha), beta = T(p_.beta), rest = T(p_.rest), ignore = T(p_.ignore), high = T(p_.high);
    const T scale = T(scale_);
    Vec<T> sum[4] = {};
    const auto step = [&](Vec<T> at_x, Vec<T> at_y, Vec<T> at_pos, const auto& weight) {
      LossAndSlope<T> out = f_.template at<Deep>(at_x, alpha * at_y + beta, alpha * (high - at_y) + rest, at_pos);
      if (Weighted) {
        Vec<T> product = weight(0) * weight(1) * weight(2);
        if (p_.has_ignore) product = at_y == ignore ? Vec<T>{} : product;
        out.loss = times<T>(product, out.loss);
        out.slope = times<T>(product, out.slope);
      }
      out.slope = out.slope * scale;
      return out;
    };
    over_vectors<T>(
        n,
        [&](int q, i64 i) {
          prefetch(x + i + n);
          if (y.varies) prefetch(y.data + i + n);
          const LossAndSlope<T> out = step(load(x + i), y.at(i), pos.at(i), [&](int j) { return w[j].at(i); });
          sum[q] += out.loss;
          if (loss) store(loss + i, out.loss);
          if (gradient) store(gradient + i, out.slope);
        },
        [&](i64 i, i64 m) {
          const auto first = [&](const Operand<T>& a) { return a.varies ? load_first(a.data + i, m, T(0)) : a.at(i); };
          const LossAndSlope<T> out = step(load_first(x + i, m, T(0)), first(y), first(pos), [&](int j) { return first(w[j]); });
          T lanes[Simd<T>::width];
          store(lanes, out.loss);
          for (i64 j = m; j < Simd<T>::width; ++j) lanes[j] = 0;
          sum[0] += load(lanes);
          if (loss) store_first(loss + i, out.loss, m);
          if (gradient) store_first(gradient + i, out.slope, m);
        });
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
      case Elementwise::logistic: {
        const bool unit = !p.pos_weight && p.positive == 1 && p.negative == 1 && p.alpha * p.high + p.beta + p.rest == 1;
        if (unit) return Lines<T, LogisticLoss<T, true>>(p, loss, gradient, scale).run();
        return Lines<T, LogisticLoss<T, false>>(p, loss, gradient, scale).run();
      }
      case Elementwise::modulated: return Lines<T, ModulatedLoss<T>>(p, loss, gradient, scale).run();
      default: return Lines<T, PinballLoss<T>>(p, loss, gradient, scale).run();
    }
  });
}

}  // namespace XENT_ISA
}  // namespace xent
