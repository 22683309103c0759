// Loopback: a put is a copy, a publish is a release store. Both are done when they return.
#include "transport/scaleout/loopback/loopback.h"

#include <atomic>
#include <cstring>

#include "base/check.h"

namespace transload {

void LoopbackLink::put(const Put& put) {
  char* const base = mapped(put.rank);
  TRANSLOAD_CHECK(base != nullptr);
  if (put.bytes != 0) std::memcpy(base + put.offset, put.from, put.bytes);
  if (put.drained != nullptr) std::atomic_ref<Word>(*put.drained).store(put.drained_count, std::memory_order_release);
}

void LoopbackLink::publish(RailWord to, Word count) {
  char* const base = mapped(to.rank);
  TRANSLOAD_CHECK(base != nullptr);
  std::atomic_ref<Word>(*reinterpret_cast<Word*>(base + to.offset)).store(count, std::memory_order_release);
}

}  // namespace transload
