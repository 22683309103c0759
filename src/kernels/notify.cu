// Notify and plan: the role of protocol/notify.h by one warp, then what its counts say by all of the block.
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/plan.cuh"

namespace transload {
namespace {

__global__ void __launch_bounds__(kWarpsOfBlock * 32, 1) notify_kernel(const __grid_constant__ NotifyLaunch launch) {
  extern __shared__ __align__(128) char near[];
  __shared__ DeskRoom<NotifyTrip> room;
  __shared__ uint64_t sums[kPlanNearBytes / sizeof(uint64_t)];
  __shared__ bool failed;
  Desk<NotifyTrip>& desk = room.desk();
  sit_down(desk, launch.trip, launch.call, [](NotifyTrip& t) -> Call& { return t.call; });
  DeviceState& state = *launch.call.state;
  if (warp_of_block() == 0) {
    if (lane_of_thread() == 0) desk.trip.use = state.notify_uses + 1;
    __syncwarp();
    auto w = make_warp<ScatterPipe>(desk, near, launch.call, launch.near);
    write_card(desk.trip.call);
    run_notify(w, desk.trip);
    w.retire();
    if (lane_of_thread() == 0) failed = w.failed();
  }
  __syncthreads();
  if (failed) return;
  learn_plan(launch.plan, {desk.trip.use, desk.trip.call.epoch(), launch.ticket, reinterpret_cast<char*>(sums)});
  __syncthreads();
  if (threadIdx.x == 0) state.notify_uses += 1;
}

}  // namespace

int launch_notify(const NotifyLaunch& launch, CUstream_st* stream) {
  notify_kernel<<<1, kWarpsOfBlock * 32, kWarpsOfBlock * launch.near.bytes_of_warp(), stream>>>(launch);
  return int(cudaGetLastError());
}

int prepare_notify(int near_bytes) {
  return int(cudaFuncSetAttribute(notify_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, near_bytes));
}

}  // namespace transload
