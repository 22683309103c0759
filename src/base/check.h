// An invariant of our own code: on in every build, host only. Bad input of a caller is an Error, never a check.
#pragma once
#include <cstdio>
#include <cstdlib>

#define TRANSLOAD_CHECK(condition)                                                            \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      std::fprintf(stderr, "transload: %s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                           \
    }                                                                                         \
  } while (0)
