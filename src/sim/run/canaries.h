// Hunting canaries: each is planted in turn, and seeds of the scenarios that suit it run until one fails.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/canary.h"

namespace transload {

// Whether `./dev test` finds a canary without the simulator, as `tools/canaries_without_simulator --presets host,tsan`
// measures it.
enum class FoundByTests : uint8_t { kUnknown, kYes, kTsan, kNo, kCount };

// A canary in words, and the scenarios that show it.
struct CanaryFacts {
  Canary canary;
  const char* sentence;
  std::vector<const char*> scenarios;  // tried in this order
  FoundByTests tests = FoundByTests::kUnknown;
};
const std::vector<CanaryFacts>& canary_facts();  // all canaries, in the order of the enum

struct Hunt {
  const CanaryFacts* facts = nullptr;
  bool found = false;
  bool broken_without = false;  // the same world fails without the canary too, so nothing was found
  std::string scenario, checker, what;
  uint64_t seed = 0;
  uint64_t worlds = 0;  // worlds that ran until one found the canary
  double seconds = 0;
};

// Runs at most `seeds` seeds of each scenario. `done` is called for each hunt, in the order of the enum.
std::vector<Hunt> hunt_canaries(uint32_t jobs, uint64_t seeds, const std::function<void(const Hunt&)>& done);

}  // namespace transload
