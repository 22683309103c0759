// Which provider of libfabric carries a group, and what it promises.
#pragma once
#include <string>
#include <vector>

#include "transport/scaleout/libfabric/library.h"
#include "transport/scaleout/libfabric/link.h"

namespace transload {

struct Provider {
  InfoPtr info;
  bool ordered;         // writes to a rank land in the order in which they were posted
  size_t piece_bytes;   // of a write at most: what the provider takes, and orders
  std::string caution;  // LibfabricLink::caution
};

// Those to try, in this order: the one that was asked for, else all that libfabric lists. Throws Error: kNotSupported
// without libfabric or any provider, kInvalidArgument for a name that is not listed.
std::vector<std::string> candidates(const LibfabricOptions& options);

// Throws Error{kInvalidArgument} if libfabric does not find it, or not at this address.
Provider find_provider(const std::string& name, const LibfabricOptions& options);

}  // namespace transload
