// Quantising rows and back.
#include "cli/run/payload.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/float.h"

namespace transload::cli {

float Payload::scale_of(const uint32_t* scale_words, uint64_t block) const {
  if (scales == ScaleType::kF32) return std::bit_cast<float>(scale_words[block]);
  return f32_from_ue8m0(uint8_t(scale_words[block / 4] >> block % 4 * 8));
}

void Payload::encode(const uint16_t* values, void* row, uint32_t* out_scales) const {
  if (!fp8) {
    std::memcpy(row, values, row_bytes());
    return;
  }
  auto* const codes = static_cast<uint8_t*>(row);
  std::fill(out_scales, out_scales + scale_words(), 0);
  for (uint64_t block = 0; block < blocks(); ++block) {
    const uint64_t begin = block * kBlock, end = std::min(begin + kBlock, hidden);
    float most = 0;
    for (uint64_t i = begin; i < end; ++i) most = std::max(most, std::abs(f32_from_bf16(values[i])));
    const float scale = most == 0 ? 1 : most / f32_from_e4m3(kMostE4m3);
    if (scales == ScaleType::kF32)
      out_scales[block] = std::bit_cast<uint32_t>(scale);
    else
      out_scales[block / 4] |= uint32_t(ue8m0_from_f32(scale)) << block % 4 * 8;
    for (uint64_t i = begin; i < end; ++i)
      codes[i] = e4m3_from_f32(f32_from_bf16(values[i]) / scale_of(out_scales, block));
  }
}

void Payload::decode(const void* row, const uint32_t* in_scales, uint16_t* values) const {
  if (!fp8) {
    std::memcpy(values, row, row_bytes());
    return;
  }
  const auto* const codes = static_cast<const uint8_t*>(row);
  for (uint64_t i = 0; i < hidden; ++i)
    values[i] = bf16_from_f32(f32_from_e4m3(codes[i]) * scale_of(in_scales, i / kBlock));
}

}  // namespace transload::cli
