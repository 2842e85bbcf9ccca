// Large buffers, kept for reuse: on CPU the first touch of fresh pages costs more than the arithmetic of a loss.
//
// At most `buffer_limit()` bytes lie unused here; the oldest go first. A buffer serves a request of at least 3/4 of its
// size, so a kept buffer never wastes more than a third of what was asked for.
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <unordered_map>
#include <vector>

#include "xent.h"

namespace xent {
namespace {

constexpr i64 page = 4096;

struct Free {
  void* data;
  i64 bytes;
};

struct Pool {
  std::mutex mutex;
  std::vector<Free> free;  // oldest first
  std::unordered_map<void*, i64> used;
  i64 cached = 0, limit = 0;
};

i64 default_limit() {
  const i64 memory = i64(sysconf(_SC_PHYS_PAGES)) * i64(sysconf(_SC_PAGE_SIZE)) / 8;
  const i64 most = i64(2) << 30;
  return memory > 0 && memory < most ? memory : most;
}

Pool& pool() {
  static Pool* const p = [] {
    Pool* fresh = new Pool;
    fresh->limit = default_limit();
    return fresh;
  }();
  // A fork while another thread holds the lock would leave it locked in the child.
  static const int registered = pthread_atfork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); },
                                               [] { pool().mutex.unlock(); });
  (void)registered;
  return *p;
}

void unmap(const Free& f) { munmap(f.data, size_t(f.bytes)); }

void trim(Pool& p, i64 limit) {
  while (p.cached > limit) {
    unmap(p.free.front());
    p.cached -= p.free.front().bytes;
    p.free.erase(p.free.begin());
  }
}

}  // namespace

void* acquire_buffer(i64 bytes) {
  const i64 size = (bytes + page - 1) / page * page;
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.mutex);
  auto best = p.free.end();
  for (auto it = p.free.begin(); it != p.free.end(); ++it)
    if (it->bytes >= size && it->bytes / 4 * 3 <= size && (best == p.free.end() || it->bytes <= best->bytes)) best = it;
  if (best != p.free.end()) {
    const Free found = *best;
    p.free.erase(best);
    p.cached -= found.bytes;
    p.used[found.data] = found.bytes;
    return found.data;
  }
  void* data = mmap(nullptr, size_t(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED && p.cached > 0) {
    trim(p, 0);
    data = mmap(nullptr, size_t(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (data == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  madvise(data, size_t(size), MADV_HUGEPAGE);  // a fresh buffer faults 512 times less often
#endif
  p.used[data] = size;
  return data;
}

void release_buffer(void* data) {
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.mutex);
  const auto it = p.used.find(data);
  if (it == p.used.end()) return;
  p.free.push_back({data, it->second});
  p.cached += it->second;
  p.used.erase(it);
  trim(p, p.limit);
}

void clear_buffers() {
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.mutex);
  trim(p, 0);
}

i64 cached_buffer_bytes() {
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.mutex);
  return p.cached;
}

void set_buffer_limit(i64 bytes) {
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.mutex);
  p.limit = bytes;
  trim(p, bytes);
}

i64 buffer_limit() { return pool().limit; }

}  // namespace xent
