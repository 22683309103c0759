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
  size_t piece_bytes;    // the most bytes of a write that the provider takes, and orders
  std::string caution;   // LibfabricLink::caution
  bool by_hand = false;  // bytes land only while the target's process calls libfabric; completions speak of delivery
  bool hmem = false;     // the provider registers memory of devices, and was asked to
};

// The providers to try, in this order: the one that was asked for, else all that libfabric lists. Throws Error:
// kNotSupported without libfabric or any provider, kInvalidArgument for a name that is not listed.
std::vector<std::string> candidates(const LibfabricOptions& options);

// False for providers that read bytes from sockets: the receiver's process lands them, and its descriptor wakes it. Any
// other provider may have a NIC that lands them without a sign to the receiver.
bool lands_silently(const std::string& name);

// Finds a provider by its name. With options.device on a GPU, `hmem` says whether it registers memory of that GPU.
// Throws Error: kInvalidArgument if libfabric does not find the provider, or not at this address; kNotSupported if
// libfabric was told of fewer ranks, or if a NIC is wanted in a forked copy of the process that asked libfabric first.
Provider find_provider(const std::string& name, const LibfabricOptions& options);

}  // namespace transload
