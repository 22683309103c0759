// One word over every path while a group is made: who comes late is not blamed once it has come, and who does not is.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <functional>

#include "os/clock.h"
#include "tests/support/control_ranks.h"
#include "tests/support/group_without_calls.h"

namespace transload {
namespace {

constexpr uint32_t kPathsDeadlineMs = 30;
constexpr uint64_t kAfterItNs = (kPathsDeadlineMs + 20) * kMillisecondNs;

GroupOptions lone_rank_options(uint32_t rank, uint32_t ranks, uint16_t port) {
  GroupOptions options;
  options.bootstrap = meet::place(rank, ranks, port);
  options.topology.node_sizes.assign(ranks, 1);
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096;
  options.deadline_ms = meet::kDeadlineMs;
  return options;
}

// Does nothing but what the test wants done in a turn.
struct TurnedNetwork final : ScaleOut {
  std::string name() const override { return "turned"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put&) override {}
  void publish(RailWord, Word) override {}
  bool progress() override {
    turn();
    return false;
  }
  uint32_t busy_with() const override { return busy; }
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

  std::function<void()> turn;
  uint32_t busy = kNobody;
};

struct LoneRank final : test::GroupWithoutCalls {
  explicit LoneRank(const GroupOptions& options) : GroupWithoutCalls(options) { meet(); }
  void awaits(TurnedNetwork& network, std::vector<AwaitedPath> paths) {
    state_.options.create_deadline_ms = kPathsDeadlineMs;
    await_paths(network, std::move(paths));
  }
};

// Ranks that have met, and leave together. The first awaits; the others are in a gather.
void while_rank_0_awaits(uint32_t ranks, const std::function<void(LoneRank&)>& body) {
  RendezvousServer server({});
  meet::as_threads(ranks, [&](uint32_t rank) {
    LoneRank one(lone_rank_options(rank, ranks, server.port()));
    if (rank == 0) {
      body(one);
    } else {
      try {
        one.control->gather("ready");
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::kFault) << error.what();
      }
    }
    one.control->goodbye();
  });
}

TEST(AwaitPaths, WhoComesAfterTheDeadlineIsNotNamed) {
  while_rank_0_awaits(2, [](LoneRank& one) {
    Word word = 0;
    TurnedNetwork network;
    const uint64_t began = now_ns();
    network.turn = [&] { word = now_ns() - began > kAfterItNs; };
    EXPECT_NO_THROW(one.awaits(network, {{1, &word}}));
    ::usleep(600'000);  // a verdict would have come
    EXPECT_EQ(one.control->abort_word().load(), 0u);
    EXPECT_NO_THROW(one.control->gather("ready"));
  });
}

TEST(AwaitPaths, WhatIsHandedOverAfterTheDeadlineNamesNobody) {
  while_rank_0_awaits(2, [](LoneRank& one) {
    TurnedNetwork network;
    network.busy = 1;
    const uint64_t began = now_ns();
    network.turn = [&] {
      if (now_ns() - began > kAfterItNs) network.busy = kNobody;
    };
    EXPECT_NO_THROW(one.awaits(network, {}));
    ::usleep(600'000);
    EXPECT_EQ(one.control->abort_word().load(), 0u);
    EXPECT_NO_THROW(one.control->gather("ready"));
  });
}

// Of two that are late the first comes after all.
TEST(AwaitPaths, WhoDoesNotComeIsNamed) {
  while_rank_0_awaits(3, [](LoneRank& one) {
    Word first = 0;
    const Word second = 0;
    TurnedNetwork network;
    const uint64_t began = now_ns();
    network.turn = [&] { first = now_ns() - began > kAfterItNs; };
    const Fault fault = meet::fault_of([&] { one.awaits(network, {{1, &first}, {2, &second}}); });
    EXPECT_EQ(fault.culprit_rank, 2u) << fault.to_string();
    EXPECT_EQ(fault.operation, "create");
  });
}

// The word comes when the group has just been judged: that it came does not make the group.
TEST(AwaitPaths, WhatEndsWhenItIsJudgedHasNotSucceeded) {
  while_rank_0_awaits(2, [](LoneRank& one) {
    Word word = 0;
    TurnedNetwork network;
    network.turn = [&] {
      one.control->failed("the test's own reason");
      EXPECT_TRUE(meet::aborted(*one.control));
      word = 1;
    };
    EXPECT_EQ(meet::fault_of([&] { one.awaits(network, {{1, &word}}); }).kind, FaultKind::kFailed);
  });
}

}  // namespace
}  // namespace transload
