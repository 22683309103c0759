// TWO HOP: nodes of one and of two ranks, one token from the one rank to an expert behind a rail's peer: dispatch and
// combine through whole groups, walked in a World. A put is complete after it has landed, never before.
#pragma once
#include <cstdint>
#include <string>

#include "base/canary.h"

namespace transload {

struct TwoHopPlan {
  uint32_t departures = 1;  // from the order in which a warp runs until it waits, and flights land when none can
  bool combine = true;
  uint32_t publish_every = 1;
  double seconds = 600;
  Canary canary = Canary::kNone;
};

struct TwoHopWalked {
  bool complete = false;
  uint64_t worlds = 0, actions = 0, deepest = 0, choices = 0;  // choices: of the longest world
  double seconds = 0;
  std::string violation;  // empty: none
};

TwoHopWalked walk_two_hop(const TwoHopPlan& plan);

}  // namespace transload
