// The types that are summed.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

enum class Scalar : uint8_t { kBf16, kF32, kCount };

// Code that tests for one type and takes everything else for the other asserts this. So a third type builds only once
// all such code knows it.
constexpr bool kTwoScalars = Scalar::kCount == Scalar(2);

TRANSLOAD_HD constexpr uint32_t scalar_bytes(Scalar type) {
  static_assert(kTwoScalars);
  return type == Scalar::kF32 ? 4 : 2;
}

}  // namespace transload
