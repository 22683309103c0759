// bf16 and fp32 as the contract defines them: round to nearest even, a NaN is stored as the canonical quiet NaN. Also
// the 8-bit types of quantised rows: e4m3 (1 sign, 4 exponent, 3 mantissa bits, no infinity) and ue8m0 (a power of
// two).
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

constexpr uint8_t kNanE4m3 = 0x7F;
constexpr uint8_t kMostE4m3 = 0x7E;  // 448
constexpr uint8_t kNanUe8m0 = 0xFF;

// Rounds to nearest even; what is larger than 448, infinity too, becomes 448.
TRANSLOAD_HD uint8_t e4m3_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFF;
  const uint32_t sign = bits >> 24 & 0x80;
  if (magnitude > 0x7F800000) return kNanE4m3;
  if (magnitude >= 0x43E00000) return uint8_t(sign | kMostE4m3);
  if (magnitude >= 0x3C800000)  // at least 2^-6, the smallest normal e4m3
    return uint8_t(sign | (((magnitude + 0x7FFFF + (magnitude >> 20 & 1)) >> 20) - (120 << 3)));
  // Smaller e4m3 are 2^-9 apart, and so are floats beside 2^14: the addition rounds to one of them.
  const float steps = std::bit_cast<float>(magnitude) + 0x1p14f;
  return uint8_t(sign | (std::bit_cast<uint32_t>(steps) - std::bit_cast<uint32_t>(0x1p14f)));
}

TRANSLOAD_HD float f32_from_e4m3(uint8_t code) {
  const uint32_t sign = uint32_t(code & 0x80) << 24, exponent = code >> 3 & 0xF, mantissa = code & 7;
  if ((code & 0x7F) == kNanE4m3) return std::bit_cast<float>(kNanF32);
  if (exponent > 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(float(mantissa) * 0x1p-9f));
}

// Returns the smallest power of two that is not less than the magnitude, so that dividing by it gives at most 1. The
// powers end at 2^-127 and at 2^127, which infinity gets too.
TRANSLOAD_HD uint8_t ue8m0_from_f32(float value) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return kNanUe8m0;
  if (magnitude <= 0x00400000) return 0;
  const uint32_t exponent = (magnitude >> 23) + ((magnitude & 0x7FFFFF) != 0);
  return uint8_t(exponent < 254 ? exponent : 254);
}

TRANSLOAD_HD float f32_from_ue8m0(uint8_t code) {
  if (code == kNanUe8m0) return std::bit_cast<float>(kNanF32);
  return std::bit_cast<float>(code == 0 ? 0x00400000u : uint32_t(code) << 23);
}

}  // namespace transload
