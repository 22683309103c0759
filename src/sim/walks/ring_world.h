// RING, WRAP: one channel's ring from one rank to another, between peers or along a rail, through the Outbox and Inbox
// that ship. It makes one call, or several whose tokens differ in size.
#pragma once
#include <memory>
#include <vector>

#include "sim/walks/tiny_world.h"

namespace transload {

struct RingPlan {
  bool rail = false;
  uint32_t slots = 2;
  uint32_t publish_every = 1;
  struct RingCall {
    uint32_t tokens;
    uint64_t bytes;  // bytes of each token, a multiple of 8
  };
  std::vector<RingCall> calls;
};

std::unique_ptr<TinyWorld> ring_world(const RingPlan& plan);

}  // namespace transload
