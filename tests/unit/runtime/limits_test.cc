// What limits() tells is what holds: on a bound a group is taken, beyond it refused by name, value and bound.
#include "transload/limits.h"

#include <gtest/gtest.h>

#include <functional>

#include "runtime/call/check_inputs.h"
#include "tests/support/refusal.h"

namespace transload {
namespace {

std::string refusal_of(const std::function<void(GroupOptions&)>& change) {
  GroupOptions options;
  options.topology.node_sizes = {1};
  options.experts = 1;
  change(options);
  options.bootstrap.ranks = options.topology.ranks();
  return test::refusal([&] { check_options(options); });
}

void holds(const char* argument, uint64_t most, const std::function<void(GroupOptions&, uint64_t)>& set) {
  EXPECT_EQ(refusal_of([&](GroupOptions& o) { set(o, most); }), "") << argument;
  const std::string refusal = refusal_of([&](GroupOptions& o) { set(o, most + 1); });
  EXPECT_NE(refusal.find(argument), std::string::npos) << refusal;
  EXPECT_NE(refusal.find(std::to_string(most + 1)), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("to " + std::to_string(most)), std::string::npos) << refusal;
}

// Contract 7.1, 7.3, 7.6.
TEST(Limits, HoldAsTold) {
  const Limits most = limits();
  EXPECT_EQ(most.ranks_max, 4096u);
  EXPECT_EQ(most.top_k_max, 32u);
  EXPECT_EQ(most.token_bytes_unit, 16u);
  holds("node_sizes: ranks", most.ranks_max, [](GroupOptions& o, uint64_t n) {
    o.topology.node_sizes.assign(n / 8, 8);
    if (n % 8 != 0) o.topology.node_sizes.push_back(uint32_t(n % 8));
  });
  holds("node_sizes", most.node_size_max, [](GroupOptions& o, uint64_t n) { o.topology.node_sizes = {uint32_t(n)}; });
  holds("top_k_max", most.top_k_max, [](GroupOptions& o, uint64_t n) { o.top_k_max = uint32_t(n); });
  holds("channels", most.channels_max, [](GroupOptions& o, uint64_t n) { o.channels = uint32_t(n); });
  holds("slots", most.slots_max, [](GroupOptions& o, uint64_t n) { o.slots = uint32_t(n); });
  holds("tokens_max", most.tokens_max, [](GroupOptions& o, uint64_t n) { o.tokens_max = n; });
  holds("row_bytes_max", most.token_bytes_max, [](GroupOptions& o, uint64_t n) { o.row_bytes_max = n; });
}

// A small node beside a large one: each rank of it is the rail of many.
TEST(Limits, OfStreamsBetweenPeers) {
  EXPECT_EQ(refusal_of([](GroupOptions& o) { o.topology.node_sizes = {45, 1}; }), "");
  EXPECT_EQ(refusal_of([](GroupOptions& o) {
              o.topology.node_sizes = {46, 1};
            }),
            "topology.node_sizes: streams between peers (streams x largest node): 4232, must be 1 to 4096");
}

TEST(Limits, OfTheDeadlineForMakingAGroup) {
  for (const uint32_t ms : {0, 50, 86'400'000}) {
    EXPECT_EQ(refusal_of([&](GroupOptions& o) { o.create_deadline_ms = ms; }), "");
  }
  for (const uint32_t ms : {1, 49, 86'400'001}) {
    EXPECT_EQ(refusal_of([&](GroupOptions& o) { o.create_deadline_ms = ms; }),
              "create_deadline_ms: " + std::to_string(ms) + ", must be 50 to 86400000");
  }
}

}  // namespace
}  // namespace transload
