// Arrays side by side: apart, aligned, and never of a length that wrapped.
#include "layout/cursor.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

TEST(Cursor, TakesArraysOneBehindTheOther) {
  Cursor at{.unit = 128};
  EXPECT_EQ(at.take(3, 100), 0u);
  EXPECT_EQ(at.take(0, 8), 384u);
  EXPECT_EQ(at.take(1, 1), 384u);
  EXPECT_EQ(at.bytes, 512u);
}

TEST(Cursor, WhatIsTooLongStaysSo) {
  Cursor at{.unit = 128};
  at.take(uint64_t(1) << 40, uint64_t(1) << 30);
  EXPECT_EQ(at.bytes, kTooLarge);
  at.take(1, 1);
  EXPECT_EQ(at.bytes, kTooLarge);
  Cursor last{.unit = 128};
  last.take(kTooLarge - 5, 1);
  EXPECT_EQ(last.bytes, kTooLarge) << "no multiple of the unit lies behind it";
}

}  // namespace
}  // namespace transload
