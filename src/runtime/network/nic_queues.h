// Queues of a NIC that the warps of a rank on a GPU fill themselves, as a group gets them: from whoever has made them.
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
  // My network region: all of the place that they were made for, or a part of it.
  virtual char* region() const = 0;

  // What they call each rank, and the first of those that lead there: of cards and counts; those of channels follow it.
  virtual const std::vector<uint32_t>& pes() const = 0;
  virtual uint32_t first_queue() const = 0;

  // A module of kernels finds them by the constants of NVSHMEM's header, which this fills. On the rank's device, before
  // any of those kernels runs.
  virtual void show_to(CUmod_st* module) = 0;

  // Tells of a peer whose queue broke, as ScaleOut::lost tells of one.
  virtual bool lost(LostPeer& peer) = 0;
};

}  // namespace transload
