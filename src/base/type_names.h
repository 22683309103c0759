// The names of types and devices, as messages to a caller have them.
#pragma once
#include <cstdint>
#include <string>

#include "transload/tensor.h"

namespace transload {

std::string type_name(DLDataType type);  // such as "bfloat16", "float8_e4m3fn", "int4 x 2"
std::string place_of(DLDevice device);   // such as "on the CPU", "on cuda 1"

// A type as one number, for cards.
constexpr uint32_t packed(DLDataType type) {
  return uint32_t(type.code) << 24 | uint32_t(type.bits) << 16 | type.lanes;
}
constexpr DLDataType unpacked_type(uint64_t packed) {
  return {uint8_t(packed >> 24), uint8_t(packed >> 16), uint16_t(packed)};
}

}  // namespace transload
