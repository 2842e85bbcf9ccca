// Softmax over contiguous rows, one row at a time, in blocks that stay in cache.
//
// Each block is swept once from memory: its maximum, then e^(z-max of the block), summed and kept. The blocks' sums are
// merged (the online softmax of Milakov and Gimelshein, 2018, per block), and the kept exponentials times one factor a
// block are the gradient: one exponential per element. Blocks are independent, so one long row is split over threads with
// the same result as on one.
#pragma once

#include "row.h"

namespace xent {
namespace XENT_ISA {

template <class T>
class Rows {
 public:
  Rows(const Softmax& p, const Coefficients& k, const Statistics& s, const Array& gradient)
      : p_(p), k_(k), s_(s), g_(gradient) {
    blocks_ = (p.classes + block - 1) / block;
    v_ = class_weights<T>(p, 7);
    slope_ = 1 / p.temperature;
    transformed_ = p.temperature != 1 || p.softcap != 0;
    entropy_ = s.entropy || k.h.rows || k.h.value != 0;
    argmax_ = s.argmax || (gradient && p.dense);
    // exponentials are kept while they fit in the second-level cache, else made again
    // in place, what is written is in the cache already
    streamed_ = gradient && gradient.data != p.logits.data && p.rows() * p.classes * i64(sizeof(T)) >= streamed_from;
    keep_ = gradient && p.classes * i64(sizeof(T)) <= (i64(1) << 20);
  }

  double run() {
    const i64 rows = p_.rows();
    const i64 group = (rows + 65535) / 65536;
    const i64 groups = (rows + group - 1) / group;
    double* sums = static_cast<double*>(scratch(6, groups * 8));
    if (rows < get_threads() && blocks_ >= 8) {
      for (i64 r = 0; r < rows; ++r) sums[r] = row(r, true);
    } else {
      const i64 grain = 1 + 16384 / (p_.classes * group);
      parallel(groups, grain, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
          const i64 last = (i + 1) * group < rows ? (i + 1) * group : rows;
          sums[i] = 0;
          for (i64 r = i * group; r < last; ++r) sums[i] += row(r, false);
        }
        if (streamed_) stream_fence();
      });
    }
    return ordered_sum(sums, groups);
  }

  void collect(i64 first, bool entropy, Partial* seen) {
    entropy_ = entropy;
    parallel(p_.rows(), 1 + 16384 / p_.classes, [&](i64 begin, i64 end) {
      for (i64 r = begin; r < end; ++r) absorb(seen[r], part(r, first));
    });
  }

  // The gradient to these classes, from number `first` on, of rows all of whose classes were seen.
  void apply(i64 first, const Partial* seen) {
    first_ = first;
    seen_ = seen;
    run();
  }

  void log_softmax() {
    parallel(p_.rows(), 1 + 16384 / p_.classes, [&](i64 begin, i64 end) {
      for (i64 r = begin; r < end; ++r) {
        const Place at = place(r);
        Block* parts = static_cast<Block*>(scratch(1, blocks_ * i64(sizeof(Block))));
        for (i64 i = 0; i < blocks_; ++i) sweep(at, i, parts[i], nullptr);
        const Row row = finished(merge(parts));
        T* out = static_cast<T*>(scratch(4, block * i64(sizeof(T))));
        for (i64 i = 0; i < blocks_; ++i) {
          const T* z = logits(at, i);
          const T m = T(row.max), l = T(row.log_sum);
          for (i64 j = 0; j < size(i); ++j) out[j] = (z[j] - m) - l;
          write(g_, at.g + i * block, 1, size(i), out);
        }
      }
    });
  }

 private:
  static constexpr i64 block = block_size<T>;

  struct Block {
    Range<T> range;
    ExpSum sum;
    MeasureSum measure;
    double entropy;
  };

  struct Entry {  // a gradient entry made one by one
    i64 k;
    T value;
  };

  struct Place {  // first element of a row in each array
    i64 x, g, t;
  };

  Place place(i64 r) const {
    const i64 o = r / p_.inner, i = r % p_.inner;
    const auto at = [&](const Array& a) { return o * a.outer + i * a.inner; };
    return {at(p_.logits), at(g_), at(p_.dense)};
  }

  i64 size(i64 i) const { return i + 1 < blocks_ ? block : p_.classes - i * block; }

  const T* raw(const Place& at, i64 i) const {
    T* buffer = static_cast<T*>(scratch(2, 2 * block * i64(sizeof(T))));
    return view_or_read(p_.logits, at.x + i * block, size(i), buffer);
  }

  const T* logits(const Place& at, i64 i) const {
    const T* x = raw(at, i);
    if (!transformed_) return x;
    T* z = static_cast<T*>(scratch(2, 2 * block * i64(sizeof(T)))) + block;
    block_transform<T>(x, size(i), T(p_.temperature), T(p_.softcap), z);
    return z;
  }

  Measure<T> measure(const Place& at, i64 i) const {
    const T* t = nullptr;
    if (p_.dense) t = view_or_read(p_.dense, at.t + i * block, size(i), static_cast<T*>(scratch(3, block * i64(sizeof(T)))));
    return {t, v_ ? v_ + i * block : nullptr, p_.alpha, p_.beta};
  }

  bool base_measure() const { return p_.measure && (p_.dense || p_.beta != 0); }

  void sweep(const Place& at, i64 i, Block& part, T* kept) const {
    const T* z = logits(at, i);
    const i64 n = size(i);
    part.range = block_range<T>(z, n);
    T* e = kept;
    if (!e && entropy_) e = static_cast<T*>(scratch(5, block * i64(sizeof(T))));
    part.sum = block_exp<T>(z, n, part.range, e);
    const T shift = part.range.shift();
    part.entropy = entropy_ ? block_entropy<T>(z, e, n, shift) : 0.0;
    part.measure = base_measure() ? block_measure<T>(z, n, shift, measure(at, i)) : MeasureSum{0, 0};
  }

  Partial merge(const Block* parts) const {
    Partial row;
    T top = T(-INFINITY);
    for (i64 i = 0; i < blocks_; ++i) top = parts[i].range.max > top ? parts[i].range.max : top;
    const double m = Range<T>{top, top}.shift();
    double leaders = 0, rest = 0;
    for (i64 i = 0; i < blocks_; ++i) {
      const Block& part = parts[i];
      const double below = part.range.shift() - m;  // <= 0, but for blocks of -inf, whose sums are 0
      if (part.range.max == top) {
        leaders += part.sum.count;
        rest += part.sum.rest;
      } else {
        const double total = part.sum.total();
        rest += total == 0 ? 0.0 : exp(below) * total;
      }
      if (base_measure()) {
        row.mass += part.measure.mass;
        row.u += part.measure.u + (part.measure.mass == 0 ? 0.0 : part.measure.mass * -below);
      }
      if (entropy_ && part.sum.total() != 0) row.spread += exp(below) * (part.entropy - below * part.sum.total());
    }
    row.max = double(top);
    row.rest = rest + (leaders - 1);  // -1 for a row of -inf alone: lse is -inf, p is 0/0
    return row;
  }

  // What the classes at hand amount to.
  Partial part(i64 r, i64 first) const {
    const i64 label = p_.index ? p_.index[r] : elsewhere;
    Partial row;
    if (label == skip_row) return row;
    if (label == invalid_row) {
      row.max = row.rest = row.z_label = row.spread = NAN;
      return row;
    }
    const Place at = place(r);
    Block* parts = static_cast<Block*>(scratch(1, blocks_ * i64(sizeof(Block))));
    for (i64 i = 0; i < blocks_; ++i) sweep(at, i, parts[i], nullptr);
    row = merge(parts);
    if (label >= 0) row.z_label = one(at, label);
    add_topk(p_, r, Range<T>{T(row.max), T(row.max)}.shift(), 0.0, row, [&](i64 c) { return double(one(at, c)); });
    row.argmax = first + find(at, parts, T(row.max));
    return row;
  }

  double row(i64 r, bool split) {
    const i64 label = p_.index ? p_.index[r] : 0;
    const RowCoefficients k(k_, r);
    const Place at = place(r);
    if (label == skip_row || label == invalid_row || (k.nothing() && !any(s_))) {
      const double value = label == invalid_row ? NAN : 0.0;
      Row none;
      none.max = none.log_sum = none.entropy = value;
      none.put(s_, r, value);
      if (g_ && value == 0)
        zero(g_.data + at.g * item_size(g_.dtype), p_.classes * item_size(g_.dtype), streamed_);
      else if (g_)
        fill<T>(g_, at.g, 1, p_.classes, T(value));
      return value;
    }
    Block* parts = static_cast<Block*>(scratch(1, blocks_ * i64(sizeof(Block))));
    T* kept = keep_ ? static_cast<T*>(scratch(0, p_.classes * i64(sizeof(T)))) : nullptr;
    const auto sweep_all = [&](i64 begin, i64 end) {
      for (i64 i = begin; i < end; ++i) sweep(at, i, parts[i], kept ? kept + i * block : nullptr);
    };
    split ? parallel(blocks_, 4, sweep_all) : sweep_all(0, blocks_);
    const Row row = seen_ ? known(r) : whole(at, r, parts);
    const double loss = row.loss(k);
    row.put(s_, r, loss);
    if (g_ && k.nothing()) {
      zero(g_.data + at.g * item_size(g_.dtype), p_.classes * item_size(g_.dtype), streamed_);
    } else if (g_) {
      const RowGradient d(row, k, k_.scale);
      // made before anything is written: the gradient may lie where the logits are
      Entry* entries = static_cast<Entry*>(scratch(8, (2 + p_.topk) * i64(sizeof(Entry))));
      i64 n_entries = 0;
      const auto soft = [&](i64 c) { return double(element(p_.dense, at.t + c)); };
      special_entries(p_, r, row, soft, [&](i64 c, double w) {
        const T x = element(p_.logits, at.x + c), z = transform_one<T>(p_, x);
        const double e = exp(double(z) - row.max);
        const double value = d.entry(double(z), e, p_.index && c == label, w);
        entries[n_entries++] = {c, T(value * slope_ * double(softcap_gradient_one<T>(p_, x)))};
      });
      const auto write_all = [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) gradient(at, i, parts[i], kept ? kept + i * block : nullptr, row, d);
      };
      split ? parallel(blocks_, 4, write_all) : write_all(0, blocks_);
      for (i64 i = 0; i < n_entries; ++i) write(g_, at.g + entries[i].k, 1, 1, &entries[i].value);
    }
    return loss;
  }

  Row whole(const Place& at, i64 r, const Block* parts) const {
    Row row = finished(merge(parts));
    if (p_.index) row.z_label = one(at, p_.index[r]);
    add_topk(p_, r, row.max, row.log_sum, row, [&](i64 c) { return double(one(at, c)); });
    if (argmax_) row.argmax = find(at, parts, T(row.max));
    return row;
  }

  // With the leader's number among the classes at hand, or -1.
  Row known(i64 r) const {
    Row row = finished(seen_[r]);
    row.argmax -= first_;
    if (row.argmax >= p_.classes) row.argmax = -1;
    return row;
  }

  T element(const Array& a, i64 offset) const {
    T x;
    read(a, offset, 1, 1, &x);
    return x;
  }
  T one(const Place& at, i64 k) const { return transform_one<T>(p_, element(p_.logits, at.x + k)); }

  i64 find(const Place& at, const Block* parts, T top) const {
    for (i64 i = 0; i < blocks_; ++i) {
      if (parts[i].range.max != top) continue;
      const T* z = logits(at, i);
      for (i64 j = 0; j < size(i); ++j)
        if (z[j] == top) return i * block + j;
    }
    return 0;
  }

  void gradient(const Place& at, i64 i, const Block& part, const T* e, const Row& row, const RowGradient& d) const {
    const i64 n = size(i);
    const bool direct = g_.dtype == dtype_of<T>::value;
    T* out = direct ? reinterpret_cast<T*>(g_.data) + at.g + i * block
                    : static_cast<T*>(scratch(4, block * i64(sizeof(T))));
    const T* z = (!e || d.h != 0) ? logits(at, i) : nullptr;
    if (!e) {
      T* again = static_cast<T*>(scratch(5, block * i64(sizeof(T))));
      block_exp<T>(z, n, part.range, again);
      e = again;
    }
    const double below = part.range.shift() - row.max;
    // of a block of -inf alone `below` may be anything, and its exponentials are 0; in a row of nothing else p is 0/0
    const double p = part.sum.total() == 0 && row.rest != -1 ? 0.0 : d.inverse * exp(below);
    Measure<T> w{};
    if (base_measure()) w = measure(at, i);
    block_gradient<T>(e, n, T(d.all * p * slope_), T(d.c * slope_), base_measure() ? &w : nullptr, out,
                      direct && streamed_);
    if (d.h != 0) block_entropy_gradient<T>(z, e, n, T(d.h * p * slope_), part.range.shift(), T(d.surprise - below), out);
    if (p_.softcap != 0) block_softcap_gradient<T>(raw(at, i), n, T(p_.softcap), out);
    if (!direct) write(g_, at.g + i * block, 1, n, out);
  }

  const Softmax& p_;
  const Coefficients& k_;
  const Statistics& s_;
  const Array& g_;
  const T* v_ = nullptr;
  const Partial* seen_ = nullptr;  // of whole rows, where only a part of their classes is at hand
  i64 first_ = 0;                  // number of the first class at hand
  double slope_ = 1;  // dz/dx, but for the soft cap
  i64 blocks_ = 0;
  bool transformed_ = false, entropy_ = false, argmax_ = false, keep_ = false, streamed_ = false;
};

}  // namespace XENT_ISA
}  // namespace xent
