// The kernels of a layout and of the headers of a cached dispatch.
#include "kernels/kernel_launch.cuh"
#include "kernels/tables/layout.cuh"

namespace transload {
namespace {

__global__ void __launch_bounds__(kLayoutThreads, 1) layout_kernel(const __grid_constant__ LayoutLaunch launch) {
  LayoutBlock(launch, near_memory()).run();
}

__global__ void __launch_bounds__(kLayoutThreads, 1) headers_kernel(const __grid_constant__ HeaderArgs args) {
  write_headers(args);
}

}  // namespace

uint64_t layout_scratch_bytes(const Geometry& geometry, uint32_t experts) {
  return SharedCounts(geometry, experts, nullptr).bytes;
}

uint64_t layout_near_bytes(const LayoutArgs& args) {
  return TileShape::of(args.geometry, args.shape.top_k, args.experts.experts).bytes;
}

int launch_layout(const LayoutArgs& args, CUstream_st* stream) {
  const uint64_t near_bytes = layout_near_bytes(args);
  if (args.call.blocks == 0 || args.call.blocks > kLayoutBlocksMax || near_bytes > TileShape::kBytesMax)
    return cudaErrorInvalidConfiguration;
  return launch(layout_kernel, {args.call.blocks, kLayoutThreads, near_bytes}, LayoutLaunch(args), stream);
}

int launch_headers(const HeaderArgs& args, CUstream_st* stream) {
  return launch(headers_kernel, {args.call.blocks, kLayoutThreads, 0}, args, stream);
}

int load_spans_kernel();    // spans.cu
int load_recount_kernel();  // recount.cu

int load_layout_kernels() {
  if (const int error = load(layout_kernel, TileShape::kBytesMax)) return error;
  if (const int error = load(headers_kernel, 0)) return error;
  if (const int error = load_spans_kernel()) return error;
  return load_recount_kernel();
}

}  // namespace transload
