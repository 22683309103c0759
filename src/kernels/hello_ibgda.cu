// The first words over rails where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/no_moves.cuh"
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/block.cuh"
#include "kernels/kernel_launch.cuh"
#include "kernels/nic_kernels.h"
#include "protocol/hello.h"
#include "transport/scaleout/nvshmem/device_state.h"

namespace transload {
namespace {

// The structs by which the host reads NVSHMEM's states have their fields where NVSHMEM's header has them.
using HeapState = nvshmemi_device_host_state_t;
using NicState = nvshmemi_ibgda_device_state_t;
using NicQueuePair = nvshmemi_ibgda_device_qp_t;
using NicCompletions = nvshmemi_ibgda_device_cq_t;
static_assert(sizeof(NvshmemHeapState) == sizeof(HeapState) && sizeof(NvshmemNicState) == sizeof(NicState));
static_assert(sizeof(NvshmemQueue) == sizeof(NicQueuePair) && sizeof(NvshmemCompletion) == sizeof(NicCompletions));
static_assert(sizeof(NvshmemKey) == sizeof(nvshmemi_ibgda_device_key_t));
static_assert(offsetof(NvshmemKey, end) == offsetof(nvshmemi_ibgda_device_key_t, next_addr));
static_assert(offsetof(NvshmemHeapState, pe) == offsetof(HeapState, mype));
static_assert(offsetof(NvshmemHeapState, pes) == offsetof(HeapState, npes));
static_assert(offsetof(NvshmemHeapState, heap) == offsetof(HeapState, heap_base));
static_assert(offsetof(NvshmemHeapState, heap_bytes) == offsetof(HeapState, heap_size));
static_assert(offsetof(NvshmemHeapState, bases) == offsetof(HeapState, peer_heap_base_remote));
static_assert(offsetof(NvshmemHeapState, by_rail) == offsetof(HeapState, enable_rail_opt));
static_assert(offsetof(NvshmemHeapState, has_queues) == offsetof(HeapState, ibgda_is_initialized));
static_assert(offsetof(NvshmemNicState, queues_to_pe) == offsetof(NicState, num_rc_per_pe));
static_assert(offsetof(NvshmemNicState, granularity_log2) == offsetof(NicState, log2_cumem_granularity));
static_assert(offsetof(NvshmemNicState, nics) == offsetof(NicState, num_devices_initialized));
static_assert(offsetof(NvshmemNicState, rung_by_host) == offsetof(NicState, use_async_postsend));
static_assert(offsetof(NvshmemNicState, local) == offsetof(NicState, constmem.lkeys));
static_assert(offsetof(NvshmemNicState, remote) == offsetof(NicState, constmem.rkeys));
static_assert(offsetof(NvshmemNicState, queues) == offsetof(NicState, globalmem.rcs));
static_assert(offsetof(NvshmemNicState, far_local) == offsetof(NicState, globalmem.lkeys));
static_assert(offsetof(NvshmemNicState, far_remote) == offsetof(NicState, globalmem.rkeys));
static_assert(NvshmemNicState::kNearKeys == NVSHMEMI_IBGDA_MAX_CONST_LKEYS);
static_assert(NvshmemNicState::kNearKeys == NVSHMEMI_IBGDA_MAX_CONST_RKEYS);
static_assert(offsetof(NvshmemQueue, kind) == offsetof(NicQueuePair, qp_type));
static_assert(offsetof(NvshmemQueue, number) == offsetof(NicQueuePair, qpn));
static_assert(offsetof(NvshmemQueue, nic) == offsetof(NicQueuePair, dev_idx));
static_assert(offsetof(NvshmemQueue, depth) == offsetof(NicQueuePair, tx_wq.nwqes));
static_assert(offsetof(NvshmemQueue, completion) == offsetof(NicQueuePair, tx_wq.cq));
static_assert(NvshmemQueue::kConnected == NVSHMEMI_IBGDA_DEVICE_QP_TYPE_RC);
static_assert(offsetof(NvshmemCompletion, shown) == offsetof(NicCompletions, cqe));

template <class Rail>
__global__ void __launch_bounds__(32, 1) hello_kernel(const __grid_constant__ HelloLaunch launch) {
  typename Rail::RailHeld held;
  auto w = make_warp<NoMoves, Rail>(near_memory(), launch, held);
  w.enter(Role::kOpener, -1);
  run_hello(w, launch.board);
  w.retire();
}

}  // namespace

int launch_hello(const HelloLaunch& launch, CUstream_st* stream) {
  return transload::launch(hello_kernel<IbgdaRail>, shape_of(launch, 1, 1), launch, stream);
}

int prepare_hello(int near_bytes) { return load(hello_kernel<IbgdaRail>, uint64_t(near_bytes)); }

const void* ibgda_hello() { return reinterpret_cast<const void*>(hello_kernel<IbgdaRail>); }

}  // namespace transload
