// The types that are summed.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

enum class Scalar : uint8_t { kBf16, kF32, kCount };

// This is asserted wherever one type is asked for and the rest taken for the other: a third one builds once all these
// places know it.
constexpr bool kTwoScalars = Scalar::kCount == Scalar(2);

TRANSLOAD_HD constexpr uint32_t scalar_bytes(Scalar type) {
  static_assert(kTwoScalars);
  return type == Scalar::kF32 ? 4 : 2;
}

}  // namespace transload
