// Which ranks share a node.
#pragma once
#include <cstdint>
#include <vector>

namespace transload {

// A list of node sizes; rank 0 is the first of the first node, and so on. {4, 4}: ranks 0..3 and 4..7. Sizes may
// differ. The sum of a combine depends on it: rows of one node are summed first (see combine.h).
struct Topology {
  std::vector<uint32_t> node_sizes;

  uint32_t ranks() const {
    uint32_t sum = 0;
    for (const uint32_t size : node_sizes) sum += size;
    return sum;
  }
};

}  // namespace transload
