// The kernels that move rows: what a launch gives them.
#pragma once
#include <cstdint>

#include "channel/board.h"
#include "kernels/near.h"
#include "kernels/tables/table_kernels.h"
#include "protocol/combine/trip.h"
#include "protocol/dispatch/trip.h"
#include "protocol/notify.h"

struct CUstream_st;

namespace transload {

struct MappedRail;  // executor/cuda/rail_mapped.cuh
class FifoRail;     // executor/cuda/rail_fifo.cuh
class IbgdaRail;    // executor/cuda/rail_ibgda.cuh; its kernels are built where NVSHMEM's headers were found

// How many warps of each block play which role.
struct Cast {
  uint32_t forwarders = 0, receivers = 0, senders = 0;
};
// Compiles only if the roles are those of all warps of a block. A kernel gives its last role to all warps that are
// left, and a call counts arrivals by role, so the numbers must agree.
consteval Cast whole_cast(Cast cast) {
  if (cast.forwarders + cast.receivers + cast.senders != kWarpsOfBlock) throw "the roles are not those of all warps";
  return cast;
}

// What a rank grants its peers: the landing of a dispatch, or the source of a combine.
struct DeviceGrants {
  GrantOffer offer;
  const uint64_t* row_base;  // [ranks + 1]
  char* room;                // [peers][grant_bytes] each grant is written here and then copied to its peer
};

struct DispatchLaunch {
  DispatchTrip trip;  // all but board, epoch and handle, for which see begin_kernel() in block.cuh
  Board board;        // the board's tables lie in device memory
  DeviceCall call;
  NearShape near;
  StoreAreas areas;
  Cast cast;
  DeviceGrants grants;
  bool opens;  // a cached dispatch: cards have not been shown yet
  RailQueue queue;
};

struct CombineLaunch {
  CombineTrip trip;
  Board board;
  DeviceCall call;
  NearShape near;
  StoreAreas areas;
  Cast cast;
  DeviceGrants grants;
  RailQueue queue;
};

// The notify kernel runs as one block, and does not end the call.
struct NotifyLaunch {
  NotifyTrip trip;  // all but `use`, which the kernel sets
  Board board;
  PlanArgs plan;  // all but the board, which the kernel sets
  DeviceCall call;
  NearShape near;
  StoreAreas areas;
  RailQueue queue;
};

// Each starts its kernel on the stream and returns a cudaError_t. The blocks of a kernel wait for each other, so all of
// them must fit on the device at once.
template <class Rail>
int launch_notify(const NotifyLaunch& launch, CUstream_st* stream);
template <class Rail>
int launch_dispatch(const DispatchLaunch& launch, CUstream_st* stream);
template <class Rail>
int launch_combine(const CombineLaunch& launch, CUstream_st* stream);

// Each loads its kernel and allows a block this much near memory: once for each device, before the first launch.
// Returns a cudaError_t.
template <class Rail>
int prepare_notify(int near_bytes);
template <class Rail>
int prepare_dispatch(int near_bytes);
template <class Rail>
int prepare_combine(int near_bytes);

// The kernels of one kind of rail.
struct RoleKernels {
  int (*notify)(const NotifyLaunch& launch, CUstream_st* stream);
  int (*dispatch)(const DispatchLaunch& launch, CUstream_st* stream);
  int (*combine)(const CombineLaunch& launch, CUstream_st* stream);
  int (*prepare_notify)(int near_bytes);
  int (*prepare_dispatch)(int near_bytes);
  int (*prepare_combine)(int near_bytes);
};
template <class Rail>
RoleKernels role_kernels() {
  return {.notify = launch_notify<Rail>,
          .dispatch = launch_dispatch<Rail>,
          .combine = launch_combine<Rail>,
          .prepare_notify = prepare_notify<Rail>,
          .prepare_dispatch = prepare_dispatch<Rail>,
          .prepare_combine = prepare_combine<Rail>};
}

}  // namespace transload
