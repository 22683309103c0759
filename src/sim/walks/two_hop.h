// TWO HOP: a node of one rank and a node of two. One token goes from the first to an expert on the peer of its rail, by
// dispatch and combine of whole groups, walked in a World. A put is complete only after it has landed.
#pragma once
#include <cstdint>
#include <string>

#include "base/canary.h"

namespace transload {

struct TwoHopPlan {
  // At most this many choices differ from the usual one, by which a warp runs until it waits and flights land when no
  // warp can run.
  uint32_t departures = 1;
  bool combine = true;
  uint32_t publish_every = 1;
  double seconds = 600;
  Canary canary = Canary::kNone;
};

struct TwoHopWalked {
  bool complete = false;
  uint64_t worlds = 0, actions = 0, deepest = 0, choices = 0;  // choices: those of the longest world
  double seconds = 0;
  std::string violation;  // empty: none
};

TwoHopWalked walk_two_hop(const TwoHopPlan& plan);

}  // namespace transload
