// Where the network region of a rank on a GPU lies: in memory of the GPU, if its network may write there, or pinned on
// the host.
#pragma once
#include <cstdint>
#include <string>

#include "gpu/device_info.h"

namespace transload {

// kPinned: on the host. kDmaBuf, kCudaAddress: on the GPU, told to libfabric as a dma-buf or by its CUDA address.
enum class RegionPlace : uint8_t { kPinned, kDmaBuf, kCudaAddress };

// How libfabric is told of a network region that is memory of a GPU.
struct FabricDevice {
  int cuda = -1;            // the GPU's number in this process; -1: memory of the host
  int dma_buf = -1;         // descriptor of a dma-buf that holds the region; -1: libfabric is given its address instead
  uint64_t dma_buf_at = 0;  // where in the dma-buf the region begins, in bytes
};

// How a provider answered FI_OPT_CUDA_API_PERMITTED = false. kNoOption: not asked, or libfabric lacks the option.
enum class CudaCalls : uint8_t { kNoOption, kForbidden, kRefused };

// What libfabric and the provider that would carry the group can do. Versions are major << 16 | minor, as libfabric
// gives them.
struct FabricMemoryFacts {
  std::string provider;
  bool hmem = false;  // the provider registers memory of devices (FI_HMEM)
  uint32_t library_version = 0;
  uint32_t header_version = 0;  // version of the headers that this build was made with
  CudaCalls cuda_calls = CudaCalls::kNoOption;
  std::string dma_buf_refused, address_refused;  // why registering the region so failed; "": not tried, or it works
};

struct RegionChoice {
  RegionPlace place;
  std::string why;  // what decided for this place, and what against others, in words
};

// The best place that no fact rules out: kDmaBuf, else kCudaAddress, else kPinned.
RegionChoice choose_region(const FabricMemoryFacts& fabric, const DeviceInfo& gpu);

}  // namespace transload
