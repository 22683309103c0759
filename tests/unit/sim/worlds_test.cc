// Worlds of every scenario of ours, a seed or two each: for the sanitizers, which see what no checker looks at.
#include <gtest/gtest.h>

#include "sim/world/world.h"
#include "tests/support/sanitized.h"

namespace transload {
namespace {

constexpr uint32_t kRanksMax = 16;  // larger ones are the program's tests
constexpr uint64_t kSeeds = kSlow ? 1 : 2;

std::vector<std::string> small_scenarios() {
  std::vector<std::string> names;
  for (const std::string& name : scenario_names())
    if (read_scenario(name).ranks <= kRanksMax) names.push_back(name);
  return names;
}

class ScenarioWorlds : public testing::TestWithParam<std::string> {};

// Contract 7.5, 7.10, 8.10.
TEST_P(ScenarioWorlds, PassAndReplay) {
  const Scenario scenario = read_scenario(GetParam());
  World world;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    WorldOptions options;
    options.seed = seed;
    const WorldResult first = world.run(scenario, options);
    EXPECT_TRUE(first.passed()) << "seed " << seed << ": " << kCheckerNames[int(first.violation.checker)] << ": "
                                << first.violation.what;
    World other;
    EXPECT_EQ(other.run(scenario, options).digest, first.digest) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Ours, ScenarioWorlds, testing::ValuesIn(small_scenarios()),
                         [](const auto& info) { return info.param; });

// Whatever a scenario is about, its roles rely on no more than every kind of rail promises.
TEST(Worlds, PassOverAnyRails) {
  World world;
  for (const char* name : {"hybrid_2x4", "3_plus_5", "counters_wrap", "dead_rank", "many_calls"})
    for (const RailMode rails : {RailMode::kProxy, RailMode::kQueues}) {
      Scenario scenario = read_scenario(name);
      scenario.rails = rails;
      for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        WorldOptions options;
        options.seed = seed;
        const WorldResult first = world.run(scenario, options);
        EXPECT_TRUE(first.passed()) << name << ", " << kRailModeNames[size_t(rails)] << ", seed " << seed << ": "
                                    << first.violation.what;
        EXPECT_EQ(World().run(scenario, options).digest, first.digest) << name << ", seed " << seed;
      }
    }
}

// Nodes of 4 and 3 have more sources than nodes of 4 and 4, so survivors of a small group need larger regions than all.
TEST(Worlds, SurvivorsMayNeedMoreRoom) {
  Scenario scenario = read_scenario("dead_rank");
  scenario.slab_rows.assign(scenario.ranks, 100);
  World world;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    WorldOptions options;
    options.seed = seed;
    const WorldResult result = world.run(scenario, options);
    EXPECT_TRUE(result.passed()) << "seed " << seed << ": " << result.violation.what;
  }
}

}  // namespace
}  // namespace transload
