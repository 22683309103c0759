// What a group lends where its slabs have no room: the heap on the CPU, nothing on a GPU. Where its memory lies, and
// how much it is.
#include "runtime/rank_state.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

constexpr size_t kSlabBytes = 4096;

GroupOptions options_on(DLDeviceType type) {
  GroupOptions o;
  o.topology.node_sizes = {1};
  o.device = {type, 0};
  return o;
}

class RankWithSlab {
 public:
  explicit RankWithSlab(DLDeviceType type) : plan(options_on(type)), bytes_(new char[kSlabBytes]) {
    plan.arena = std::make_shared<Arena>(bytes_.get(), kSlabBytes, nullptr);
  }
  RankState plan;

 private:
  std::unique_ptr<char[]> bytes_;
};

// A place for each peer and one for leases; and of ranks that are reached directly, for all or for none.
TEST(RankStateDeathTest, TakesNoHalfOfAPlace) {
  GroupOptions options = options_on(kDLCPU);
  options.topology.node_sizes = {2, 1};
  options.bootstrap.ranks = 3;
  std::vector<char> memory(64);
  const Mappings whole{.network = memory.data(),
                       .scale_up = {{memory.data(), 64}, {memory.data(), 64}},
                       .mapped = {},
                       .arena = std::make_shared<Arena>(memory.data(), 64, nullptr)};
  Mappings few = whole, unlent = whole, some = whole;
  few.scale_up.pop_back();
  unlent.arena = nullptr;
  some.mapped.resize(2);
  RankState rank(options);
  EXPECT_DEATH(rank.place(few), "broken: given.scale_up.size");
  EXPECT_DEATH(rank.place(unlent), "broken: .*given.arena");
  EXPECT_DEATH(rank.place(some), "broken: given.mapped");
  rank.place(whole);
  EXPECT_EQ(rank.mapped_base.size(), 3u);
}

TEST(RankState, LendsTheHeapOnTheHost) {
  RankWithSlab slab(kDLCPU);
  const Lease most = slab.plan.lease(3072);
  EXPECT_TRUE(most.registered());
  const Lease more = slab.plan.lease(2048);
  EXPECT_FALSE(more.registered());
  EXPECT_NE(more.data(), nullptr);
}

TEST(RankState, LendsNoHeapOnADevice) {
  RankWithSlab slab(kDLCUDA);
  Lease most = slab.plan.lease(3072);
  EXPECT_TRUE(most.registered());
  try {
    slab.plan.lease(2048);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kOutOfMemory);
    EXPECT_STREQ(
        error.what(),
        "slab_bytes: no room for a lease of 2048 bytes: the longest free stretch has 1024; the group is still usable");
  }
  most.release();
  EXPECT_TRUE(slab.plan.lease(2048).registered());
}

// Rings and counters are together what others reach, apart from the slabs.
TEST(RankState, TellsOfItsMemory) {
  GroupOptions options = options_on(kDLCPU);
  options.topology.node_sizes = {2, 1};
  options.bootstrap.ranks = 3;
  RankState rank(options);
  std::vector<char> slabs(kSlabBytes);
  rank.arena = std::make_shared<Arena>(slabs.data(), kSlabBytes, nullptr);
  const Lease lease = rank.lease(1024);
  const MemoryReport report = rank.memory();
  EXPECT_EQ(report.ring_bytes, rank.board.up.ring_bytes + rank.board.net.ring_bytes);
  EXPECT_EQ(report.ring_bytes + report.counter_bytes, rank.board.up.bytes + rank.board.net.bytes);
  EXPECT_GT(report.ring_bytes, 0u);
  EXPECT_GT(report.counter_bytes, 0u);
  EXPECT_EQ(report.slab_bytes, options.slab_bytes);
  EXPECT_EQ(report.leased_bytes, rank.arena->used());
  EXPECT_GE(report.leased_bytes, 1024u);
  EXPECT_STRNE(report.ring_formula, "");
}

TEST(RankState, ThrowsTheFaultOnADevice) {
  RankWithSlab slab(kDLCUDA);
  slab.plan.fault = Fault{};
  slab.plan.arena->close();
  try {
    slab.plan.lease(16);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kFault);
  }
}

// Known once the ranks have met, and shown.
TEST(RankState, SaysHowManyRowsAPutTakes) {
  const auto shown = [](uint32_t asked, bool by_queues) {
    GroupOptions options = options_on(kDLCUDA);
    options.slots = 16;
    options.rail_batch = asked;
    RankState rank(options);
    rank.choose_rail_batch(by_queues);
    EXPECT_EQ(rank.decisions.back().choice, std::to_string(rank.options.rail_batch));
    return rank.decisions.back().choice + ": " + rank.decisions.back().why;
  };
  EXPECT_EQ(shown(0, true), "1: an entry of a NIC's queue takes no thread's time");
  EXPECT_EQ(shown(0, false), "4: a proxy takes time for each command");
  EXPECT_EQ(shown(2, true), "2: asked for");
}

}  // namespace
}  // namespace transload
