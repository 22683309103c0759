// What a caller may rely on between calls: handles, leases, several groups, bad input, threads, freeing.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "runtime/group_options.h"
#include "tests/support/given.h"
#include "tests/support/patience.h"
#include "tests/support/refusal.h"

namespace transload::test {
namespace {

// A handle outlives the next dispatches, is used twice, and with other channels than it was born with.
// Contract 5.1, 5.2.
TEST(Handles, OutliveLaterDispatches) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = world_of({2, 2}, {30});
  w.channels = 6;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 5);
    DispatchInputs in = given.in;
    in.channels = 4;
    const DispatchOutputs first = group.dispatch(in);
    Member(w, problem, group).pass(Pass{}, 77);  // other calls in between
    for (uint32_t channels : {1u, 6u, 3u}) {
      DispatchInputs again;
      again.x = in.x;
      again.handle = first.handle;
      again.channels = channels;
      again.landing = channels == 3 ? Landing::kRing : Landing::kAuto;
      const DispatchOutputs out = group.dispatch(again);
      ASSERT_EQ(out.rows, first.rows);
      ASSERT_EQ(std::memcmp(out.x.data, first.x.data, first.x.bytes()), 0)
          << "rank " << rank << ", channels " << channels;
    }
  });
}

// Dozens of leases at once, returned in another order; the landing falls back to the ring when they run out, and comes
// back.
TEST(Leases, RunOutOnOneRank) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = world_of({2, 2}, {30});
  w.slab_bytes = 64 << 10;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 9);
    const DispatchInputs in = given.in;
    std::vector<DispatchOutputs> held;
    bool fell_back = false;
    for (int i = 0; i < 24; ++i) {
      held.push_back(group.dispatch(in));
      fell_back |= held.back().landing == Landing::kRing;
      ASSERT_EQ(std::memcmp(held.back().x.data, held.front().x.data, held.front().x.bytes()), 0);
      if (rank != 0 && held.size() > 2) held.erase(held.begin() + 1);
    }
    EXPECT_EQ(fell_back, rank == 0);
    held.clear();
    EXPECT_EQ(group.memory().leased_bytes, 0u);
    EXPECT_EQ(group.dispatch(in).landing, Landing::kDirect);
  });
}

// Outputs stay readable after their group is gone.
// Contract 9.2.
TEST(Leases, OutliveTheirGroup) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = world_of({2, 2}, {30});
  const reference::Problem problem = problem_of(w);
  std::vector<DispatchOutputs> kept(w.ranks());
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 3);
    kept[rank] = group.dispatch(given.in);
  });
  for (uint32_t r = 0; r < w.ranks(); ++r) {
    const reference::Received want = reference::received_by(problem, r);
    for (size_t i = 0; i < want.source.size(); ++i)
      ASSERT_EQ(kept[r].x.as<uint16_t>()[i * w.columns], element(3, want.source[i].rank, want.source[i].token, 0));
  }
}

// Two groups in each rank, used at once by two threads.
TEST(Groups, TwoAtOnce) {
  World a = world_of({2, 2}, {30}), b = world_of({2, 2}, {30});
  b.node_sizes = {1, 3};
  b.columns = 40;
  b.seed = 2;
  b.scale_out = ScaleOutChoice::kLibfabric;
  std::thread other([&] { run_passes(b, std::vector<Pass>(5)); });
  run_passes(a, std::vector<Pass>(5));
  other.join();
}

// Some warps of rank 0 have ended a combine of one group, and the rest waits for the other node, while it makes all
// kinds of calls in another group, where it is alone: neither counts in the other's words.
TEST(Groups, OneCallsWhileAnotherWaits) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = world_of({2, 2}, {30});
  w.tokens = {6};                                           // no ring is ever full
  w.route = [](uint32_t rank, int64_t token, uint32_t k) {  // to the other node, each expert once
    return int32_t((rank < 2 ? 4 : 0) + (token + k) % 4);
  };
  World alone = w;
  alone.node_sizes = {1};
  const reference::Problem problem = problem_of(w), problem_alone = problem_of(alone);
  constexpr uint64_t kWaiting = 3;  // the epoch of that combine
  Progress progress{};              // of rank 0
  auto left = [&] { return progress.rows_total.load() - progress.rows.load(); };
  std::promise<void> over;
  const std::shared_future<void> called = over.get_future().share();
  std::thread other([&] {
    run_team(alone, [&](Group& group, uint32_t) {
      eventually([&] { return progress.epoch.load() >= kWaiting && left() <= 6; });
      EXPECT_EQ(progress.epoch.load(), kWaiting);
      EXPECT_EQ(left(), 6u);  // its own tokens
      Member(alone, problem_alone, group).pass(Pass{}, 7);
    });
    over.set_value();
  });
  Rendezvous rendezvous;
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      try {
        GroupOptions options = options_of(w, r, rendezvous.port());
        if (r == 0) options.progress = &progress;
        Group group(options);
        const Given given(w, problem, r, 3);
        const DispatchOutputs out = group.dispatch(given.in);
        CombineInputs back;
        back.x = out.x;
        back.handle = out.handle;
        const CombineOutputs before = group.combine(back);
        if (r >= 2) called.wait();
        const CombineOutputs after = group.combine(back);
        EXPECT_EQ(std::memcmp(after.x.data, before.x.data, before.x.bytes()), 0) << "rank " << r;
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << r << ": " << error.what();
      }
    });
  for (std::thread& t : ranks) t.join();
  other.join();
}

// Groups made one after another over one rendezvous, each freed while others are still used, in any order.
// Contract 9.1.
TEST(Groups, FreedInAnyOrder) {
  const World w = world_of({2, 2}, {30});
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      std::vector<std::unique_ptr<Group>> groups;
      for (const char* name : {"a", "b", "c"})
        groups.push_back(std::make_unique<Group>(options_of(w, r, rendezvous.port(), name)));
      for (uint32_t i : {0u, 1u, 2u}) Member(w, problem, *groups[i]).pass(Pass{}, i);
      groups[r % 3].reset();
      for (uint32_t i : {1u, 2u, 0u})
        if (i != r % 3) groups[i].reset();
    });
  for (std::thread& t : ranks) t.join();
}

// A rank that leaves early takes nothing with it: the others still get what it sent.
// Contract 9.1.
TEST(Groups, OneLeavesEarly) {
  World w = world_of({2, 2}, {30});
  w.slots = 64;
  w.scale_out = ScaleOutChoice::kLibfabric;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    if (rank != 2) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
}

// A rank frees its group as soon as its call has returned, before the other one has taken a row: all of them come.
// Contract 9.1.
TEST(Groups, FreedBeforeItsRowsAreTaken) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w;
  w.node_sizes = {1, 1};
  w.tokens = {512, 0};
  w.columns = 7168;
  w.slots = 512;  // for all tokens, so that their sender needs no credit
  w.channels = 1;
  w.slab_bytes = 64 << 20;
  w.scale_out = ScaleOutChoice::kLibfabric;
  w.route = [](uint32_t, int64_t, uint32_t k) { return int32_t(4 + k); };  // experts of rank 1
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  std::promise<void> freed;
  const auto rank_0 = [&](std::unique_ptr<Group> group, const Given& given) {
    group->dispatch(given.in);
    group.reset();
    freed.set_value();
  };
  const auto rank_1 = [&](std::unique_ptr<Group> group, const Given& given) {
    DispatchInputs in = given.in;
    in.room = [&](Output which, uint64_t bytes) {  // it knows its rows by now, and nobody has moved one
      if (which == Output::kX) freed.get_future().wait_for(std::chrono::milliseconds(300));
      return side_of(1).room(bytes);
    };
    const DispatchOutputs out = group->dispatch(in);
    const reference::Received want = reference::received_by(problem, 1);
    ASSERT_EQ(out.rows, int64_t(want.source.size()));
    for (size_t i = 0; i < want.source.size() * w.columns; ++i) {
      const reference::Source from = want.source[i / w.columns];
      ASSERT_EQ(out.x.as<uint16_t>()[i], element(7, from.rank, from.token, uint32_t(i % w.columns)));
    }
  };
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      try {
        auto group = std::make_unique<Group>(options_of(w, r, rendezvous.port()));
        const Given given(w, problem, r);
        r == 0 ? rank_0(std::move(group), given) : rank_1(std::move(group), given);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << r << ": " << error.what();
      }
    });
  for (std::thread& t : ranks) t.join();
}

// What a group has put lands in its own memory, never in that of the group which comes after it.
TEST(Groups, FreedAndMadeAgain) {
  World w = world_of({2, 2}, {30});
  w.node_sizes = {1, 1};
  w.scale_out = ScaleOutChoice::kLibfabric;
  const int times = on_gpus() ? 100 : 20;
  for (int i = 0; i < times && !testing::Test::HasFailure(); ++i) {
    w.seed = uint64_t(i) + 1;
    run_passes(w, {Pass{Landing::kRing, CombineSource::kPush}});
  }
}

// Contract 7.6.
TEST(BadInput, NamesArgumentValueAndBound) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = world_of({2, 2}, {30});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 1);
    const DispatchInputs good = given.in;
    auto refused = [&](const std::function<void(DispatchInputs&)>& spoil, const std::string& want,
                       Code code = Code::kInvalidArgument) {
      DispatchInputs in = good;
      spoil(in);
      const std::string got = refusal([&] { group.dispatch(in); }, code);
      EXPECT_NE(got.find(want), std::string::npos) << got;
    };
    refused([](auto& in) { in.x = Tensor{}; }, "x: not given");
    refused(
        [](auto& in) {
          in.x.shape[1] = 7;
          in.x.strides[0] = 7;
        },
        "x: 14 bytes a row, must be a positive multiple of 16");
    refused([](auto& in) { in.x.strides[0] = 9; }, "x: strides [9, 1], must be contiguous");
    refused([](auto& in) { in.x.device.device_type = kDLCUDA; }, "x: on cuda 0, must be on the CPU");
    refused([](auto& in) { in.topk_idx.dtype = kF32; }, "topk_idx: float32, must be int32 or int64");
    refused([](auto& in) { in.idx_type = kU8; }, "idx_type: uint8, must be int32 or int64");
    refused([](auto& in) { in.topk_weights.shape[0] = 3; }, "topk_weights: [3, 4], must be [30, 4]");
    refused([](auto& in) { in.channels = 99; }, "channels: 99, must be 0 to 2");
    refused([](auto& in) { in.expert_alignment = 0; }, "expert_alignment: 0, must be 1 to");
    refused([](auto& in) { in.rows_max = -1; }, "rows_max: -1, must be 0 to 120");
    refused([](auto& in) { in.rows_max = 121; }, "rows_max: 121, must be 0 to 120, the most rows that can come");
    refused(
        [&](auto& in) {
          in.rows_max = 9;
          in.out_x = matrix(in.x.data, 8, w.columns, kBf16);
        },
        "out_x: 8 rows, must be at least 9, rows_max");
    refused([](auto& in) { in.x.data = static_cast<char*>(in.x.data) + 2; }, "aligned to 16 bytes");
    CombineInputs combine;
    EXPECT_NE(refusal([&] { group.combine(combine); }).find("handle: not given"), std::string::npos);
    Member(w, problem, group).pass(Pass{}, 4);  // nothing moved, the group is as it was
    const DispatchOutputs out = group.dispatch(good);
    combine.handle = out.handle;
    combine.x = matrix(given.in.x.data, 1, w.columns, kBf16);
    ASSERT_NE(out.rows, 1);
    EXPECT_NE(refusal([&] { group.combine(combine); }).find("x: [1, 8], must be ["), std::string::npos);
    combine.x = matrix(given.in.x.data, out.rows, w.columns, kF32);
    EXPECT_NE(refusal([&] { group.combine(combine); }).find("must be bfloat16"), std::string::npos);
    combine.x = out.x;
    combine.out_topk_weights = matrix(given.in.x.data, 30, w.top_k, kF32);
    EXPECT_EQ(refusal([&] { group.combine(combine); }),
              "out_topk_weights: given, must be absent: no topk_weights are given");
    combine.topk_weights = out.topk_weights;
    --combine.out_topk_weights.shape[0];
    EXPECT_EQ(refusal([&] { group.combine(combine); }), "out_topk_weights: [29, 4], must be [30, 4]");
    combine.out_topk_weights = matrix(out.topk_weights.data, 30, w.top_k, kF32);
    EXPECT_EQ(refusal([&] { group.combine(combine); }),
              "out_topk_weights: over memory of topk_weights, must be apart from all inputs");
    Member(w, problem, group).pass(Pass{}, 5);
  });
}

// Contract 7.6.
TEST(BadInput, GroupOptions) {
  auto refused = [](const std::function<void(GroupOptions&)>& spoil, const std::string& want) {
    World w;
    w.tokens = {4};
    GroupOptions o = options_of(w, 0, 1);
    spoil(o);
    const std::string got = refusal([&] { Group group(o); });
    EXPECT_NE(got.find(want), std::string::npos) << got;
  };
  refused([](auto& o) { o.topology.node_sizes = {}; }, "topology.node_sizes: no node");
  refused([](auto& o) { o.topology.node_sizes = {1, 0}; }, "topology.node_sizes: 0");
  refused([](auto& o) { o.topology.node_sizes = {2}; }, "bootstrap.ranks: 1, must be 2");
  refused([](auto& o) { o.bootstrap.rank = 1; }, "bootstrap.rank: 1, must be below 1");
  refused([](auto& o) { o.top_k_max = 33; }, "top_k_max: 33, must be 1 to 32");
  refused([](auto& o) { o.row_bytes_max = 24; }, "row_bytes_max: 24, must be a multiple of 16");
  refused([](auto& o) { o.experts = 0; }, "experts: 0");
  refused(
      [](auto& o) {
        o.expert_owner = {0, 9};
        o.experts = 2;
      },
      "expert_owner: 9, must be a rank below 1");
  refused([](auto& o) { o.slots = 65537; }, "slots: 65537, must be 1 to 65536");
  refused([](auto& o) { o.channels = 5000; }, "channels: 5000");
}

// Options that differ between ranks are refused on all of them alike: every one of the list.
// Contract 7.6.
TEST(BadInput, OptionsThatDiffer) {
  const World w = world_of({2, 2}, {30});
  const auto differs = [&w](const std::string& name, const std::function<void(GroupOptions&)>& change) {
    Rendezvous rendezvous;
    std::vector<std::thread> ranks;
    for (uint32_t r = 0; r < w.ranks(); ++r)
      ranks.emplace_back([&, r] {
        GroupOptions o = options_of(w, r, rendezvous.port());
        if (r == 2) change(o);
        const std::string got = refusal([&] { Group group(o); });
        EXPECT_NE(got.find("rank 0 has " + name + " "), std::string::npos) << got;
        EXPECT_NE(got.find(", but rank 2 has " + name + " "), std::string::npos) << got;
      });
    for (std::thread& t : ranks) t.join();
  };
  GroupOptions listed = options_of(w, 0, 1);
  for_each_option(listed, [&](const OptionFacts& facts, auto&) {
    const auto other = [&facts](GroupOptions& o) {
      for_each_option(o, [&facts](const OptionFacts& here, auto& value) {
        using Value = std::remove_reference_t<decltype(value)>;
        const uint64_t next = value + facts.unit, other = next < facts.least || next > facts.most ? facts.most : next;
        if (facts.name == std::string(here.name)) value = Value(other);
      });
    };
    if (on_gpus() && std::string(facts.name) != "slots") return;  // the GPU itself refuses some first
    if (facts.alike) differs(facts.name, other);
  });
  differs("combine_wire", [](GroupOptions& o) { o.combine_wire = CombineWire::kBf16; });
  differs("network_memory", [](GroupOptions& o) { o.network_memory = NetworkMemoryChoice::kPinned; });
}

// Contract 7.7.
TEST(BadInput, ExpertIdsOutOfRangeCountAsNone) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = world_of({2, 2}, {30});
  w.route = [&](uint32_t rank, int64_t token, uint32_t k) {
    return rank == 1 && token == 3 && k == 2 ? 1000 : int32_t((token + k) % 8);
  };
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 1);
    const DispatchOutputs out = group.dispatch(given.in);
    EXPECT_EQ(out.status.code, rank == 1 ? Code::kBadExpertId : Code::kOk);
    EXPECT_EQ(out.status.message, rank == 1 ? "topk_idx: 1000 at token 3, slot 2, must be -1 to 7; counted as -1" : "");
    Member(w, problem, group).pass(Pass{}, 2);
  });
}

// Memory of the caller: for rows that pass the ring, and in a lease for rows that land directly; too small is told at
// the end.
TEST(OutX, OfTheCaller) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = world_of({2, 2}, {30});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank, 1);
    DispatchInputs in = given.in;
    const DispatchOutputs want = group.dispatch(in);
    const Lease lease = group.lease(want.x.bytes());
    in.out_x = matrix(lease.data(), want.rows, w.columns, kBf16);
    const DispatchOutputs direct = group.dispatch(in);
    EXPECT_EQ(direct.landing, Landing::kDirect);
    EXPECT_EQ(direct.x.data, lease.data());
    EXPECT_EQ(std::memcmp(lease.data(), want.x.data, want.x.bytes()), 0);
    std::vector<uint64_t> heap(want.x.bytes() / 8 + 2);
    in.out_x.data = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(heap.data()) + 15) & ~uintptr_t(15));
    const DispatchOutputs ring = group.dispatch(in);
    EXPECT_EQ(ring.landing, Landing::kRing);
    EXPECT_EQ(std::memcmp(in.out_x.data, want.x.data, want.x.bytes()), 0);
    in.out_x.shape[0] = want.rows - 1;
    const std::string got = refusal([&] { group.dispatch(in); });
    EXPECT_NE(got.find("must be at least " + std::to_string(want.rows)), std::string::npos) << got;
    Member(w, problem, group).pass(Pass{}, 2);
  });
}

// Shapes from a seed; TRANSLOAD_SEED repeats one.
TEST(Random, Shapes) {
  const char* given = std::getenv("TRANSLOAD_SEED");
  const uint64_t base = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  for (uint64_t seed = base; seed < base + (given ? 1 : 25); ++seed) {
    std::mt19937_64 dice(seed);
    auto roll = [&](uint64_t least, uint64_t most) { return uint32_t(least + dice() % (most - least + 1)); };
    World w;
    w.seed = seed;
    w.node_sizes.resize(roll(1, 4));
    for (uint32_t& size : w.node_sizes) size = roll(1, 4);
    w.experts = roll(1, 3 * w.ranks());
    w.top_k = roll(1, std::min(8u, w.experts + 2));
    w.columns = 8 * roll(1, 60);
    w.tokens.clear();
    for (uint32_t r = 0; r < w.ranks(); ++r) w.tokens.push_back(roll(0, 3) == 0 ? 0 : roll(1, 70));
    w.channels = roll(1, 7);
    w.slots = roll(1, 9);
    w.slab_bytes = roll(0, 3) == 0 ? roll(0, 200000) : 8 << 20;
    if (on_gpus()) w.slab_bytes = 8 << 20;  // handles live there too, and nothing stands in for it
    w.scale_out = roll(0, 7) == 0 ? ScaleOutChoice::kLibfabric : ScaleOutChoice::kLoopback;
    std::vector<Pass> passes(3);
    for (Pass& p : passes) {
      p.landing = roll(0, 1) ? Landing::kAuto : Landing::kRing;
      p.source = roll(0, 1) ? CombineSource::kAuto : CombineSource::kPush;
      p.wire = roll(0, 1) ? CombineWire::kBf16 : CombineWire::kF32;
      p.biases = int(roll(0, 2));
      p.weights = roll(0, 1);
      p.scales = roll(0, 4);
      p.channels = roll(0, w.channels);
      p.columns = 8 * roll(1, w.columns / 8);
      const uint32_t limited = roll(0, 2), most = *std::max_element(w.tokens.begin(), w.tokens.end()) * w.ranks();
      for (uint32_t r = 0; limited == 0 && r < w.ranks(); ++r)
        p.rows_max.push_back(roll(0, 3) == 0 ? 0 : roll(0, std::min(most, 80u)));
    }
    SCOPED_TRACE("TRANSLOAD_SEED=" + std::to_string(seed));
    run_passes(w, passes);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "repeat with TRANSLOAD_SEED=" << seed;
      return;
    }
  }
}

}  // namespace
}  // namespace transload::test
