// How long tensors are, whatever their type and extents, and what types are called.
#include "transload/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "base/type_names.h"

namespace transload {
namespace {

constexpr DLDataType kInt4{kDLInt, 4, 1};

TEST(Tensor, ElementsOfFewBitsLieSideBySide) {
  EXPECT_EQ(matrix(nullptr, 3, 32, kInt4).row_bytes(), 16u);
  EXPECT_EQ(matrix(nullptr, 3, 32, kInt4).bytes(), 48u);
  EXPECT_EQ(matrix(nullptr, 3, 33, kInt4).row_bytes(), 17u);
  EXPECT_EQ(matrix(nullptr, 3, 16, {kDLInt, 4, 2}).row_bytes(), 16u);
  EXPECT_EQ(matrix(nullptr, 3, 8, {kDLFloat, 6, 1}).row_bytes(), 6u);
  EXPECT_EQ(matrix(nullptr, 3, 8, kBf16).bytes(), 48u);
  EXPECT_EQ(list(nullptr, 5, kI64).bytes(), 40u);
}

TEST(Tensor, SizesDoNotWrap) {
  EXPECT_EQ(matrix(nullptr, 4, (int64_t(1) << 62) + 16, kU8).bytes(), SIZE_MAX);
  EXPECT_EQ(matrix(nullptr, 4, int64_t(1) << 62, kI64).row_bytes(), SIZE_MAX);
  EXPECT_EQ(matrix(nullptr, int64_t(1) << 40, int64_t(1) << 30, kU8).bytes(), SIZE_MAX);
}

TEST(Words, OfTypes) {
  EXPECT_EQ(type_name(kBf16), "bfloat16");
  EXPECT_EQ(type_name(kF8E4m3), "float8_e4m3fn");
  EXPECT_EQ(type_name(kI64), "int64");
  EXPECT_EQ(type_name({kDLUInt, 4, 2}), "uint4 x 2");
  EXPECT_EQ(type_name({99, 3, 1}), "type code 99 of 3 bits");
  for (const DLDataType type : {kBf16, kF32, kI64, kF8E4m3, kInt4})
    EXPECT_TRUE(same_type(unpacked_type(packed(type)), type)) << type_name(type);
}

TEST(Words, OfPlaces) {
  EXPECT_EQ(place_of({kDLCPU, 0}), "on the CPU");
  EXPECT_EQ(place_of({kDLCUDA, 2}), "on cuda 2");
}

}  // namespace
}  // namespace transload
