// Integer arithmetic that layouts share.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

TRANSLOAD_HD constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
TRANSLOAD_HD constexpr uint64_t round_up(uint64_t a, uint64_t unit) { return ceil_div(a, unit) * unit; }

}  // namespace transload
