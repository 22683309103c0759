// The tables of a handle: one list, whatever stands for an array; what counts say of them; and the most that they need.
#include "layout/handle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace transload {
namespace {

// Counts of one source for a rank: channels 2, experts 1.
struct SourceCounts {
  uint32_t source_tokens;
  uint32_t by_channel[2];
  uint32_t rows_of_expert;
};

// Rank 1 of nodes of 2 and 2 ranks; ranks 0 to 3 send it 3, 1, 0 and 2 of their tokens. Rank 3 is the only one whose
// rail it is: 4 of its tokens come here, of which 2 are for me and 3 for my peer.
struct Mailbox {
  static constexpr CountsShape kShape{.channels_max = 3, .experts_max = 1};

  Mailbox() {
    const SourceCounts of_rank[] = {{8, {1, 2}, 4}, {5, {1, 0}, 1}, {6, {0, 0}, 0}, {7, {0, 2}, 2}};
    for (uint32_t s = 0; s < 4; ++s) put(ranks, s * kShape.rank_bytes(), of_rank[s]);
    put(node, 0, {7, {1, 3}, 0});
    put(node, kShape.of_peer(0), {7, {1, 2}, 0});
    put(node, kShape.of_peer(1), {7, {0, 2}, 0});
  }
  static void put(std::vector<char>& to, uint64_t offset, const SourceCounts& record) {
    auto* const words = reinterpret_cast<uint32_t*>(to.data() + offset);
    words[CountsRecord::kSourceTokens] = record.source_tokens;
    words[CountsRecord::kTokens] = record.by_channel[0] + record.by_channel[1];
    std::copy_n(record.by_channel, 2, words + CountsRecord::kByChannel);
    words[CountsRecord::expert_word(kShape.channels_max)] = record.rows_of_expert;
  }
  CountsRecord of_rank(uint32_t s) const { return CountsRecord::at(ranks.data() + s * kShape.rank_bytes()); }
  NodeCountsRecord of_slot(uint32_t s) const { return {s == 1 ? node.data() : nullptr, kShape}; }

  std::vector<char> ranks = std::vector<char>(4 * kShape.rank_bytes());
  std::vector<char> node = std::vector<char>(kShape.node_bytes(2));
  RankTable table{{2, 2}};
};

LearnedHandle learn(const Mailbox& box, uint64_t rows_max) {
  auto of_rank = [&](uint32_t s) { return box.of_rank(s); };
  ReceivePlan plan = receive_plan({.ranks = 4, .experts_of_mine = 1, .channels_max = 3, .alignment = 4}, of_rank);
  EXPECT_EQ(plan.expert_counts, (std::vector<int64_t>{8}));
  return learn_handle({.map = box.table.seen_by(1), .channels = 2, .top_k = 8, .rows_max = rows_max}, std::move(plan),
                      of_rank, [&](uint32_t s) { return box.of_slot(s); });
}

TEST(LearnHandle, OfCounts) {
  const Mailbox box;
  const LearnedHandle h = learn(box, kNoRowsMax);
  EXPECT_EQ(h.tables.row_base, (std::vector<uint64_t>{0, 3, 4, 4, 6}));
  EXPECT_EQ(h.tables.source_tokens, (std::vector<uint32_t>{8, 5, 6, 7}));
  EXPECT_EQ(h.tables.row_token.size(), 6u);
  EXPECT_EQ(h.tables.slot_tokens, (std::vector<uint32_t>{0, 7}));
  EXPECT_EQ(h.tables.log_begin, (std::vector<uint64_t>{0, 0, 4}));
  EXPECT_EQ(h.log_width, 2u) << "no token has more owners than my node has ranks";
  EXPECT_EQ(h.tables.log_token.size(), 4u);
  EXPECT_EQ(h.tables.log.size(), 8u);
  EXPECT_EQ(h.forwarded, 5u);
  EXPECT_TRUE(h.tables.routes.empty()) << "they are the layout's";
  const Spans arriving = h.arriving.view(), forward = h.forward.view();
  EXPECT_EQ(arriving.at(0, 1), 1u);
  EXPECT_EQ(arriving.at(3, 0), 4u);
  EXPECT_EQ(arriving.at(3, 1), 4u);
  EXPECT_EQ(arriving.at(3, 2), 6u);
  EXPECT_EQ(forward.count(0, 0) + forward.count(0, 1), 0u);
  EXPECT_EQ(forward.count(1, 0), 1u);
  EXPECT_EQ(forward.count(1, 1), 3u);
}

TEST(LearnHandle, KeepsNoMoreRowsThanThereIsRoomFor) {
  const Mailbox box;
  const LearnedHandle h = learn(box, 5);
  EXPECT_EQ(h.tables.row_base.back(), 6u) << "what came is known";
  EXPECT_EQ(h.tables.row_token.size(), 5u);
}

// Views of arrays point at each of them, and no table needs more than the most that a handle may need.
TEST(HandleTables, ViewsAndTheMostThatTheyNeed) {
  const Mailbox box;
  LearnedHandle h = learn(box, kNoRowsMax);
  h.tables.routes.resize(9 * 8);
  const HandleTables written = tables_of(h.tables);
  const HandleView read = view_of(h.tables), same = view_of(written);
  const HandleSizes most = most_of_handle(box.table.seen_by(1), 9, 9, 8);
  size_t tables = 0;
  for_each_table(
      most,
      [&](uint64_t count, const auto& array, auto* writes, auto* reads, auto* reads_too) {
        ++tables;
        EXPECT_GE(count, array.size()) << "table " << tables;
        EXPECT_EQ(writes, array.data());
        EXPECT_EQ(reads, array.data());
        EXPECT_EQ(reads_too, array.data());
      },
      h.tables, written, read, same);
  EXPECT_EQ(tables * sizeof(void*), sizeof(HandleTables)) << "none is left out";
  EXPECT_EQ(most.entries, 9u) << "one rank's rail";
  EXPECT_EQ(most.rows, 4u * 9);
}

TEST(HandleTables, SpansOfTokensAreCutAnew) {
  HandleArrays h;
  h.slot_tokens = {0, 8};
  h.log_begin = {0, 0, 3};
  h.log_token = {1, 4, 6};
  h.source_tokens = {4};
  h.row_base = {0, 4};
  h.row_token = {0, 1, 3};
  const SpanTable forward = forward_spans(h, 2), rows = row_spans(h, 3, 2);
  EXPECT_EQ(forward.view().count(0, 0) + forward.view().count(0, 1), 0u);
  EXPECT_EQ(forward.view().count(1, 0), 1u);
  EXPECT_EQ(forward.view().count(1, 1), 2u);
  EXPECT_EQ(rows.view().count(0, 0), 2u);
  EXPECT_EQ(rows.view().count(0, 1), 1u) << "a row beyond rows_max is no entry";
}

TEST(HandleTables, WhatIsOutOfBoundsStopsTheProgram) {
  HandleArrays h;
  h.source_tokens = {4};
  h.row_base = {0, 4};
  h.row_token = {0, 1, 3};
  EXPECT_DEATH(row_spans(h, 4, 2), "broken") << "its dispatch had room for three rows";
  SpanTable rows = row_spans(h, 3, 2);
  EXPECT_DEATH(rows.view().at(0, 3), "broken");
  EXPECT_DEATH(rows.row(1), "broken");
}

}  // namespace
}  // namespace transload
