// The kernel that cuts a handle into other channels.
#include "kernels/kernel_launch.cuh"
#include "kernels/tables/spans.cuh"

namespace transload {
namespace {

constexpr uint32_t kSpanThreads = 256;

__global__ void __launch_bounds__(kSpanThreads) spans_kernel(const __grid_constant__ SpanArgs args) {
  write_spans(args);
}

}  // namespace

int launch_spans(const SpanArgs& args, CUstream_st* stream) {
  return launch(spans_kernel, {args.blocks, kSpanThreads, 0}, args, stream);
}

int load_spans_kernel() { return load(spans_kernel, 0); }

}  // namespace transload
