// Exhaustive walks that take a minute or more: the abort of the barrier, two epochs of it, its warps apart, and two
// departures from the usual order of a trip over two hops.
#include <gtest/gtest.h>

#include "sim/walks/cards_world.h"
#include "sim/walks/two_hop.h"
#include "sim/walks/walk.h"

namespace transload::test {
namespace {

void expect_all(const CardsPlan& plan) {
  const Walked walked = walk(*cards_world(plan), {});
  EXPECT_TRUE(walked.complete);
  EXPECT_EQ(walked.violation.checker, Checker::kNone) << walked.violation.what;
}

TEST(ExhaustiveLong, AFaultAtAnyPointOfTheBarrier) { expect_all({{1, 1}, 1, false, false, true}); }
TEST(ExhaustiveLong, AFaultAtAnyPointOfTheBarrierOfPeers) { expect_all({{2}, 1, false, false, true}); }
TEST(ExhaustiveLong, TwoEpochs) { expect_all({{1, 1}, 2, false, true, false}); }
TEST(ExhaustiveLong, TwoEpochsOfPeers) { expect_all({{2}, 2, false, true, false}); }
TEST(ExhaustiveLong, AWarpForEachRoleOfTheBarrier) { expect_all({{1, 1}, 1, true, false, false}); }

TEST(ExhaustiveLong, TwoDeparturesOfADispatch) {
  TwoHopPlan plan;
  plan.departures = 2;
  plan.combine = false;
  const TwoHopWalked walked = walk_two_hop(plan);
  EXPECT_TRUE(walked.complete);
  EXPECT_EQ(walked.violation, "");
}

}  // namespace
}  // namespace transload::test
