// Hunting canaries: each is planted in turn, and seeds of the scenarios that suit it run until one fails.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/canary.h"

namespace transload {

// Does `./dev test` find it without the simulator? Measured: tools/canaries_without_simulator --presets host,tsan
enum class FoundByTests : uint8_t { kUnknown, kYes, kTsan, kNo };

// A canary as people know it, and where it shows.
struct CanaryFacts {
  Canary canary;
  const char* sentence;
  std::vector<const char*> scenarios;  // in this order
  FoundByTests tests = FoundByTests::kUnknown;
};
const std::vector<CanaryFacts>& canary_facts();  // all, in the order of the enum

struct Hunt {
  const CanaryFacts* facts = nullptr;
  bool found = false;
  bool broken_without = false;  // the same world fails without the canary, so that nothing was found
  std::string scenario, checker, what;
  uint64_t seed = 0;
  uint64_t worlds = 0;  // until it was found
  double seconds = 0;
};

// `seeds`: of each scenario, at most. Hunts go by the order of the enum; `done` is called for each in that order.
std::vector<Hunt> hunt_canaries(uint32_t jobs, uint64_t seeds, const std::function<void(const Hunt&)>& done);

}  // namespace transload
