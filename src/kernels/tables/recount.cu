// The kernel that finishes the rows of a dispatch with rows_max.
#include "kernels/kernel_launch.cuh"
#include "kernels/tables/recount.cuh"

namespace transload {
namespace {

constexpr uint32_t kRecountThreads = 1024;

__global__ void __launch_bounds__(kRecountThreads) recount_kernel(const __grid_constant__ RecountArgs args) {
  __shared__ uint32_t counts[kRecountExperts];
  finish_rows(args, counts);
}

}  // namespace

int launch_recount(const RecountArgs& args, CUstream_st* stream) {
  return launch(recount_kernel, {args.call.blocks, kRecountThreads, 0}, args, stream);
}

int load_recount_kernel() { return load(recount_kernel, 0); }

}  // namespace transload
