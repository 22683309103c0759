// What is said of a wait, and which of several is told.
#include "executor/fiber/park.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

Word load(const Word* word) { return *word; }

TEST(Waits, TheFirstUnmetNeedIsTold) {
  const Word words[3] = {5, 2, 0};
  Need needs[3] = {
      {&words[0], 5, 10, Waiting::kCard}, {&words[1], 4, 11, Waiting::kCredit}, {&words[2], 1, 12, Waiting::kTokens}};
  const WaitRecord record = wait_record({needs, 3, true, Role::kForwarder, 6}, 2.5, load);
  EXPECT_TRUE(record.present && record.role == Role::kForwarder && record.what == Waiting::kCredit);
  EXPECT_EQ(record.channel, 6);
  EXPECT_EQ(record.whom, 11u);
  EXPECT_EQ(record.seen, 2u);
  EXPECT_EQ(record.expected, 4u);
  EXPECT_EQ(record.waited_ms, 2.5);
  needs[1].least = 2, needs[2].least = 0;  // all were met meanwhile: the last one is told
  EXPECT_EQ(wait_record({needs, 3, true, Role::kForwarder, 6}, 2.5, load).whom, 12u);
}

TEST(Waits, TheOneThatSaysMostComesFirst) {
  const uint32_t me = 3;
  const auto order = [&](uint32_t whom, Waiting what, bool expired, int when) {
    WaitRecord record;
    record.whom = whom;
    record.what = what;
    return wait_order(record, me, expired, when);
  };
  const auto most = order(1, Waiting::kTokens, true, 7);
  EXPECT_LT(most, order(1, Waiting::kTokens, true, 8)) << "expired first";
  EXPECT_LT(most, order(1, Waiting::kTokens, false, 1)) << "expired at all";
  EXPECT_LT(most, order(1, Waiting::kDone, true, 1)) << "for more than leaving";
  EXPECT_LT(most, order(me, Waiting::kTokens, true, 1)) << "for another rank";
  EXPECT_LT(order(1, Waiting::kDone, false, 9), order(me, Waiting::kTokens, true, 1));
  EXPECT_LT(order(1, Waiting::kTokens, false, 9), order(1, Waiting::kDone, true, 1));
  EXPECT_LT(order(me, Waiting::kRoom, false, 9), most) << "for the own proxy, before all";
}

}  // namespace
}  // namespace transload
