// What all samplers share: words for each call, distinct classes, expected counts.
#include "sampling.h"

#include <limits.h>

#include <algorithm>
#include <cmath>

namespace xent {
namespace {

constexpr i64 blocks_per_class = 512;  // 2048 words, TensorFlow's reserve; a draw that needs more reads the next call's
constexpr i64 batch = 512;             // classes drawn at a time
constexpr i64 most_tries = INT_MAX;    // TensorFlow ends the process here
constexpr i64 patience = 1 << 22;      // tries between two questions whether to stop

// Remembers classes. A bit for each class where those fit into about the memory that a table takes, else a hash table.
class Seen {
 public:
  Seen(i64 range, i64 size) {
    slots_ = 64;
    while (slots_ < 4 * size) slots_ *= 2;
    bits_ = range / 8 <= slots_ * i64(sizeof(i64));
    const i64 words = bits_ ? range / 64 + 1 : slots_;
    table_ = static_cast<u64*>(scratch(0, words * i64(sizeof(u64))));
    memset(table_, bits_ ? 0 : 0xff, size_t(words) * sizeof(u64));
    for (i64 n = slots_; n > 1; n /= 2) --shift_;
  }

  // Whether it is new.
  bool insert(i64 id) {
    if (bits_) {
      u64& word = table_[id >> 6];
      const u64 bit = u64(1) << (id & 63), before = word;
      word = before | bit;
      return !(before & bit);
    }
    // the upper bits of a product with an odd constant spread any pattern of ids (Knuth's multiplicative hashing)
    for (u64 slot = u64(id) * 0x9E3779B97F4A7C15u >> shift_;; slot = (slot + 1) & u64(slots_ - 1)) {
      if (table_[slot] == u64(id)) return false;
      if (table_[slot] == ~u64(0)) {
        table_[slot] = u64(id);
        return true;
      }
    }
  }

 private:
  bool bits_;
  i64 slots_;
  int shift_ = 64;
  u64* table_;
};

// How often a class of probability p is expected among `size` classes for which `tries` were drawn: p·size, and for
// distinct classes the probability to be among `tries` draws, 1 - (1 - p)^tries.
template <class Real>
Real expected_count(Real p, int size, int tries) {
  if (tries == size) return p * size;
  return -std::expm1(tries * std::log1p(-p));
}

}  // namespace

template <class Real>
void Sampler::expected_counts(const i64* ids, Real* out, i64 n, i64 tries) const {
  struct Context {
    const Sampler& sampler;
    const i64* ids;
    Real* out;
    int tries;
  } context{*this, ids, out, int(tries)};
  const auto body = [](void* data, i64 begin, i64 end) {
    const Context& c = *static_cast<Context*>(data);
    c.sampler.probabilities(c.ids + begin, c.out + begin, end - begin);
    Real p = 0, count = 0;
    for (i64 i = begin; i < end; ++i) {
      if (c.out[i] != p) {
        p = c.out[i];
        count = expected_count(p, int(c.sampler.size_), c.tries);
      }
      c.out[i] = count;
    }
  };
  parallel_run(n, 2048, body, &context);
}

// Returns the number of tries.
i64 Sampler::draw_unique(Words& words, i64* ids, bool (*stop)(), Outcome* outcome) const {
  Seen seen(range_, size_);
  i64 found[batch];
  i64 picked = 0, tries = 0, ask = patience;
  while (picked < size_) {
    if (tries >= ask) {
      ask += patience;
      if (stop()) {
        *outcome = Outcome::stopped;
        return tries;
      }
    }
    const i64 n = std::min(batch, std::max(size_ - picked, i64(16)));
    fill(words, found, n);
    for (i64 i = 0; i < n && picked < size_; ++i) {
      if (++tries == most_tries) {
        *outcome = Outcome::too_many_tries;
        return tries;
      }
      ids[picked] = found[i];
      picked += seen.insert(found[i]);
    }
  }
  return tries;
}

template <class Real>
Outcome Sampler::run(const Draw<Real>& out, bool (*stop)()) {
  __extension__ using u128 = unsigned __int128;
  const u128 block = u128(calls_.fetch_add(1)) * u64(blocks_per_class * size_);
  Words words(seeds_, u64(block >> 64), u64(block));
  i64 tries = size_;
  Outcome outcome = Outcome::drawn;
  if (unique_) {
    tries = draw_unique(words, out.ids, stop, &outcome);
    if (outcome != Outcome::drawn) return outcome;
  } else {
    fill(words, out.ids, size_);
  }
  expected_counts(out.ids, out.expected, size_, tries);
  expected_counts(out.trues, out.trues_expected, out.n_trues, tries);
  return outcome;
}

template Outcome Sampler::run(const Draw<float>&, bool (*)());
template Outcome Sampler::run(const Draw<double>&, bool (*)());

template <class Real>
i64 log_counts(const Real* counts, i64 n, double* out) {
  i64 bad = -1;
  for (i64 i = n; i-- > 0;) {
    if (!(counts[i] > 0 && std::isfinite(counts[i]))) bad = i;
    out[i] = std::log(double(counts[i]));
  }
  return bad;
}

template i64 log_counts(const float*, i64, double*);
template i64 log_counts(const double*, i64, double*);

Outcome Sampler::draw(const Draw<float>& out, bool (*stop)()) { return run(out, stop); }
Outcome Sampler::draw(const Draw<double>& out, bool (*stop)()) { return run(out, stop); }

}  // namespace xent
