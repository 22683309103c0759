// Counts, prefix sums, and from them every row's final place.
//
// lay_out() makes routes, headers and counts of my routing. The counts travel (protocol/notify.h); then receive_plan()
// knows where the rows of each source begin, and span tables know which of these rows pass which channel.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/set.h"
#include "layout/channels.h"
#include "layout/counts.h"
#include "layout/placement.h"
#include "layout/rank_map.h"
#include "layout/token.h"

namespace transload {

// Positions by channel: [channels + 1] for each of some members; on channel c member m owns [at(m, c), at(m, c + 1)).
// The number of members is known to SpanTable only: here it would cost the kernel of a combine two registers.
struct Spans {
  const uint64_t* begin;
  uint32_t channels;

  TRANSLOAD_HD uint64_t at(uint32_t member, uint32_t channel) const {
    TRANSLOAD_CHECK(channel <= channels);
    return begin[uint64_t(member) * (channels + 1) + channel];
  }
  TRANSLOAD_HD uint64_t count(uint32_t member, uint32_t channel) const {
    return at(member, channel + 1) - at(member, channel);
  }
};

// The entries that one source sent: the number of the first, and for each its token at the source, ascending.
struct TokenRun {
  uint64_t first;
  const uint32_t* tokens;
  uint64_t count;
  uint64_t source_tokens;  // tokens of the source in all
};

class SpanTable {
 public:
  SpanTable() = default;
  SpanTable(uint32_t members, uint32_t channels)
      : channels_(channels), members_(members), begin_(uint64_t(members) * (channels + 1)) {}
  uint64_t* row(uint32_t member) {
    TRANSLOAD_CHECK(member < members_);
    return begin_.data() + uint64_t(member) * (channels_ + 1);
  }
  Spans view() const { return {begin_.data(), channels_}; }

  // Sets a member's spans: they start at `first` and have these counts by channel.
  void set_counts(uint32_t member, uint64_t first, const uint32_t* counts) {
    uint64_t* at = row(member);
    at[0] = first;
    for (uint32_t c = 0; c < channels_; ++c) at[c + 1] = at[c] + counts[c];
  }
  // Sets a member's spans from the tokens of its entries.
  void set_tokens(uint32_t member, const TokenRun& run) {
    uint64_t* at = row(member);
    const Cut cut{run.source_tokens, channels_};
    for (uint32_t c = 0; c <= channels_; ++c)
      at[c] = run.first + uint64_t(std::lower_bound(run.tokens, run.tokens + run.count, cut.begin(c)) - run.tokens);
  }

 private:
  uint32_t channels_ = 0, members_ = 0;
  std::vector<uint64_t> begin_;
};

// The routing of my tokens, in arrays of the caller.
struct Routing {
  const int32_t* expert32;  // [tokens][top_k]; this one or expert64 is null
  const int64_t* expert64;
  const float* weight;  // [tokens][top_k]
  uint64_t tokens;
  uint32_t top_k;

  TRANSLOAD_HD int64_t expert(uint64_t token, uint32_t k) const {
    return expert32 ? int64_t(expert32[token * top_k + k]) : expert64[token * top_k + k];
  }
};

// Scales as the caller keeps them: 4-byte scalars, strides in scalars. If `at` is null, there are none.
struct ScaleSource {
  const uint32_t* at;
  int64_t token_stride, scale_stride;
};

struct BadExpert {
  bool found = false;
  uint64_t token = 0;
  uint32_t slot = 0;
  int64_t value = 0;
};

// Returns the expert of a choice, -1 for none. An id out of range counts as -1, and the first such choice becomes
// `bad`.
inline int64_t within_experts(const BadExpert& choice, uint32_t experts, BadExpert& bad) {
  if (choice.value >= -1 && choice.value < int64_t(experts)) return choice.value;
  if (!bad.found) bad = choice;
  return -1;
}

struct LayoutOutputs {
  std::vector<Route> routes;  // [tokens][width] by ascending target, kNoRoute past the last
  uint32_t width = 0;
  SendCounts counts;
  BadExpert bad;  // the first id out of range, which counts as -1
};

struct LayoutInputs {
  Routing routing;
  RankMap map;
  Placement experts;
  TokenShape shape;
  uint32_t channels;
  char* headers;  // [tokens][header_bytes] memory of the caller
};

// Lays out one token: header, routes, and its part of the counts. LayoutBlock (kernels/tables/layout.cuh) does the same
// on a GPU, and tests compare the two.
inline void lay_out_token(const LayoutInputs& in, LayoutOutputs& out, uint64_t token, uint32_t channel) {
  const Routing& routing = in.routing;
  TRANSLOAD_CHECK(token < routing.tokens && routing.top_k <= kSetMax && channel < in.channels);
  uint32_t owners[kSetMax];
  uint32_t owner_count = 0;
  auto* header = reinterpret_cast<Header*>(in.headers + token * in.shape.header_bytes());
  for (uint32_t k = 0; k < routing.top_k; ++k) {
    const int64_t expert = within_experts({true, token, k, routing.expert(token, k)}, in.experts.experts, out.bad);
    header->entries()[k] = {kNobody, 0, int32_t(expert), routing.weight[token * routing.top_k + k]};
    if (expert < 0) continue;
    ++out.counts.by_expert[in.experts.place[expert]];
    owners[owner_count++] = in.experts.owner[expert];
  }
  // Owners ascend: ranks of one node stand together, so their node gets one copy, and rows are summed in the contract's
  // order.
  std::sort(owners, owners + owner_count);
  owner_count = uint32_t(std::unique(owners, owners + owner_count) - owners);
  *header = {in.map.me, uint32_t(token), owner_count, routing.top_k};
  Route* routes = out.routes.data() + token * out.width;
  Route* next = routes;
  for (uint32_t i = 0; i < owner_count; ++i) {
    const uint32_t owner = owners[i], ordinal = out.counts.to_rank[owner]++;
    ++out.counts.rank_by_channel[uint64_t(owner) * in.channels + channel];
    header->entries()[i].owner = owner;
    header->entries()[i].ordinal = ordinal;
    if (in.map.is_peer(owner)) *next++ = {in.map.peer_of(owner), ordinal};
  }
  uint32_t last = kNobody;
  for (uint32_t i = 0; i < owner_count; ++i) {
    const uint32_t node = in.map.node_of[owners[i]];
    if (node == in.map.node || node == last) continue;
    last = node;
    *next++ = {in.map.peers + node, out.counts.to_node[node]++};
    ++out.counts.node_by_channel[uint64_t(node) * in.channels + channel];
  }
  TRANSLOAD_CHECK(next <= routes + out.width);
  while (next < routes + out.width) *next++ = {kNoRoute, 0};
}

inline LayoutOutputs lay_out(const LayoutInputs& in) {
  LayoutOutputs out;
  out.width = in.routing.top_k;
  out.routes.resize(in.routing.tokens * out.width);
  out.counts.to_rank.assign(in.map.ranks, 0);
  out.counts.rank_by_channel.assign(uint64_t(in.map.ranks) * in.channels, 0);
  out.counts.to_node.assign(in.map.nodes, 0);
  out.counts.node_by_channel.assign(uint64_t(in.map.nodes) * in.channels, 0);
  out.counts.by_expert.assign(in.experts.experts, 0);
  const Cut cut{in.routing.tokens, in.channels};
  for (uint32_t c = 0; c < in.channels; ++c)
    for (uint64_t token = cut.begin(c); token < cut.end(c); ++token) lay_out_token(in, out, token, c);
  return out;
}

// Where the rows of each source begin in my output. row_base: [ranks + 1]; the last is how many rows there are.
struct ReceivePlan {
  std::vector<uint64_t> row_base;
  std::vector<uint32_t> source_tokens;  // [ranks]
  std::vector<int64_t> expert_counts;   // [experts of mine], rounded up to the alignment
  uint64_t rows() const { return row_base.back(); }
};

struct ReceiveShape {
  uint32_t ranks, experts_of_mine, channels_max;
  uint32_t alignment;  // expert counts are rounded up to multiples of this
};

// `record(source rank)` gives the counts of that source for me.
template <class Record>
ReceivePlan receive_plan(const ReceiveShape& shape, Record record) {
  ReceivePlan plan;
  plan.row_base.assign(shape.ranks + 1, 0);
  plan.source_tokens.resize(shape.ranks);
  plan.expert_counts.assign(shape.experts_of_mine, 0);
  for (uint32_t s = 0; s < shape.ranks; ++s) {
    const CountsRecord r = record(s);
    plan.row_base[s + 1] = plan.row_base[s] + r.tokens();
    plan.source_tokens[s] = r.source_tokens();
    for (uint32_t e = 0; e < shape.experts_of_mine; ++e) plan.expert_counts[e] += r.by_expert(shape.channels_max)[e];
  }
  for (int64_t& n : plan.expert_counts) n = int64_t(round_up(uint64_t(n), shape.alignment));
  return plan;
}

}  // namespace transload
