// The list of a group's options: each one is checked against its own bounds, and found by its name.
#include "runtime/group_options.h"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>

#include "runtime/call/check_inputs.h"
#include "runtime/choices.h"
#include "tests/support/refusal.h"

namespace transload::test {
namespace {

GroupOptions good_options() {
  GroupOptions options;
  options.topology.node_sizes = {1};
  options.slots = uint32_t(option_facts("slots").most);  // room for every rail_batch
  options.bootstrap.ranks = 1;
  return options;
}

std::string refusal_of(const GroupOptions& options) {
  return refusal([&] { check_options(options); });
}
// Why options are refused in which the option of that name has this value; "" if they are not.
std::string refusal_of(const std::string& name, uint64_t value) {
  GroupOptions options = good_options();
  for_each_option(options, [&](const OptionFacts& facts, auto& field) {
    if (facts.name == name) field = std::remove_reference_t<decltype(field)>(value);
  });
  return refusal_of(options);
}

TEST(GroupOptions, EachHasItsBounds) {
  uint32_t seen = 0;
  const GroupOptions options = good_options();
  for_each_option(options, [&](const OptionFacts& facts, const auto& field) {
    ++seen;
    const std::string name = facts.name;
    EXPECT_EQ(refusal_of(name, facts.least), "");
    EXPECT_EQ(refusal_of(name, facts.most), "");
    const std::string bound = ", must be " + std::to_string(facts.least) + " to " + std::to_string(facts.most);
    EXPECT_EQ(refusal_of(name, facts.most + 1), name + ": " + std::to_string(facts.most + 1) + bound);
    if (facts.least > 0) {
      EXPECT_EQ(refusal_of(name, 0), facts.zero_too ? "" : name + ": 0" + bound);
    }
    if (facts.unit > 1) {
      EXPECT_EQ(refusal_of(name, facts.least + 1), name + ": " + std::to_string(facts.least + 1) +
                                                       ", must be a multiple of " + std::to_string(facts.unit));
    }
    EXPECT_TRUE(uint64_t(field) >= facts.least || facts.zero_too) << name << ": its default is out of bounds";
    EXPECT_EQ(option_facts(name).most, facts.most);
  });
  EXPECT_GE(seen, 12u);
}

// Its bound follows from another option, given or chosen.
TEST(GroupOptions, APutHoldsHalfARingAtMost) {
  GroupOptions options = good_options();
  const auto refused = [&](uint32_t slots, uint32_t rows, DLDeviceType device) -> std::string {
    options.slots = slots;
    options.rail_batch = rows;
    options.device.device_type = device;
    return refusal_of(options);
  };
  EXPECT_EQ(refused(16, 8, kDLCPU), "");
  EXPECT_EQ(refused(16, 9, kDLCPU), "rail_batch: 9, must be 1 to 8");
  EXPECT_EQ(refused(1, 1, kDLCPU), "");
  EXPECT_EQ(refused(1, 2, kDLCPU), "rail_batch: 2, must be 1 to 1");
  EXPECT_EQ(refused(0, 2, kDLCUDA), "");
  EXPECT_EQ(refused(0, 3, kDLCUDA), "rail_batch: 3, must be 1 to 2");
  EXPECT_EQ(refused(2, 0, kDLCUDA), "");
}

// A command costs a proxy time, an entry of a NIC's queue nobody.
TEST(GroupOptions, APutHoldsWhatSuitsItsCarrier) {
  const auto rows = [](uint32_t slots, uint32_t asked, bool by_queues) {
    GroupOptions options;
    options.topology.node_sizes = {8, 8};
    options.device.device_type = kDLCUDA;
    options.slots = slots;
    options.rail_batch = asked;
    complete(options);
    EXPECT_EQ(options.rail_batch, asked) << "who carries it is not known yet";
    return rail_batch_of(options, by_queues);
  };
  EXPECT_EQ(rows(0, 0, false), 4u);
  EXPECT_EQ(rows(0, 0, true), 1u);
  EXPECT_EQ(rows(1, 0, false), 1u);
  EXPECT_EQ(rows(64, 0, false), 16u);
  EXPECT_EQ(rows(64, 0, true), 1u);
  for (const bool by_queues : {false, true}) EXPECT_EQ(rows(16, 3, by_queues), 3u);
}

TEST(GroupOptions, MemoryOfAGpuIsOfRanksThere) {
  GroupOptions options = good_options();
  const auto refused = [&](NetworkMemoryChoice memory, DLDeviceType device) -> std::string {
    options.network_memory = memory;
    options.device.device_type = device;
    return refusal_of(options);
  };
  EXPECT_EQ(refused(NetworkMemoryChoice::kGpu, kDLCUDA), "");
  EXPECT_EQ(refused(NetworkMemoryChoice::kGpu, kDLCPU),
            "network_memory: gpu, must be auto or pinned where ranks are on the CPU");
  EXPECT_EQ(refused(NetworkMemoryChoice::kPinned, kDLCPU), "");
  EXPECT_EQ(refused(NetworkMemoryChoice(9), kDLCUDA), "network_memory: 9, must be auto, gpu or pinned");
}

TEST(GroupOptions, ARankHasOneNic) {
  GroupOptions options = good_options();
  options.nic = "mlx5_0";
  check_options(options);
  for (const char* const several : {"mlx5_0,mlx5_1", "mlx5_0;mlx5_1", "mlx5_0|mlx5_1", "mlx5_0:1", "mlx5_0 mlx5_1"}) {
    options.nic = several;
    EXPECT_EQ(refusal_of(options), "nic: \"" + options.nic +
                                       "\", must be the name of one NIC: on two a count could pass the " +
                                       "bytes that it speaks of");
  }
}

// Over several nodes rings are what a call waits for: a channel for each warp that sends, and more slots.
TEST(GroupOptions, ChannelsAndSlotsSuitNodesAndDevice) {
  const auto chosen = [](DLDeviceType device, std::vector<uint32_t> node_sizes) {
    GroupOptions options;
    options.device.device_type = device;
    options.sms = 16;
    options.topology.node_sizes = std::move(node_sizes);
    complete(options);
    return std::vector<uint32_t>{options.channels, options.slots, options.peer_slots};
  };
  EXPECT_EQ(chosen(kDLCUDA, {8}), (std::vector<uint32_t>{256, 4, 1}));
  EXPECT_EQ(chosen(kDLCUDA, {8, 8}), (std::vector<uint32_t>{64, 16, 1}));
  EXPECT_EQ(chosen(kDLCPU, {8}), (std::vector<uint32_t>{4, 16, 16}));
  EXPECT_EQ(chosen(kDLCPU, {8, 8}), (std::vector<uint32_t>{4, 16, 16}));
}

TEST(GroupOptions, LimitsAreTheBounds) {
  const Limits most = limits();
  EXPECT_EQ(refusal_of("channels", most.channels_max), "");
  EXPECT_NE(refusal_of("channels", most.channels_max + 1), "");
  EXPECT_EQ(refusal_of("row_bytes_max", most.token_bytes_max), "");
  EXPECT_NE(refusal_of("row_bytes_max", most.token_bytes_max + most.token_bytes_unit), "");
}

TEST(Choices, AWordForEachValue) {
  EXPECT_EQ(all_choices<Landing>(), "auto, direct or ring");
  EXPECT_EQ(all_choices<Overflow>(), "fail or drop");
  EXPECT_EQ(choice_of<CombineSource>("push"), CombineSource::kPush);
  EXPECT_EQ(choice_of<CombineSource>("pushed"), std::nullopt);
  EXPECT_STREQ(word_of(CombineWire::kF32), "fp32");
  EXPECT_STREQ(word_of(ScaleOutChoice(9)), "?");
}

}  // namespace
}  // namespace transload::test
