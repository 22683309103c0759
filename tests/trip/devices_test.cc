// What is refused, or promised, of ranks on GPUs alone.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/support/team.h"
#include "transport/scaleup/nvlink/device_info.h"

namespace transload::test {
namespace {

uint32_t sms_of_gpu() { return find_devices().devices.at(0).sms; }

World one_rank() {
  World w;
  w.node_sizes = {1};
  w.tokens = {12};
  return w;
}

std::string refusal_of(const GroupOptions& options) {
  try {
    const Group group(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument) << error.what();
    return error.what();
  }
  return "";
}

// Two groups of this process take no more SMs than the GPU has; the first is none the worse for the second's refusal.
TEST(Devices, GroupsFitTogether) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  const World w = one_rank();
  const reference::Problem problem = problem_of(w);
  const uint32_t sms = sms_of_gpu();
  Rendezvous rendezvous;
  GroupOptions large = options_of(w, 0, rendezvous.port(), "large");
  GroupOptions small = options_of(w, 0, rendezvous.port(), "small");
  large.sms = sms - 1;
  small.sms = 2;
  {
    Group group(large);
    const std::string text = refusal_of(small);
    EXPECT_EQ(text.find("sms: 2, 2 in all of this group's ranks on a GPU, must be at most 1: other groups of this "
                        "process hold " +
                        std::to_string(sms - 1)),
              0u)
        << text;
    Member(w, problem, group).pass(Pass{}, 1);
    small.sms = 1;
    Group beside(small);
    Member(w, problem, beside).pass(Pass{}, 2);
    Member(w, problem, group).pass(Pass{}, 3);
  }
  small.sms = sms;
  Group alone(small);
  Member(w, problem, alone).pass(Pass{}, 4);
}

// Ranks of one group on one GPU: all of them are told, alike.
TEST(Devices, RanksFitTogether) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = one_rank();
  w.node_sizes = {2};
  const uint32_t sms = sms_of_gpu() / 2 + 1;
  Rendezvous rendezvous;
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < 2; ++r)
    ranks.emplace_back([&, r] {
      GroupOptions options = options_of(w, r, rendezvous.port());
      options.device = {kDLCUDA, 0};
      options.sms = sms;
      const std::string text = refusal_of(options);
      EXPECT_EQ(text.find("sms: " + std::to_string(sms) + " on each of the ranks 0, 1 of one GPU, must be at most "),
                0u)
          << text;
    });
  for (std::thread& t : ranks) t.join();
}

}  // namespace
}  // namespace transload::test
