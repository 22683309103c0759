// Dispatch: a cast and a switch over the roles of protocol/dispatch.
#pragma once
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "kernels/kernel_launch.cuh"
#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"

namespace transload {
namespace {

template <class Rail>
__global__ void __launch_bounds__(kWarpsOfBlock * 32, 1)
    dispatch_kernel(const __grid_constant__ DispatchLaunch launch) {
  extern __shared__ __align__(128) char near[];
  DispatchTrip t = launch.trip;
  begin_kernel(t.call, launch.board, launch.call);
  typename Rail::RailHeld held;
  auto w = make_warp<ScatterPipe, Rail>(near, launch, held);
  const uint32_t warp = warp_of_block(), forwarders = launch.cast.forwarders;
  const bool granter = warp_of_grid() == kGranter;
  if (granter) give_grants(w, t.call, launch.grants, &launch.call.state->gave_up);
  if (launch.opens && warp_of_grid() == kOpener) {
    write_card(t.call);
    open_call(w, t.call);
  }
  const bool receives = warp >= forwarders && warp < forwarders + launch.cast.receivers;
  if (warp < forwarders)
    run_dispatch_forwarder(w, t);
  else if (!receives)
    run_dispatch_sender(w, t);
  // No warp waits for a receiver whose landing is direct, so every warp becomes one when its own role is over.
  if (t.direct || receives) run_dispatch_receiver(w, t);
  if (granter && !t.unpacks_at_end()) close_call(w, t.call);
  end_kernel(w, launch.call);
}

}  // namespace

template <class Rail>
int launch_dispatch(const DispatchLaunch& launch, CUstream_st* stream) {
  return transload::launch(dispatch_kernel<Rail>, shape_of(launch, launch.call.blocks, kWarpsOfBlock), launch, stream);
}

template <class Rail>
int prepare_dispatch(int near_bytes) {
  return load(dispatch_kernel<Rail>, uint64_t(near_bytes));
}

}  // namespace transload
