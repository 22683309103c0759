// Where the network region of a rank on a GPU lies: in memory of the GPU, if its network may write there, or pinned on
// the host.
#pragma once
#include <cstdint>
#include <string>

#include "gpu/device_info.h"

namespace transload {

// kDmaBuf and kCudaAddress: on the GPU, and how the network is told of it.
enum class RegionPlace : uint8_t { kPinned, kDmaBuf, kCudaAddress };

// How libfabric is told of a network region that is memory of a GPU.
struct FabricDevice {
  int cuda = -1;            // the GPU's number in this process; -1: memory of the host
  int dma_buf = -1;         // descriptor of a dma-buf that holds it; -1: it is told by its address
  uint64_t dma_buf_at = 0;  // where in that it begins, in bytes
};

// What a provider says to being forbidden to call CUDA: FI_OPT_CUDA_API_PERMITTED.
enum class CudaCalls : uint8_t { kNoOption, kForbidden, kRefused };

// What libfabric and the provider that would carry the group can do. Versions are major << 16 | minor, as libfabric
// gives them.
struct FabricMemoryFacts {
  std::string provider;
  bool hmem = false;  // it registers memory of devices: FI_HMEM
  uint32_t library_version = 0;
  uint32_t header_version = 0;  // that this build was made with
  CudaCalls cuda_calls = CudaCalls::kNoOption;
  std::string dma_buf_refused, address_refused;  // what came of registering the region so; "": was not tried, or works
};

struct RegionChoice {
  RegionPlace place;
  std::string why;  // for people: which, and what spoke for it or against
};

// The best that nothing speaks against.
RegionChoice choose_region(const FabricMemoryFacts& fabric, const DeviceInfo& gpu);

}  // namespace transload
