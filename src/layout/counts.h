// The records in which notify carries the counts of one source: one for each rank, and one for each node, which
// contains those of its ranks. Whoever writes or reads a record uses the names of this file.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/macros.h"
#include "base/math.h"
#include "layout/placement.h"
#include "layout/rank_map.h"

namespace transload {

// How long the records of a group are, by the most channels of a call and the most experts of a rank.
struct CountsShape {
  static constexpr uint64_t kRefusalBytes = 256;  // the longest Refusal, for which a rank's record has room, too
  uint32_t channels_max, experts_max;

  TRANSLOAD_HD uint64_t rank_bytes() const {
    const uint64_t bytes = round_up(4 * (2 + uint64_t(channels_max) + experts_max), 16);
    return bytes > kRefusalBytes ? bytes : kRefusalBytes;
  }
  TRANSLOAD_HD uint64_t node_head_bytes() const { return round_up(4 * (2 + uint64_t(channels_max)), 16); }
  TRANSLOAD_HD uint64_t node_bytes(uint32_t node_size) const { return of_peer(node_size); }
  // Offset of a rank's record in the record of its node.
  TRANSLOAD_HD uint64_t of_peer(uint32_t peer) const { return node_head_bytes() + peer * rank_bytes(); }
};

// The words that both records begin with: how many tokens the source has, how many of them come, and how many come on
// each channel. In the record of a rank the choices of each of its experts follow, after room for channels_max
// channels.
struct CountsRecord {
  static constexpr uint32_t kSourceTokens = 0, kTokens = 1, kByChannel = 2;  // indices of words
  TRANSLOAD_HD static constexpr uint32_t expert_word(uint32_t channels_max) { return kByChannel + channels_max; }

  const uint32_t* words;

  TRANSLOAD_HD static CountsRecord at(const char* bytes) { return {reinterpret_cast<const uint32_t*>(bytes)}; }
  TRANSLOAD_HD uint32_t source_tokens() const { return words[kSourceTokens]; }
  TRANSLOAD_HD uint32_t tokens() const { return words[kTokens]; }
  TRANSLOAD_HD const uint32_t* by_channel() const { return words + kByChannel; }
  TRANSLOAD_HD const uint32_t* by_expert(uint32_t channels_max) const { return words + expert_word(channels_max); }
};

struct NodeCountsRecord {
  const char* at;  // null: the source does not exist
  CountsShape shape;

  TRANSLOAD_HD CountsRecord head() const { return CountsRecord::at(at); }
  TRANSLOAD_HD CountsRecord of_peer(uint32_t peer) const { return CountsRecord::at(at + shape.of_peer(peer)); }
};

// What a rank says instead of counts if it refuses the call. All of its records say it, so all ranks know.
struct Refusal {
  static constexpr uint32_t kMark = ~uint32_t(0);  // in place of the source's tokens, because no rank has so many
  static constexpr uint64_t kTextBytes = CountsShape::kRefusalBytes - 4 * CountsRecord::kByChannel;

  uint32_t rank;
  uint32_t code;
  std::string text;

  // A text of more than kTextBytes is cut; a shorter one ends with a zero.
  void write(char* record) const {
    const uint32_t head[] = {kMark, code};
    static_assert(sizeof head == 4 * CountsRecord::kByChannel);
    std::memset(record, 0, CountsShape::kRefusalBytes);
    std::memcpy(record, head, sizeof head);
    std::memcpy(record + sizeof head, text.data(), std::min<uint64_t>(text.size(), kTextBytes));
  }
  // The refusal in this record of `rank`, if it is one. Whatever its bytes are, the text can be shown.
  static std::optional<Refusal> in(uint32_t rank, const CountsRecord& record) {
    if (record.source_tokens() != kMark) return std::nullopt;
    const char* const text = reinterpret_cast<const char*>(record.words + CountsRecord::kByChannel);
    Refusal refusal{rank, record.tokens(), std::string(text, strnlen(text, kTextBytes))};
    for (char& c : refusal.text)
      if (c < ' ' || c > '~') c = '?';
    return refusal;
  }
};

// What a source counts. CountsWriter copies parts of these lists into the records.
struct SendCounts {
  std::vector<uint32_t> to_rank;          // [ranks]
  std::vector<uint32_t> rank_by_channel;  // [ranks][channels]
  std::vector<uint32_t> to_node;          // [nodes] 0 for my own
  std::vector<uint32_t> node_by_channel;  // [nodes][channels]
  std::vector<uint32_t> by_expert;        // [experts] ordered by owner, then id
};

// Writes what one source counted into the records that notify sends.
struct CountsWriter {
  const SendCounts& counts;
  Placement experts;
  uint64_t source_tokens;
  uint32_t channels;
  CountsShape shape;

  void for_rank(char* record, uint32_t rank) const {
    uint32_t* const words = head(record, counts.to_rank[rank]);
    std::copy_n(counts.rank_by_channel.begin() + int64_t(rank) * channels, channels, words + CountsRecord::kByChannel);
    std::copy_n(counts.by_expert.begin() + experts.rank_begin[rank], experts.experts_of(rank),
                words + CountsRecord::expert_word(shape.channels_max));
  }
  // Writes a node's record: its head, then the records of the node's ranks.
  void for_node(char* record, const RankMap& map, uint32_t node) const {
    uint32_t* const words = head(record, counts.to_node[node]);
    std::copy_n(counts.node_by_channel.begin() + int64_t(node) * channels, channels, words + CountsRecord::kByChannel);
    for (uint32_t p = 0; p < map.node_size(node); ++p) for_rank(record + shape.of_peer(p), map.node_begin[node] + p);
  }

 private:
  uint32_t* head(char* record, uint32_t tokens) const {
    auto* const words = reinterpret_cast<uint32_t*>(record);
    words[CountsRecord::kSourceTokens] = uint32_t(source_tokens);
    words[CountsRecord::kTokens] = tokens;
    std::memset(words + CountsRecord::kByChannel, 0, 4 * shape.channels_max);  // a call may have fewer channels
    return words;
  }
};

}  // namespace transload
