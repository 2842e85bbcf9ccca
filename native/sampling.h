// Samplers of classes, for losses over a few classes instead of all. After TensorFlow's range_sampler.cc, whose ids and
// counts they reproduce: the order in which random words are used, and the precision of each step, are its own.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "philox.h"
#include "xent.h"

namespace xent {

// Where a draw goes. `Real` is float, for TensorFlow's counts to the bit, or double.
template <class Real>
struct Draw {
  i64* ids;               // [size]
  Real* expected;         // [size]: how often each of `ids` is expected in a draw
  const i64* trues;       // [n_trues], in range
  i64 n_trues;
  Real* trues_expected;   // [n_trues]
};

enum class Outcome : int { drawn, too_many_tries, stopped };

// Draws `size` classes out of [0, range). Safe in several threads: every call takes words of its own, 2048 a class, so
// what a call draws depends on its number alone.
class Sampler {
 public:
  Sampler(i64 range, i64 size, bool unique, Seeds seeds) : range_(range), size_(size), unique_(unique), seeds_(seeds) {}
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;
  virtual ~Sampler() = default;

  // `stop` is asked now and then, where a draw takes long, whether to give up.
  virtual Outcome draw(const Draw<float>& out, bool (*stop)());
  virtual Outcome draw(const Draw<double>& out, bool (*stop)());

  // How many calls have drawn: the place in the stream.
  u64 calls() const { return calls_; }
  // Continues elsewhere. Not while another thread draws.
  void place(Seeds seeds, u64 calls) {
    seeds_ = seeds;
    calls_ = calls;
  }
  i64 range() const { return range_; }

 protected:
  virtual void fill(Words& words, i64* ids, i64 n) const = 0;
  // The probability of each class in one draw.
  virtual void probabilities(const i64* ids, float* p, i64 n) const = 0;
  virtual void probabilities(const i64* ids, double* p, i64 n) const = 0;

  template <class Real>
  Outcome run(const Draw<Real>& out, bool (*stop)());

 private:
  template <class Real>
  void expected_counts(const i64* ids, Real* out, i64 n, i64 tries) const;
  i64 draw_unique(Words& words, i64* ids, bool (*stop)(), Outcome* outcome) const;

  const i64 range_, size_;
  const bool unique_;
  Seeds seeds_;
  std::atomic<u64> calls_{0};
};

// range_samplers.cpp
std::unique_ptr<Sampler> uniform_sampler(i64 range, i64 size, bool unique, Seeds seeds);
std::unique_ptr<Sampler> log_uniform_sampler(i64 range, i64 size, bool unique, Seeds seeds);

// unigram.cpp
// w^distortion, in float.
void distort(const float* weights, i64 n, float distortion, float* out);
// Classes by fixed weights, at least one of them positive; the weights are copied.
std::unique_ptr<Sampler> unigram_sampler(const float* weights, i64 range, i64 size, bool unique, Seeds seeds);

// Sums of weights in a binary tree: drawing from it and adding to a weight take log2(n) steps.
class WeightTree {
 public:
  explicit WeightTree(i64 n);
  int32_t total() const { return sums_[1]; }
  int32_t weight(i64 i) const { return sums_[leaves_ + i]; }
  const int32_t* weights() const { return &sums_[leaves_]; }
  void increment(i64 i) {
    for (i64 node = leaves_ + i; node; node >>= 1) ++sums_[node];
  }
  // The class whose share of [0, total) holds `position`.
  i64 at(int32_t position) const;
  void assign(const int32_t* weights, i64 n);

 private:
  i64 leaves_;
  std::vector<int32_t> sums_;  // node i has the children 2i and 2i + 1; the root is node 1
};

// Classes by how often they have been true: weights start at 1, and every draw adds its true classes afterwards, until
// the sum of the weights is the largest int32.
class LearnedUnigram final : public Sampler {
 public:
  LearnedUnigram(i64 range, i64 size, bool unique, Seeds seeds) : Sampler(range, size, unique, seeds), tree_(range) {}
  Outcome draw(const Draw<float>& out, bool (*stop)()) override { return learn(out, stop); }
  Outcome draw(const Draw<double>& out, bool (*stop)()) override { return learn(out, stop); }

  // Calls and weights [range] that belong together. The sum of the weights is at most the largest int32.
  u64 save(int32_t* weights) const;
  void restore(Seeds seeds, u64 calls, const int32_t* weights);

 protected:
  void fill(Words& words, i64* ids, i64 n) const override;
  void probabilities(const i64* ids, float* p, i64 n) const override;
  void probabilities(const i64* ids, double* p, i64 n) const override;

 private:
  template <class Real>
  Outcome learn(const Draw<Real>& out, bool (*stop)());

  mutable std::mutex mutex_;
  WeightTree tree_;
};

// sampling.cpp
// Logarithms of counts; returns the first count that is not positive and finite, or -1.
template <class Real>
i64 log_counts(const Real* counts, i64 n, double* out);

// hits.cpp
struct Hits {
  std::vector<i64> rows, columns;
};
// Where sampled classes are true ones of a row of `per_row`: pairs (row, place in `sampled`), rising, each once.
Hits accidental_hits(const i64* trues, i64 rows, i64 per_row, const i64* sampled, i64 size);

}  // namespace xent
