// What a token's row is on its way to the experts: bf16 as it was made, or fp8 (e4m3) with a scale for each 128
// elements.
#pragma once
#include <cstdint>

#include "base/math.h"
#include "transload/tensor.h"

namespace transload::cli {

enum class ScaleType : uint8_t {
  kF32,    // scale = the largest magnitude of the elements / 448
  kUe8m0,  // scale = the next power of two, as one byte; an int32 holds four
};

struct Payload {
  bool fp8 = false;
  ScaleType scales = ScaleType::kF32;
  uint64_t hidden = 0;

  DLDataType row_type() const { return fp8 ? kF8E4m3 : kBf16; }
  DLDataType scale_type() const { return scales == ScaleType::kF32 ? kF32 : kI32; }
  uint64_t row_bytes() const { return fp8 ? hidden : hidden * 2; }
  uint64_t blocks() const { return fp8 ? ceil_div(hidden, kBlock) : 0; }
  // 4-byte scalars beside a row.
  uint64_t scale_words() const { return scales == ScaleType::kF32 ? blocks() : ceil_div(blocks(), 4); }
  uint64_t token_bytes() const { return row_bytes() + scale_words() * 4; }
  const char* name() const { return fp8 ? "fp8" : "bf16"; }
  const char* scale_name() const { return scales == ScaleType::kF32 ? "fp32" : "ue8m0"; }

  // These turn `hidden` bf16 values into what travels, and back: every rank comes to the same bits.
  void encode(const uint16_t* values, void* row, uint32_t* scale_words) const;
  void decode(const void* row, const uint32_t* scale_words, uint16_t* values) const;

 private:
  static constexpr uint64_t kBlock = 128;
  float scale_of(const uint32_t* scale_words, uint64_t block) const;
};

}  // namespace transload::cli
