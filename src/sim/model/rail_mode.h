// How the ranks of a world reach ranks of other nodes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace transload {

// In mode kNetwork the rank's own thread drives a network, and a call ends once the network has read all that the call
// put. In the other two modes a call does not wait for the network.
enum class RailMode : uint8_t {
  kNetwork,
  kProxy,   // warps give commands to the rank's proxy, which drives the network
  kQueues,  // warps fill queues of a NIC, which keeps order within a queue alone and adds counts up
  kCount
};
constexpr const char* kRailModeNames[] = {"network", "proxy", "queues"};
static_assert(sizeof(kRailModeNames) / sizeof(*kRailModeNames) == size_t(RailMode::kCount));

}  // namespace transload
