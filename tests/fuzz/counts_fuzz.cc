// Records of counts, of ranks and of nodes: a rank that sends what cannot be is named, or all tables that are made of
// them have room for what they announce.
//
// Input: the records in the mailboxes of rank 0, one after the other, in words. What is missing is zeros.
#include <algorithm>

#include "layout/handle.h"
#include "layout/wrong_counts.h"
#include "tests/fuzz/target.h"

namespace transload {
namespace {

constexpr uint32_t kChannels = 2, kTopK = 2;
constexpr CountsShape kShape{kChannels, 3};
constexpr CountsBounds kBounds{.tokens_max = 100, .channels_max = kChannels, .top_k_max = kTopK, .experts_of_mine = 3};

class Mailboxes {
 public:
  explicit Mailboxes(const RankMap& map) : map_(map) {
    ranks_.resize(map.ranks * kShape.rank_bytes() / 4);
    nodes_.resize(map.sources() * kShape.node_bytes(map.peers) / 4);
  }
  // Only the words that somebody looks at: the rest of a record is room for a refusal.
  void fill(const uint8_t* data, size_t bytes) {
    const auto take = [&](uint32_t* words, size_t count) {
      for (size_t i = 0; i < count && bytes >= 4; ++i, data += 4, bytes -= 4) std::memcpy(words + i, data, 4);
    };
    const size_t head = CountsRecord::kByChannel + kChannels;
    for (uint32_t r = 0; r < map_.ranks; ++r) take(&ranks_[r * kShape.rank_bytes() / 4], head + kShape.experts_max);
    for (uint32_t s = 0; s < map_.sources(); ++s) {
      uint32_t* const node = &nodes_[s * kShape.node_bytes(map_.peers) / 4];
      take(node, head);
      for (uint32_t p = 0; p < map_.peers; ++p) take(node + kShape.of_peer(p) / 4, head);
    }
  }
  CountsRecord rank(uint32_t r) const { return {&ranks_[r * kShape.rank_bytes() / 4]}; }
  NodeCountsRecord node(uint32_t slot) const {
    const uint32_t source = map_.source_rank(slot);
    if (source == kNobody || source == map_.me) return {nullptr, kShape};
    return {reinterpret_cast<const char*>(&nodes_[slot * kShape.node_bytes(map_.peers) / 4]), kShape};
  }

 private:
  const RankMap map_;
  std::vector<uint32_t> ranks_, nodes_;
};

// Each member's channels follow each other from its first to its last position.
void check_spans(const SpanTable& table, uint32_t members, const std::vector<uint64_t>& begin) {
  const Spans spans = table.view();
  for (uint32_t m = 0; m < members; ++m)
    for (uint32_t c = 0; c < kChannels && spans.at(m, kChannels) > 0; ++c) {
      TRANSLOAD_CHECK(begin[m] <= spans.at(m, c) && spans.at(m, c) <= spans.at(m, c + 1));
      TRANSLOAD_CHECK(spans.at(m, c + 1) <= begin[m + 1]);
    }
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  const RankTable table({2, 3});
  const RankMap map = table.seen_by(0);
  Mailboxes boxes(map);
  boxes.fill(data, bytes);
  const auto of_rank = [&](uint32_t r) { return boxes.rank(r); };
  const auto of_slot = [&](uint32_t s) { return boxes.node(s); };
  if (const auto wrong = wrong_count(map, kBounds, of_rank, of_slot)) {
    TRANSLOAD_CHECK(wrong->rank < map.ranks && wrong->seen > wrong->most);
    return 0;
  }
  const LearnedHandle h = learn_handle(
      {.map = map, .channels = kChannels, .top_k = kTopK, .rows_max = kNoRowsMax},
      receive_plan({.ranks = map.ranks, .experts_of_mine = 3, .channels_max = kChannels, .alignment = 1}, of_rank),
      of_rank, of_slot);
  const HandleSizes most = most_of_handle(map, 0, kBounds.tokens_max, kTopK);
  TRANSLOAD_CHECK(h.tables.row_token.size() == h.tables.row_base.back() && h.tables.row_token.size() <= most.rows);
  TRANSLOAD_CHECK(h.tables.log_token.size() == h.tables.log_begin.back() && h.tables.log_token.size() <= most.entries);
  TRANSLOAD_CHECK(h.tables.log.size() == h.tables.log_token.size() * h.log_width);
  check_spans(h.arriving, map.ranks, h.tables.row_base);
  check_spans(h.forward, map.sources(), h.tables.log_begin);
  return 0;
}
