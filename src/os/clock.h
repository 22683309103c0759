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

// The seconds since a time of that clock.
inline double seconds_since(uint64_t begin_ns) { return double(now_ns() - begin_ns) * 1e-9; }

}  // namespace transload
