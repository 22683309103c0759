// Chooses the kernels for this CPU.
#include "executor/simd/simd.h"

#include <hwy/cache_control.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

namespace transload::simd {

namespace baseline {
extern const Kernels kTable;
}
#ifdef __x86_64__
namespace avx2 {
extern const Kernels kTable;
}
namespace avx512 {
extern const Kernels kTable;
}
#endif

int kernels_here(const Kernels** list) {
  int count = 0;
  list[count++] = &baseline::kTable;
#ifdef __x86_64__
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (has_avx2) list[count++] = &avx2::kTable;
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512cd");
  if (has_avx2 && has_avx512) list[count++] = &avx512::kTable;
#endif
  return count;
}

const Kernels& kernels() {
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
  return baseline::kTable;
#else
  static const Kernels* const best = [] {
    const Kernels* list[3];
    return list[kernels_here(list) - 1];
  }();
  return *best;
#endif
}

void stream_fence() { hwy::FlushStream(); }

}  // namespace transload::simd
