// All schedules of a tiny world: depth first, each new one made by running the world again from its start.
//
// A schedule is the order of all actions. An action is one primitive of a warp, the landing of a flight, the moment at
// which the source of a put is free, or a rank's hearing of a fault. States are merged, private actions come first, and
// bytes land late: docs/walks.md proves that this leaves out no outcome. Nothing of a rank that may still hear of a
// fault is private. With a bound on preemptions nothing is private, and states are merged only if as much of the bound
// is left.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "sim/walks/tiny_world.h"

namespace transload {

struct WalkLimits {
  static constexpr uint32_t kAll = ~uint32_t(0);
  uint32_t preemptions = kAll;  // how often another warp may run although the last one could go on
  double seconds = 600;
  uint64_t states = uint64_t(1) << 25;
  bool merged = true;    // walks no known state again
  bool hastened = true;  // private primitives come first, and bytes land late
  bool to_first = true;  // ends at the first violation
};

struct Walked {
  bool complete = false;  // every schedule within the bound was walked
  double schedules = 0;   // schedules that were walked, counted apart even where they share states
  uint64_t ended = 0;     // schedules that were walked to their ends
  uint64_t states = 0;    // different states in which there was a choice
  uint64_t merged = 0;    // schedules that came to a state that was known
  uint64_t early = 0;     // landings of bytes not taken because nothing made them land yet
  uint64_t put_off = 0;   // choices not taken because a private one came first
  uint64_t beyond = 0;    // choices not taken because they lie beyond the bound
  uint64_t actions = 0;   // all actions that were taken, also in running a world again
  uint64_t deepest = 0;   // actions of the longest schedule
  double seconds = 0;
  Violation violation;             // the first one
  std::vector<std::string> story;  // the last actions before the violation
  std::set<Print> outcomes;        // prints of final states and of violations
};

Walked walk(TinyWorld& world, const WalkLimits& limits);

}  // namespace transload
