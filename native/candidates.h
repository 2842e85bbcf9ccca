// What surrounds the matrix products of a sampled loss. All rows share the sampled classes, which are one product; the true
// classes are each row's own, a dot product each.
#pragma once

#include "row.h"

namespace xent {
namespace XENT_ISA {

template <class T>
inline double dot(const T* a, const T* b, i64 n) {
  constexpr i64 lanes = 8;
  double sums[lanes] = {};
  i64 i = 0;
  for (; i + lanes <= n; i += lanes)
    for (i64 l = 0; l < lanes; ++l) sums[l] += double(a[i + l]) * double(b[i + l]);
  for (; i < n; ++i) sums[i % lanes] += double(a[i]) * double(b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <class T>
class CandidateRows {
 public:
  explicit CandidateRows(const Candidates& c)
      : c_(c), classes_(c.trues + c.sampled), x_(numbers(c.inputs)), lines_(numbers(c.lines)) {}

  void logits(const CandidateShifts& s, char* out) const {
    T* added = static_cast<T*>(scratch(7, c_.sampled * i64(sizeof(T))));
    for (i64 j = 0; j < c_.sampled; ++j) added[j] = T(shift(s, s.sampled, c_.rows * c_.trues, j));
    over_rows([&](i64 begin, i64 end) {
      i64 hit = first_hit(s, begin);
      for (i64 r = begin; r < end; ++r) {
        T* z = numbers(out) + r * classes_;
        for (i64 t = 0; t < c_.trues; ++t) {
          const i64 at = r * c_.trues + t;
          z[t] = T(dot(x_ + r * c_.width, lines_ + at * c_.width, c_.width) + shift(s, s.trues, 0, at));
        }
        T* of_sampled = z + c_.trues;
        for (i64 j = 0; j < c_.sampled; ++j) of_sampled[j] += added[j];
        for (; hit < s.hits && s.hit_rows[hit] == r; ++hit) of_sampled[s.hit_columns[hit]] = T(-INFINITY);
      }
    });
  }

  void gradients(const char* upstream, double scale, char* of_inputs, char* of_lines, char* of_bias) const {
    const T* g = numbers(upstream);
    over_rows([&](i64 begin, i64 end) {
      for (i64 r = begin; r < end; ++r) {
        T* of_x = of_inputs ? numbers(of_inputs) + r * c_.width : nullptr;
        for (i64 t = 0; t < c_.trues; ++t) {
          const i64 at = r * c_.trues + t;
          const T factor = T(scale * double(g[r * classes_ + t]));
          if (of_x) multiple(of_x, factor, lines_ + at * c_.width, t > 0);
          if (of_lines) multiple(numbers(of_lines) + at * c_.width, factor, x_ + r * c_.width, false);
          if (of_bias) numbers(of_bias)[at] = factor;
        }
      }
    });
    if (!of_bias) return;
    constexpr i64 some = 256;  // columns added up at a time
    parallel(c_.sampled, some, [&](i64 begin, i64 end) {
      double sums[some] = {};
      const T* row = g + c_.trues + begin;
      i64 r = 0;
      for (; r + 4 <= c_.rows; r += 4, row += 4 * classes_) {  // fours, since widening is what takes time
        const T *second = row + classes_, *third = second + classes_, *fourth = third + classes_;
        for (i64 j = 0; j < end - begin; ++j) sums[j] += double((row[j] + second[j]) + (third[j] + fourth[j]));
      }
      for (; r < c_.rows; ++r, row += classes_)
        for (i64 j = 0; j < end - begin; ++j) sums[j] += double(row[j]);
      T* out = numbers(of_bias) + c_.rows * c_.trues + begin;
      for (i64 j = 0; j < end - begin; ++j) out[j] = T(scale * sums[j]);
    });
  }

 private:
  static T* numbers(char* data) { return reinterpret_cast<T*>(data); }
  static const T* numbers(const char* data) { return reinterpret_cast<const T*>(data); }

  template <class Body>
  void over_rows(Body body) const {
    parallel(c_.rows, 1 + 16384 / (classes_ + c_.width), body);
  }

  // What is added to a product: `from` is where the classes of `less` begin among the lines.
  static double shift(const CandidateShifts& s, const double* less, i64 from, i64 at) {
    const double bias = s.bias ? double(numbers(s.bias)[from + at]) / s.temperature : 0;
    return less ? bias - less[at] : bias;
  }

  static i64 first_hit(const CandidateShifts& s, i64 row) {
    i64 low = 0, high = s.hits;
    while (low < high) {
      const i64 middle = (low + high) / 2;
      s.hit_rows[middle] < row ? low = middle + 1 : high = middle;
    }
    return low;
  }

  void multiple(T* out, T factor, const T* line, bool add) const {
    for (i64 d = 0; d < c_.width; ++d) out[d] = add ? out[d] + factor * line[d] : factor * line[d];
  }

  const Candidates& c_;
  const i64 classes_;
  const T *x_, *lines_;
};

inline void candidate_logits(const Candidates& c, const CandidateShifts& s, char* logits) {
  with_compute_type(c.dtype, [&](auto type) { CandidateRows<decltype(type)>(c).logits(s, logits); });
}

inline void candidate_gradients(const Candidates& c, const char* upstream, double scale, char* of_inputs, char* of_lines,
                                char* of_bias) {
  with_compute_type(c.dtype, [&](auto type) {
    CandidateRows<decltype(type)>(c).gradients(upstream, scale, of_inputs, of_lines, of_bias);
  });
}

}  // namespace XENT_ISA
}  // namespace xent
