// The first words over rails where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/no_moves.cuh"
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/block.cuh"
#include "kernels/kernel_launch.cuh"
#include "kernels/nic_kernels.h"
#include "protocol/hello.h"

namespace transload {
namespace {

template <class Rail>
__global__ void __launch_bounds__(32, 1) hello_kernel(const __grid_constant__ HelloLaunch launch) {
  auto w = make_warp<NoMoves, Rail>(near_memory(), launch);
  w.enter(Role::kOpener, -1);
  run_hello(w, launch.board);
  w.retire();
}

}  // namespace

int launch_hello(const HelloLaunch& launch, CUstream_st* stream) {
  const LaunchShape shape{1, 32, kWarpsOfBlock * launch.near.bytes_of_warp()};
  return transload::launch(hello_kernel<IbgdaRail>, shape, launch, stream);
}

int prepare_hello(int near_bytes) { return load(hello_kernel<IbgdaRail>, uint64_t(near_bytes)); }

const void* ibgda_hello() { return reinterpret_cast<const void*>(hello_kernel<IbgdaRail>); }

}  // namespace transload
