// Where a rank on a GPU keeps what a network must reach: in memory of the GPU, where libfabric registers that, else in
// pinned memory of the host. Words and the bytes that they count lie in one region, so that they land in order.
#pragma once
#include <cstdint>
#include <string>

#include "executor/cuda/rail_queue.h"
#include "gpu/device_block.h"
#include "os/descriptor.h"
#include "runtime/rank_state.h"
#include "transport/scaleout/registered.h"

namespace transload {

// A network region on the GPU of this rank; empty if it may not lie there, and then `choice` says why.
struct DeviceNetwork {
  RegionChoice choice;
  DeviceBlock block;
  Descriptor dma_buf;
  FabricDevice told;  // how libfabric is told of the block
};

// Tries whether libfabric registers GPU memory; tells no other rank. `source_address` and `near_nic` are as in
// LibfabricOptions and NetworkPlace. Throws Error if no provider opens.
DeviceNetwork try_device_network(const RankState& state, const DeviceInfo& gpu, const std::string& source_address,
                                 const std::string& near_nic);

class NetworkMemory {
 public:
  NetworkMemory() = default;
  // The memory is zeroed. What only kernels and the proxy share is pinned, and so is the region unless `on_device` has
  // it. Throws Error{kOutOfMemory}.
  NetworkMemory(const RankState& state, int device, DeviceNetwork on_device);

  char* region() const { return on_device() ? device_.block.base() : pinned_.host(); }
  uint64_t region_bytes() const { return region_bytes_; }
  bool on_device() const { return device_.block.base() != nullptr; }
  const FabricDevice& told() const { return device_.told; }
  // All that is pinned; the region comes first, if it is.
  char* pinned() const { return pinned_.host(); }
  uint64_t pinned_bytes() const { return pinned_.bytes(); }
  // Drained words, [channel][member] as Positions::drained.
  Word* drained_dispatch() const { return drained_dispatch_; }
  Word* drained_combine() const { return drained_combine_; }
  // Its `next` is null, because that lies on the device.
  const RailQueue& queue() const { return queue_; }
  Word* taken() const { return taken_; }

 private:
  DeviceNetwork device_;
  PinnedBlock pinned_;
  uint64_t region_bytes_ = 0;
  Word *drained_dispatch_ = nullptr, *drained_combine_ = nullptr, *taken_ = nullptr;
  RailQueue queue_{};
};

}  // namespace transload
