// Tokens counted by rank, node and expert, against sets of what each token chose.
#include "layout/token_counts.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>

namespace transload {
namespace {

struct Counted {
  Counted(const RankTable& ranks, const PlacementTable& placement, const std::vector<int64_t>& ids, uint32_t top_k)
      : map(ranks.seen_by(0)),
        tokens(ids.size() / top_k),
        of_rank(map.ranks, -7),
        of_node(map.nodes, -7),
        of_expert(placement.view().experts, -7),
        in_rank(std::make_unique<bool[]>(tokens * map.ranks + 1)) {
    std::fill_n(in_rank.get(), tokens * map.ranks + 1, true);
    const Routing routing{nullptr, ids.data(), nullptr, tokens, top_k};
    bad =
        count_tokens(routing, map, placement.view(), {of_rank.data(), of_node.data(), of_expert.data(), in_rank.get()});
  }
  RankMap map;
  uint64_t tokens;
  std::vector<int32_t> of_rank, of_node, of_expert;
  std::unique_ptr<bool[]> in_rank;
  BadExpert bad;
};

TEST(TokenCounts, AreThoseOfSets) {
  std::mt19937_64 random(7);
  for (const auto& [sizes, experts, top_k] :
       {std::tuple{std::vector<uint32_t>{1}, 4u, 2u}, {{4, 4}, 64, 8}, {{1, 2, 5}, 5, 4}, {{3, 3}, 6, 32}}) {
    const RankTable ranks(sizes);
    const RankMap map = ranks.seen_by(0);
    std::vector<uint32_t> owner(experts);
    for (uint32_t& rank : owner) rank = uint32_t(random() % map.ranks);
    const PlacementTable placement(experts, map.ranks, owner);
    std::vector<int64_t> ids(size_t(50) * top_k);
    for (int64_t& id : ids) id = int64_t(random() % (experts + 1)) - 1;  // some twice in one token
    const Counted seen(ranks, placement, ids, top_k);
    std::vector<int32_t> of_rank(map.ranks), of_node(map.nodes), of_expert(experts);
    for (uint64_t token = 0; token < 50; ++token) {
      std::set<uint32_t> to_ranks, to_nodes;
      for (uint32_t k = 0; k < top_k; ++k) {
        const int64_t id = ids[token * top_k + k];
        if (id < 0) continue;
        ++of_expert[size_t(id)];
        to_ranks.insert(owner[size_t(id)]);
        to_nodes.insert(map.node_of[owner[size_t(id)]]);
      }
      for (const uint32_t rank : to_ranks) ++of_rank[rank];
      for (const uint32_t node : to_nodes) ++of_node[node];
      for (uint32_t rank = 0; rank < map.ranks; ++rank)
        EXPECT_EQ(seen.in_rank[token * map.ranks + rank], to_ranks.count(rank) == 1) << token << ", " << rank;
    }
    EXPECT_EQ(seen.of_rank, of_rank);
    EXPECT_EQ(seen.of_node, of_node);
    EXPECT_EQ(seen.of_expert, of_expert);
    EXPECT_TRUE(seen.in_rank[50 * map.ranks]);  // nothing behind it is written
    EXPECT_FALSE(seen.bad.found);
  }
}

TEST(TokenCounts, OfNothing) {
  const Counted seen(RankTable({2, 1}), PlacementTable(3, 3, {}), {}, 4);
  EXPECT_EQ(seen.of_rank, std::vector<int32_t>(3));
  EXPECT_EQ(seen.of_node, std::vector<int32_t>(2));
  EXPECT_EQ(seen.of_expert, std::vector<int32_t>(3));
}

TEST(TokenCounts, BadIdsCountAsNoChoiceAndTheFirstIsTold) {
  const Counted seen(RankTable({2}), PlacementTable(4, 2, {}), {0, 1, -2, 3, 4, 3}, 2);
  EXPECT_EQ(seen.of_expert, (std::vector<int32_t>{1, 1, 0, 2}));
  EXPECT_EQ(seen.of_rank, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(seen.bad.found);
  EXPECT_EQ(seen.bad.token, 1u);
  EXPECT_EQ(seen.bad.slot, 0u);
  EXPECT_EQ(seen.bad.value, -2);
}

}  // namespace
}  // namespace transload
