// The oracle against cases worked out by hand.
#include "reference/reference.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "base/float.h"

namespace transload::reference {
namespace {

constexpr uint16_t kOne = 0x3F80;
constexpr uint16_t kMinusZero = 0x8000;

uint16_t bf16(float value) { return bf16_from_f32(value); }

// `ranks` ranks of one expert each, one token on rank 0 that chooses `ids`.
Problem one_token(std::vector<uint32_t> node_sizes, std::vector<int32_t> ids) {
  Problem p;
  p.node_sizes = std::move(node_sizes);
  uint32_t ranks = 0;
  for (uint32_t size : p.node_sizes) ranks += size;
  for (uint32_t e = 0; e < ranks; ++e) p.owner.push_back(e);
  p.top_k = uint32_t(ids.size());
  p.routes.resize(ranks);
  p.routes[0].tokens = 1;
  p.routes[0].weights.assign(ids.size(), 0.5f);
  p.routes[0].ids = std::move(ids);
  return p;
}

struct SumCase {
  std::vector<uint32_t> node_sizes;
  std::map<uint32_t, uint16_t> rows;  // owner -> its one value
  SumInputs inputs = {};
};

uint16_t summed(SumCase c) {
  std::vector<int32_t> ids;
  for (auto it = c.rows.rbegin(); it != c.rows.rend(); ++it)
    ids.push_back(int32_t(it->first));  // slots in falling order
  if (ids.empty()) ids.push_back(-1);
  const Problem p = one_token(c.node_sizes, ids);
  c.inputs.token = {0, 0};
  c.inputs.columns = 1;
  uint16_t out = 0x1234;
  sum(
      p, c.inputs, [&](uint32_t owner, Source) { return &c.rows.at(owner); }, &out);
  return out;
}

// Contract 2.1.
TEST(Received, OrderIdsWeightsAndCounts) {
  Problem p;
  p.node_sizes = {2, 1};
  p.owner = {0, 2, 0, 2, 1};  // rank 0 owns 0 and 2, rank 2 owns 1 and 3
  p.top_k = 3;
  p.routes.resize(3);
  p.routes[0] = {2, {3, 3, 0, 4, -1, 99}, {.1f, .2f, .3f, .4f, .5f, .6f}};
  p.routes[2] = {1, {-7, 2, 1}, {.7f, .8f, .9f}};
  const Received on_two = received_by(p, 2);
  ASSERT_EQ(on_two.source.size(), 2u);
  EXPECT_EQ(on_two.source[0].rank, 0u);
  EXPECT_EQ(on_two.source[0].token, 0);
  EXPECT_EQ(on_two.source[1].rank, 2u);
  EXPECT_EQ(on_two.ids, (std::vector<int32_t>{1, 1, -1, -1, -1, 0}));
  EXPECT_EQ(on_two.weights, (std::vector<float>{.1f, .2f, 0, 0, 0, .9f}));
  EXPECT_EQ(on_two.expert_counts, (std::vector<int64_t>{1, 2}));
  const Received on_zero = received_by(p, 0, 4);
  EXPECT_EQ(on_zero.ids, (std::vector<int32_t>{-1, -1, 0, -1, 1, -1}));
  EXPECT_EQ(on_zero.expert_counts, (std::vector<int64_t>{4, 4}));
  const Received on_one = received_by(p, 1, 4);
  ASSERT_EQ(on_one.source.size(), 1u);
  EXPECT_EQ(on_one.source[0].token, 1);
  EXPECT_EQ(on_one.expert_counts, (std::vector<int64_t>{4}));
}

TEST(Received, RankWithoutExperts) {
  Problem p = one_token({3}, {0, 1});
  p.owner = {0, 0};
  const Received out = received_by(p, 2);
  EXPECT_TRUE(out.source.empty());
  EXPECT_TRUE(out.expert_counts.empty());
  EXPECT_EQ(received_by(p, 0).source.size(), 1u);
}

// Contract 2.3.
TEST(Received, AlignmentLeavesZeroAtZero) {
  const Problem p = one_token({2}, {1});
  EXPECT_EQ(received_by(p, 0, 16).expert_counts, (std::vector<int64_t>{0}));
  EXPECT_EQ(received_by(p, 1, 16).expert_counts, (std::vector<int64_t>{16}));
}

TEST(Owners, ByNodeAscendingAndOnce) {
  const Problem p = one_token({1, 2, 3}, {5, 3, 5, -1, 1, 3, 0, 77});
  const auto owners = owners_by_node(p, {0, 0});
  EXPECT_EQ(owners, (std::vector<std::vector<uint32_t>>{{0}, {1}, {3, 5}}));
  EXPECT_EQ(node_of(p, 0), 0u);
  EXPECT_EQ(node_of(p, 2), 1u);
  EXPECT_EQ(node_of(p, 3), 2u);
  EXPECT_EQ(node_of(p, 5), 2u);
}

// Contract 3.3.
TEST(Sum, NothingIsPlusZeroOrTheBias) {
  EXPECT_EQ(summed({{1, 1}, {}}), 0);
  SumInputs bias;
  bias.bias[0] = &kMinusZero;
  EXPECT_EQ(summed({{1, 1}, {}, bias}), kMinusZero);  // one bias is itself, not +0 plus it
  bias.bias[1] = &kMinusZero;
  EXPECT_EQ(summed({{1, 1}, {}, bias}), kMinusZero);
  bias.bias[1] = &kOne;
  EXPECT_EQ(summed({{1, 1}, {}, bias}), kOne);
}

TEST(Sum, MinusZeroRowsGivePlusZero) {
  EXPECT_EQ(summed({{2}, {{0, kMinusZero}, {1, kMinusZero}}}), 0);
  EXPECT_EQ(summed({{1, 1}, {{1, kMinusZero}}}), 0);
  SumInputs bias;
  bias.bias[0] = &kMinusZero;
  EXPECT_EQ(summed({{2}, {{0, kMinusZero}}, bias}), 0);  // S is +0, and -0 + +0 is +0
}

TEST(Sum, NanIsCanonicalAndInfinityStays) {
  EXPECT_EQ(summed({{2}, {{0, 0xFFC1}, {1, kOne}}}), kNanBf16);
  EXPECT_EQ(summed({{1, 1}, {{1, 0x7F81}}}), kNanBf16);
  EXPECT_EQ(summed({{2}, {{0, 0x7F80}, {1, kOne}}}), 0x7F80);
  EXPECT_EQ(summed({{2}, {{0, 0x7F80}, {1, 0xFF80}}}), kNanBf16);
  const uint16_t nan_bias = 0xFFFF;
  SumInputs bias;
  bias.bias[0] = &nan_bias;
  EXPECT_EQ(summed({{2}, {}, bias}), kNanBf16);
}

TEST(Sum, OverflowsToInfinityWhenRounded) {
  EXPECT_EQ(summed({{2}, {{0, 0x7F7F}, {1, bf16(std::bit_cast<float>(0x7B000000u))}}}),
            0x7F80);  // largest plus half a step
}

// 1 + 2^-8 lies half-way between two bf16 values: rounded once on the wire it goes to 1, kept in fp32 it does not.
// Contract 3.2.
TEST(Sum, AnotherNodesPartIsRoundedTwice) {
  const uint16_t half_step = bf16(0x1p-8f), tiny = bf16(0x1p-16f);
  const std::map<uint32_t, uint16_t> rows{{0, tiny}, {1, kOne}, {2, half_step}};
  EXPECT_EQ(summed({{1, 2}, rows}), kOne);
  SumInputs f32;
  f32.wire_f32 = true;
  EXPECT_EQ(summed({{1, 2}, rows, f32}), kOne + 1);
  EXPECT_EQ(summed({{3}, rows}), kOne + 1);     // the origin's own node is never rounded in between
  EXPECT_EQ(summed({{2, 1}, rows}), kOne + 1);  // 2^-16 + 1 here, 2^-8 from there, exact on the wire
  EXPECT_EQ(summed({{1, 1, 1}, rows}), kOne + 1);
}

// Each node's part starts from its own zero: ((big + -big) + tiny) is not (big + (-big + tiny)).
// Contract 3.1, 3.7.
TEST(Sum, OrderIsByNodeThenRank) {
  const uint16_t big = bf16(0x1p30f), minus_big = bf16(-0x1p30f);
  const std::map<uint32_t, uint16_t> rows{{0, big}, {1, minus_big}, {2, kOne}};
  EXPECT_EQ(summed({{3}, rows}), kOne);
  EXPECT_EQ(summed({{2, 1}, rows}), kOne);
  EXPECT_EQ(summed({{1, 2}, rows}), 0);
  const std::map<uint32_t, uint16_t> other{{0, kOne}, {1, big}, {2, minus_big}};
  EXPECT_EQ(summed({{3}, other}), 0);
  EXPECT_EQ(summed({{1, 2}, other}), kOne);
}

// Contract 3.3.
TEST(Sum, BiasesComeFirst) {
  const uint16_t big = bf16(0x1p30f), minus_big = bf16(-0x1p30f);
  SumInputs bias;
  bias.bias[0] = &big;
  bias.bias[1] = &minus_big;
  EXPECT_EQ(summed({{2}, {{1, kOne}}, bias}), kOne);
  bias.bias[1] = nullptr;
  EXPECT_EQ(summed({{2}, {{0, kOne}, {1, minus_big}}, bias}), 0);  // S = 1 - 2^30 loses the 1 first
}

// Contract 3.5.
TEST(Sum, SubnormalsAreKept) {
  EXPECT_EQ(summed({{2}, {{0, 1}, {1, 2}}}), 3);
  EXPECT_EQ(summed({{1, 1}, {{0, 1}, {1, 0x8001}}}), 0);
}

TEST(Sum, DuplicatesOfATokenAddOnce) {
  const Problem p = one_token({2}, {1, 1, 1});
  uint16_t out = 0;
  SumInputs inputs;
  inputs.token = {0, 0};
  inputs.columns = 1;
  sum(
      p, inputs, [&](uint32_t, Source) { return &kOne; }, &out);
  EXPECT_EQ(out, kOne);
}

// Rank 1 has room for one row of three: the first in the order of the output, whoever sent it.
TEST(Limits, KeepTheFirstRows) {
  Problem p;
  p.node_sizes = {1, 1};
  p.owner = {0, 1, 1};
  p.top_k = 2;
  p.routes = {{2, {1, 2, 0, -1}, {.5f, .25f, 1, 0}}, {2, {0, 1, 2, 0}, {1, 2, 3, 4}}};
  limit_rows(p, {0, 1});
  const Received out = received_by(p, 1);
  EXPECT_EQ(out.needed, 3);
  ASSERT_EQ(out.source.size(), 1u);
  EXPECT_EQ(out.source[0].rank, 0u);
  EXPECT_EQ(out.expert_counts, std::vector<int64_t>({1, 1}));
  EXPECT_TRUE(kept(p, 1, {0, 0}));
  EXPECT_FALSE(kept(p, 1, {1, 0}));
  EXPECT_EQ(received_by(p, 0).source.size(), 3u);  // it has no limit
  limit_rows(p, {3, 3});
  EXPECT_EQ(received_by(p, 1).source.size(), 3u);  // what fits is not dropped
  limit_rows(p, {});
  EXPECT_EQ(received_by(p, 1).needed, 3);
}

// Dropped rows are left out of their node's part; the part of another node is then +0, the own node's is left out.
TEST(Limits, DroppedRowsAreNotSummed) {
  Problem p = one_token({1, 2}, {0, 1, 2, -1});
  SumInputs inputs;
  inputs.token = {0, 0};
  inputs.columns = 1;
  inputs.bias[0] = &kMinusZero;
  const auto summed_with = [&](std::vector<Source> drop_from) {
    p.drop_from = std::move(drop_from);
    uint16_t out = 0;
    sum(
        p, inputs, [&](uint32_t owner, Source) { return owner == 1 ? &kOne : &kMinusZero; }, &out);
    return out;
  };
  const Source all{1, 0}, none{0, 0};
  EXPECT_EQ(summed_with({all, all, all}), kOne);
  EXPECT_EQ(summed_with({all, none, all}), 0);    // -0 + +0
  EXPECT_EQ(summed_with({none, none, none}), 0);  // the other node's part is +0
  p = one_token({2}, {0, 1, -1, -1});
  EXPECT_EQ(summed_with({none, none}), kMinusZero);  // the bias alone
}

// Contract 4.1.
TEST(SumWeights, EachSlotFromItsOwner) {
  const Problem p = one_token({1, 2}, {2, 0, 1, -1});
  const float rows[3][4] = {{0, .25f, 0, 0}, {0, 0, 1.0000001f, 0}, {.5f, 0, 0, 0}};
  float out[4];
  sum_weights(
      p, {0, 0}, [&](uint32_t owner, Source) { return rows[owner]; }, out);
  EXPECT_EQ(out[0], .5f);
  EXPECT_EQ(out[1], .25f);
  EXPECT_EQ(out[2], 1.0000001f);
  EXPECT_EQ(out[3], 0.0f);
}

}  // namespace
}  // namespace transload::reference
