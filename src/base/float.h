// bf16 and fp32 as the contract defines them: round to nearest even, a NaN is stored as the canonical quiet NaN.
#pragma once
#include <bit>
#include <cstdint>

#include "base/macros.h"

namespace transload {

constexpr uint16_t kNanBf16 = 0x7FFF;
constexpr uint32_t kNanF32 = 0x7FFFFFFF;

inline float f32_from_bf16(uint16_t value) { return std::bit_cast<float>(uint32_t(value) << 16); }

inline uint16_t bf16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return kNanBf16;
  return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// What an fp32 sum becomes when it is stored: itself, or the canonical NaN.
inline float f32_stored(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x7FFFFFFF) > 0x7F800000 ? std::bit_cast<float>(kNanF32) : value;
}

}  // namespace transload
