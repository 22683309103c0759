// The types that are summed.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

enum class Scalar : uint8_t { kBf16, kF32 };

TRANSLOAD_HD constexpr uint32_t scalar_bytes(Scalar type) { return type == Scalar::kF32 ? 4 : 2; }

}  // namespace transload
