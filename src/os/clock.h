// The clock of deadlines on a host: it runs on while a process is stopped.
#pragma once
#include <chrono>
#include <cstdint>

namespace transload {

inline uint64_t now_ns() {
  return uint64_t(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace transload
