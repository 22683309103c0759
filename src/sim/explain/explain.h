// The story of one seed: what was broken, by whom, and why, in the glossary's words.
#pragma once
#include <string>
#include <vector>

#include "sim/world/world.h"

namespace transload {

struct CheckerFacts {
  Checker checker;
  const char* sentence;
};
const std::vector<CheckerFacts>& checker_facts();

struct Story {
  bool passed = false;
  std::string text;
};
// Runs the seed once to count its events, and once more to keep them all.
Story explain_world(const Scenario& scenario, uint64_t seed, Canary canary);

}  // namespace transload
