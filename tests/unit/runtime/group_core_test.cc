// The core of a group, made without a host: its rails agree at both ends, and a fault stays.
#include "runtime/group_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "runtime/combine_call.h"
#include "runtime/dispatch_call.h"
#include "runtime/fault.h"
#include "support/plain_memory.h"

namespace transload::test {
namespace {

using PlainCore = GroupCore<PlainWarp::Warp>;

// Runs nothing: says how a run is to end.
struct IdleCrew final : Crew<PlainWarp::Warp> {
  bool run(const std::vector<Task>&) override { return runs_end_well; }
  bool finish_network() override { return true; }
  void note(uint64_t, Phase, uint64_t) override {}
  [[noreturn]] void fail(const char* operation) override {
    core->poison(fault_of({FaultKind::kLost, 1, "gone"}, {0, operation, 5'000'000, true},
                          {true, Role::kForwarder, 3, Waiting::kTokens, 2, 7, 9, 0}));
  }
  bool runs_end_well = true;
  PlainCore* core = nullptr;
};

GroupOptions options_of(const std::vector<uint32_t>& node_sizes, uint32_t rank) {
  GroupOptions options;
  options.topology.node_sizes = node_sizes;
  options.bootstrap.rank = rank;
  options.bootstrap.ranks = std::accumulate(node_sizes.begin(), node_sizes.end(), 0u);
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096;
  return options;
}

struct Cores {
  explicit Cores(const std::vector<uint32_t>& node_sizes) {
    for (uint32_t rank = 0; rank == 0 || rank < all[0]->map.ranks; ++rank)
      all.push_back(std::make_unique<PlainCore>(options_of(node_sizes, rank), crew));
  }
  IdleCrew crew;
  std::vector<std::unique_ptr<PlainCore>> all;
};

const std::vector<std::vector<uint32_t>> kTopologies = {{1}, {4}, {2, 2}, {3, 5}, {5, 2, 1}, {1, 1, 1}};

// Contract 7.8.
TEST(GroupCore, BothEndsOfARailAgree) {
  for (const auto& sizes : kTopologies) {
    const Cores cores(sizes);
    for (const auto& core : cores.all) {
      for (uint32_t n = 0; n < core->map.nodes; ++n) {
        const Counterpart rail = core->rails[n];
        EXPECT_EQ(rail.rank == kNobody, n == core->map.node);
        if (rail.rank == kNobody) continue;
        const Counterpart back = cores.all[rail.rank]->sources[rail.index];
        EXPECT_EQ(back.rank, core->map.me);
        EXPECT_EQ(back.index, n);
        EXPECT_EQ(cores.all[rail.rank]->map.node, n);
      }
    }
  }
}

TEST(GroupCore, NeighboursAreMutual) {
  for (const auto& sizes : kTopologies) {
    const Cores cores(sizes);
    for (bool mapped : {false, true}) {
      for (const auto& core : cores.all) {
        const std::vector<uint32_t> mine = core->neighbours(mapped);
        EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
        EXPECT_EQ(mine.size(), core->map.peers - 1 + (mapped ? core->counterparts().size() : 0));
        for (uint32_t r : mine) {
          const std::vector<uint32_t> theirs = cores.all[r]->neighbours(mapped);
          EXPECT_TRUE(std::binary_search(theirs.begin(), theirs.end(), core->map.me));
        }
      }
    }
  }
}

// Contract 8.9.
TEST(GroupCore, EveryCallAfterAFaultThrowsIt) {
  IdleCrew crew;
  PlainCore core(options_of({1}, 0), crew);
  crew.core = &core;
  std::vector<char> memory(core.network_bytes() + core.scale_up_bytes() + 4096 + 128);
  Place place;
  place.network = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
  place.scale_up = {place.network + core.network_bytes()};
  place.arena = std::make_shared<Arena>(place.scale_up[0] + core.scale_up_bytes(), 4096, nullptr);
  core.place(place);
  EXPECT_TRUE(core.lease(64).registered());
  EXPECT_NO_THROW(core.run({}, "dispatch", true));
  crew.runs_end_well = false;
  std::string first;
  try {
    core.run({}, "dispatch", true);
    FAIL() << "no fault";
  } catch (const Error& error) {
    first = error.what();
    EXPECT_EQ(error.code(), Code::kFault);
  }
  EXPECT_EQ(first,
            "rank 1 is lost (gone); rank 0 was in dispatch as forwarder of channel 3 and waited for tokens of rank 2, "
            "seen 7 of 9, after 5 ms");
  for (int call = 0; call < 2; ++call) {
    try {
      call == 0 ? void(core.dispatch({})) : void(core.combine({}));
      FAIL() << "no fault";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), first);
    }
  }
  EXPECT_FALSE(core.lease(64).registered());
}

TEST(Fault, WithoutAVerdictWhoWasWaitedForIsOutOfReach) {
  const WaitRecord wait{true, Role::kSender, 1, Waiting::kCredit, 6, 1, 2, 0};
  const Fault in_call = fault_of({}, {4, "combine", 0, true}, wait);
  EXPECT_EQ(in_call.kind, FaultKind::kUnreachable);
  EXPECT_EQ(in_call.culprit_rank, 6u);
  EXPECT_EQ(in_call.waiting_for, "credit of rank 6");
  const Fault outside = fault_of({}, {4, "create", 0, false}, wait);
  EXPECT_EQ(outside.culprit_rank, 6u);
  EXPECT_EQ(outside.waiting_for, "");
  EXPECT_EQ(fault_of({}, {4, "combine", 0, true}, {}).culprit_rank, 4u);
}

TEST(Fault, ABrokenPromiseNamesBothRanks) {
  EXPECT_EQ(text_of({Role::kNotify, -1, Broken::kTopK, 3, 8, 4}, 1), "top-k: 8 on rank 3, 4 on rank 1");
  EXPECT_EQ(text_of({Role::kForwarder, 3, Broken::kLanes, 1, 5, 0}, 1),
            "lanes: rank 1 (forwarder, channel 3) calls a verb with other arguments in lane 5 of a warp than in 0");
  EXPECT_EQ(text_of({Role::kSender, 0, Broken::kBounds, 1, 4096, 64}, 1),
            "bounds: rank 1 (sender, channel 0) stores 64 bytes at 4096, outside all memory that it may write");
}

}  // namespace
}  // namespace transload::test
