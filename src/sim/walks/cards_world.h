// CARDS: the barrier that opens and closes a call. Grants are shown (grant_call), cards shown and checked (open_call),
// each rank stores a row into the lease of each peer once it holds its grant, says "done" (leave) and returns when all
// peers are done (close_call). Leases change hands when a call returns. The group may be faulted at any point.
#pragma once
#include <memory>
#include <vector>

#include "sim/walks/tiny_world.h"

namespace transload {

struct CardsPlan {
  std::vector<uint32_t> node_sizes;
  uint32_t calls = 1;
  bool warps = false;   // a warp opens a call, another stores and a third closes it; false: one warp does all
  bool stores = true;   // false: nothing happens between opening and closing
  bool faults = false;  // the group may be faulted at any point
};

std::unique_ptr<TinyWorld> cards_world(const CardsPlan& plan);

}  // namespace transload
