// Which ranks share a node.
#pragma once
#include <cstdint>
#include <vector>

namespace transload {

// A list of node sizes, filled with ranks in order: {4, 4} has ranks 0..3 on the first node and 4..7 on the second.
// Sizes may differ. The sum of a combine depends on the topology, because rows of one node are summed first (see
// combine.h).
struct Topology {
  std::vector<uint32_t> node_sizes;

  uint32_t ranks() const {
    uint32_t sum = 0;
    for (const uint32_t size : node_sizes) sum += size;
    return sum;
  }
};

}  // namespace transload
