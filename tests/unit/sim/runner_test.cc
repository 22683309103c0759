// Worlds on several threads: what comes of them does not depend on how many threads there are.
#include "sim/run/runner.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/run/canaries.h"

namespace transload {
namespace {

RunnerResult result_of(uint32_t jobs, Canary canary) {
  const std::vector<Scenario> scenarios = {read_scenario("tiny_2x2"), read_scenario("dead_rank")};
  RunnerOptions options;
  options.seeds = 6;
  options.jobs = jobs;
  options.canary = canary;
  return run_worlds(scenarios, options);
}

TEST(Runner, DigestsAreTheSameOnThreads) {
  const RunnerResult alone = result_of(1, Canary::kNone), together = result_of(3, Canary::kNone);
  EXPECT_TRUE(alone.failures.empty());
  EXPECT_TRUE(together.failures.empty());
  ASSERT_EQ(together.scenarios.size(), 2u);
  for (size_t i = 0; i < alone.scenarios.size(); ++i) {
    EXPECT_EQ(together.scenarios[i].worlds, 6u);
    EXPECT_EQ(together.scenarios[i].events, alone.scenarios[i].events);
    EXPECT_EQ(together.scenarios[i].digest, alone.scenarios[i].digest);
  }
}

TEST(Runner, TheFirstFailureIsTheSameOnThreads) {
  const RunnerResult alone = result_of(1, Canary::kRingWrap), together = result_of(3, Canary::kRingWrap);
  ASSERT_FALSE(alone.failures.empty());
  ASSERT_FALSE(together.failures.empty());
  EXPECT_EQ(together.failures[0].scenario, alone.failures[0].scenario);
  EXPECT_EQ(together.failures[0].seed, alone.failures[0].seed);
  EXPECT_EQ(together.failures[0].what, alone.failures[0].what);
}

TEST(Hunts, ComeInTheOrderOfTheCanaries) {
  std::vector<Canary> told;
  const std::vector<Hunt> hunts = hunt_canaries(3, 1, [&](const Hunt& hunt) { told.push_back(hunt.facts->canary); });
  ASSERT_EQ(told.size(), canary_facts().size());
  ASSERT_EQ(hunts.size(), told.size());
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], canary_facts()[i].canary);
}

}  // namespace
}  // namespace transload
