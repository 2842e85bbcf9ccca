// Samplers whose distribution is a formula.
#include <cmath>

#include "sampling.h"

namespace xent {
namespace {

class Uniform final : public Sampler {
 public:
  using Sampler::Sampler;

 protected:
  void fill(Words& words, i64* ids, i64 n) const override {
    for (i64 i = 0; i < n; ++i) ids[i] = i64(words.below64(u64(range())));
  }
  void probabilities(const i64*, float* p, i64 n) const override { constant(p, n); }
  void probabilities(const i64*, double* p, i64 n) const override { constant(p, n); }

 private:
  template <class Real>
  void constant(Real* p, i64 n) const {
    const Real one = Real(1.0 / double(range()));
    for (i64 i = 0; i < n; ++i) p[i] = one;
  }
};

// Class k has the probability log((k + 2) / (k + 1)) / log(range + 1): e^(u·log(range + 1)) - 1, rounded down, of a
// uniform u.
class LogUniform final : public Sampler {
 public:
  LogUniform(i64 range, i64 size, bool unique, Seeds seeds)
      : Sampler(range, size, unique, seeds), log_range_(std::log1p(double(range))) {}

 protected:
  void fill(Words& words, i64* ids, i64 n) const override {
    for (i64 done = 0, some; done < n; done += some) {
      some = n - done;
      const u32* const pairs = words.pairs(&some);
      kernels().log_uniform_ids(pairs, some, log_range_, double(range()) + 1, ids + done);
      for (i64 i = 0; i < some; ++i)
        if (ids[done + i] < 0) ids[done + i] = id_of(Words::fraction64(pairs + 2 * i));
    }
  }
  void probabilities(const i64* ids, float* p, i64 n) const override {
    kernels().log_uniform_probabilities(ids, n, log_range_, p);
    for (i64 i = 0; i < n; ++i)
      if (std::isnan(p[i])) p[i] = float(std::log((double(ids[i]) + 2.0) / (double(ids[i]) + 1.0)) / log_range_);
  }
  // The quotient is close to 1 for large classes, and its rounding would be most of its logarithm.
  void probabilities(const i64* ids, double* p, i64 n) const override {
    for (i64 i = 0; i < n; ++i) p[i] = std::log1p(1.0 / (double(ids[i]) + 1.0)) / log_range_;
  }

 private:
  i64 id_of(double u) const {
    return (i64(std::exp(u * log_range_)) - 1) % range();  // rounding may lead out of the range
  }

  const double log_range_;
};

}  // namespace

std::unique_ptr<Sampler> uniform_sampler(i64 range, i64 size, bool unique, Seeds seeds) {
  return std::make_unique<Uniform>(range, size, unique, seeds);
}

std::unique_ptr<Sampler> log_uniform_sampler(i64 range, i64 size, bool unique, Seeds seeds) {
  return std::make_unique<LogUniform>(range, size, unique, seeds);
}

}  // namespace xent
