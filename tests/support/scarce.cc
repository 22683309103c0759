// See scarce.h.
#include "tests/support/scarce.h"

#include <cstdlib>
#include <new>

namespace {
thread_local int left = -1;  // allocations until the one that fails
}  // namespace

void* operator new(size_t bytes) {
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  if (void* const at = std::malloc(bytes == 0 ? 1 : bytes)) return at;
  throw std::bad_alloc();
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, size_t) noexcept { std::free(at); }

void transload::test::fail_allocation(int after) { left = after; }
