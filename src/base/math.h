// Integer arithmetic that layouts share.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

TRANSLOAD_HD constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
TRANSLOAD_HD constexpr uint64_t round_up(uint64_t a, uint64_t unit) { return ceil_div(a, unit) * unit; }

// These compute sizes that a caller can make as large as it likes. A size that 64 bits cannot hold is kTooLarge, which
// every bound refuses.
constexpr uint64_t kTooLarge = ~uint64_t(0);
TRANSLOAD_HD constexpr uint64_t times(uint64_t a, uint64_t b) {
  return a != 0 && b > kTooLarge / a ? kTooLarge : a * b;
}
TRANSLOAD_HD constexpr uint64_t plus(uint64_t a, uint64_t b) { return b > kTooLarge - a ? kTooLarge : a + b; }
TRANSLOAD_HD constexpr uint64_t round_up_checked(uint64_t a, uint64_t unit) {
  return a > kTooLarge - (unit - 1) ? kTooLarge : round_up(a, unit);
}

// The bytes of a table of `count` elements in a warp's near memory, where each table begins at a multiple of 16.
template <class T>
TRANSLOAD_HD constexpr uint64_t table_bytes(uint64_t count) {
  return round_up(count * sizeof(T), 16);
}

}  // namespace transload
