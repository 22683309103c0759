// Combine: a cast and a switch over the roles of protocol/combine.
#include <cuda_runtime.h>

#include "kernels/block.cuh"
#include "kernels/grants.cuh"
#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"

namespace transload {
namespace {

// Rails: there are nodes to forward to.
template <bool kRails>
__global__ void __launch_bounds__((kRails ? kWarpsOfBlock : kWarpsOfSums) * 32, 1)
    combine_kernel(const __grid_constant__ CombineLaunch launch) {
  extern __shared__ __align__(128) char near[];
  CombineTrip t = launch.trip;
  seat(t.call, launch.board, launch.call);
  const uint32_t place = warp_of_block(), forwarders = launch.cast.forwarders, senders = launch.cast.senders;
  if (place >= forwarders && place < forwarders + senders) {
    auto w = make_warp<ScatterPipe>(near, launch);
    run_combine_sender(w, t);
    return stand_up(w, launch.call, true);
  }
  auto w = make_warp<ReducePipe>(near, launch);
  const bool opener = warp_of_grid() == warps_of_block() - 1;
  if (opener) {
    write_grants(t.call, launch.grant);
    write_card(t.call);
    open_call(w, t.call);
  }
  if constexpr (kRails)
    if (place < forwarders) run_combine_forwarder(w, t);
  if (place >= forwarders) run_combine_receiver(w, t);
  if (opener) close_call(w, t.call);
  stand_up(w, launch.call, true);
}

}  // namespace

int launch_combine(const CombineLaunch& launch, CUstream_st* stream) {
  const auto kernel = launch.board.map.nodes > 1 ? combine_kernel<true> : combine_kernel<false>;
  const uint32_t warps = launch.cast.warps();
  kernel<<<launch.call.ctas, warps * 32, warps * launch.near.bytes_of_warp(), stream>>>(launch);
  return int(cudaGetLastError());
}

int prepare_combine(int near_bytes) {
  for (const auto kernel : {combine_kernel<false>, combine_kernel<true>})
    if (const int error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, near_bytes))
      return error;
  return 0;
}

}  // namespace transload
