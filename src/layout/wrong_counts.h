// Finds counts that cannot be true. They come from other ranks, and a call makes its tables and outputs as long as they
// say. So they are checked before anything is made, and a fault names the rank that sent a wrong one.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>

#include "layout/counts.h"

namespace transload {

// Bounds of the counts in every call of a group. What only one call fixes, such as its channels, is in its cards, which
// the ranks compare.
struct CountsBounds {
  uint64_t tokens_max;  // the most tokens of a rank
  uint32_t channels_max;
  uint32_t top_k_max;
  uint32_t experts_of_mine;
};

// A count that `rank` sent, and the most that it can be.
struct WrongCount {
  uint32_t rank;
  uint64_t seen, most;
};

// Where a sum and its parts, `a` and `b`, are not equal, the greater one is called wrong.
inline std::optional<WrongCount> unequal(uint32_t rank, uint64_t a, uint64_t b) {
  if (a == b) return std::nullopt;
  return WrongCount{rank, std::max(a, b), std::min(a, b)};
}

// Checks what the records of a rank and of a node both begin with.
inline std::optional<WrongCount> wrong_head(uint32_t rank, const CountsRecord& record, const CountsBounds& bounds) {
  if (record.source_tokens() > bounds.tokens_max) return WrongCount{rank, record.source_tokens(), bounds.tokens_max};
  if (record.tokens() > record.source_tokens()) return WrongCount{rank, record.tokens(), record.source_tokens()};
  uint64_t sum = 0;
  for (uint32_t c = 0; c < bounds.channels_max; ++c) sum += record.by_channel()[c];
  return unequal(rank, record.tokens(), sum);
}

// Checks the record of a rank. A token that comes has chosen this rank's experts one to `top_k_max` times.
inline std::optional<WrongCount> wrong_record(uint32_t rank, const CountsRecord& record, const CountsBounds& bounds) {
  if (const auto wrong = wrong_head(rank, record, bounds)) return wrong;
  uint64_t choices = 0;
  for (uint32_t e = 0; e < bounds.experts_of_mine; ++e) choices += record.by_expert(bounds.channels_max)[e];
  const uint64_t most = uint64_t(record.tokens()) * bounds.top_k_max;
  if (choices > most) return WrongCount{rank, choices, most};
  if (choices < record.tokens()) return WrongCount{rank, record.tokens(), choices};
  return std::nullopt;
}

// Checks the record of a node, and in it those of its ranks: none of them gets more tokens than the node.
inline std::optional<WrongCount> wrong_record(uint32_t rank, const NodeCountsRecord& record, uint32_t peers,
                                              const CountsBounds& bounds) {
  const CountsRecord head = record.head();
  if (const auto wrong = wrong_head(rank, head, bounds)) return wrong;
  for (uint32_t p = 0; p < peers; ++p) {
    const uint64_t tokens = record.of_peer(p).tokens();
    if (tokens > head.tokens()) return WrongCount{rank, tokens, head.tokens()};
  }
  return std::nullopt;
}

// The first wrong count that any rank has sent. The two functions are those of learn_handle() (layout/handle.h).
template <class RankRecord, class NodeRecord>
std::optional<WrongCount> wrong_count(const RankMap& map, const CountsBounds& bounds, RankRecord rank_record,
                                      NodeRecord node_record) {
  for (uint32_t rank = 0; rank < map.ranks; ++rank)
    if (const auto wrong = wrong_record(rank, rank_record(rank), bounds)) return wrong;
  for (uint32_t slot = 0; slot < map.sources(); ++slot) {
    const NodeCountsRecord record = node_record(slot);
    if (record.at == nullptr) continue;
    if (const auto wrong = wrong_record(map.source_rank(slot), record, map.peers, bounds)) return wrong;
  }
  return std::nullopt;
}

}  // namespace transload
