// The end of a process whose own invariant does not hold.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace transload {

void stop_broken(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "transload: %s:%d: broken: %s\n", file, line, condition);
  std::abort();
}

}  // namespace transload
