// Notify and plan: two warps play the role of protocol/notify.h, and the other warps of the block make the plan of its
// counts.
#pragma once
#include <cuda_runtime.h>

#include "executor/cuda/no_moves.cuh"
#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/kernel_launch.cuh"
#include "kernels/tables/plan.cuh"
#include "protocol/call/cards.h"

namespace transload {
namespace {

// One warp is for counts and one for cards: the two do all that run_notify() does. The others plan.
constexpr uint32_t kNotifyWarps = 12, kPlanners = kNotifyWarps - 2, kTellers = tellers_of(kPlanners);
// Barriers: at kCounted the warps of counts and of the plan meet, at kVerdict that of cards and the tellers.
constexpr uint32_t kCounted = 1, kVerdict = 2;

struct Findings {
  bool counted, matched;  // the counts of all ranks are here; all cards match mine
};

template <class Rail>
TRANSLOAD_DEVICE void find_counts(char* near, const NotifyLaunch& launch, const NotifyTrip& t, Findings& found) {
  typename Rail::RailHeld held;
  auto w = make_warp<NoMoves, Rail>(near, launch, held);
  w.enter(Role::kOpener, -1);
  exchange_counts(w, t);
  w.settle();
  if (lane_of_thread() == 0) found.counted = !w.failed();
  meet(kCounted, 1 + kPlanners);
  w.retire();
}

template <class Rail>
TRANSLOAD_DEVICE void find_cards(char* near, const NotifyLaunch& launch, const Call& call, Findings& found) {
  typename Rail::RailHeld held;
  auto w = make_warp<NoMoves, Rail>(near, launch, held);
  w.enter(Role::kOpener, -1);
  write_card(call);
  show_cards(w, call);
  w.settle();  // before the check, so that others get my card even if the first card that I look at is wrong
  check_cards(w, call);
  w.settle();
  if (lane_of_thread() == 0) found.matched = !w.failed();
  meet(kVerdict, 1 + kTellers);
  w.retire();
}

TRANSLOAD_DEVICE void plan(const NotifyLaunch& launch, const NotifyTrip& t, const Findings& found) {
  PlanArgs args = launch.plan;
  args.board = &launch.board;
  const PlanMoment moment{t.use, t.call.epoch(), warp_of_block() - 2, kPlanners};
  auto may_tell = [&] {
    meet(kVerdict, 1 + kTellers);
    return found.matched;
  };
  auto counts_here = [&] {
    meet(kCounted, 1 + kPlanners);
    if (!found.counted && moment.warp < kTellers) may_tell();  // the warp of the cards waits for all tellers
    return found.counted;
  };
  learn_plan(args, moment, counts_here, may_tell);
}

template <class Rail>
__global__ void __launch_bounds__(kNotifyWarps * 32, 1) notify_kernel(const __grid_constant__ NotifyLaunch launch) {
  extern __shared__ __align__(128) char near[];
  __shared__ Findings found;
  DeviceState& state = *launch.call.state;
  NotifyTrip t = launch.trip;
  begin_kernel(t.call, launch.board, launch.call);
  t.use = state.notify_uses + 1;
  if (warp_of_block() == 0)
    find_counts<Rail>(near, launch, t, found);
  else if (warp_of_block() == 1)
    find_cards<Rail>(near, launch, t.call, found);
  else
    plan(launch, t, found);
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (found.counted && found.matched) state.notify_uses = t.use;
  show_to_all(&launch.call.host->running, 0);
}

}  // namespace

template <class Rail>
int launch_notify(const NotifyLaunch& launch, CUstream_st* stream) {
  return transload::launch(notify_kernel<Rail>, shape_of(launch, 1, kNotifyWarps), launch, stream);
}

template <class Rail>
int prepare_notify(int near_bytes) {
  return load(notify_kernel<Rail>, uint64_t(near_bytes));
}

}  // namespace transload
