// What each fact rules out, in the order in which a reader would ask.
#include "transport/scaleout/registered.h"

namespace transload {
namespace {

constexpr uint32_t version(uint32_t major, uint32_t minor) { return major << 16 | minor; }
constexpr uint32_t kCudaOptionSince = version(1, 18), kDmaBufSince = version(1, 20);

std::string text_of(uint32_t version) { return std::to_string(version >> 16) + "." + std::to_string(version & 0xffff); }

// Why the region cannot lie on the GPU, however it is registered; "" if it may lie there.
std::string against_gpu(const FabricMemoryFacts& fabric, const DeviceInfo& gpu) {
  const std::string device = "cuda " + std::to_string(gpu.device);
  if (!fabric.hmem) return fabric.provider + " registers no GPU memory (it lacks FI_HMEM)";
  if (!gpu.gpu_direct) return "a NIC may not reach memory of " + device + " (GPU_DIRECT_RDMA_SUPPORTED)";
  if (!gpu.writes_in_order)
    return device + " does not see a NIC's writes in their order (GPU_DIRECT_RDMA_WRITES_ORDERING), so a count could " +
           "pass its bytes";
  if (fabric.cuda_calls == CudaCalls::kNoOption)
    return fabric.provider + " cannot be kept from calling CUDA: libfabric is " + text_of(fabric.library_version) +
           ", and can since " + text_of(kCudaOptionSince);
  if (fabric.cuda_calls == CudaCalls::kRefused)
    return fabric.provider + " needs CUDA calls for GPU memory (it refuses FI_OPT_CUDA_API_PERMITTED = false), and " +
           "such a call may wait for kernels that wait for it";
  return "";
}

// Why the region cannot be passed as a dma-buf; "" if it may be.
std::string against_dma_buf(const FabricMemoryFacts& fabric, const DeviceInfo& gpu) {
  const std::string since = ", dma-bufs are there since " + text_of(kDmaBufSince);
  if (!gpu.dma_buf) return "cuda " + std::to_string(gpu.device) + " gives no dma-buf";
  if (fabric.library_version < kDmaBufSince) return "libfabric is " + text_of(fabric.library_version) + since;
  if (fabric.header_version < kDmaBufSince)
    return "this build's header of libfabric is " + text_of(fabric.header_version) + since;
  return fabric.dma_buf_refused.empty() ? "" : "refused as a dma-buf: " + fabric.dma_buf_refused;
}

}  // namespace

RegionChoice choose_region(const FabricMemoryFacts& fabric, const DeviceInfo& gpu) {
  if (const std::string why = against_gpu(fabric, gpu); !why.empty()) return {RegionPlace::kPinned, why};
  const std::string why = against_dma_buf(fabric, gpu);
  if (why.empty()) return {RegionPlace::kDmaBuf, fabric.provider + " registers it, as a dma-buf"};
  if (fabric.address_refused.empty())
    return {RegionPlace::kCudaAddress, fabric.provider + " registers it, by its CUDA address (" + why + ")"};
  return {RegionPlace::kPinned, fabric.provider + " did not register GPU memory by its CUDA address: " +
                                    fabric.address_refused + " (" + why + ")"};
}

}  // namespace transload
