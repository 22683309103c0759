// GPU memory where there may be no GPU: what is said, what is refused, and which devices cannot share. What needs a GPU
// is checked in tests/gpu/regions_check.cc.
#include <gtest/gtest.h>

#include <functional>

#include "gpu/device_info.h"
#include "transload/status.h"
#ifdef TRANSLOAD_CUDA
#include "gpu/cuda_error.h"
#include "gpu/device_block.h"
#include "transport/scaleup/nvlink/device_region.h"
#endif

namespace transload {
namespace {

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Error thrown_by(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::kOk, "nothing was thrown");
}

TEST(DeviceInfo, SaysWhatIsHereOrWhyNothingIs) {
  const Devices found = find_devices();
  EXPECT_EQ(found.devices.empty(), !found.reason.empty()) << found.reason;
  EXPECT_EQ(found.devices.size(), size_t(device_count()));
  ASSERT_EQ(found.peer.size(), found.devices.size());
  for (size_t i = 0; i < found.devices.size(); ++i) {
    EXPECT_EQ(found.peer[i].size(), found.devices.size());
    EXPECT_EQ(found.devices[i].uuid.size(), std::string("GPU-01234567-0123-0123-0123-0123456789ab").size());
    EXPECT_GT(found.devices[i].sms, 0u);
    EXPECT_GT(found.devices[i].shared_bytes_max, 0u);
  }
  if (!found.devices.empty()) return;
  EXPECT_TRUE(holds(found.reason, "no GPU: ")) << found.reason;
  const Error error = thrown_by(refuse_without_device);
  EXPECT_EQ(error.code(), Code::kNotSupported);
  EXPECT_EQ(error.what(), found.reason);
}

#ifdef TRANSLOAD_CUDA

// One past the last device: refused for want of any GPU, or by its number.
TEST(DeviceRegion, RefusesADeviceThatIsNotHere) {
  const int device = device_count();
  const Devices found = find_devices();
  const Code code = device == 0 ? Code::kNotSupported : Code::kInvalidArgument;
  const std::string why = device == 0 ? found.reason : "device: " + std::to_string(device) + ", but must be 0 to ";
  const std::vector<std::function<void()>> attempts{
      [&] { DeviceRegion region(device, 4096, MemoryWay::kVmm); },
      [&] { DeviceRegion region(device, 4096, MemoryWay::kIpc); },
      [&] { DeviceRegion region(device, 4096, MemoryWay::kPlain); },
      [&] { choose_way(device, true); },
      [&] { choose_way(device, false); },
      [&] { DeviceBlock block(device, 4096); },
      [&] { PinnedBlock words(device, 8); },
      [&] { check_device_room(device, 1, "anything"); },
  };
  for (size_t i = 0; i < attempts.size(); ++i) {
    const Error error = thrown_by(attempts[i]);
    EXPECT_EQ(error.code(), code) << "attempt " << i << ": " << error.what();
    EXPECT_TRUE(holds(error.what(), why)) << "attempt " << i << ": " << error.what();
  }
}

TEST(DeviceRegion, ZeroBytesAreRefused) {
  EXPECT_EQ(thrown_by([] { DeviceBlock block(0, 0); }).code(), Code::kInvalidArgument);
  EXPECT_EQ(thrown_by([] { PinnedBlock block(0, 0); }).code(), Code::kInvalidArgument);
}

TEST(CudaError, NamesCallTextAndDevice) {
  EXPECT_NO_THROW(check_cuda(cudaSuccess, "cudaMalloc", 3));
  const Error error = thrown_by([] { check_cuda(cudaErrorMemoryAllocation, "cudaMalloc", 3); });
  EXPECT_EQ(error.code(), Code::kOutOfMemory);
  EXPECT_STREQ(error.what(), "cudaMalloc on device 3: out of memory (cudaErrorMemoryAllocation)");
  EXPECT_EQ(thrown_by([] { check_cuda(cudaErrorNotSupported, "cudaX", 0); }).code(), Code::kNotSupported);
  const Error lost = thrown_by([] { check_cuda(cudaErrorIllegalAddress, "cudaStreamSynchronize"); });
  EXPECT_EQ(lost.code(), Code::kDevice);
  EXPECT_TRUE(holds(lost.what(), "cudaStreamSynchronize: ")) << lost.what();
}

// A machine of three devices, of which the last reaches nobody.
Devices three_devices() {
  Devices all;
  for (int i = 0; i < 3; ++i) {
    DeviceInfo info;
    info.device = i;
    info.uuid = "GPU-" + std::to_string(i);
    all.devices.push_back(info);
  }
  all.peer = {{true, true, false}, {true, true, false}, {false, false, true}};
  return all;
}

DeviceOffer offer_of(uint32_t rank, uint32_t device, MemoryWay way) {
  return {rank, way, device, "GPU-" + std::to_string(device), "handle"};
}

TEST(DeviceOffer, SurvivesPackingAndNothingElseDoes) {
  const DeviceOffer offer = offer_of(4, 2, MemoryWay::kIpc);
  const std::string packed = offer.pack();
  const DeviceOffer same = DeviceOffer::unpack({4, 4096, packed});
  EXPECT_EQ(same.rank, 4u);
  EXPECT_EQ(same.way, MemoryWay::kIpc);
  EXPECT_EQ(same.device, 2u);
  EXPECT_EQ(same.uuid, "GPU-2");
  EXPECT_EQ(same.handle, "handle");
  std::string odd = packed;
  odd[0] = 3;  // no such way
  for (const std::string& wrong : {packed + "x", packed.substr(1), packed.substr(0, 5), std::string(), odd}) {
    const Error error = thrown_by([&] { DeviceOffer::unpack({4, 4096, wrong}); });
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_TRUE(holds(error.what(), "rank 4")) << error.what();
  }
}

TEST(DeviceOffer, NoPeerAccessNamesBothDevices) {
  const Devices all = three_devices();
  const DeviceOffer a = offer_of(0, 0, MemoryWay::kVmm), b = offer_of(1, 1, MemoryWay::kVmm);
  const DeviceOffer c = offer_of(2, 2, MemoryWay::kVmm), also_c = offer_of(3, 2, MemoryWay::kVmm);
  for (const bool same_process : {false, true}) {
    EXPECT_NO_THROW(check_reach(all, a, b, same_process));
    EXPECT_NO_THROW(check_reach(all, c, also_c, same_process));  // two ranks of one device
    const Error mine = thrown_by([&] { check_reach(all, a, c, same_process); });
    const Error theirs = thrown_by([&] { check_reach(all, c, a, same_process); });
    EXPECT_EQ(mine.code(), Code::kNotSupported);
    EXPECT_STREQ(mine.what(),
                 "group: no peer access between device 0 (GPU-0) of rank 0 and device 2 (GPU-2) of rank 2");
    EXPECT_STREQ(mine.what(), theirs.what());
  }
  DeviceOffer hidden = offer_of(1, 0, MemoryWay::kVmm);
  hidden.uuid = "GPU-of-nobody-here";
  EXPECT_NO_THROW(check_reach(all, a, hidden, false));
}

TEST(DeviceOffer, WhatCannotBeMappedNamesBothDevices) {
  const Devices all = three_devices();
  EXPECT_EQ(unreachable(all, 0, offer_of(2, 2, MemoryWay::kVmm), "cuMemSetAccess: no"),
            "group: device 0 (GPU-0) cannot reach the memory of device 2 (GPU-2) of rank 2: cuMemSetAccess: no");
  const std::string text = unreachable(all, 0, offer_of(7, 5, MemoryWay::kVmm), "no");
  EXPECT_TRUE(holds(text, "device 5 (GPU-5) of rank 7, which this process does not see")) << text;
  EXPECT_TRUE(holds(text, "CUDA_VISIBLE_DEVICES")) << text;
}

TEST(DeviceOffer, PlainMemoryStaysInItsProcess) {
  const Devices all = three_devices();
  const DeviceOffer a = offer_of(0, 0, MemoryWay::kPlain), b = offer_of(1, 1, MemoryWay::kIpc);
  EXPECT_NO_THROW(check_reach(all, a, b, true));
  for (const Error& error :
       {thrown_by([&] { check_reach(all, a, b, false); }), thrown_by([&] { check_reach(all, b, a, false); })}) {
    EXPECT_EQ(error.code(), Code::kNotSupported);
    EXPECT_TRUE(holds(error.what(), "device 0 (GPU-0) of rank 0 and device 1 (GPU-1) of rank 1")) << error.what();
  }
}

#endif

}  // namespace
}  // namespace transload
