// Rails and source slots are inverse to each other, over all pairs of ranks of many unequal topologies.
#include "layout/rank_map.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace transload {
namespace {

std::string text_of(const std::vector<uint32_t>& sizes) {
  std::string text = "nodes";
  for (uint32_t size : sizes) text += " " + std::to_string(size);
  return text;
}

std::vector<std::vector<uint32_t>> topologies() {
  std::vector<std::vector<uint32_t>> all = {{1},       {8},           {1, 1},        {4, 4},     {3, 5},
                                            {5, 3},    {1, 2, 5},     {1, 9},        {7, 1, 3},  {2, 2, 2},
                                            {6, 4, 9}, {1, 1, 1, 13}, {16, 3, 5, 1}, {33, 2, 65}};
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) {
    std::vector<uint32_t> sizes(1 + random() % 6);
    for (uint32_t& size : sizes) size = 1 + random() % 12;
    all.push_back(sizes);
  }
  return all;
}

TEST(RankMap, KnowsNodesAndPeers) {
  for (const auto& sizes : topologies()) {
    SCOPED_TRACE(text_of(sizes));
    const RankTable table(sizes);
    uint32_t rank = 0, most = 0, least = ~uint32_t(0);
    for (uint32_t n = 0; n < sizes.size(); ++n) {
      most = std::max(most, sizes[n]);
      least = std::min(least, sizes[n]);
      for (uint32_t p = 0; p < sizes[n]; ++p, ++rank) {
        const RankMap map = table.seen_by(rank);
        ASSERT_EQ(map.me, rank);
        ASSERT_EQ(map.node, n);
        ASSERT_EQ(map.peer, p);
        ASSERT_EQ(map.peers, sizes[n]);
        ASSERT_EQ(map.peer_rank(p), rank);
        ASSERT_EQ(map.peer_of(rank), p);
        ASSERT_EQ(map.node_size(n), sizes[n]);
        ASSERT_TRUE(map.is_peer(rank));
      }
    }
    const RankMap map = table.seen_by(0);
    EXPECT_EQ(map.ranks, rank);
    EXPECT_EQ(map.nodes, sizes.size());
    EXPECT_EQ(map.fold, (most + least - 1) / least);
    EXPECT_EQ(table.node_size_max(), most);
  }
}

// For every (rank, other node): one rail, on that node, by the rule; and there the slot leads back to the rank.
TEST(RankMap, SlotAtTheRailLeadsBack) {
  for (const auto& sizes : topologies()) {
    SCOPED_TRACE(text_of(sizes));
    const RankTable table(sizes);
    const uint32_t ranks = table.seen_by(0).ranks;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      const RankMap mine = table.seen_by(rank);
      for (uint32_t n = 0; n < sizes.size(); ++n) {
        if (n == mine.node) continue;
        const uint32_t rail = mine.rail_of(rank, n), slot = mine.slot_of(rank, n);
        ASSERT_LT(rail, ranks);
        ASSERT_EQ(mine.node_of[rail], n);
        ASSERT_EQ(mine.peer_of(rail), mine.peer % sizes[n]);
        ASSERT_LT(slot, mine.sources());
        ASSERT_EQ(slot / mine.fold, mine.node);
        ASSERT_EQ(table.seen_by(rail).source_rank(slot), rank);
      }
    }
  }
}

// The other way round: whoever is behind a slot of mine has me for a rail, under that slot, and nobody is there twice.
// Contract 7.8.
TEST(RankMap, RankBehindASlotHasMeForARail) {
  for (const auto& sizes : topologies()) {
    SCOPED_TRACE(text_of(sizes));
    const RankTable table(sizes);
    const uint32_t ranks = table.seen_by(0).ranks;
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> rails;  // (source, node) -> how many ranks say they are its rail
    for (uint32_t me = 0; me < ranks; ++me) {
      const RankMap map = table.seen_by(me);
      std::set<uint32_t> behind;
      for (uint32_t slot = 0; slot < map.sources(); ++slot) {
        const uint32_t source = map.source_rank(slot);
        if (source == kNobody) continue;
        ASSERT_TRUE(behind.insert(source).second) << "rank " << source << " is behind two slots of rank " << me;
        ASSERT_EQ(map.node_of[source], slot / map.fold);
        ASSERT_EQ(map.slot_of(source, map.node), slot);
        if (source == me) continue;
        ASSERT_FALSE(map.is_peer(source));
        ASSERT_EQ(map.rail_of(source, map.node), me);
        ++rails[{source, map.node}];
      }
      ASSERT_EQ(behind.count(me), 1u) << "my own slot holds me";
      ASSERT_EQ(map.source_rank(map.node * map.fold), me);
    }
    for (uint32_t source = 0; source < ranks; ++source)
      for (uint32_t n = 0; n < sizes.size(); ++n)
        ASSERT_EQ((rails[{source, n}]), table.seen_by(source).node == n ? 0u : 1u)
            << "rank " << source << ", node " << n;
  }
}

TEST(RankMap, BringerIsThePeerThatHasTheSource) {
  for (const auto& sizes : topologies()) {
    SCOPED_TRACE(text_of(sizes));
    const RankTable table(sizes);
    for (uint32_t me = 0; me < table.seen_by(0).ranks; ++me) {
      const RankMap map = table.seen_by(me);
      for (uint32_t source = 0; source < map.ranks; ++source) {
        const uint32_t bringer = map.peer_rank(map.bringer(source));
        ASSERT_LT(map.bringer(source), map.peers);
        const RankMap theirs = table.seen_by(bringer);
        ASSERT_EQ(theirs.source_rank(theirs.slot_of(source, theirs.node)), source);
        ASSERT_TRUE(bringer == source || !map.is_peer(source));
      }
    }
  }
}

TEST(RankMap, EqualNodesUseTheSamePeerIndex) {
  const RankTable table({4, 4, 4});
  const RankMap map = table.seen_by(6);
  EXPECT_EQ(map.fold, 1u);
  EXPECT_EQ(map.rail_of(6, 0), 2u);
  EXPECT_EQ(map.rail_of(6, 2), 10u);
  EXPECT_EQ(map.slot_of(6, 0), 1u);
  EXPECT_EQ(map.source_rank(0), 2u);
  EXPECT_EQ(map.source_rank(1), 6u);
  EXPECT_EQ(map.source_rank(2), 10u);
}

TEST(RankMapDeathTest, AsksForRanksAndNodesThatThereAre) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const RankTable table({2, 3});
  const RankMap map = table.seen_by(1);
  EXPECT_DEATH((void)map.is_peer(5), "broken: rank < ranks");
  EXPECT_DEATH((void)map.slot_of(5, 0), "broken: rank < ranks");
  EXPECT_DEATH((void)map.slot_of(4, 2), "broken: .*n < nodes");
  EXPECT_DEATH((void)map.peer_rank(2), "broken: p < peers");
}

}  // namespace
}  // namespace transload
