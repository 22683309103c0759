// Ranks of one process know which call each other has returned from, for as long as both are there.
#include "runtime/host/last_call.h"

#include <gtest/gtest.h>

#include <optional>

namespace transload {
namespace {

TEST(LastCall, IsOfARankOfAGroup) {
  LastCall one(7, 1), other(8, 1);
  EXPECT_TRUE(LastCall::is_past(7, 1, 0)) << "it is made";
  EXPECT_FALSE(LastCall::is_past(7, 1, 1));
  one.returned_from(3);
  EXPECT_TRUE(LastCall::is_past(7, 1, 3));
  EXPECT_FALSE(LastCall::is_past(7, 1, 4)) << "it is in that call";
  EXPECT_FALSE(LastCall::is_past(8, 1, 1)) << "another group's";
  EXPECT_FALSE(LastCall::is_past(7, 2, 0)) << "not of this process";
}

TEST(LastCall, EndsWithItsRank) {
  std::optional<LastCall> one(std::in_place, 7, 1);
  one->returned_from(3);
  one.reset();
  EXPECT_FALSE(LastCall::is_past(7, 1, 3));
  one.emplace(7, 1);
  EXPECT_FALSE(LastCall::is_past(7, 1, 1)) << "of the one before";
}

}  // namespace
}  // namespace transload
