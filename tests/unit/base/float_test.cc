// bf16 and fp32 as the contract defines them. (All 2^32 inputs of the kernels: unit/executor/simd_test.cc.)
#include "base/float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace transload {
namespace {

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

TEST(Bf16, KnownValues) {
  EXPECT_EQ(bf16_from_f32(0.0f), 0x0000);
  EXPECT_EQ(bf16_from_f32(-0.0f), 0x8000);
  EXPECT_EQ(bf16_from_f32(1.0f), 0x3F80);
  EXPECT_EQ(bf16_from_f32(-2.0f), 0xC000);
  EXPECT_EQ(bf16_from_f32(3.140625f), 0x4049);
  EXPECT_EQ(f32_from_bf16(0x4049), 3.140625f);
  EXPECT_EQ(f32_from_bf16(0x7F80), std::numeric_limits<float>::infinity());
}

TEST(Bf16, HalfwayGoesToEven) {
  EXPECT_EQ(bf16_from_f32(from_bits(0x3F808000)), 0x3F80);  // halfway, even below
  EXPECT_EQ(bf16_from_f32(from_bits(0x3F818000)), 0x3F82);  // halfway, even above
  EXPECT_EQ(bf16_from_f32(from_bits(0x3F808001)), 0x3F81);
  EXPECT_EQ(bf16_from_f32(from_bits(0x3F807FFF)), 0x3F80);
  EXPECT_EQ(bf16_from_f32(from_bits(0xBF818000)), 0xBF82);
}

TEST(Bf16, NothingIsFlushedAndOverflowIsInfinity) {
  EXPECT_EQ(bf16_from_f32(from_bits(0x00010000)), 0x0001);  // the smallest subnormal of bf16
  EXPECT_EQ(bf16_from_f32(from_bits(0x00008001)), 0x0001);
  EXPECT_EQ(bf16_from_f32(from_bits(0x00008000)), 0x0000);  // halfway to even
  EXPECT_EQ(bf16_from_f32(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(bf16_from_f32(-std::numeric_limits<float>::infinity()), 0xFF80);
}

TEST(Bf16, EveryNanIsTheCanonicalOne) {
  for (uint32_t bits : {0x7FC00000u, 0x7F800001u, 0xFFC00000u, 0xFF800001u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    EXPECT_EQ(bf16_from_f32(from_bits(bits)), kNanBf16);
    EXPECT_EQ(std::bit_cast<uint32_t>(f32_stored(from_bits(bits))), kNanF32);
  }
}

TEST(Bf16, ThereAndBackIsExact) {
  for (uint32_t v = 0; v < 0x10000; ++v) {
    const float f = f32_from_bf16(uint16_t(v));
    ASSERT_EQ(bf16_from_f32(f), std::isnan(f) ? kNanBf16 : uint16_t(v));
  }
}

TEST(F32, StoredIsItself) {
  for (uint32_t bits : {0x00000000u, 0x80000000u, 0x00000001u, 0x3F800001u, 0x7F800000u, 0xFF800000u, 0x7F7FFFFFu})
    EXPECT_EQ(std::bit_cast<uint32_t>(f32_stored(from_bits(bits))), bits);
}

}  // namespace
}  // namespace transload
