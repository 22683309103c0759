// An invariant of our own code is checked on a host in every build, in kernels only where TRANSLOAD_GPU_CHECKS asks for
// it. Bad input of a caller is an Error, and what a peer says wrongly is a fault: neither is ever a check.
#pragma once
#include "base/macros.h"

#if defined(__CUDA_ARCH__) && !defined(TRANSLOAD_GPU_CHECKS)
#define TRANSLOAD_CHECK(condition) ((void)0)
#elif defined(__CUDA_ARCH__)
#include <cstdio>
#define TRANSLOAD_CHECK(condition)                                              \
  do {                                                                          \
    if (!(condition)) {                                                         \
      printf("transload: %s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      __trap();                                                                 \
    }                                                                           \
  } while (0)
#else
#define TRANSLOAD_CHECK(condition)                            \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      transload::stop_broken(__FILE__, __LINE__, #condition); \
  } while (0)
#endif

namespace transload {

// Says on stderr what is broken, and aborts.
[[noreturn]] void stop_broken(const char* file, int line, const char* condition);

}  // namespace transload
