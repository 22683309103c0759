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

// Throws Error: kNotSupported without libfabric or any provider, kInvalidArgument for a name or address not found here.
Provider choose_provider(const LibfabricOptions& options);

}  // namespace transload
