// The memory of a group that its kernels reach, beside leases; and where that memory is kept if the group goes before
// its kernels have ended.
#pragma once
#include <cuda_runtime_api.h>

#include <list>
#include <memory>
#include <vector>

#include "gpu/device_block.h"
#include "kernels/device_call.h"
#include "runtime/cuda/network_memory.h"
#include "runtime/cuda/pinned_page.h"
#include "runtime/network/nic_queues.h"
#include "runtime/network/proxy.h"
#include "transport/scaleout/nvshmem/world.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/nvlink/device_region.h"

namespace transload {

// Destroys an event, or a stream once its work is done.
struct EndOnDevice {
  int device = -1;
  void operator()(CUstream_st* stream) const noexcept;
  void operator()(CUevent_st* event) const noexcept;
};
using OwnStream = std::unique_ptr<CUstream_st, EndOnDevice>;
using OwnEvent = std::unique_ptr<CUevent_st, EndOnDevice>;
// Both throw Error. The stream waits for no other, as the legacy stream would for kernels of other groups.
OwnStream make_stream(int device);
OwnEvent make_event(int device);

// Memory that a group shares with the graphs that have a call of it.
struct CudaMemory {
  std::shared_ptr<DeviceRegion> region;
  std::unique_ptr<Neighbours> neighbours;
  std::vector<DeviceBlock> blocks;
  PinnedPage page;
  NetworkMemory network;
  std::unique_ptr<HeapBlock> heap;
  std::unique_ptr<ScaleOut> scale_out;  // only where rails are not mapped, like the proxy, which ends first
  std::unique_ptr<Proxy> proxy;
  std::unique_ptr<NicQueues> nic;  // only where warps drive a NIC's queues
};

// Whether no kernel of the group runs, nor is one on a stream before `done`. True of a lost context, too.
bool have_ended(const HostWords& words, const OwnEvent& done);

// What kernels of a group that went may still reach, because they wait on a stream for other work: it is kept until
// they have ended. A group has the place for it from the beginning, because a destructor cannot say that there is none.
struct Parked {
  std::shared_ptr<CudaMemory> memory;
  OwnEvent done;
  bool reached() const;
};
using ParkingPlace = std::list<Parked>;  // a place for one group's memory
void park(ParkingPlace& place, Parked what) noexcept;
// Frees what was parked and is reached no more. Waits for nothing.
void sweep_parked();

}  // namespace transload
