// The exhaustive walks of `transload sim --exhaustive WORLD`: of each tiny world all schedules and landings, or all
// within a bound that the report names.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/canary.h"

namespace transload {

struct ExhaustiveLimits {
  double seconds = 600;           // time for each family
  Canary canary = Canary::kNone;  // planted in the walk, which ends when it is found
  bool quick = false;             // only families that take seconds are walked
};

// How the walk of one family went. A family is a variant of a world, and is walked apart from the others.
struct FamilyWalked {
  std::string name, about;
  std::string bound;  // "all", or what the walk was bounded by
  bool complete = false;
  double schedules = 0;  // schedules that were walked, counted apart even where they share states
  uint64_t worlds = 0;   // worlds that ran to their ends
  uint64_t states = 0;   // different states in which there was a choice; 0: states were not told apart
  uint64_t merged = 0, put_off = 0, early = 0, beyond = 0;  // choices that the reduction or the bound left out
  uint64_t actions = 0, deepest = 0;
  double seconds = 0;
  std::string violation;  // empty: none
  std::vector<std::string> story;
};

struct ExhaustiveReport {
  std::string world;
  std::vector<FamilyWalked> families;
  bool passed() const;  // true: complete, and no rule broken
};

struct ExhaustiveWorld {
  const char *name, *about;
};
const std::vector<ExhaustiveWorld>& exhaustive_worlds();
// Throws Error{kInvalidArgument} if there is no such world.
ExhaustiveReport walk_world(const std::string& world, const ExhaustiveLimits& limits);
// The report for people: what was walked, what was left out and why that is sound, and what was found.
std::string to_text(const ExhaustiveReport& report);

}  // namespace transload
