// Every fact that keeps a network region off the GPU, or from being passed in the better way.
#include "transport/scaleout/registered.h"

#include <gtest/gtest.h>

#include <functional>
#include <ostream>

namespace transload {
namespace {

constexpr uint32_t version(uint32_t minor) { return 1 << 16 | minor; }

struct Case {
  const char* name;
  std::function<void(FabricMemoryFacts&, DeviceInfo&)> change;  // of what would give a dma-buf
  RegionPlace place;
  const char* why;

  friend void PrintTo(const Case& c, std::ostream* to) { *to << c.name; }
};

const Case kCases[] = {
    {"all_is_there", [](auto&, auto&) {}, RegionPlace::kDmaBuf, "efa registers it, as a dma-buf"},
    {"no_hmem", [](auto& fabric, auto&) { fabric.hmem = false; }, RegionPlace::kPinned,
     "efa registers no GPU memory (it lacks FI_HMEM)"},
    {"out_of_reach", [](auto&, auto& gpu) { gpu.gpu_direct = false; }, RegionPlace::kPinned,
     "a NIC may not reach memory of cuda 2 (GPU_DIRECT_RDMA_SUPPORTED)"},
    {"no_order", [](auto&, auto& gpu) { gpu.writes_in_order = false; }, RegionPlace::kPinned,
     "cuda 2 does not see a NIC's writes in their order (GPU_DIRECT_RDMA_WRITES_ORDERING), so a count could pass its "
     "bytes"},
    {"no_cuda_option",
     [](auto& fabric, auto&) {
       fabric.cuda_calls = CudaCalls::kNoOption;
       fabric.library_version = version(17);
     },
     RegionPlace::kPinned, "efa cannot be kept from calling CUDA: libfabric is 1.17, and can since 1.18"},
    {"cuda_calls_refused", [](auto& fabric, auto&) { fabric.cuda_calls = CudaCalls::kRefused; }, RegionPlace::kPinned,
     "efa needs CUDA calls for GPU memory (it refuses FI_OPT_CUDA_API_PERMITTED = false), and such a call may wait for "
     "kernels that wait for it"},
    {"gpu_without_dma_buf", [](auto&, auto& gpu) { gpu.dma_buf = false; }, RegionPlace::kCudaAddress,
     "efa registers it, by its CUDA address (cuda 2 gives no dma-buf)"},
    {"old_library", [](auto& fabric, auto&) { fabric.library_version = version(19); }, RegionPlace::kCudaAddress,
     "efa registers it, by its CUDA address (libfabric is 1.19, dma-bufs are there since 1.20)"},
    {"old_header", [](auto& fabric, auto&) { fabric.header_version = version(17); }, RegionPlace::kCudaAddress,
     "efa registers it, by its CUDA address (this build's header of libfabric is 1.17, dma-bufs are there since 1.20)"},
    {"dma_buf_refused", [](auto& fabric, auto&) { fabric.dma_buf_refused = "no"; }, RegionPlace::kCudaAddress,
     "efa registers it, by its CUDA address (refused as a dma-buf: no)"},
    {"address_refused_in_vain", [](auto& fabric, auto&) { fabric.address_refused = "never"; }, RegionPlace::kDmaBuf,
     "efa registers it, as a dma-buf"},
    {"both_refused",
     [](auto& fabric, auto&) {
       fabric.dma_buf_refused = "no";
       fabric.address_refused = "never";
     },
     RegionPlace::kPinned, "efa did not register GPU memory by its CUDA address: never (refused as a dma-buf: no)"},
};

class Registered : public ::testing::TestWithParam<Case> {};

TEST_P(Registered, ChoosesByTheFacts) {
  FabricMemoryFacts fabric{.provider = "efa",
                           .hmem = true,
                           .library_version = version(20),
                           .header_version = version(20),
                           .cuda_calls = CudaCalls::kForbidden,
                           .dma_buf_refused = "",
                           .address_refused = ""};
  DeviceInfo gpu;
  gpu.device = 2;
  gpu.gpu_direct = gpu.writes_in_order = gpu.dma_buf = true;
  GetParam().change(fabric, gpu);
  const RegionChoice choice = choose_region(fabric, gpu);
  EXPECT_EQ(GetParam().place, choice.place);
  EXPECT_EQ(GetParam().why, choice.why);
}

INSTANTIATE_TEST_SUITE_P(Table, Registered, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace transload
