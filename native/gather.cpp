#include <string.h>

#include "xent.h"

namespace xent {

void gather_lines(const char* from, i64 stride, i64 bytes, const i64* ids, i64 n, char* to) {
  struct Context {
    const char* from;
    i64 stride, bytes;
    const i64* ids;
    i64 n;
    char* to;
  } context{from, stride, bytes, ids, n, to};
  const auto body = [](void* data, i64 begin, i64 end) {
    const Context& c = *static_cast<Context*>(data);
    // Lines lie anywhere, which processors do not foresee.
    constexpr i64 cache_line = 64;
    const i64 ahead = c.bytes > 512 ? 4 : c.bytes < 64 ? 32 : 2048 / c.bytes;
    for (i64 i = begin; i < end; ++i) {
      if (i + ahead < end) {
        const char* next = c.from + c.ids[i + ahead] * c.stride;
        for (i64 at = 0; at < c.bytes; at += cache_line) __builtin_prefetch(next + at);
      }
      memcpy(c.to + i * c.bytes, c.from + c.ids[i] * c.stride, size_t(c.bytes));
    }
  };
  parallel_run(n, 1 + (i64(1) << 15) / (bytes < 64 ? 64 : bytes), body, &context);
}

}  // namespace xent
