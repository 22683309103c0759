// Arrays side by side in one lease: first their offsets, then the lease, then their addresses. What is too long for any
// is kTooLarge bytes, which no arena has.
#pragma once
#include <cstdint>

#include "base/math.h"

namespace transload {

struct SlabCursor {
  uint64_t bytes = 0;

  uint64_t take(uint64_t count, uint64_t unit) {
    const uint64_t at = bytes;
    bytes = round_up_checked(plus(bytes, times(count, unit)), 128);
    return at;
  }
};

}  // namespace transload
