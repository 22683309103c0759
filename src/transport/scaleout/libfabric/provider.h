// Which provider of libfabric carries a group, and what it promises.
#pragma once
#include <string>
#include <vector>

#include "transport/scaleout/libfabric/library.h"
#include "transport/scaleout/libfabric/link.h"

namespace transload {

struct Provider {
  InfoPtr info;
  bool ordered;          // writes to a rank land in the order in which they were posted
  size_t piece_bytes;    // of a write at most: what the provider takes, and orders
  std::string caution;   // LibfabricLink::caution
  bool by_hand = false;  // it delivers only while the target's software calls it, and completions speak of delivery
  bool hmem = false;     // it was asked for, and grants, registration of memory of devices
};

// The providers to try, in this order: the one that was asked for, else all that libfabric lists. Throws Error:
// kNotSupported without libfabric or any provider, kInvalidArgument for a name that is not listed.
std::vector<std::string> candidates(const LibfabricOptions& options);

// False for providers that read bytes from sockets: the receiver's process lands them, and its descriptor wakes it. Any
// other may have a NIC that lands them and tells nobody there.
bool lands_silently(const std::string& name);

// With options.device on a GPU it is one that registers memory of that GPU, if this provider can; else hmem stays
// false. Throws Error: kInvalidArgument if libfabric does not find it, or not at this address, kNotSupported if it was
// opened for fewer ranks, or is a NIC and this process a copy of one that has asked libfabric.
Provider find_provider(const std::string& name, const LibfabricOptions& options);

}  // namespace transload
