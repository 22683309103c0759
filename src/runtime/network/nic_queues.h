// Queues of a NIC that the warps of a rank on a GPU fill themselves. A network such as NVSHMEM makes them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "channel/scaleout.h"

struct CUmod_st;

namespace transload {

// The queues of a rank. They last as long as kernels may fill them.
class NicQueues {
 public:
  virtual ~NicQueues() = default;

  virtual std::string name() const = 0;
  // My network region: all of the place that the queues were made for, or a part of it.
  virtual char* region() const = 0;

  // [ranks] the number by which the queues know each rank.
  virtual const std::vector<uint32_t>& pes() const = 0;
  // The number of the queue for cards and counts, first of those that lead to a rank. The queues of channels follow it.
  virtual uint32_t first_queue() const = 0;

  // Fills the constants of NVSHMEM's header by which a module of kernels finds the queues. To be called on the rank's
  // device, before any of those kernels runs.
  virtual void show_to(CUmod_st* module) = 0;

  // Tells of one peer whose queue broke, as ScaleOut::lost tells of one.
  virtual bool lost(LostPeer& peer) = 0;
};

}  // namespace transload
