// Who may share a GPU: ranks of one group, and groups of one process.
#include "runtime/device_share.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "gpu/device_info.h"
#include "tests/support/refusal.h"
#include "transload/status.h"

namespace transload {
namespace {

constexpr uint32_t kSms = 132, kQueues = 3;

DeviceUse use_of(const std::string& uuid, uint32_t sms, uint64_t group = 1) {
  return {uuid, sms, kSms, false, {100, 7}, group, kQueues};
}

std::string refusal_of(const std::vector<DeviceUse>& uses) {
  return test::refusal([&] { check_device_uses(uses); });
}
std::string refusal_to_reserve(const std::vector<DeviceUse>& uses) {
  return test::refusal([&] { DeviceReservation reservation(uses, uses[0]); });
}

TEST(DeviceUse, ComesBackFromItsText) {
  const DeviceUse use{"GPU-01", 24, kSms, true, {4321, 0xFEDCBA9876543210u}, 0x8000000000000001u, 32};
  const DeviceUse back = DeviceUse::unpack(use.pack());
  EXPECT_EQ(back.uuid, use.uuid);
  EXPECT_EQ(back.sms, use.sms);
  EXPECT_EQ(back.device_sms, use.device_sms);
  EXPECT_EQ(back.mps, use.mps);
  EXPECT_TRUE(back.process == use.process);
  EXPECT_EQ(back.group, use.group);
  EXPECT_EQ(back.queues, use.queues);
  EXPECT_THROW(DeviceUse::unpack(use.pack() + "x"), Error);
}

TEST(DeviceUse, IsWithinWhatADeviceHas) {
  const auto refusal_of_what_is_said = [](const std::function<void(DeviceUse&)>& change) {
    DeviceUse use = use_of("GPU-01", 24);
    change(use);
    return test::refusal([&] { DeviceUse::unpack(use.pack()); });
  };
  EXPECT_EQ(refusal_of_what_is_said(
                [](DeviceUse& use) { use.group = 0; }),  // what is reserved for no group would never be free
            "group: what a rank says of its GPU is malformed: is it of another version?");
  EXPECT_EQ(refusal_of_what_is_said([](DeviceUse& use) { use.sms = 0; }),
            "group: a rank says of the SMs that it takes 0, must be 1 to 132: is it of another version?");
  EXPECT_EQ(refusal_of_what_is_said([](DeviceUse& use) { use.sms = kSms; }), "");
  EXPECT_NE(refusal_of_what_is_said([](DeviceUse& use) { use.sms = kSms + 1; }), "");
  EXPECT_NE(refusal_of_what_is_said([](DeviceUse& use) { use.device_sms = 0; }), "");
  EXPECT_NE(refusal_of_what_is_said([](DeviceUse& use) { use.queues = 0; }), "");
  EXPECT_EQ(refusal_of_what_is_said([](DeviceUse& use) { use.queues = kDeviceQueuesMax + 1; }),
            "group: a rank says of the queues of its process 33, must be 1 to 32: is it of another version?");
}

TEST(DeviceUse, RanksOfOneDeviceFitTogether) {
  EXPECT_EQ(refusal_of({use_of("GPU-a", 66), use_of("GPU-b", 132), use_of("GPU-a", 66)}), "");
  EXPECT_EQ(refusal_of({use_of("GPU-b", 67), use_of("GPU-a", 67), use_of("GPU-a", 67)}),
            "sms: 67 on each of the ranks 1, 2 of one GPU, must be at most 132 in all: their blocks wait for each "
            "other");
}

TEST(DeviceUse, ProcessesTakeTurnsWithoutMps) {
  DeviceUse other = use_of("GPU-a", 1);
  other.process = {100, 8};  // the same number in another namespace of processes
  const DeviceUse elsewhere = use_of("GPU-b", 1);
  const std::string text = refusal_of({elsewhere, use_of("GPU-a", 1), use_of("GPU-a", 1), other});
  EXPECT_EQ(text.find("device: ranks 1 and 3 are on GPU-a in different processes, must be threads of one"), 0u) << text;
  DeviceUse mine = use_of("GPU-a", 1);
  mine.mps = true;
  EXPECT_NE(refusal_of({mine, other}), "") << "MPS on one side only";
  other.mps = true;
  EXPECT_EQ(refusal_of({mine, other}), "");
  other.device_sms = 40;  // MPS shows a process a part of the device
  mine.sms = other.sms = 21;
  EXPECT_NE(refusal_of({mine, other}).find("must be at most 40 in all"), std::string::npos);
  EXPECT_NE(refusal_of({other, mine}).find("must be at most 40 in all"), std::string::npos);
  EXPECT_EQ(refusal_of({elsewhere, use_of("GPU-a", 1)}), "");
}

// Kernels of two ranks in one queue wait for each other until the deadline.
TEST(DeviceUse, EachRankHasAQueueOfItsProcess) {
  std::vector<DeviceUse> uses(kQueues, use_of("GPU-a", 1));
  EXPECT_EQ(refusal_of(uses), "");
  uses.push_back(use_of("GPU-b", 1));
  EXPECT_EQ(refusal_of(uses), "") << "another GPU has its own";
  uses.push_back(use_of("GPU-a", 1));
  EXPECT_EQ(refusal_of(uses),
            "device: 4 ranks of one process on a GPU, must be at most 3: CUDA_DEVICE_MAX_CONNECTIONS, "
            "which is 8 unless it was set before CUDA starts, and at most 32");
  for (DeviceUse& use : uses) use.mps = true;
  uses.back().process = {101, 9};
  EXPECT_EQ(refusal_of(uses), "") << "another process has its own";
}

TEST(DeviceUse, QueuesAreThoseOfTheEnvironment) {
  constexpr const char* kName = "CUDA_DEVICE_MAX_CONNECTIONS";
  const char* const set = std::getenv(kName);
  const std::string before = set == nullptr ? "" : set;
  for (const auto& [text, queues] : {std::pair{"1", 1u}, {"32", 32u}, {"64", 32u}, {"0", 8u}, {"many", 8u}, {"", 8u}}) {
    setenv(kName, text, 1);
    EXPECT_EQ(device_queues(), queues) << text;
  }
  unsetenv(kName);
  EXPECT_EQ(device_queues(), 8u);
  if (set != nullptr) setenv(kName, before.c_str(), 1);
}

TEST(DeviceReservation, RanksOfAllGroupsHaveAQueue) {
  const std::vector<DeviceUse> first{use_of("GPU-d", 1, 11), use_of("GPU-d", 1, 12)};
  const std::vector<DeviceUse> second{use_of("GPU-d", 1, 21), use_of("GPU-d", 1, 22)};
  {
    const DeviceReservation rank0(first, first[0]), rank1(first, first[1]);
    EXPECT_EQ(refusal_to_reserve(second).find("device: 4 ranks of one process on a GPU, must be at most 3"), 0u);
    EXPECT_EQ(refusal_to_reserve({second[0]}), "");
  }
  EXPECT_EQ(refusal_to_reserve(second), "");
}

TEST(DeviceReservation, GroupsOfAProcessFitTogether) {
  const std::vector<DeviceUse> first{use_of("GPU-a", 50, 11), use_of("GPU-a", 50, 12), use_of("GPU-b", 50, 13)};
  const std::vector<DeviceUse> second{use_of("GPU-a", 33, 21)}, small{use_of("GPU-a", 32, 31)};
  {
    std::optional<DeviceReservation> rank0(DeviceReservation(first, first[0])),
        rank1(DeviceReservation(first, first[1]));
    EXPECT_EQ(refusal_to_reserve(second),
              "sms: 33, 33 in all of this group's ranks on a GPU, must be at most 32: other groups of this process "
              "hold 100 of its 132");
    EXPECT_EQ(refusal_to_reserve(small), "");
    EXPECT_EQ(refusal_to_reserve({use_of("GPU-b", 132, 41)}), "") << "of a device where nobody is";
    rank0.reset();  // a group holds all until its last rank lets go
    EXPECT_NE(refusal_to_reserve(second), "");
    rank1->release();
    rank1->release();
    EXPECT_EQ(refusal_to_reserve(second), "");
  }
  EXPECT_EQ(refusal_to_reserve(second), "");
}

// Whoever comes first has room for all of its group, and a reservation that moves is held once.
TEST(DeviceReservation, IsTheWholeGroups) {
  const std::vector<DeviceUse> first{use_of("GPU-c", 66, 11), use_of("GPU-c", 66, 12)};
  const std::vector<DeviceUse> second{use_of("GPU-c", 1, 21)};
  DeviceReservation reservation;
  reservation = DeviceReservation(first, first[0]);
  EXPECT_NE(refusal_to_reserve(second).find("must be at most 0: other groups of this process hold 132"),
            std::string::npos);
  DeviceReservation there(std::move(reservation));
  reservation.release();
  EXPECT_NE(refusal_to_reserve(second), "");
  DeviceUse of_a_part = second[0];  // MPS shows a process a part of the device
  of_a_part.device_sms = 40;
  EXPECT_NE(refusal_to_reserve({of_a_part}).find("must be at most 0: other groups of this process hold 132 of its 40"),
            std::string::npos);
  there = DeviceReservation();
  EXPECT_EQ(refusal_to_reserve(second), "");
}

}  // namespace
}  // namespace transload
