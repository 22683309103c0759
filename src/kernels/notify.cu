// Notify and plan: the role of protocol/notify.h by one warp, then what its counts say by all of the block.
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/plan.cuh"

namespace transload {
namespace {

__global__ void __launch_bounds__(kWarpsOfBlock * 32, 1) notify_kernel(const __grid_constant__ NotifyLaunch launch) {
  extern __shared__ __align__(128) char near[];
  __shared__ uint64_t sums[kPlanNearBytes / sizeof(uint64_t)];
  __shared__ bool failed;
  DeviceState& state = *launch.call.state;
  NotifyTrip t = launch.trip;
  seat(t.call, launch.board, launch.call);
  t.use = state.notify_uses + 1;
  if (warp_of_block() == 0) {
    auto w = make_warp<ScatterPipe>(near, launch);
    write_card(t.call);
    run_notify(w, t);
    w.retire();
    if (lane_of_thread() == 0) failed = w.failed();
  }
  __syncthreads();
  if (!failed) {
    PlanArgs plan = launch.plan;
    plan.board = &launch.board;
    learn_plan(plan, {t.use, t.call.epoch(), reinterpret_cast<char*>(sums)});
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (!failed) state.notify_uses += 1;
  ptx::store_relaxed(&launch.call.host->running, 0);
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
