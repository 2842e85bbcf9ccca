// A small pool of threads. It survives fork (the child starts its own), and a call from a second thread while the pool
// is busy runs on that thread alone, so nothing waits on anything but its own work.
//
// Where a framework has brought an OpenMP runtime into the process, its threads do the work instead: after an operation of
// the framework they spin for milliseconds, and a second pool would fight them for the cores.
#include <dlfcn.h>
#ifdef __linux__
#include <link.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <string.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "xent.h"

namespace xent {
namespace {

struct Job {
  void (*body)(void*, i64, i64);
  void* context;
  i64 n, grain;
  std::atomic<i64> next{0};
  std::atomic<bool> failed{false};  // short of memory

  void work() noexcept {
    try {
      for (;;) {
        const i64 begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= n) return;
        body(context, begin, begin + grain < n ? begin + grain : n);
      }
    } catch (const std::exception&) {
      failed = true;
    }
  }
};

class Pool {
 public:
  bool try_run(Job& job, int workers) {
    std::unique_lock<std::mutex> running(running_, std::try_to_lock);
    if (!running.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (int(threads_.size()) < workers) threads_.emplace_back(&Pool::loop, this, int(threads_.size()));
      job_ = &job;
      wanted_ = workers;
      active_ = workers;
      ++generation_;
    }
    wake_.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    // Workers that have not woken yet are not waited for: the work is done.
    active_ -= wanted_;
    wanted_ = 0;
    done_.wait(lock, [&] { return active_ == 0; });
    job_ = nullptr;
    return true;
  }

 private:
  void loop(int id) {
    (void)id;
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return wanted_ > 0 && generation_ != seen; });
      seen = generation_;
      --wanted_;
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex running_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  Job* job_ = nullptr;
  int wanted_ = 0, active_ = 0;
  unsigned long generation_ = 0;
};

// Never destroyed: its threads sleep until the process ends, and a forked child must not touch the parent's.
std::atomic<Pool*> pool{nullptr};
std::mutex pool_mutex;

Pool& the_pool() {
  Pool* p = pool.load(std::memory_order_acquire);
  if (p) return *p;
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!pool.load()) {
    static const int registered = pthread_atfork(
        [] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
        [] {
          pool.store(nullptr);
          pool_mutex.unlock();
        });
    (void)registered;
    pool.store(new Pool, std::memory_order_release);
  }
  return *pool.load();
}

int processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? int(n) : 1;
}

std::atomic<int> threads{0};

// GOMP_parallel(function, data, threads, flags) of GNU's OpenMP runtime: runs function(data) on each thread of a team.
using OpenMP = void (*)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<OpenMP> shared_openmp{nullptr};

// A team of threads does not survive fork and would be waited for in vain: a child never shares one.
std::atomic<bool> forked{false};
const int watches_fork = pthread_atfork(nullptr, nullptr, [] {
  forked = true;
  shared_openmp = nullptr;
});

struct Scratch {
  static constexpr int slots = 9;
  void* data[slots] = {};
  i64 size[slots] = {};
  ~Scratch() {
    for (void* p : data) free(p);
  }
};
thread_local Scratch scratch_buffers;

}  // namespace

bool share_openmp() {
#ifdef __linux__
  const char* name = nullptr;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        if (!info->dlpi_name || !strstr(info->dlpi_name, "libgomp")) return 0;
        *static_cast<const char**>(found) = info->dlpi_name;
        return 1;
      },
      &name);
  void* const library = name ? dlopen(name, RTLD_NOLOAD | RTLD_LAZY) : nullptr;
  const OpenMP found = library ? reinterpret_cast<OpenMP>(dlsym(library, "GOMP_parallel")) : nullptr;
  if (found) {
    shared_openmp = forked ? nullptr : found;
  }
  return found && !forked;
#else
  return false;
#endif
}

void set_threads(int n) { threads = n; }

int get_threads() {
  int n = threads;
  if (n == 0) {
    n = processors();
    // what every other library of numbers in the process goes by; a list names the outermost level first
    const char* wanted = getenv("OMP_NUM_THREADS");
    const int most = wanted ? atoi(wanted) : 0;
    if (most > 0 && most < n) n = most;
    threads = n;
  }
  return n;
}

void parallel_run(i64 n, i64 grain, void (*body)(void*, i64, i64), void* context) {
  const i64 pieces = (n + grain - 1) / grain;
  const i64 workers = (pieces < get_threads() ? pieces : get_threads()) - 1;
  Job job{body, context, n, grain, {}, {}};
  if (workers <= 0)
    job.work();
  else if (const OpenMP openmp = shared_openmp)
    openmp([](void* j) { static_cast<Job*>(j)->work(); }, &job, unsigned(workers + 1), 0);
  else if (!the_pool().try_run(job, int(workers)))
    job.work();
  if (job.failed) throw std::bad_alloc();
}

void* scratch(int slot, i64 bytes) {
  Scratch& s = scratch_buffers;
  if (s.size[slot] < bytes) {
    free(s.data[slot]);
    const i64 rounded = (bytes + 4095) / 4096 * 4096;
    s.data[slot] = aligned_alloc(4096, size_t(rounded));
    s.size[slot] = s.data[slot] ? rounded : 0;
    if (!s.data[slot]) throw std::bad_alloc();
  }
  return s.data[slot];
}

}  // namespace xent
