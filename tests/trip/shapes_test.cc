// The whole trip over shapes: every output against the reference, to the bit.
#include <gtest/gtest.h>

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
  passes[4].landing = Landing::kRing;
  passes[4].source = CombineSource::kPush;
  passes[4].weights = true;
  passes[4].scales = 5;
  passes[4].wide_ids = true;
  passes[5].channels = 1;
  passes[5].alignment = 8;
  return passes;
}

World world_of(std::vector<uint32_t> node_sizes, std::vector<int64_t> tokens) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = std::move(tokens);
  w.experts = 2 * w.ranks();
  w.top_k = 4;
  return w;
}

TEST(Shapes, OneRank) { run_passes(world_of({1}, {33}), all_ways()); }
TEST(Shapes, OneNode) { run_passes(world_of({8}, {40}), all_ways()); }
TEST(Shapes, OneRankANode) { run_passes(world_of({1, 1, 1, 1, 1, 1, 1, 1}, {30}), all_ways()); }
TEST(Shapes, TwoByFour) { run_passes(world_of({4, 4}, {50}), all_ways()); }
TEST(Shapes, FourByTwo) { run_passes(world_of({2, 2, 2, 2}, {50}), all_ways()); }
TEST(Shapes, Unequal) { run_passes(world_of({3, 5}, {41}), all_ways()); }
TEST(Shapes, VeryUnequal) { run_passes(world_of({1, 2, 5}, {37}), all_ways()); }
TEST(Shapes, ZeroTokensHereAndThere) { run_passes(world_of({3, 1, 2}, {0, 17, 0, 1, 64, 0}), all_ways()); }
TEST(Shapes, ZeroTokensEverywhere) { run_passes(world_of({2, 2}, {0}), all_ways()); }

}  // namespace
}  // namespace transload::test
