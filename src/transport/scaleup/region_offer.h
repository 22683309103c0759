// What a rank says of its region, so that its peers can map it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/math.h"
#include "os/host.h"
#include "transport/scaleup/region.h"

namespace transload {

// The parts of a region, which lie one after another; its maker says how long they are.
struct RegionParts {
  uint64_t network_bytes = 0, scale_up_bytes = 0, slab_bytes = 0;
  uint64_t bytes() const { return plus(plus(network_bytes, scale_up_bytes), slab_bytes); }
};

struct RegionOffer {
  std::string host;   // host_identity()
  uint32_t user = 0;  // effective user id
  ProcessIdentity process;
  uint64_t region = 0;  // unique: names the registry entry and the socket
  uint64_t secret = 0;  // a caller at that socket must know it
  uint64_t base = 0;    // base address in the process of the rank
  uint64_t bytes = 0;
  RegionParts parts;
  std::string kind;    // Region::kind()
  std::string handle;  // Region::handle()

  std::string pack() const;
  // Throws Error{kInvalidArgument} if the bytes are no offer.
  static RegionOffer unpack(std::string_view bytes);
  PeerRegion peer(uint32_t rank) const { return {rank, bytes, handle}; }
};

}  // namespace transload
