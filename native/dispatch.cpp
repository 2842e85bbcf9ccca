// Which instruction set runs. A new one is a file in isa/, a line in CMakeLists.txt and a line in `choices`.
#include <string.h>

#include <atomic>

#include "xent.h"

namespace xent {

#define XENT_DECLARE(isa) \
  namespace isa {         \
  extern const Kernels table; \
  }
XENT_DECLARE(portable)
#ifdef XENT_X86
XENT_DECLARE(avx2)
XENT_DECLARE(avx512)
#endif

namespace {

struct Choice {
  const Kernels* table;
  bool (*supported)();
};

const Choice choices[] = {
#ifdef XENT_X86
    {&avx512::table,
     [] {
       return bool(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
     }},
    {&avx2::table, [] { return bool(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")); }},
#endif
    {&portable::table, [] { return true; }},
};

std::atomic<const Kernels*> current{nullptr};

}  // namespace

bool use_instruction_set(const char* name) {
  for (const Choice& choice : choices) {
    if (!choice.supported() || (*name && strcmp(name, choice.table->name) != 0)) continue;
    current = choice.table;
    return true;
  }
  return false;
}

const Kernels& kernels() {
  if (!current) use_instruction_set("");
  return *current;
}

const char* const* instruction_sets() {
  static const char* names[sizeof choices / sizeof *choices + 1] = {};
  if (!names[0]) {
    int n = 0;
    for (const Choice& choice : choices)
      if (choice.supported()) names[n++] = choice.table->name;
  }
  return names;
}

}  // namespace xent
