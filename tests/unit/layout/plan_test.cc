// Routes, headers, counts and final rows of random routings, against the reference and plain counting.
#include "layout/plan.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "reference/reference.h"

namespace transload {
namespace {

constexpr uint32_t kScales = 3;

struct Case {
  std::vector<uint32_t> node_sizes;
  uint32_t experts, top_k, channels;
  std::vector<int64_t> tokens;  // by rank
  std::vector<uint32_t> owner;  // empty: blocks
};

std::vector<Case> cases() {
  return {{{1}, 4, 2, 1, {20}, {}},
          {{4, 4}, 64, 8, 4, {30, 0, 7, 30, 1, 30, 30, 11}, {}},
          {{3, 5}, 16, 32, 3, {9, 9, 9, 9, 9, 9, 9, 9}, {}},
          {{1, 2, 5}, 5, 4, 24, {17, 3, 0, 40, 5, 6, 7, 8}, {}},
          {{2, 2, 2}, 6, 3, 7, {25, 25, 25, 25, 25, 25}, {5, 0, 0, 5, 3, 5}},
          {{1, 1, 1, 1}, 1, 1, 2, {8, 8, 8, 8}, {}}};
}

// All ranks' layouts of one problem, with some -1, duplicates by chance, and no id out of range.
struct Layouts {
  explicit Layouts(const Case& c, uint64_t seed)
      : table(c.node_sizes), ranks(table.seen_by(0).ranks), placement(c.experts, ranks, c.owner) {
    problem.node_sizes = c.node_sizes;
    problem.top_k = c.top_k;
    problem.owner.assign(placement.view().owner, placement.view().owner + c.experts);
    std::mt19937_64 random(seed);
    for (uint32_t r = 0; r < ranks; ++r) {
      reference::Routes routes;
      routes.tokens = c.tokens[r];
      for (int64_t i = 0; i < routes.tokens * c.top_k; ++i) {
        routes.ids.push_back(random() % 7 == 0 ? -1 : int32_t(random() % c.experts));
        routes.weights.push_back(float(random() % 1000) / 8);
      }
      problem.routes.push_back(std::move(routes));
    }
    for (uint32_t r = 0; r < ranks; ++r) {
      const auto& routes = problem.routes[r];
      headers.emplace_back(size_t(routes.tokens) * shape(c).header_bytes() + 16);
      const Routing routing{routes.ids.data(), nullptr, routes.weights.data(), uint64_t(routes.tokens), c.top_k};
      out.push_back(lay_out({routing, table.seen_by(r), placement.view(), shape(c), c.channels, headers[r].data()}));
    }
  }
  static TokenShape shape(const Case& c) { return {64, kScales, c.top_k, true}; }
  const Header* header(const Case& c, uint32_t rank, int64_t token) const {
    return reinterpret_cast<const Header*>(headers[rank].data() + size_t(token) * shape(c).header_bytes());
  }

  RankTable table;
  uint32_t ranks;
  PlacementTable placement;
  reference::Problem problem;
  std::vector<std::vector<char>> headers;
  std::vector<LayoutOutputs> out;
};

class Plan : public ::testing::TestWithParam<int> {
 protected:
  Case c = cases()[size_t(GetParam())];
  Layouts all{c, uint64_t(GetParam()) + 100};
};
INSTANTIATE_TEST_SUITE_P(Cases, Plan, ::testing::Range(0, int(cases().size())));

TEST_P(Plan, CountsAreThoseOfTheReference) {
  for (uint32_t s = 0; s < all.ranks; ++s) {
    const SendCounts& counts = all.out[s].counts;
    const Cut cut{uint64_t(c.tokens[s]), c.channels};
    std::vector<uint32_t> to_rank(all.ranks), to_node(c.node_sizes.size()), by_expert(c.experts);
    std::vector<uint32_t> rank_by_channel(all.ranks * c.channels), node_by_channel(c.node_sizes.size() * c.channels);
    for (int64_t t = 0; t < c.tokens[s]; ++t) {
      const auto owners = reference::owners_by_node(all.problem, {s, t});
      const uint32_t channel = cut.channel_of(uint64_t(t));
      for (uint32_t n = 0; n < owners.size(); ++n) {
        for (uint32_t owner : owners[n]) ++to_rank[owner], ++rank_by_channel[owner * c.channels + channel];
        if (owners[n].empty() || n == reference::node_of(all.problem, s)) continue;
        ++to_node[n];
        ++node_by_channel[n * c.channels + channel];
      }
      for (uint32_t k = 0; k < c.top_k; ++k) {
        const int32_t e = all.problem.routes[s].ids[size_t(t) * c.top_k + k];
        if (e >= 0) ++by_expert[all.placement.view().place[e]];
      }
    }
    EXPECT_EQ(counts.to_rank, to_rank) << "source " << s;
    EXPECT_EQ(counts.to_node, to_node) << "source " << s;
    EXPECT_EQ(counts.by_expert, by_expert) << "source " << s;
    EXPECT_EQ(counts.rank_by_channel, rank_by_channel) << "source " << s;
    EXPECT_EQ(counts.node_by_channel, node_by_channel) << "source " << s;
    EXPECT_FALSE(all.out[s].bad.found);
  }
}

// Owners ascend; ordinals count, owner by owner, in the order of tokens; choices keep their places.
TEST_P(Plan, HeadersListOwnersAndChoices) {
  for (uint32_t s = 0; s < all.ranks; ++s) {
    std::vector<uint32_t> next(all.ranks);
    for (int64_t t = 0; t < c.tokens[s]; ++t) {
      const Header* h = all.header(c, s, t);
      ASSERT_EQ(h->source, s);
      ASSERT_EQ(h->token, uint32_t(t));
      ASSERT_EQ(h->choice_count, c.top_k);
      std::vector<uint32_t> owners;
      for (const auto& of_node : reference::owners_by_node(all.problem, {s, t}))
        owners.insert(owners.end(), of_node.begin(), of_node.end());
      ASSERT_EQ(h->owner_count, owners.size());
      for (uint32_t i = 0; i < owners.size(); ++i) {
        ASSERT_EQ(h->entries()[i].owner, owners[i]);
        ASSERT_EQ(h->entries()[i].ordinal, next[owners[i]]++);
      }
      for (uint32_t k = 0; k < c.top_k; ++k) {
        ASSERT_EQ(h->entries()[k].expert, all.problem.routes[s].ids[size_t(t) * c.top_k + k]);
        ASSERT_EQ(h->entries()[k].weight, all.problem.routes[s].weights[size_t(t) * c.top_k + k]);
      }
    }
  }
}

// My node's owners by peer, then one route for each other node; ascending, then nothing.
TEST_P(Plan, RoutesAscend) {
  for (uint32_t s = 0; s < all.ranks; ++s) {
    const RankMap map = all.table.seen_by(s);
    std::vector<uint32_t> rank_next(all.ranks), node_next(map.nodes);
    ASSERT_EQ(all.out[s].width, c.top_k);
    ASSERT_EQ(all.out[s].routes.size(), size_t(c.tokens[s]) * c.top_k);
    for (int64_t t = 0; t < c.tokens[s]; ++t) {
      const auto owners = reference::owners_by_node(all.problem, {s, t});
      std::vector<Route> want;
      for (uint32_t owner : owners[map.node]) want.push_back({map.peer_of(owner), rank_next[owner]++});
      for (uint32_t n = 0; n < map.nodes; ++n)
        if (n != map.node && !owners[n].empty()) want.push_back({map.peers + n, node_next[n]++});
      want.resize(c.top_k, Route{kNoRoute, 0});
      for (uint32_t i = 0; i < c.top_k; ++i) {
        const Route& route = all.out[s].routes[size_t(t) * c.top_k + i];
        ASSERT_EQ(route.target, want[i].target) << "source " << s << ", token " << t << ", route " << i;
        ASSERT_TRUE(route.target == kNoRoute || route.ordinal == want[i].ordinal) << "source " << s << ", token " << t;
      }
    }
  }
}

// Row base of the source + ordinal of the token is the row that the contract gives it.
TEST_P(Plan, RowBasesAndOrdinalsGiveTheContractsRows) {
  const uint32_t channels_max = c.channels + 2;
  const Placement placement = all.placement.view();
  const CountsShape shape{channels_max, all.placement.experts_of_rank_max()};
  for (uint32_t me = 0; me < all.ranks; ++me)
    for (uint32_t alignment : {1u, 8u}) {
      std::vector<std::vector<uint32_t>> records(all.ranks, std::vector<uint32_t>(shape.rank_bytes() / 4, 0xDEAD));
      for (uint32_t s = 0; s < all.ranks; ++s)
        CountsWriter{all.out[s].counts, placement, uint64_t(c.tokens[s]), c.channels, shape}.for_rank(
            reinterpret_cast<char*>(records[s].data()), me);
      const ReceivePlan plan = receive_plan(ReceiveShape{all.ranks, placement.experts_of(me), channels_max, alignment},
                                            [&](uint32_t s) { return CountsRecord{records[s].data()}; });
      const reference::Received want = reference::received_by(all.problem, me, alignment);
      ASSERT_EQ(plan.rows(), want.source.size());
      ASSERT_EQ(plan.expert_counts, want.expert_counts);
      for (size_t row = 0; row < want.source.size(); ++row) {
        const auto [s, t] = want.source[row];
        const Header* h = all.header(c, s, t);
        uint64_t found = ~uint64_t(0);
        for (uint32_t i = 0; i < h->owner_count; ++i)
          if (h->entries()[i].owner == me) found = plan.row_base[s] + h->entries()[i].ordinal;
        ASSERT_EQ(found, row) << "token " << t << " of rank " << s << " at rank " << me;
      }
      for (uint32_t s = 0; s < all.ranks; ++s) {
        ASSERT_EQ(plan.source_tokens[s], uint32_t(c.tokens[s]));
        ASSERT_EQ(plan.row_base[s + 1] - plan.row_base[s], all.out[s].counts.to_rank[me]);
        for (uint32_t extra = c.channels; extra < channels_max; ++extra)
          ASSERT_EQ(CountsRecord{records[s].data()}.by_channel()[extra], 0u);
      }
    }
}

// What first dispatches learn from counts and cached ones from tokens is the same, and a cut into other channels is its
// own.
TEST_P(Plan, SpansOfTokensAreSpansOfCounts) {
  for (uint32_t me = 0; me < all.ranks; ++me) {
    const reference::Received received = reference::received_by(all.problem, me);
    SpanTable by_count(all.ranks, c.channels), by_token(all.ranks, c.channels);
    uint64_t first = 0;
    for (uint32_t s = 0; s < all.ranks; ++s) {
      std::vector<uint32_t> tokens;
      for (const reference::Source& source : received.source)
        if (source.rank == s) tokens.push_back(uint32_t(source.token));
      by_count.set_counts(s, first, all.out[s].counts.rank_by_channel.data() + size_t(me) * c.channels);
      by_token.set_tokens(s, {first, tokens.data(), tokens.size(), uint64_t(c.tokens[s])});
      for (uint32_t channel = 0; channel <= c.channels; ++channel)
        ASSERT_EQ(by_count.view().at(s, channel), by_token.view().at(s, channel))
            << "source " << s << ", channel " << channel;
      ASSERT_EQ(by_token.view().at(s, 0), first);
      first += tokens.size();
      ASSERT_EQ(by_token.view().at(s, c.channels), first);
    }
    ASSERT_EQ(first, received.source.size());
  }
}

// A node's record: what its rail is to forward, and in it the records of its ranks.
TEST_P(Plan, NodeCountsAreTheRailsPart) {
  const CountsShape shape{c.channels + 2, all.placement.experts_of_rank_max()};
  for (uint32_t s = 0; s < all.ranks; ++s)
    for (uint32_t n = 0; n < c.node_sizes.size(); ++n) {
      const RankMap map = all.table.seen_by(s);
      std::vector<uint32_t> words(shape.node_bytes(map.node_size(n)) / 4, 0xDEAD);
      const CountsWriter writer{all.out[s].counts, all.placement.view(), uint64_t(c.tokens[s]), c.channels, shape};
      writer.for_node(reinterpret_cast<char*>(words.data()), map, n);
      const NodeCountsRecord record{reinterpret_cast<const char*>(words.data()), shape};
      ASSERT_EQ(record.head().source_tokens(), uint32_t(c.tokens[s]));
      ASSERT_EQ(record.head().tokens(), all.out[s].counts.to_node[n]);
      uint32_t sum = 0;
      for (uint32_t channel = 0; channel < shape.channels_max; ++channel) sum += record.head().by_channel()[channel];
      ASSERT_EQ(sum, record.head().tokens());
      for (uint32_t p = 0; p < map.node_size(n); ++p) {
        std::vector<uint32_t> alone(shape.rank_bytes() / 4, 0xDEAD);
        writer.for_rank(reinterpret_cast<char*>(alone.data()), map.node_begin[n] + p);
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), record.of_peer(p).words)) << "peer " << p;
      }
    }
}

// One rank of a 2 + 2 world with four experts, one on each rank.
LayoutOutputs lay_out_ids(const std::vector<int64_t>& ids, uint32_t top_k, bool wide, std::vector<char>& headers) {
  static const RankTable table({2, 2});
  static const PlacementTable placement(4, 4, {});
  const TokenShape shape{16, 0, top_k, true};
  const std::vector<int32_t> narrow(ids.begin(), ids.end());
  const std::vector<float> weights(ids.size(), 1.0f);
  headers.assign(ids.size() / top_k * shape.header_bytes(), 0);
  const Routing routing{wide ? nullptr : narrow.data(), wide ? ids.data() : nullptr, weights.data(), ids.size() / top_k,
                        top_k};
  return lay_out({routing, table.seen_by(1), placement.view(), shape, 3, headers.data()});
}

TEST(LayOut, BadIdsCountAsNoChoiceAndTheFirstIsTold) {
  std::vector<char> headers;
  for (bool wide : {false, true}) {
    const LayoutOutputs bad = lay_out_ids({0, 1, 2, 4, -2, 3, 0, -1}, 2, wide, headers);
    EXPECT_TRUE(bad.bad.found);
    EXPECT_EQ(bad.bad.token, 1u);
    EXPECT_EQ(bad.bad.slot, 1u);
    EXPECT_EQ(bad.bad.value, 4);
    const LayoutOutputs below = lay_out_ids({0, 1, 2, -2, 4, 3, 0, -1}, 2, wide, headers);
    EXPECT_TRUE(below.bad.found);
    EXPECT_EQ(below.bad.value, -2);
    const LayoutOutputs good = lay_out_ids({0, 1, 2, -1, -1, 3, 0, -1}, 2, wide, headers);
    EXPECT_FALSE(good.bad.found);
    EXPECT_EQ(bad.counts.to_rank, good.counts.to_rank);
    EXPECT_EQ(bad.counts.to_node, good.counts.to_node);
    EXPECT_EQ(bad.counts.by_expert, good.counts.by_expert);
    ASSERT_EQ(bad.routes.size(), good.routes.size());
    for (size_t i = 0; i < bad.routes.size(); ++i) EXPECT_EQ(bad.routes[i].target, good.routes[i].target);
  }
}

TEST(LayOut, AWideIdIsNotCutToItsLowHalf) {
  std::vector<char> headers;
  const LayoutOutputs out = lay_out_ids({(int64_t(1) << 32) + 2, 1}, 2, true, headers);
  EXPECT_TRUE(out.bad.found);
  EXPECT_EQ(out.bad.value, (int64_t(1) << 32) + 2);
  EXPECT_EQ(out.counts.to_rank, (std::vector<uint32_t>{0, 1, 0, 0}));
}

// A token that chooses the same expert twice goes there once, and is counted twice at the expert.
TEST(LayOut, DuplicatesTravelOnce) {
  std::vector<char> headers;
  const LayoutOutputs out = lay_out_ids({2, 2, 3, 1}, 4, false, headers);
  EXPECT_EQ(out.counts.to_rank, (std::vector<uint32_t>{0, 1, 1, 1}));
  EXPECT_EQ(out.counts.to_node, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(out.counts.by_expert, (std::vector<uint32_t>{0, 1, 2, 1}));
  EXPECT_EQ(out.routes[0].target, 1u);  // peer 1 of my node, then node 1
  EXPECT_EQ(out.routes[1].target, 3u);
  EXPECT_EQ(out.routes[2].target, kNoRoute);
}

TEST(LayOut, NoTokens) {
  std::vector<char> headers;
  const LayoutOutputs out = lay_out_ids({}, 2, false, headers);
  EXPECT_TRUE(out.routes.empty());
  EXPECT_EQ(out.counts.to_rank, (std::vector<uint32_t>(4, 0)));
}

}  // namespace
}  // namespace transload
