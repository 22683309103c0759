// The whole trip over shapes: every output against the reference, to the bit.
#include <gtest/gtest.h>

#include "tests/support/sanitized.h"
#include "tests/support/team.h"

namespace transload::test {
namespace {

// Every landing and source, both wires, biases, weights, scales, ids of both widths.
std::vector<Pass> all_ways() {
  std::vector<Pass> passes(6);
  passes[1].landing = Landing::kRing;
  passes[1].source = CombineSource::kPush;
  passes[2].landing = Landing::kDirect;
  passes[2].source = CombineSource::kPull;
  passes[2].biases = 1;
  passes[2].weights = true;
  passes[3].wire = CombineWire::kF32;
  passes[3].biases = 2;
  passes[3].scales = 3;
  passes[3].wide_out = true;
  passes[4].landing = Landing::kRing;
  passes[4].source = CombineSource::kPush;
  passes[4].weights = true;
  passes[4].scales = 5;
  passes[4].wide_ids = true;
  passes[4].own_out = true;
  passes[5].channels = 1;
  passes[5].alignment = 8;
  return passes;
}

TEST(Shapes, OneRank) { run_passes(world_of({1}, {33}), all_ways()); }
TEST(Shapes, OneNode) { run_passes(world_of({8}, {40}), all_ways()); }
TEST(Shapes, OneRankANode) { run_passes(world_of({1, 1, 1, 1, 1, 1, 1, 1}, {30}), all_ways()); }
// Contract 1.1, 3.2, 4.1.
TEST(Shapes, TwoByFour) { run_passes(world_of({4, 4}, {50}), all_ways()); }
TEST(Shapes, FourByTwo) { run_passes(world_of({2, 2, 2, 2}, {50}), all_ways()); }
// Contract 2.1, 2.3, 2.4, 3.3.
TEST(Shapes, Unequal) { run_passes(world_of({3, 5}, {41}), all_ways()); }
// Contract 7.1.
TEST(Shapes, VeryUnequal) { run_passes(world_of({1, 2, 5}, {37}), all_ways()); }
// Contract 7.4.
TEST(Shapes, ZeroTokensHereAndThere) { run_passes(world_of({3, 1, 2}, {0, 17, 0, 1, 64, 0}), all_ways()); }
// Contract 7.4.
TEST(Shapes, ZeroTokensEverywhere) { run_passes(world_of({2, 2}, {0}), all_ways()); }

// Contract 7.4.
TEST(Shapes, AllToOneRank) {
  World w = world_of({2, 3}, {30});
  w.route = [&](uint32_t, int64_t, uint32_t k) { return k == 0 ? 9 : -1; };
  run_passes(w, all_ways());
}

TEST(Shapes, OneExpert) {
  World w = world_of({2, 2}, {25});
  w.experts = 1;
  w.top_k = 1;
  run_passes(w, all_ways());
}

// Contract 7.2.
TEST(Shapes, FewerExpertsThanRanks) {
  World w = world_of({3, 3}, {25});
  w.experts = 4;
  run_passes(w, all_ways());
}

// Contract 1.1, 7.4.
TEST(Shapes, DuplicateChoices) {
  World w = world_of({2, 2}, {30});
  w.route = [&](uint32_t rank, int64_t token, uint32_t k) {
    return int32_t((rank + uint64_t(token) + k / 2) % w.experts);
  };
  run_passes(w, all_ways());
}

// Contract 7.4.
TEST(Shapes, NoChoiceAtAll) {
  World w = world_of({2, 2}, {30});
  w.route = [](uint32_t, int64_t, uint32_t) { return -1; };
  run_passes(w, all_ways());
}

// Contract 7.2.
TEST(Shapes, ExpertsPlacedByATable) {
  World w = world_of({2, 1}, {30});
  w.expert_owner = {2, 2, 0, 2, 0, 0};
  w.experts = 6;
  run_passes(w, all_ways());
}

// Contract 7.3.
TEST(Shapes, TopKOne) {
  World w = world_of({2, 2}, {40});
  w.top_k = 1;
  run_passes(w, all_ways());
}

// Contract 7.3.
TEST(Shapes, TopKThirtyTwo) {
  World w = world_of({5, 4, 3}, {20});
  w.experts = 64;
  w.top_k = 32;
  run_passes(w, all_ways());
}

// Contract 7.3.
TEST(Shapes, RowOfSixteenBytes) {
  World w = world_of({2, 2}, {200});
  w.columns = 8;
  run_passes(w, all_ways());
}

// Contract 7.3.
TEST(Shapes, RowOfAnOddMultiple) {
  World w = world_of({2, 2}, {60});
  w.columns = 8 * 37;
  run_passes(w, all_ways());
}

TEST(Shapes, RowOfFortyKilobytes) {
  World w = world_of({2, 2}, {kSlow ? 3 : 12});
  w.columns = 20480;
  w.slab_bytes = 64 << 20;
  run_passes(w, all_ways());
}

// Scales arrive, of any number and however they lie: side by side, with gaps that leave their tokens aligned or not,
// column by column.
// Contract 2.2.
TEST(Scales, OfAnyNumberAnywhere) {
  for (const auto& nodes : std::vector<std::vector<uint32_t>>{{1}, {3}, {2, 2}, {1, 2, 1}}) {
    World w = world_of(nodes, {21});
    w.scales_max = 57;
    std::vector<Pass> passes;
    for (uint32_t scales : {1u, 3u, 4u, 56u, 57u})
      for (int32_t gap : {-1, 0, 3, 4})
        for (Landing landing : {Landing::kDirect, Landing::kRing}) {
          Pass p;
          p.scales = scales;
          p.scale_gap = gap;
          p.landing = landing;
          passes.push_back(p);
        }
    run_passes(w, passes);
  }
}

// The most that a group may have: longer than what rides with a row.
TEST(Scales, Many) {
  World w = world_of({2, 1}, {9});
  w.scales_max = 4096;
  std::vector<Pass> passes(4);
  for (size_t i = 0; i < passes.size(); ++i) {
    passes[i].scales = i % 2 == 0 ? 4096 : 1001;
    passes[i].scale_gap = 0;
    passes[i].landing = i < 2 ? Landing::kDirect : Landing::kRing;
  }
  run_passes(w, passes);
}

// One slot and few, whatever is batched: nothing may hang, with three nodes and more.
TEST(Slots, OneAndFew) {
  for (uint32_t slots : {1u, 2u, 3u, 7u})
    for (const auto& nodes : std::vector<std::vector<uint32_t>>{{2, 2, 2}, {1, 3, 2, 1}}) {
      World w = world_of(nodes, {45});
      w.slots = slots;
      w.channels = 3;
      run_passes(w, all_ways());
    }
}

// Contract 1.2.
TEST(Channels, OneToMany) {
  for (uint32_t channels : {1u, 5u, 24u, 70u}) {
    World w = world_of({2, 3}, {40});
    w.channels = channels;
    w.slots = 2;
    run_passes(w, all_ways());
  }
}

// Without room in the slabs every output is private, so rows land through rings and combine pushes.
TEST(Slabs, None) {
  if (on_gpus()) GTEST_SKIP() << kHostHeap;
  World w = world_of({2, 2}, {40});
  w.slab_bytes = 0;
  std::vector<Pass> passes(2);
  passes[1].weights = true;
  run_passes(w, passes);
}

// Landings and sources are each rank's own choice: some direct and some through rings in one call.
// Contract 1.2.
TEST(Landings, MixedInOneCall) {
  const World w = world_of({3, 3}, {50});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member member(w, problem, group);
    for (uint32_t i = 0; i < 6; ++i) {
      Pass pass;
      if ((rank + i) % 2 == 0) pass.landing = Landing::kRing;
      if ((rank + i) % 3 == 0) pass.source = CombineSource::kPush;
      member.pass(pass, i);
    }
  });
}

// Ten calls back to back with rows of changing sizes: nothing but the calls themselves keeps the ranks together.
TEST(Calls, TenWithChangingRows) {
  for (ScaleOutChoice scale_out : {ScaleOutChoice::kLoopback, ScaleOutChoice::kLibfabric}) {
    World w = world_of({2, 2}, {40});
    w.columns = 512;
    w.scale_out = scale_out;
    std::vector<Pass> passes(10);
    const uint32_t columns[] = {512, 8, 256, 504, 16, 512, 64, 40, 512, 8};
    for (int i = 0; i < 10; ++i) {
      passes[i].columns = columns[i];
      if (i % 3 == 1) passes[i].landing = Landing::kRing;
      if (i % 4 == 2) passes[i].source = CombineSource::kPush;
    }
    run_passes(w, passes);
  }
}

// Sets of members above one word and above two.
TEST(Members, ThirtyThreePeers) {
  World w = world_of({33}, {4});
  w.slots = 2;
  run_passes(w, {Pass{}, Pass{Landing::kRing, CombineSource::kPush}});
}
// Contract 7.1.
TEST(Members, SixtyFiveNodes) {
  World w = world_of(std::vector<uint32_t>(65, 1), {3});
  w.channels = 1;
  w.slots = 1;
  run_passes(w, {Pass{}});
}
// Contract 7.1.
TEST(Members, OneAgainstManySources) {
  if (on_gpus()) GTEST_SKIP() << "more streams between peers than ranks on GPUs take: 3200, at most 1024";
  World w = world_of({1, 40}, {3});
  w.channels = 1;
  run_passes(w, {Pass{}, Pass{Landing::kRing, CombineSource::kPush}});
}
TEST(Members, AHundredAndThirtyPeers) {
  World w = world_of({130}, {2});
  w.channels = 1;
  w.slots = 1;
  w.slab_bytes = 1 << 20;
  run_passes(w, {Pass{}});
}

// The same over the network.
// Contract 1.2.
TEST(Libfabric, Shapes) {
  for (const auto& nodes : std::vector<std::vector<uint32_t>>{{2, 2}, {1, 2}, {1, 1, 1}}) {
    World w = world_of(nodes, {60});
    w.scale_out = ScaleOutChoice::kLibfabric;
    w.slots = 3;
    run_passes(w, all_ways());
  }
}

}  // namespace
}  // namespace transload::test
