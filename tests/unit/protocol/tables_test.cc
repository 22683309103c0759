// Near memory of a warp: each role takes what it says, to the byte, at its highest.
#include "protocol/tables.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <vector>

#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/call/grants.h"
#include "runtime/host/combine_call.h"
#include "runtime/host/dispatch_call.h"
#include "tests/support/plain_memory.h"

namespace transload::test {
namespace {

// A rank that has failed before it began: roles make their tables, and nothing waits or moves.
struct FailedMemory : PlainMemory {
  bool failed(int) const { return true; }
};
using FailedWarp = WarpOver<FailedMemory>;
using Core = HostCalls<FailedWarp::Warp>;

struct NoCrew final : Crew<FailedWarp::Warp> {
  bool run(const std::vector<Task>&) override { return true; }
  bool finish_network() override { return true; }
  void set_deadline(uint32_t) override {}
  void note(uint64_t, Phase, uint64_t) override {}
  [[noreturn]] void fail(const char*) override { std::abort(); }
  [[noreturn]] void give_up(const char*, const std::string&) override { std::abort(); }
};

GroupOptions options_of(const std::vector<uint32_t>& node_sizes, uint32_t rank) {
  GroupOptions options;
  options.topology.node_sizes = node_sizes;
  options.bootstrap.rank = rank;
  options.bootstrap.ranks = std::accumulate(node_sizes.begin(), node_sizes.end(), 0u);
  options.experts = options.bootstrap.ranks;
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096;
  return options;
}

// One rank with memory of its own; the memory of others is never looked at.
struct RankWithTrips {
  RankWithTrips(const std::vector<uint32_t>& node_sizes, uint32_t rank) : core(options_of(node_sizes, rank), crew) {
    memory.resize(core.network_bytes() + core.scale_up_bytes() + 4096 + 128);
    Mappings place;
    place.network = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
    place.scale_up.assign(core.map.peers, {place.network + core.network_bytes(), core.scale_up_bytes() + 4096});
    place.arena = std::make_shared<Arena>(place.scale_up[0].base + core.scale_up_bytes(), 4096, nullptr);
    core.reserve();
    core.place(std::move(place));
    call.board = &core.board;
    call.card_bytes = &call.card;
    call.card.epoch = 1;
    call.card.channels = 2;
    call.card.operation = Operation::kDispatch;
    call.grants = core.grants.data();
    call.grant_bytes = core.grant_bytes();
    call.arrivals = &arrivals;
    call.claims = claims;
    call.arrivals_expected = 1;
  }
  DispatchTrip dispatch() {
    DispatchTrip t{};
    t.call = call;
    t.shape = {64, 0, 8, true};
    t.up_positions = core.dispatch_up.view();
    t.rail_positions = core.dispatch_rail.view();
    t.handle.row_base = row_base.data();
    return t;
  }
  CombineTrip combine() {
    CombineTrip t{};
    t.call = call;
    t.up_positions = core.combine_up.view();
    t.rail_positions = core.combine_rail.view();
    return t;
  }
  NoCrew crew;
  Core core;
  std::vector<char> memory;
  std::vector<uint64_t> row_base = std::vector<uint64_t>(core.map.ranks + 1);
  Call call{};
  Word arrivals = 0, claims[kClaims] = {};
};

uint64_t taken(const std::function<void(FailedWarp::Warp&)>& role) {
  FailedWarp warp;
  role(*warp);
  return round_up((*warp).most_used(), 16);
}

TEST(Tables, EachRoleTakesWhatItSays) {
  for (const auto& sizes :
       std::vector<std::vector<uint32_t>>{{1}, {8}, {2, 2}, {3, 5}, {5, 2, 1}, {1, 1, 1, 1}, {9, 1}})
    for (uint32_t rank = 0; rank < std::accumulate(sizes.begin(), sizes.end(), 0u); ++rank) {
      RankWithTrips mine(sizes, rank);
      const RankMap& map = mine.core.map;
      const DispatchTrip d = mine.dispatch();
      const CombineTrip c = mine.combine();
      SCOPED_TRACE("rank " + std::to_string(rank) + " of " + std::to_string(map.ranks) + " on " +
                   std::to_string(map.nodes) + " nodes");
      EXPECT_EQ(taken([&](auto& w) { run_dispatch_sender(w, d); }), dispatch_sender_tables_bytes(map));
      EXPECT_EQ(taken([&](auto& w) { run_dispatch_forwarder(w, d); }), dispatch_forwarder_tables_bytes(map));
      EXPECT_EQ(taken([&](auto& w) { run_dispatch_receiver(w, d); }), dispatch_receiver_tables_bytes(map));
      EXPECT_EQ(taken([&](auto& w) { run_combine_sender(w, c); }), combine_sender_tables_bytes(map));
      EXPECT_EQ(taken([&](auto& w) { run_combine_forwarder(w, c); }), combine_forwarder_tables_bytes(map));
      EXPECT_EQ(taken([&](auto& w) { run_combine_receiver(w, c); }), combine_receiver_tables_bytes(map));
      const NotifyTrip n{mine.call, 1, mine.core.counts_to_peers.data(), mine.core.counts_to_nodes.data(), 2};
      DispatchTrip direct = d;
      direct.direct = true;
      const std::function<void(FailedWarp::Warp&)> waiters[] = {
          [&](auto& w) { run_notify(w, n); }, [&](auto& w) { open_call(w, mine.call); },
          [&](auto& w) { close_call(w, mine.call); }, [&](auto& w) { grant_call(w, mine.call); },
          [&](auto& w) { run_dispatch_receiver(w, direct); }};
      for (const auto& role : waiters) EXPECT_LE(taken(role), wait_tables_bytes(map));
      EXPECT_EQ(mine.core.near_bytes(), most_tables_bytes(map));
    }
}

}  // namespace
}  // namespace transload::test
