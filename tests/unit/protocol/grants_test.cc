// A store goes by a grant only if its granter makes the same call: else the warp waits, and the opener says what
// differs.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "protocol/call/grants.h"
#include "tests/support/plain_memory.h"

namespace transload::test {
namespace {

// Every wait fails, and the first is noted.
struct NotedMemory : PlainMemory {
  std::optional<Need> waited_for;
  bool park(int, Park& park) {
    if (!waited_for) waited_for = park.needs[0];
    return false;
  }
};

class GrantsOfPeers : public ::testing::Test {
 protected:
  // Rank 0 of a node of 2, in call 6.
  GrantsOfPeers() {
    board_.map = table_.seen_by(0);
    board_.geometry = {2, 1, 1, 2, 2, 1, 1, 1, 64, 64};
    board_.up = ScaleUpRegion::plan(board_.geometry, sizeof(Card), sizeof(Grant) + 8 * board_.map.sources());
    mine_.resize(board_.up.bytes / sizeof(Word));
    theirs_.resize(mine_.size());
    peers_[0] = reinterpret_cast<char*>(mine_.data());
    peers_[1] = reinterpret_cast<char*>(theirs_.data());
    board_.peer = peers_;
    call_.board = &board_;
    call_.card.epoch = 6;
    call_.card.row_bytes = 64;
    call_.card.operation = Operation::kDispatch;
  }
  void grant(uint32_t peer, const Card& card) {
    *reinterpret_cast<Word*>(peers_[0] + board_.up.grant_word.at(peer)) = card.epoch;
    auto* const there = reinterpret_cast<Grant*>(peers_[0] + board_.up.grant.at(card.epoch % 2, peer));
    there->epoch = card.epoch;
    there->card = card.digest();
    there->reachable = 1;
    there->rows = 256;
    there->rows_max = 10;
    there->row_base()[0] = 4 + peer;
  }

  WarpOver<NotedMemory> warp_;
  RankTable table_{{2}};
  Board board_{};
  Call call_{};
  std::vector<Word> mine_, theirs_;
  char* peers_[2];
};

TEST_F(GrantsOfPeers, OfTheSameCallAreTaken) {
  for (uint32_t peer : {0u, 1u}) grant(peer, call_.card);
  const Grants<WarpOver<NotedMemory>::Warp> grants(*warp_, call_);
  EXPECT_FALSE(warp_.memory.waited_for);
  EXPECT_TRUE(grants.all_reachable());
  EXPECT_EQ(grants.rows(1), peers_[1] + 256);
  EXPECT_EQ(grants.row(1, 0, 3), 8u);
  EXPECT_TRUE(grants.keeps(1, 9));
  EXPECT_FALSE(grants.keeps(1, 10));
}

using GrantsOfPeersDeathTest = GrantsOfPeers;

TEST_F(GrantsOfPeersDeathTest, HaveNoRowsOfAnotherSlot) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (uint32_t peer : {0u, 1u}) grant(peer, call_.card);
  const Grants<WarpOver<NotedMemory>::Warp> grants(*warp_, call_);
  EXPECT_DEATH(grants.row(1, board_.map.sources(), 0), "broken: slot < sources_");
  EXPECT_DEATH(grants.row(2, 0, 0), "broken: i >= 0 && i < count_");
  EXPECT_DEATH(grants.rows(2), "broken: i >= 0 && i < count_");
}

TEST_F(GrantsOfPeers, OfAnotherCallAreWaitedFor) {
  for (uint32_t peer : {0u, 1u}) grant(peer, call_.card);
  Card other = call_.card;
  other.row_bytes = 128;
  grant(1, other);
  const Grants<WarpOver<NotedMemory>::Warp> grants(*warp_, call_);
  ASSERT_TRUE(warp_.memory.waited_for);
  EXPECT_EQ(warp_.memory.waited_for->whom, 1u);
  EXPECT_TRUE(warp_.memory.waited_for->what == Waiting::kCard);
  EXPECT_EQ(warp_.memory.waited_for->least, ~Word(0)) << "nothing ends this wait but the fault";
}

TEST_F(GrantsOfPeers, OfTheLastCallAreNotThisOnes) {
  grant(0, call_.card);
  Card last = call_.card;
  last.epoch = 5;
  grant(1, last);
  const Grants<WarpOver<NotedMemory>::Warp> grants(*warp_, call_);
  ASSERT_TRUE(warp_.memory.waited_for);
  EXPECT_EQ(warp_.memory.waited_for->whom, 1u);
  EXPECT_TRUE(warp_.memory.waited_for->what == Waiting::kGrant);
  EXPECT_EQ(warp_.memory.waited_for->least, 6u);
}

}  // namespace
}  // namespace transload::test
