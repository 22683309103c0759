// The kernel that finishes the rows of a dispatch with rows_max.
#include "kernels/kernel_launch.cuh"
#include "kernels/tables/recount.cuh"

namespace transload {
namespace {

constexpr uint32_t kKeptThreads = 1024;

__global__ void __launch_bounds__(kKeptThreads) kept_kernel(const __grid_constant__ RecountArgs args) {
  __shared__ uint32_t counts[kKeptExperts];
  finish_rows(args, counts);
}

}  // namespace

int launch_kept(const RecountArgs& args, CUstream_st* stream) {
  return launch(kept_kernel, {args.call.ctas, kKeptThreads, 0}, args, stream);
}

int load_kept_kernel() { return load(kept_kernel, 0); }

}  // namespace transload
