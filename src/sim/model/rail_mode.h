// How the ranks of a world reach ranks of other nodes.
#pragma once
#include <cstdint>

namespace transload {

// kNetwork: the rank's own thread drives a network, and a call ends once that has read what the call put. In the other
// two a call does not wait for it.
enum class RailMode : uint8_t {
  kNetwork,
  kProxy,   // warps give commands to the rank's proxy, which drives the network
  kQueues,  // warps drive queues of a NIC: order within a queue alone, counts are added
};
constexpr const char* kRailModeNames[] = {"network", "proxy", "queues"};

}  // namespace transload
