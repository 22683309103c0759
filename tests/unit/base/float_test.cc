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

// Contract 3.4.
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

// Contract 3.4.
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

// What a code means, from the definition alone.
double meaning_of_e4m3(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -size : size;
}

TEST(E4m3, AllCodesThereAndBack) {
  for (int code = 0; code < 256; ++code) {
    const float value = f32_from_e4m3(uint8_t(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_EQ(std::bit_cast<uint32_t>(value), kNanF32);
      EXPECT_EQ(e4m3_from_f32(value), kNanE4m3);
      continue;
    }
    ASSERT_EQ(double(value), meaning_of_e4m3(code)) << code;
    EXPECT_EQ(std::signbit(value), code >= 0x80);
    ASSERT_EQ(e4m3_from_f32(value), code);
  }
}

// Every float whose bits are a multiple of an odd step, against a search for the nearest code.
TEST(E4m3, RoundsToNearestEven) {
  for (uint64_t bits = 0; bits < 0x7F800000; bits += 9973) {
    const float value = from_bits(uint32_t(bits));
    const uint8_t code = e4m3_from_f32(value);
    ASSERT_EQ(e4m3_from_f32(-value), code | 0x80);
    ASSERT_LE(code, kMostE4m3);
    const double here = meaning_of_e4m3(code), error = std::abs(double(value) - here);
    if (code < kMostE4m3) {
      const double above = std::abs(meaning_of_e4m3(code + 1) - double(value));
      ASSERT_TRUE(error < above || (error == above && code % 2 == 0)) << value;
    }
    if (code > 0) {
      const double below = std::abs(meaning_of_e4m3(code - 1) - double(value));
      ASSERT_TRUE(double(value) > here || error < below || (error == below && code % 2 == 0)) << value;
    }
  }
}

TEST(E4m3, HalfwayGoesToEven) {
  EXPECT_EQ(e4m3_from_f32(1.0625f), 0x38);        // between 1 and 1.125
  EXPECT_EQ(e4m3_from_f32(1.1875f), 0x3A);        // between 1.125 and 1.25
  EXPECT_EQ(e4m3_from_f32(0x1p-10f), 0x00);       // between 0 and the smallest
  EXPECT_EQ(e4m3_from_f32(3 * 0x1p-10f), 0x02);   // between the first two
  EXPECT_EQ(e4m3_from_f32(15 * 0x1p-10f), 0x08);  // between the largest subnormal and the smallest normal one
  EXPECT_EQ(e4m3_from_f32(-1.0625f), 0xB8);
}

TEST(E4m3, SaturatesAndKeepsNan) {
  EXPECT_EQ(e4m3_from_f32(448.0f), 0x7E);
  EXPECT_EQ(e4m3_from_f32(464.0f), 0x7E);
  EXPECT_EQ(e4m3_from_f32(1e30f), 0x7E);
  EXPECT_EQ(e4m3_from_f32(-std::numeric_limits<float>::infinity()), 0xFE);
  EXPECT_EQ(e4m3_from_f32(from_bits(0xFFC00001)), kNanE4m3);
}

TEST(Ue8m0, AllCodesThereAndBack) {
  for (int code = 0; code < 255; ++code) {
    const float value = f32_from_ue8m0(uint8_t(code));
    ASSERT_EQ(double(value), std::ldexp(1.0, code - 127)) << code;
    ASSERT_EQ(ue8m0_from_f32(value), code);
  }
  EXPECT_EQ(std::bit_cast<uint32_t>(f32_from_ue8m0(kNanUe8m0)), kNanF32);
  EXPECT_EQ(ue8m0_from_f32(from_bits(kNanF32)), kNanUe8m0);
}

// The next power of two that is not less.
TEST(Ue8m0, RoundsUp) {
  for (uint64_t bits = 1; bits < 0x7F800000; bits += 9973) {
    const float value = from_bits(uint32_t(bits));
    const int code = ue8m0_from_f32(value);
    const bool most = double(value) > std::ldexp(1.0, 127);
    ASSERT_EQ(code == 254 && most, most) << value;
    if (most) continue;
    ASSERT_GE(std::ldexp(1.0, code - 127), double(value));
    if (code > 0) {
      ASSERT_LT(std::ldexp(1.0, code - 128), double(value));
    }
  }
  EXPECT_EQ(ue8m0_from_f32(0.0f), 0);
  EXPECT_EQ(ue8m0_from_f32(std::numeric_limits<float>::infinity()), 254);
}

}  // namespace
}  // namespace transload
