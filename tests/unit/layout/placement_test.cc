// Which rank owns an expert, by blocks and by a table.
#include "layout/placement.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace transload {
namespace {

// Local ids of every rank are 0, 1, ... in the order of global ids; positions are those of experts sorted by (owner,
// id).
void expect_consistent(const Placement& p, uint32_t ranks) {
  std::vector<uint32_t> next(ranks, 0), places;
  for (uint32_t e = 0; e < p.experts; ++e) {
    ASSERT_LT(p.owner[e], ranks);
    ASSERT_EQ(p.local(e), next[p.owner[e]]++) << "expert " << e;
    ASSERT_EQ(p.place[e], p.rank_begin[p.owner[e]] + p.local(e));
    places.push_back(p.place[e]);
  }
  for (uint32_t r = 0; r < ranks; ++r) ASSERT_EQ(p.experts_of(r), next[r]) << "rank " << r;
  ASSERT_EQ(p.rank_begin[0], 0u);
  ASSERT_EQ(p.rank_begin[ranks], p.experts);
  std::sort(places.begin(), places.end());
  for (uint32_t i = 0; i < p.experts; ++i) ASSERT_EQ(places[i], i);
}

// Contract 7.2.
TEST(Placement, BlocksAreContiguousAndEven) {
  for (uint32_t ranks : {1u, 2u, 3u, 7u, 8u, 33u})
    for (uint32_t experts : {1u, 2u, 5u, 8u, 31u, 64u, 257u}) {
      SCOPED_TRACE(std::to_string(experts) + " experts on " + std::to_string(ranks) + " ranks");
      const PlacementTable table(experts, ranks, {});
      const Placement p = table.view();
      ASSERT_EQ(p.experts, experts);
      expect_consistent(p, ranks);
      ASSERT_TRUE(std::is_sorted(p.owner, p.owner + experts));
      uint32_t most = 0, least = ~uint32_t(0);
      for (uint32_t r = 0; r < ranks; ++r) {
        most = std::max(most, p.experts_of(r));
        least = std::min(least, p.experts_of(r));
      }
      EXPECT_LE(most - least, 1u);
      EXPECT_EQ(table.experts_of_rank_max(), most);
    }
}

TEST(Placement, MoreRanksThanExpertsLeavesSomeWithout) {
  const PlacementTable table(3, 5, {});
  const Placement p = table.view();
  for (uint32_t r = 0; r < 5; ++r) EXPECT_EQ(p.experts_of(r), r < 3 ? 1u : 0u);
}

TEST(Placement, ByATable) {
  const PlacementTable table(6, 4, {2, 2, 0, 2, 0, 0});
  const Placement p = table.view();
  expect_consistent(p, 4);
  EXPECT_EQ(p.local(0), 0u);
  EXPECT_EQ(p.local(1), 1u);
  EXPECT_EQ(p.local(3), 2u);
  EXPECT_EQ(p.local(2), 0u);
  EXPECT_EQ(p.local(5), 2u);
  EXPECT_EQ(p.experts_of(1), 0u);
  EXPECT_EQ(p.experts_of(3), 0u);
  EXPECT_EQ(table.experts_of_rank_max(), 3u);
}

}  // namespace
}  // namespace transload
