// Counts, prefix sums, and from them every row's final place.
//
// lay_out() reads my routing: routes, headers, counts. The counts travel (protocol/notify.h); then receive_plan() knows where
// the rows of each source begin, and span tables know which of them pass which channel.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "layout/channels.h"
#include "layout/placement.h"
#include "layout/rank_map.h"
#include "layout/token.h"

namespace transload {

// Positions by channel: [channels + 1] for each of some members; member m of channel c owns [at(m, c), at(m, c + 1)).
struct Spans {
  const uint64_t* begin;
  uint32_t channels;

  TRANSLOAD_HD uint64_t at(uint32_t member, uint32_t channel) const { return begin[uint64_t(member) * (channels + 1) + channel]; }
  TRANSLOAD_HD uint64_t count(uint32_t member, uint32_t channel) const { return at(member, channel + 1) - at(member, channel); }
};

class SpanTable {
 public:
  SpanTable() = default;
  SpanTable(uint32_t members, uint32_t channels) : channels_(channels), begin_(uint64_t(members) * (channels + 1)) {}
  uint64_t* row(uint32_t member) { return begin_.data() + uint64_t(member) * (channels_ + 1); }
  Spans view() const { return {begin_.data(), channels_}; }

  // The row that starts at `first` with these counts by channel.
  void set_counts(uint32_t member, uint64_t first, const uint32_t* counts) {
    uint64_t* at = row(member);
    at[0] = first;
    for (uint32_t c = 0; c < channels_; ++c) at[c + 1] = at[c] + counts[c];
  }
  // The row of entries [first, first + n) whose source tokens are `tokens`, ascending, of a source with so many tokens.
  void set_tokens(uint32_t member, uint64_t first, const uint32_t* tokens, uint64_t n, uint64_t source_tokens) {
    uint64_t* at = row(member);
    const Cut cut{source_tokens, channels_};
    for (uint32_t c = 0; c <= channels_; ++c)
      at[c] = first + uint64_t(std::lower_bound(tokens, tokens + n, cut.begin(c)) - tokens);
  }

 private:
  uint32_t channels_ = 0;
  std::vector<uint64_t> begin_;
};

// What the routing of my tokens looks like, in arrays of the caller.
struct Routing {
  const int32_t* expert32;  // [tokens][top_k], one of the two
  const int64_t* expert64;
  const float* weight;      // [tokens][top_k]
  uint64_t tokens;
  uint32_t top_k;

  int64_t expert(uint64_t token, uint32_t k) const {
    return expert32 ? int64_t(expert32[token * top_k + k]) : expert64[token * top_k + k];
  }
};

struct BadExpert {
  bool found = false;
  uint64_t token = 0;
  uint32_t slot = 0;
  int64_t value = 0;
};

// Counts as notify sends them. Every list is indexed as the record that carries it.
struct SendCounts {
  std::vector<uint32_t> to_rank;          // [ranks]
  std::vector<uint32_t> rank_by_channel;  // [ranks][channels]
  std::vector<uint32_t> to_node;          // [nodes], my own left 0
  std::vector<uint32_t> node_by_channel;  // [nodes][channels]
  std::vector<uint32_t> by_expert;        // [experts] in order of owner, then id
};

struct LayoutOutputs {
  std::vector<Route> routes;  // [tokens][width], ascending target, kNoRoute past the last
  uint32_t width = 0;
  SendCounts counts;
  BadExpert bad;              // the first id out of range, which counts as -1
};

// `tails`: [tokens][tail_bytes], headers at scale_bytes of each. Pure arithmetic; the reference of a device kernel.
inline void lay_out_token(const Routing& in, const RankMap& map, const Placement& experts, const TokenShape& shape,
                          uint64_t token, uint32_t channel, uint32_t channels, char* tail, LayoutOutputs& out) {
  uint32_t owners[32];
  uint32_t owner_count = 0;
  auto* header = reinterpret_cast<Header*>(tail + shape.scale_bytes());
  for (uint32_t k = 0; k < in.top_k; ++k) {
    int64_t expert = in.expert(token, k);
    if (expert < -1 || expert >= int64_t(experts.experts)) {
      if (!out.bad.found) out.bad = {true, token, k, expert};
      expert = -1;
    }
    header->entries()[k] = {kNobody, 0, int32_t(expert), in.weight[token * in.top_k + k]};
    if (expert < 0) continue;
    ++out.counts.by_expert[experts.place[expert]];
    owners[owner_count++] = experts.owner[expert];
  }
  std::sort(owners, owners + owner_count);
  owner_count = uint32_t(std::unique(owners, owners + owner_count) - owners);
  *header = {map.me, uint32_t(token), owner_count, in.top_k};
  Route* routes = out.routes.data() + token * out.width;
  Route* next = routes;
  auto own = [&](uint32_t owner) { return map.is_mate(owner); };
  for (uint32_t i = 0; i < owner_count; ++i) {
    const uint32_t owner = owners[i], ordinal = out.counts.to_rank[owner]++;
    ++out.counts.rank_by_channel[uint64_t(owner) * channels + channel];
    header->entries()[i].owner = owner;
    header->entries()[i].ordinal = ordinal;
    if (own(owner)) *next++ = {map.peer_of(owner), ordinal};
  }
  uint32_t last = kNobody;
  for (uint32_t i = 0; i < owner_count; ++i) {
    const uint32_t node = map.node_of[owners[i]];
    if (node == map.node || node == last) continue;
    last = node;
    *next++ = {map.peers + node, out.counts.to_node[node]++};
    ++out.counts.node_by_channel[uint64_t(node) * channels + channel];
  }
  while (next < routes + out.width) *next++ = {kNoRoute, 0};
}

inline LayoutOutputs lay_out(const Routing& in, const RankMap& map, const Placement& experts, const TokenShape& shape,
                             uint32_t channels, char* tails) {
  LayoutOutputs out;
  out.width = in.top_k;
  out.routes.resize(in.tokens * out.width);
  out.counts.to_rank.assign(map.ranks, 0);
  out.counts.rank_by_channel.assign(uint64_t(map.ranks) * channels, 0);
  out.counts.to_node.assign(map.nodes, 0);
  out.counts.node_by_channel.assign(uint64_t(map.nodes) * channels, 0);
  out.counts.by_expert.assign(experts.experts, 0);
  const Cut cut{in.tokens, channels};
  for (uint32_t c = 0; c < channels; ++c)
    for (uint64_t token = cut.begin(c); token < cut.end(c); ++token)
      lay_out_token(in, map, experts, shape, token, c, channels, tails + token * shape.tail_bytes(), out);
  return out;
}

// Counts of one source for one rank, as they lie in a mailbox: see Geometry::counts_bytes.
struct CountsRecord {
  const uint32_t* words;
  TRANSLOAD_HD uint32_t source_tokens() const { return words[0]; }
  TRANSLOAD_HD uint32_t tokens() const { return words[1]; }
  TRANSLOAD_HD const uint32_t* by_channel() const { return words + 2; }
  TRANSLOAD_HD const uint32_t* by_expert(uint32_t channels_max) const { return words + 2 + channels_max; }
};

inline void write_counts(uint32_t* words, const SendCounts& c, const Placement& experts, uint64_t source_tokens, uint32_t rank,
                         uint32_t channels, uint32_t channels_max) {
  words[0] = uint32_t(source_tokens);
  words[1] = c.to_rank[rank];
  std::memset(words + 2, 0, 4 * channels_max);
  std::copy_n(c.rank_by_channel.begin() + int64_t(rank) * channels, channels, words + 2);
  std::copy_n(c.by_expert.begin() + experts.rank_begin[rank], experts.experts_of(rank), words + 2 + channels_max);
}

inline void write_node_counts(uint32_t* words, const SendCounts& c, uint64_t source_tokens, uint32_t node, uint32_t channels) {
  words[0] = uint32_t(source_tokens);
  words[1] = c.to_node[node];
  std::copy_n(c.node_by_channel.begin() + int64_t(node) * channels, channels, words + 2);
}

// Where the rows of each source begin in my output. row_base: [ranks + 1]; the last is how many rows there are.
struct ReceivePlan {
  std::vector<uint64_t> row_base;
  std::vector<uint32_t> source_tokens;  // [ranks]
  std::vector<int64_t> expert_counts;   // [experts of mine], rounded up to the alignment
  uint64_t rows() const { return row_base.back(); }
};

// `record(source rank)` gives the counts of that source for me.
template <class Record>
ReceivePlan receive_plan(uint32_t ranks, uint32_t experts_of_mine, uint32_t channels_max, uint32_t alignment, Record record) {
  ReceivePlan plan;
  plan.row_base.assign(ranks + 1, 0);
  plan.source_tokens.resize(ranks);
  plan.expert_counts.assign(experts_of_mine, 0);
  for (uint32_t s = 0; s < ranks; ++s) {
    const CountsRecord r = record(s);
    plan.row_base[s + 1] = plan.row_base[s] + r.tokens();
    plan.source_tokens[s] = r.source_tokens();
    for (uint32_t e = 0; e < experts_of_mine; ++e) plan.expert_counts[e] += r.by_expert(channels_max)[e];
  }
  for (int64_t& n : plan.expert_counts) n = int64_t(round_up(uint64_t(n), alignment));
  return plan;
}

}  // namespace transload
