// Combine: a cast and a switch over the roles of protocol/combine.
#pragma once
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/kernel_launch.cuh"
#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"

namespace transload {
namespace {

template <class Rail>
__global__ void __launch_bounds__(kWarpsOfBlock * 32, 1) combine_kernel(const __grid_constant__ CombineLaunch launch) {
  extern __shared__ __align__(128) char near[];
  CombineTrip t = launch.trip;
  begin_kernel(t.call, launch.board, launch.call);
  const uint32_t warp = warp_of_block(), forwarders = launch.cast.forwarders, senders = launch.cast.senders;
  typename Rail::RailHeld held;
  if (warp >= forwarders && warp < forwarders + senders) {
    auto w = make_warp<ScatterPipe, Rail>(near, launch, held);
    run_combine_sender(w, t);
    return end_kernel(w, launch.call);
  }
  auto w = make_warp<ReducePipe, Rail>(near, launch, held);
  const bool granter = warp_of_grid() == kGranter;
  if (granter) give_grants(w, t.call, launch.grants, &launch.call.state->gave_up);
  if (warp_of_grid() == kOpener) {
    write_card(t.call);
    open_call(w, t.call);
  }
  if (warp < forwarders)
    run_combine_forwarder(w, t);
  else
    run_combine_receiver(w, t);
  if (granter) close_call(w, t.call);
  end_kernel(w, launch.call);
}

}  // namespace

template <class Rail>
int launch_combine(const CombineLaunch& launch, CUstream_st* stream) {
  return transload::launch(combine_kernel<Rail>, shape_of(launch, launch.call.blocks, kWarpsOfBlock), launch, stream);
}

template <class Rail>
int prepare_combine(int near_bytes) {
  return load(combine_kernel<Rail>, uint64_t(near_bytes));
}

}  // namespace transload
