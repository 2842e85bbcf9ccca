// Samplers whose distribution is a table: fixed weights by Walker's alias method, learned ones by a tree of sums.
#include <limits.h>

#include <algorithm>
#include <cmath>

#include "sampling.h"

namespace xent {
namespace {

// Walker's aliases: n slots of equal probability, each shared by at most two classes. The classes are paired in the order
// of TensorFlow's distribution_sampler.cc.
class Aliases {
 public:
  Aliases(const float* weights, i64 n) : slots_(size_t(n)) {
    double sum = 0;
    for (i64 i = 0; i < n; ++i) sum += double(weights[i]);
    std::vector<double> share(size_t(n), 0.0);  // of a slot; 1 on the average
    std::vector<int32_t> over, under;
    for (i64 i = 0; i < n; ++i) {
      share[i] = double(weights[i] * float(n)) / sum;
      (share[i] < 1.0 ? under : over).push_back(int32_t(i));
    }
    while (!over.empty() && !under.empty()) {
      const int32_t small = under.back(), large = over.back();
      under.pop_back();
      slots_[small] = {float(share[small]), large};
      share[large] -= 1.0 - share[small];
      if (share[large] < 1.0) {
        over.pop_back();
        under.push_back(large);
      }
    }
    // What rounding leaves is a full slot of its own, save that a class without weight must never be drawn.
    const int32_t heaviest = int32_t(std::max_element(weights, weights + n) - weights);
    for (const auto* left : {&over, &under})
      for (const int32_t i : *left) slots_[i] = {1.f, weights[i] > 0 ? i : heaviest};
    for (const int32_t i : under)
      if (!(weights[i] > 0)) slots_[i].own = 0;
  }

  i64 draw(Words& words) const {
    const float u = words.fraction32();
    const u32 i = words.below32(u32(slots_.size()));
    return u < slots_[i].own ? i64(i) : slots_[i].other;
  }

 private:
  struct Slot {
    float own;  // the share of the slot's own class
    int32_t other;
  };
  std::vector<Slot> slots_;
};

class Unigram final : public Sampler {
 public:
  Unigram(const float* weights, i64 range, i64 size, bool unique, Seeds seeds)
      : Sampler(range, size, unique, seeds), weights_(weights, weights + range), aliases_(weights, range) {
    for (const float w : weights_) {
      total_ += w;
      total_wide_ += double(w);
    }
  }

 protected:
  void fill(Words& words, i64* ids, i64 n) const override {
    for (i64 i = 0; i < n; ++i) ids[i] = aliases_.draw(words);
  }
  void probabilities(const i64* ids, float* p, i64 n) const override {
    for (i64 i = 0; i < n; ++i) p[i] = weights_[ids[i]] / total_;
  }
  void probabilities(const i64* ids, double* p, i64 n) const override {
    for (i64 i = 0; i < n; ++i) p[i] = double(weights_[ids[i]]) / total_wide_;
  }

 private:
  const std::vector<float> weights_;
  const Aliases aliases_;
  float total_ = 0;  // added up in float, one after the other, as TensorFlow does
  double total_wide_ = 0;
};

}  // namespace

void distort(const float* weights, i64 n, float distortion, float* out) {
  for (i64 i = 0; i < n; ++i) out[i] = std::pow(weights[i], distortion);
}

std::unique_ptr<Sampler> unigram_sampler(const float* weights, i64 range, i64 size, bool unique, Seeds seeds) {
  return std::make_unique<Unigram>(weights, range, size, unique, seeds);
}

WeightTree::WeightTree(i64 n) : leaves_(1) {
  while (leaves_ < n) leaves_ *= 2;
  sums_.resize(size_t(2 * leaves_));
  const std::vector<int32_t> ones(size_t(n), 1);
  assign(ones.data(), n);
}

void WeightTree::assign(const int32_t* weights, i64 n) {
  std::copy(weights, weights + n, sums_.begin() + leaves_);
  for (i64 node = leaves_ - 1; node > 0; --node) sums_[node] = sums_[2 * node] + sums_[2 * node + 1];
}

i64 WeightTree::at(int32_t position) const {
  i64 node = 1;
  while (node < leaves_) {
    node *= 2;
    if (position >= sums_[node]) position -= sums_[node++];
  }
  return node - leaves_;
}

void LearnedUnigram::fill(Words& words, i64* ids, i64 n) const {
  for (i64 i = 0; i < n; ++i) ids[i] = tree_.at(int32_t(words.below32(u32(tree_.total()))));
}

void LearnedUnigram::probabilities(const i64* ids, float* p, i64 n) const {
  for (i64 i = 0; i < n; ++i) p[i] = float(tree_.weight(ids[i])) / float(tree_.total());
}

void LearnedUnigram::probabilities(const i64* ids, double* p, i64 n) const {
  for (i64 i = 0; i < n; ++i) p[i] = double(tree_.weight(ids[i])) / double(tree_.total());
}

template <class Real>
Outcome LearnedUnigram::learn(const Draw<Real>& out, bool (*stop)()) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Outcome outcome = run(out, stop);
  if (outcome != Outcome::drawn) return outcome;
  const i64 n = std::min(out.n_trues, i64(INT_MAX - tree_.total()));
  for (i64 i = 0; i < n; ++i) tree_.increment(out.trues[i]);
  return outcome;
}

u64 LearnedUnigram::save(int32_t* weights) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::copy_n(tree_.weights(), range(), weights);
  return calls();
}

void LearnedUnigram::restore(Seeds seeds, u64 calls, const int32_t* weights) {
  const std::lock_guard<std::mutex> lock(mutex_);
  tree_.assign(weights, range());
  place(seeds, calls);
}

}  // namespace xent
