// Random words by counting: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011). Block k of a stream is a function of the key and of k, so a place in the stream is a number, and skipping is
// addition. Words leave a stream, and become integers and fractions, as TensorFlow's `SimplePhilox` has it.
#pragma once

#include <stdint.h>
#include <string.h>

namespace xent {

using u32 = uint32_t;
using u64 = uint64_t;

// Where a stream of random words starts.
struct Seeds {
  u64 key = 0;     // the key of the cipher
  u64 stream = 0;  // the upper half of its counter
};

// The words of a stream from one of its blocks on.
class Words {
 public:
  // From block `block` of the stream, counted in 128 bits: the upper half carries into the seed, as the counter does.
  Words(Seeds seeds, u64 block_high, u64 block) : key_(seeds.key), high_(seeds.stream + block_high), low_(block) {}

  u32 bits32() {
    if (used_ == held) refill();
    return words_[used_++];
  }

  u64 bits64() {
    const u64 low = bits32();
    return low | u64(bits32()) << 32;
  }

  // [0, 1) in steps of 2^-23.
  float fraction32() {
    const u32 bits = 0x3f800000u | (bits32() & 0x7fffffu);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x - 1.f;
  }

  // The next pairs of words as they lie: some, at most `n`, which becomes their number. Where words are used in pairs only.
  const u32* pairs(int64_t* n) {
    if (used_ == held) refill();
    if (*n > (held - used_) / 2) *n = (held - used_) / 2;
    const u32* const next = words_ + used_;
    used_ += 2 * int(*n);
    return next;
  }

  // A pair as a number in [0, 1), in steps of 2^-52; the first word holds the upper bits.
  static double fraction64(const u32* pair) {
    const u64 bits = u64(0x3ff) << 52 | u64(pair[0] & 0xfffffu) << 32 | pair[1];
    double x;
    memcpy(&x, &bits, sizeof x);
    return x - 1.0;
  }

  // [0, n), each number equally likely: words below 2^32 mod n are drawn again.
  u32 below32(u32 n) {
    if ((n & (n - 1)) == 0) return bits32() & (n - 1);
    const u32 excess = ~u32(0) % n + 1;
    u32 word = bits32();
    while (word < excess) word = bits32();
    return word % n;
  }

  u64 below64(u64 n) {
    if ((n & (n - 1)) == 0) return bits64() & (n - 1);
    const u64 excess = ~u64(0) % n + 1;
    u64 word = bits64();
    while (word < excess) word = bits64();
    return word % n;
  }

 private:
  static constexpr int blocks = 64;  // made side by side, in vectors
  static constexpr int held = 4 * blocks;

  void refill() {
    u32 c0[blocks], c1[blocks], c2[blocks], c3[blocks];
    for (int i = 0; i < blocks; ++i) {
      c0[i] = u32(low_);
      c1[i] = u32(low_ >> 32);
      c2[i] = u32(high_);
      c3[i] = u32(high_ >> 32);
      if (++low_ == 0) ++high_;
    }
    u32 k0 = u32(key_), k1 = u32(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < blocks; ++i) {
        const u64 p = u64(0xD2511F53u) * c0[i], q = u64(0xCD9E8D57u) * c2[i];
        c0[i] = u32(q >> 32) ^ c1[i] ^ k0;
        c1[i] = u32(q);
        c2[i] = u32(p >> 32) ^ c3[i] ^ k1;
        c3[i] = u32(p);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < blocks; ++i) {
      words_[4 * i] = c0[i];
      words_[4 * i + 1] = c1[i];
      words_[4 * i + 2] = c2[i];
      words_[4 * i + 3] = c3[i];
    }
    used_ = 0;
  }

  u64 key_, high_, low_;
  int used_ = held;
  u32 words_[held];
};

}  // namespace xent
