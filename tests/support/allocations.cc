// The program's operator new.
#include "tests/support/allocations.h"

#include <unistd.h>

#include <cstdlib>
#include <new>

namespace transload::test {

thread_local int64_t granted = -1;
thread_local int64_t asked = 0;
std::atomic<pid_t> refused_thread{0};
std::atomic<int64_t> refusals{0};

}  // namespace transload::test

#ifdef TRANSLOAD_OWN_NEW
void* operator new(size_t bytes) {
  using namespace transload::test;
  ++asked;
  if (granted >= 0 && granted-- == 0) throw std::bad_alloc();
  if (refusals.load(std::memory_order_acquire) > 0 && refused_thread == ::gettid() && refusals-- > 0)
    throw std::bad_alloc();
  if (void* const at = std::malloc(bytes == 0 ? 1 : bytes)) return at;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes == 0 ? 1 : bytes); }
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, size_t) noexcept { std::free(at); }
#endif
