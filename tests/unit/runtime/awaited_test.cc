// Whom a host accuses for its kernels.
#include "runtime/awaited.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

TEST(Awaited, IsAnotherRank) {
  EXPECT_EQ(awaited({0, 0}, 2), kNobody);
  EXPECT_EQ(awaited({8, 0}, 2), 7u);
  EXPECT_EQ(awaited({1, 0}, 2), 0u);
  EXPECT_EQ(awaited({8, 5}, 2), 7u);  // rather than whom it wants to finish
  EXPECT_EQ(awaited({0, 5}, 2), 4u);
  EXPECT_EQ(awaited({3, 5}, 2), 4u);  // its warps wait for each other, and one for rank 4
  EXPECT_EQ(awaited({3, 0}, 2), kNobody);
  EXPECT_EQ(awaited({3, 3}, 2), kNobody);
}

}  // namespace
}  // namespace transload
