// Lays arrays side by side: a Cursor hands out their offsets, and `bytes` is then the size of the one piece of memory
// that takes them all.
#pragma once
#include <cstdint>

#include "base/math.h"

namespace transload {

// Once the arrays are too long for any memory, `bytes` is kTooLarge and stays so.
struct Cursor {
  uint64_t unit;  // each array begins at a multiple of `unit`
  uint64_t bytes = 0;

  // The offset of an array of `count` elements.
  TRANSLOAD_HD uint64_t take(uint64_t count, uint64_t element_bytes) {
    const uint64_t at = bytes;
    bytes = round_up_checked(plus(bytes, times(count, element_bytes)), unit);
    return at;
  }
};

}  // namespace transload
