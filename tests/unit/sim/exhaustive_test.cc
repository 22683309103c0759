// Exhaustive walks: the tiny worlds hold in every schedule, planted bugs do not, and what the walk leaves out changes
// nothing.
#include "sim/walks/exhaustive.h"

#include <gtest/gtest.h>
#include <transload/status.h>

#include <ostream>
#include <string>

#include "base/probes/planting.h"
#include "sim/walks/cards_world.h"
#include "sim/walks/ring_world.h"
#include "sim/walks/two_hop.h"
#include "sim/walks/walk.h"
#include "tests/support/sanitized.h"

namespace transload::test {
namespace {

RingPlan one_slot(bool rail, uint32_t tokens) {
  RingPlan plan;
  plan.rail = rail;
  plan.slots = 1;
  plan.calls = {{tokens, 16}};
  return plan;
}

Walked walked(const RingPlan& plan, bool merged, bool hastened, bool to_first = false) {
  WalkLimits limits;
  limits.merged = merged;
  limits.hastened = hastened;
  limits.to_first = to_first;
  return walk(*ring_world(plan), limits);
}

class Worlds : public ::testing::TestWithParam<const char*> {};

TEST_P(Worlds, HoldInEverySchedule) {
  ExhaustiveLimits limits;
  limits.quick = true;
  const ExhaustiveReport report = walk_world(GetParam(), limits);
  EXPECT_TRUE(report.passed()) << to_text(report);
  for (const FamilyWalked& family : report.families) EXPECT_GT(family.schedules, 50) << family.name;
}
INSTANTIATE_TEST_SUITE_P(Exhaustive, Worlds, ::testing::Values("ring", "wrap", "cards", "two_hop"),
                         [](const auto& world) { return std::string(world.param); });

// Nothing left out, against everything.
TEST(Exhaustive, OneMessageEndsTheSameWithAndWithoutReduction) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << kNoWholeWalk;
  const Walked all = walked(one_slot(false, 1), false, false);
  const Walked merged = walked(one_slot(false, 1), true, false);
  const Walked least = walked(one_slot(false, 1), true, true);
  ASSERT_TRUE(all.complete && merged.complete && least.complete);
  EXPECT_EQ(double(all.ended), all.schedules);
  EXPECT_EQ(merged.schedules, all.schedules) << "merging loses no schedule";
  EXPECT_LT(merged.ended, all.ended / 100);
  EXPECT_LT(least.states, merged.states);
  EXPECT_EQ(all.outcomes, merged.outcomes);
  EXPECT_EQ(all.outcomes, least.outcomes);
}

TEST(Exhaustive, StatesThatAreMergedGoOnTheSame) {
  for (const RingPlan& plan : {one_slot(true, 1), one_slot(false, 2)}) {
    const Walked all = walked(plan, false, true), merged = walked(plan, true, true);
    ASSERT_TRUE(all.complete && merged.complete);
    EXPECT_EQ(double(all.ended), merged.schedules);
    EXPECT_LT(merged.ended, all.ended / 10);
    EXPECT_EQ(all.outcomes, merged.outcomes);
  }
}

TEST(Exhaustive, TwoMessagesEndTheSameHoweverBytesLand) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << kNoWholeWalk;
  for (const bool rail : {false, true}) {
    const Walked merged = walked(one_slot(rail, 2), true, false), least = walked(one_slot(rail, 2), true, true);
    ASSERT_TRUE(merged.complete && least.complete);
    EXPECT_LT(least.states, merged.states);
    EXPECT_EQ(least.outcomes, merged.outcomes) << rail;
  }
}

// A rule can be broken with the reduction exactly where it can be without.
TEST(Exhaustive, ReductionHidesNoPlantedBug) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << kNoWholeWalk;
  int broken = 0;
  for (int c = 0; c < int(Canary::kCount); ++c)
    for (const bool rail : {false, true}) {
      const Planting planting{Canary(c)};
      const Walked merged = walked(one_slot(rail, 2), true, false, true);
      const Walked least = walked(one_slot(rail, 2), true, true, true);
      const bool found = merged.violation.checker != Checker::kNone;
      EXPECT_EQ(found, least.violation.checker != Checker::kNone) << kCanaryNames[c] << ", rail " << rail;
      broken += found;
    }
  EXPECT_GE(broken, 6);
}

// Against nothing left out: one that breaks a rule with one message, and one that does not.
TEST(Exhaustive, OneMessageShowsTheSameBugs) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << kNoWholeWalk;
  for (const Canary canary : {Canary::kNoEngineFence, Canary::kCreditUndrained}) {
    const Planting planting(canary);
    const Walked all = walked(one_slot(false, 1), false, false, true);
    const Walked least = walked(one_slot(false, 1), true, true, true);
    EXPECT_EQ(all.violation.checker, least.violation.checker) << kCanaryNames[size_t(canary)];
    EXPECT_EQ(all.violation.checker != Checker::kNone, canary == Canary::kNoEngineFence);
  }
}

struct Planted {
  const char* world;
  Canary canary;
};

class Bugs : public ::testing::TestWithParam<Planted> {};

TEST_P(Bugs, AreFound) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << "a sanitizer has seen these walks without a bug";
  ExhaustiveLimits limits;
  limits.quick = true;
  limits.canary = GetParam().canary;
  bool found = false;
  for (const FamilyWalked& family : walk_world(GetParam().world, limits).families) found |= !family.violation.empty();
  EXPECT_TRUE(found);
}

void PrintTo(const Planted& planted, std::ostream* out) { *out << kCanaryNames[size_t(planted.canary)]; }

std::string name_of(const ::testing::TestParamInfo<Planted>& planted) {
  return std::string(planted.param.world) + "_" + kCanaryNames[size_t(planted.param.canary)];
}

INSTANTIATE_TEST_SUITE_P(
    Exhaustive, Bugs,
    ::testing::Values(Planted{"ring", Canary::kNoEngineFence}, Planted{"ring", Canary::kNoStoreFence},
                      Planted{"ring", Canary::kNoFlushBeforeWait}, Planted{"ring", Canary::kCreditOffByOne},
                      Planted{"ring", Canary::kCreditTwice}, Planted{"ring", Canary::kCreditUndrained},
                      Planted{"ring", Canary::kSourceReused}, Planted{"wrap", Canary::kSourceReused},
                      Planted{"ring", Canary::kRingWrap}, Planted{"wrap", Canary::kPositionLost},
                      Planted{"wrap", Canary::kRingWrap}, Planted{"wrap", Canary::kCreditTwice},
                      Planted{"two_hop", Canary::kNoEngineFence}, Planted{"two_hop", Canary::kNoFlushBeforeWait},
                      Planted{"two_hop", Canary::kNoGrantWait}),
    name_of);

Walked walked(const CardsPlan& plan, Canary canary) {
  const Planting planting(canary);
  WalkLimits limits;
  limits.seconds = 40;
  return walk(*cards_world(plan), limits);
}

// Walks of two calls between peers find a grant and an abort that are taken too lightly.
TEST(Exhaustive, BugsOfTheBarrierAreFound) {
  const CardsPlan fault{{1, 1}, 1, false, true, true};
  // A warp that has seen a peer's card has seen its grant: these show where another one stores.
  const CardsPlan warps{{2}, 2, true, true, false};
  for (const Canary canary : {Canary::kStaleGrant, Canary::kNoGrantWait})
    EXPECT_NE(walked(warps, canary).violation.checker, Checker::kNone) << kCanaryNames[size_t(canary)];
  EXPECT_NE(walked(fault, Canary::kWriteAfterAbort).violation.checker, Checker::kNone);
}

TEST(Exhaustive, ABoundIsNeverCalledAll) {
  if (kNoWholeWalk != nullptr) GTEST_SKIP() << kNoWholeWalk;
  WalkLimits limits;
  limits.preemptions = 0;
  const Walked none = walk(*ring_world(one_slot(false, 2)), limits);
  limits.preemptions = 2;
  const Walked two = walk(*ring_world(one_slot(false, 2)), limits);
  EXPECT_TRUE(none.complete && two.complete);
  EXPECT_GT(none.beyond, 0u);
  EXPECT_LT(none.schedules, two.schedules);
  ExhaustiveLimits quick;
  quick.quick = true;
  EXPECT_NE(to_text(walk_world("two_hop", quick)).find("at most k = 1 departures"), std::string::npos);
}

TEST(Exhaustive, RefusesAnotherWorld) {
  try {
    walk_world("moon", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("moon"), std::string::npos);
  }
}

}  // namespace
}  // namespace transload::test
