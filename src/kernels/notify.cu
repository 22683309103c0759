// Notify and plan: the role of protocol/notify.h by one warp, what its counts say by the other ones of the block.
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/plan.cuh"

namespace transload {
namespace {

// For a warp that moves no rows: what notify copies goes by plain loads and stores.
struct NoMoves {
  static constexpr int kLandedAfter = 0;

  TRANSLOAD_DEVICE NoMoves(const Stages&, const NearShape&) {}
  TRANSLOAD_DEVICE uint32_t issued() const { return 0; }
  TRANSLOAD_DEVICE uint32_t done() const { return 0; }
  template <int kMoves>
  TRANSLOAD_DEVICE void wait_landed() const {}
  template <bool = false>
  TRANSLOAD_DEVICE void finish_one() {}
};

constexpr uint32_t kNotifyWarps = 16;  // the first notifies, the others plan
constexpr uint32_t kPlanners = kNotifyWarps - 1;
constexpr uint32_t kCounted = 1, kVerdict = 2;  // barriers: the counts are here; do the cards match

// What the warp that notifies has found.
struct Findings {
  bool counted, failed;
};

TRANSLOAD_DEVICE void notify(char* near, const NotifyLaunch& launch, const NotifyTrip& t, Findings& found) {
  auto w = make_warp<NoMoves>(near, launch);
  write_card(t.call);
  exchange_counts(w, t);
  const bool counted = !w.failed();
  if (lane_of_thread() == 0) found.counted = counted;
  meet(kCounted, kNotifyWarps);
  check_cards(w, t.call);
  w.settle();
  if (lane_of_thread() == 0) found.failed = w.failed();
  if (counted) meet(kVerdict, 1 + tellers_of(kPlanners));
  w.retire();
}

TRANSLOAD_DEVICE void plan(const NotifyLaunch& launch, const NotifyTrip& t, const Findings& found) {
  PlanArgs args = launch.plan;
  args.board = &launch.board;
  auto counts_here = [&] {
    meet(kCounted, kNotifyWarps);
    return found.counted;
  };
  auto may_tell = [&] {
    meet(kVerdict, 1 + tellers_of(kPlanners));
    return !found.failed;
  };
  learn_plan(args, {t.use, t.call.epoch(), warp_of_block() - 1, kPlanners}, counts_here, may_tell);
}

__global__ void __launch_bounds__(kNotifyWarps * 32, 1) notify_kernel(const __grid_constant__ NotifyLaunch launch) {
  extern __shared__ __align__(128) char near[];
  __shared__ Findings found;
  DeviceState& state = *launch.call.state;
  NotifyTrip t = launch.trip;
  seat(t.call, launch.board, launch.call);
  t.use = state.notify_uses + 1;
  if (warp_of_block() == 0)
    notify(near, launch, t, found);
  else
    plan(launch, t, found);
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (!found.failed) state.notify_uses = t.use;
  ptx::store_relaxed(&launch.call.host->running, 0);
}

}  // namespace

int launch_notify(const NotifyLaunch& launch, CUstream_st* stream) {
  notify_kernel<<<1, kNotifyWarps * 32, kWarpsOfBlock * launch.near.bytes_of_warp(), stream>>>(launch);
  return int(cudaGetLastError());
}

int prepare_notify(int near_bytes) {
  return int(cudaFuncSetAttribute(notify_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, near_bytes));
}

}  // namespace transload
