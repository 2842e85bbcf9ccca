#include <algorithm>

#include "sampling.h"

namespace xent {

namespace {

// The places of each class in a list, found by hashing. At least half of the slots are empty, so that a search ends soon.
class Places {
 public:
  Places(const i64* ids, i64 n) : ids_(ids), next_(n) {
    while ((u64)n * 2 > mask_) mask_ = mask_ * 2 + 1;
    first_.assign(mask_ + 1, -1);
    for (i64 at = n; at-- > 0;) {  // from the end, so that the first place heads the others
      i64& head = first_[slot(ids[at])];
      next_[at] = head;
      head = at;
    }
  }

  template <class F>
  void each(i64 id, F f) const {
    for (i64 at = first_[slot(id)]; at >= 0; at = next_[at]) f(at);
  }

 private:
  // Where the class is, or could be.
  u64 slot(i64 id) const {
    u64 at = ((u64)id * 0x9E3779B97F4A7C15u) >> 20 & mask_;  // multiplicative hashing by the golden ratio: Knuth, volume 3, 6.4
    while (first_[at] >= 0 && ids_[first_[at]] != id) at = (at + 1) & mask_;
    return at;
  }

  const i64* ids_;
  u64 mask_ = 1;
  std::vector<i64> first_, next_;
};

}  // namespace

Hits accidental_hits(const i64* trues, i64 rows, i64 per_row, const i64* sampled, i64 size) {
  const Places places(sampled, size);
  Hits hits;
  for (i64 row = 0; row < rows; ++row) {
    const auto before = (std::ptrdiff_t)hits.columns.size();
    for (i64 t = 0; t < per_row; ++t)
      places.each(trues[row * per_row + t], [&](i64 at) { hits.columns.push_back(at); });
    const auto first = hits.columns.begin() + before;
    if (per_row > 1) {  // a class that is true twice counts once
      std::sort(first, hits.columns.end());
      hits.columns.erase(std::unique(first, hits.columns.end()), hits.columns.end());
    }
    hits.rows.resize(hits.columns.size(), row);
  }
  return hits;
}

}  // namespace xent
