// Arrays side by side in one lease: first their offsets, then the lease, then their addresses.
#pragma once
#include <cstdint>

#include "base/math.h"

namespace transload {

struct SlabCursor {
  uint64_t bytes = 0;

  uint64_t take(uint64_t count, uint64_t unit) {
    const uint64_t at = bytes;
    bytes = round_up(bytes + count * unit, 128);
    return at;
  }
};

}  // namespace transload
