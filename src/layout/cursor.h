// Arrays side by side: first their offsets, then one piece of memory of so many bytes, then their addresses.
#pragma once
#include <cstdint>

#include "base/math.h"

namespace transload {

// What is too long for any memory is kTooLarge bytes, whatever is taken behind it.
struct Cursor {
  uint64_t unit;  // each array begins at a multiple of it, and `bytes` is one
  uint64_t bytes = 0;

  // The offset of an array of `count` elements.
  TRANSLOAD_HD uint64_t take(uint64_t count, uint64_t element_bytes) {
    const uint64_t at = bytes;
    bytes = round_up_checked(plus(bytes, times(count, element_bytes)), unit);
    return at;
  }
};

}  // namespace transload
