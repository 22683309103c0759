// Runs many worlds, scenarios times seeds, on several threads, and sums up how they went.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/world/world.h"

namespace transload {

struct RunnerOptions {
  uint64_t seed = 1;   // the first seed
  uint64_t seeds = 1;  // seeds of each scenario
  double seconds = 0;  // above 0: fresh seeds for that long, whatever `seeds` is
  uint32_t jobs = 1;   // threads, each with a world of its own
  bool go_on = false;  // false: no world is begun after the first failure
  Canary canary = Canary::kNone;
};

// How a world failed, and by which seed it can be run again.
struct Failure {
  uint32_t scenario = 0;
  uint64_t seed = 0;
  std::string checker;  // "replay": a second run of the seed had another digest
  std::string what;
};

struct ScenarioTotals {
  uint64_t worlds = 0, replays = 0, events = 0, steps = 0;
  double seconds = 0;   // seconds that the scenario's worlds took, added up
  uint64_t digest = 0;  // digest of the digests of all seeds, in their order
};

struct RunnerResult {
  std::vector<ScenarioTotals> scenarios;
  std::vector<Failure> failures;  // sorted by seed, then scenario
  double seconds = 0;             // seconds from begin to end
  ScenarioTotals all() const;
};

// One seed in 20 runs twice, and both must have the same digest. The result, but for times, does not depend on jobs.
// Throws what World::run throws.
RunnerResult run_worlds(const std::vector<Scenario>& scenarios, const RunnerOptions& options);

}  // namespace transload
