// The exchange of descriptors between processes of one host, over abstract Unix sockets.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "os/descriptor.h"
#include "transport/scaleup/neighbours.h"

namespace transload {

// Opens the socket at which others ask for a region. It has no name in any file system and goes with its process.
Descriptor listen_for(uint64_t region);

// The detail of a fault about a rank whose memory is not the one that it spoke of.
constexpr const char* kNotAsOffered = "what it passed is not what it offered";

struct ExchangeSides {
  uint32_t rank;                           // my rank
  const std::vector<RegionOffer>& offers;  // offers by rank
  const Neighbour& mine;
  int listener;
  uint32_t deadline_ms;
  const ExchangeWatch& watch;
};

// Passes my memory to each rank of `wanted` and takes theirs. In each pair the lower rank calls the higher. Throws
// Error{kFault} naming a rank, or another Error if this machine lacks something.
std::map<uint32_t, std::shared_ptr<Neighbour>> exchange(const ExchangeSides& sides,
                                                        const std::vector<uint32_t>& wanted);

}  // namespace transload
