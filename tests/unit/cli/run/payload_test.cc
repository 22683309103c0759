// Rows as they travel: scales, and what comes back.
#include "cli/run/payload.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "base/float.h"

namespace transload::cli {
namespace {

struct Row {
  std::vector<uint16_t> values, back;
  std::vector<uint8_t> codes;
  std::vector<uint32_t> scales;
  Row(const Payload& payload, float (*value)(uint64_t)) {
    for (uint64_t i = 0; i < payload.hidden; ++i) values.push_back(bf16_from_f32(value(i)));
    codes.resize(payload.row_bytes());
    scales.assign(payload.scale_words(), 0xABABABAB);
    back.resize(payload.hidden);
    payload.encode(values.data(), codes.data(), scales.data());
    payload.decode(codes.data(), scales.data(), back.data());
  }
};

float growing(uint64_t i) {
  return (i % 2 == 0 ? 1.0f : -1.0f) * std::ldexp(1.0f + float(i % 7) / 8, int(i / 128) - 3);
}

TEST(Payload, Bf16IsItself) {
  const Payload payload{.hidden = 24};
  EXPECT_EQ(payload.row_bytes(), 48u);
  EXPECT_EQ(payload.scale_words(), 0u);
  const Row row(payload, growing);
  EXPECT_EQ(row.back, row.values);
}

TEST(Payload, ScalesAreOfBlocks) {
  for (ScaleType type : {ScaleType::kF32, ScaleType::kUe8m0}) {
    const Payload payload{true, type, 720};  // five blocks of 128 and one of 80
    EXPECT_EQ(payload.row_bytes(), 720u);
    ASSERT_EQ(payload.scale_words(), type == ScaleType::kF32 ? 6u : 2u);
    const Row row(payload, growing);
    for (uint64_t i = 0; i < payload.hidden; ++i) {
      const float sent = f32_from_bf16(row.values[i]), came = f32_from_bf16(row.back[i]);
      ASSERT_LE(std::abs(came - sent), std::abs(sent) / 14) << i;  // half a step of 3 bits, and bf16's
    }
    const float most = std::ldexp(1.75f, -3);
    if (type == ScaleType::kF32) {
      EXPECT_EQ(std::bit_cast<float>(row.scales[0]), most / 448);
      EXPECT_EQ(row.codes[6], kMostE4m3);
    } else {
      EXPECT_EQ(row.scales[0] & 0xFF, ue8m0_from_f32(most / 448));
      EXPECT_EQ(row.scales[0] >> 24, (row.scales[0] & 0xFF) + 3);
      EXPECT_EQ(row.scales[1] >> 16, 0u);
    }
  }
}

TEST(Payload, ABlockOfZerosStaysZero) {
  for (ScaleType type : {ScaleType::kF32, ScaleType::kUe8m0}) {
    const Row row({true, type, 144}, [](uint64_t i) { return i < 128 ? 0.0f : 3.0f; });
    for (uint64_t i = 0; i < 144; ++i) ASSERT_EQ(f32_from_bf16(row.back[i]), i < 128 ? 0.0f : 3.0f);
  }
}

}  // namespace
}  // namespace transload::cli
