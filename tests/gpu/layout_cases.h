// Random routings for layout_check.cu, and what a host makes of them: the reference, byte by byte.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "channel/board.h"
#include "channel/card.h"
#include "layout/handle.h"
#include "layout/placement.h"
#include "layout/plan.h"
#include "layout/rank_map.h"
#include "layout/regions.h"
#include "layout/token.h"

namespace transload {

struct LayoutCase {
  std::vector<uint32_t> node_sizes;
  uint64_t tokens;  // of the rank that is checked, and of most others
  uint32_t top_k, experts, channels, channels_max;
  bool wide_ids;     // int64
  bool placed;       // experts on random ranks, some of which have none
  double none, bad;  // shares of -1, and of ids out of range
  uint32_t hot;      // choices fall on so many experts alone; 0: on all
  uint32_t scales;
  uint32_t blocks;

  std::string name() const {
    std::string nodes;
    for (uint32_t n : node_sizes) nodes += (nodes.empty() ? "" : "+") + std::to_string(n);
    return nodes + " tokens " + std::to_string(tokens) + " top-" + std::to_string(top_k) + " experts " +
           std::to_string(experts) + " channels " + std::to_string(channels) + "/" + std::to_string(channels_max) +
           (wide_ids ? " int64" : " int32") + (placed ? " placed" : "") + " scales " + std::to_string(scales) +
           " blocks " + std::to_string(blocks);
  }
};

// What one rank brings to a dispatch.
struct RankInputs {
  uint64_t tokens = 0;
  std::vector<int32_t> narrow;
  std::vector<int64_t> wide;
  std::vector<float> weights;
};

// All ranks of a case, and the arithmetic that they share.
struct LayoutWorld {
  LayoutCase c;
  std::mt19937_64 random;
  RankTable ranks;
  std::unique_ptr<PlacementTable> placement;
  std::vector<RankInputs> inputs;
  TokenShape shape;
  uint32_t me;  // the rank whose kernels are checked

  LayoutWorld(const LayoutCase& given, uint64_t seed)
      : c(given), random(seed), ranks(given.node_sizes), shape{128, given.scales, given.top_k, true} {
    const uint32_t count = ranks.seen_by(0).ranks;
    std::vector<uint32_t> owner;
    for (uint32_t e = 0; c.placed && e < c.experts; ++e)
      owner.push_back(uint32_t(random() % ((count + 2) / 2)) * 2 % count);
    placement = std::make_unique<PlacementTable>(c.experts, count, owner);
    inputs.resize(count);
    me = uint32_t(random() % count);
    for (uint32_t r = 0; r < count; ++r)
      if (r == me || whole()) fill(inputs[r]);
  }

  // The same rank's next routing.
  void route_anew() {
    inputs[me] = {};
    fill(inputs[me]);
  }
  // Small enough for the routing of all ranks, which plans need.
  bool whole() const { return inputs.size() * c.tokens * c.top_k <= 1 << 20; }
  Geometry geometry(const RankMap& map) const {
    return {map.ranks, map.nodes,
            map.fold,  ranks.node_size_max(),
            map.peers, c.channels_max,
            1,         placement->experts_of_rank_max(),
            128,       128};
  }
  Routing routing(uint32_t rank) const {
    const RankInputs& in = inputs[rank];
    return {c.wide_ids ? nullptr : in.narrow.data(), in.wide.data(), in.weights.data(), in.tokens, c.top_k};
  }

 private:
  void fill(RankInputs& in) {
    in.tokens = &in == &inputs[me] || random() % 4 ? c.tokens : c.tokens / 2;
    const uint32_t range = c.hot == 0 ? c.experts : std::min(c.hot, c.experts);
    std::uniform_real_distribution<double> share(0, 1);
    for (uint64_t i = 0; i < in.tokens * c.top_k; ++i) {
      int64_t id = int64_t(random() % range);
      if (share(random) < c.none) id = -1;
      if (share(random) < c.bad) {
        const int64_t wrong[] = {-2, int64_t(c.experts), INT32_MAX, INT32_MIN, c.wide_ids ? INT64_MAX : -7};
        id = wrong[random() % 5];
      }
      if (c.wide_ids)
        in.wide.push_back(id);
      else
        in.narrow.push_back(int32_t(id));
      in.weights.push_back(float(share(random)));
    }
    if (in.wide.empty()) in.wide.push_back(0);  // pointers tell the two apart, even without tokens
    if (in.narrow.empty()) in.narrow.push_back(0);
  }
};

// What the layout of one rank writes.
struct LayoutResult {
  std::vector<char> headers, to_peers, to_nodes;
  LayoutOutputs out;
};

inline LayoutResult lay_out_rank(const LayoutWorld& world, uint32_t rank) {
  const RankMap map = world.ranks.seen_by(rank);
  const Geometry g = world.geometry(map);
  const Placement experts = world.placement->view();
  const uint64_t tokens = world.inputs[rank].tokens;
  LayoutResult r;
  r.headers.assign(tokens * world.shape.header_bytes() + 1, char(0xa5));
  r.out = lay_out({world.routing(rank), map, experts, world.shape, world.c.channels, r.headers.data()});
  r.to_peers.assign(map.peers * g.counts_bytes(), 0);
  r.to_nodes.assign(map.nodes * g.node_counts_bytes(), 0);
  const CountsWriter writer{r.out.counts, experts, tokens, world.c.channels, g.counts()};
  for (uint32_t p = 0; p < map.peers; ++p) writer.for_rank(r.to_peers.data() + p * g.counts_bytes(), map.peer_rank(p));
  for (uint32_t n = 0; n < map.nodes; ++n) writer.for_node(r.to_nodes.data() + n * g.node_counts_bytes(), map, n);
  return r;
}

// Scales that lie token by token, scale by scale, or once for all tokens.
struct ScaleMatrix {
  std::vector<uint32_t> values;
  int64_t token_stride, scale_stride;

  ScaleMatrix(uint64_t tokens, uint32_t scales, uint64_t seed) {
    std::mt19937_64 random(seed + tokens);
    const int64_t kind = int64_t(random() % 4), gap = int64_t(random() % 3);
    token_stride = kind == 0 ? 1 : kind == 1 ? 0 : int64_t(scales) + gap;
    scale_stride = kind == 0 ? int64_t(tokens) + gap : 1;
    values.resize(tokens * scales * 2 + (tokens + scales) * 4 + 16);
    for (uint32_t& v : values) v = uint32_t(random());
  }
  // As they are staged: [tokens][scale_room].
  std::vector<char> staged(const TokenShape& shape, uint64_t tokens) const {
    std::vector<char> all(tokens * shape.scale_room(), char(0xa5));
    for (uint64_t t = 0; t < tokens; ++t)
      for (uint32_t i = 0; i < shape.scales; ++i)
        std::memcpy(all.data() + t * shape.scale_room() + i * 4,
                    values.data() + int64_t(t) * token_stride + int64_t(i) * scale_stride, 4);
    return all;
  }
};

// What a rank knows after notify.
struct PlanResult : LearnedHandle {
  ReceivePlan plan;
};

// The mailboxes of one rank as notify leaves them, and all that follows from them.
struct Mailboxes {
  std::vector<char> up, network;
  ScaleUpRegion up_plan;
  NetworkRegion net_plan;
  std::vector<Counterpart> sources;

  Mailboxes(const LayoutWorld& world, const std::vector<LayoutResult>& all, uint32_t me, uint32_t parity) {
    const RankMap map = world.ranks.seen_by(me);
    const Geometry g = world.geometry(map);
    up_plan = ScaleUpRegion::plan(g, sizeof(Card), 128);
    net_plan = NetworkRegion::plan(g, sizeof(Card));
    up.assign(up_plan.done_word.offset, char(0x77));
    network.assign(net_plan.counts_send.offset, char(0x77));
    sources.resize(map.sources());
    for (uint32_t s = 0; s < map.ranks; ++s)
      writer(world, all[s], s, g).for_rank(up.data() + up_plan.counts.at(parity, s), me);
    for (uint32_t slot = 0; slot < map.sources(); ++slot) {
      const uint32_t rank = map.source_rank(slot);
      if (rank == kNobody || rank == me) continue;
      sources[slot] = {rank, map.node};
      char* const record = network.data() + net_plan.counts.at(parity, slot);
      std::memcpy(record, all[rank].to_nodes.data() + map.node * g.node_counts_bytes(), g.node_counts_bytes());
    }
  }

  static CountsWriter writer(const LayoutWorld& world, const LayoutResult& of, uint32_t rank, const Geometry& g) {
    return {of.out.counts, world.placement->view(), world.inputs[rank].tokens, world.c.channels, g.counts()};
  }
};

inline PlanResult plan_rank(const LayoutWorld& world, const Mailboxes& boxes, uint32_t me, uint32_t parity,
                            uint32_t alignment) {
  const RankMap map = world.ranks.seen_by(me);
  auto of_rank = [&](uint32_t s) { return CountsRecord::at(boxes.up.data() + boxes.up_plan.counts.at(parity, s)); };
  auto of_slot = [&](uint32_t s) {
    const char* const at = boxes.network.data() + boxes.net_plan.counts.at(parity, s);
    return NodeCountsRecord{boxes.sources[s].rank == kNobody ? nullptr : at, world.geometry(map).counts()};
  };
  PlanResult r;
  r.plan = receive_plan({map.ranks, world.placement->view().experts_of(me), world.c.channels_max, alignment}, of_rank);
  const LearnInputs in{.map = map, .channels = world.c.channels, .top_k = world.c.top_k, .rows_max = kNoRowsMax};
  static_cast<LearnedHandle&>(r) = learn_handle(in, r.plan, of_rank, of_slot);
  return r;
}

// Appends the tokens of `rank` of which `wanted` says so for some owner.
template <class Wanted>
void append_tokens(const LayoutWorld& world, const LayoutResult& of, std::vector<uint32_t>& tokens, Wanted wanted) {
  for (const char* tail = of.headers.data(); tail + world.shape.header_bytes() <= of.headers.data() + of.headers.size();
       tail += world.shape.header_bytes()) {
    const auto* header = reinterpret_cast<const Header*>(tail);
    bool found = false;
    for (uint32_t i = 0; i < header->owner_count; ++i) found = found || wanted(header->entries()[i].owner);
    if (found) tokens.push_back(header->token);
  }
}

// The tokens of a handle's rows and log, as dispatch leaves them.
inline void know_tokens(const LayoutWorld& world, const std::vector<LayoutResult>& all, uint32_t me, PlanResult& plan) {
  const RankMap map = world.ranks.seen_by(me);
  plan.tables.row_token.clear();
  plan.tables.log_token.clear();
  for (uint32_t s = 0; s < map.ranks; ++s)
    append_tokens(world, all[s], plan.tables.row_token, [&](uint32_t owner) { return owner == me; });
  for (uint32_t slot = 0; slot < map.sources(); ++slot) {
    const uint32_t rank = map.source_rank(slot);
    if (rank != kNobody && rank != me)
      append_tokens(world, all[rank], plan.tables.log_token, [&](uint32_t owner) { return map.is_peer(owner); });
  }
}

}  // namespace transload
