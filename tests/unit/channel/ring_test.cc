// The two ends of a ring, call after call: which slot is next, what must have happened before it may be filled, and
// where the next call begins.
#include "channel/ring.h"

#include <gtest/gtest.h>

#include <vector>

#include "channel/card.h"
#include "tests/support/plain_memory.h"

namespace transload::test {
namespace {

using W = PlainWarp::Warp;
constexpr uint32_t kChannels = 3;

// All ranks' boards over plain memory. Regions are word vectors, so that they are aligned.
class Boards {
 public:
  Boards(std::vector<uint32_t> sizes, uint32_t slots, bool mapped) : table_(sizes) {
    const uint32_t ranks = table_.seen_by(0).ranks;
    boards.resize(ranks), up_.resize(ranks), net_.resize(ranks), peers_.resize(ranks), mapped_.resize(ranks);
    rails_.resize(ranks), sources_.resize(ranks), kept.resize(ranks);
    for (uint32_t r = 0; r < ranks; ++r) lay(r, slots);
    for (uint32_t r = 0; r < ranks; ++r) link(r, mapped);
  }

  struct Kept {
    std::vector<Word> sent, taken, drained;
    Positions positions;
  };
  std::vector<Board> boards;
  std::vector<Kept> kept;  // of the rank's dispatch rings along rails, or between peers: a test uses one kind
  char* net(uint32_t rank) { return reinterpret_cast<char*>(net_[rank].data()); }
  RailLink toward_nodes(uint32_t r) {
    return {&boards[r], &boards[r].net.dispatch, &kept[r].positions, boards[r].rails, boards[r].map.nodes};
  }
  RailLink from_sources(uint32_t r) {
    return {&boards[r], &boards[r].net.dispatch, &kept[r].positions, boards[r].sources, boards[r].map.sources()};
  }
  PeerLink peers(uint32_t r) { return {&boards[r], &boards[r].up.dispatch, &kept[r].positions}; }

 private:
  void lay(uint32_t r, uint32_t slots) {
    Board& b = boards[r];
    b.map = table_.seen_by(r);
    b.geometry = {b.map.ranks, b.map.nodes, b.map.fold, table_.node_size_max(), b.map.peers, kChannels, slots,
                  1,           64,          64};
    b.up = ScaleUpRegion::plan(b.geometry, sizeof(Card), sizeof(Grant) + 8 * b.map.sources());
    b.net = NetworkRegion::plan(b.geometry, sizeof(Card));
    up_[r].resize(b.up.bytes / 8);
    net_[r].resize(b.net.bytes / 8);
    const size_t most = size_t(kChannels) * (b.map.peers * kDispatchStreams + b.map.nodes + b.map.sources());
    kept[r].sent.resize(most), kept[r].taken.resize(most), kept[r].drained.resize(most);
    kept[r].positions = {kept[r].sent.data(), kept[r].taken.data(), kept[r].drained.data()};
  }
  void link(uint32_t r, bool mapped) {
    Board& b = boards[r];
    for (uint32_t p = 0; p < b.map.peers; ++p)
      peers_[r].push_back(reinterpret_cast<char*>(up_[b.map.peer_rank(p)].data()));
    for (uint32_t other = 0; other < b.map.ranks; ++other) mapped_[r].push_back(mapped ? net(other) : nullptr);
    rails_[r].resize(b.map.nodes), sources_[r].resize(b.map.sources());
    for (uint32_t n = 0; n < b.map.nodes; ++n)
      if (n != b.map.node) rails_[r][n] = {b.map.rail_of(r, n), b.map.slot_of(r, n)};
    for (uint32_t s = 0; s < b.map.sources(); ++s)
      if (const uint32_t source = b.map.source_rank(s); source != kNobody && source != r)
        sources_[r][s] = {source, b.map.node};
    b.peer = peers_[r].data();
    b.network = net(r);
    b.mapped = mapped_[r].data();
    b.rails = rails_[r].data();
    b.sources = sources_[r].data();
    b.always = &always_;
  }

  RankTable table_;
  std::vector<std::vector<Word>> up_, net_;
  std::vector<std::vector<char*>> peers_, mapped_;
  std::vector<std::vector<Counterpart>> rails_, sources_;
  const Word always_ = ~Word(0);
};

Word word_at(const Need& need) { return *need.word; }

// In a ring between peers, what I fill is what my peer takes, my tail is its tail, its credit is mine; for every pair
// and lane.
TEST(PeerLink, BothEndsMeanTheSamePlaces) {
  Boards all({3, 2}, 4, true);
  for (uint32_t channel = 0; channel < kChannels; ++channel)
    for (uint32_t from = 0; from < 3; ++from)
      for (uint32_t to = 0; to < 3; ++to)
        for (uint32_t lane : {kFromSender, kFromForwarder}) {
          PeerLink out = all.peers(from), in = all.peers(to);
          out.channel = in.channel = channel;
          const uint32_t m = to * kDispatchStreams + lane, far = from * kDispatchStreams + lane;
          const PeerLink::Far there = out.far_end(m), here = in.far_end(far);
          ASSERT_EQ(out.whom(m), to);
          ASSERT_EQ(out.far(m), far);
          for (uint32_t slot = 0; slot < 4; ++slot) ASSERT_EQ(out.fill(there, m, slot), in.taken(far, slot));
          ASSERT_EQ(out.far_tail(there, m).at, in.tail(far));
          ASSERT_EQ(out.far_tail(there, m).rank, to);
          ASSERT_EQ(in.far_credit(here, far).at, out.credit(m));
          ASSERT_FALSE(out.staged(there));
        }
}

// In a ring along a rail likewise, for unequal nodes, and staged bytes are put where the rail takes them.
TEST(RailLink, BothEndsMeanTheSamePlaces) {
  for (bool mapped : {true, false}) {
    Boards all({1, 2, 5}, 3, mapped);
    for (uint32_t from = 0; from < 8; ++from)
      for (uint32_t node = 0; node < 3; ++node) {
        RailLink out = all.toward_nodes(from);
        if (out.whom(node) == kNobody) continue;
        const uint32_t to = out.whom(node), slot_there = out.others[node].index;
        RailLink in = all.from_sources(to);
        out.channel = in.channel = 2;
        const RailLink::Far there = out.far_end(node), here = in.far_end(slot_there);
        ASSERT_EQ(in.whom(slot_there), from);
        ASSERT_EQ(in.others[slot_there].index, node);
        ASSERT_EQ(all.net(to) + out.far_tail(there, node).offset, reinterpret_cast<const char*>(in.tail(slot_there)));
        ASSERT_EQ(all.net(from) + in.far_credit(here, slot_there).offset,
                  reinterpret_cast<const char*>(out.credit(node)));
        ASSERT_EQ(out.far_tail(there, node).mapped, mapped ? all.net(to) : nullptr);
        ASSERT_EQ(out.staged(there), !mapped);
        for (uint32_t slot = 0; slot < 3; ++slot) {
          const Put put = out.put(there, {node, slot, 7, 64});
          ASSERT_EQ(all.net(to) + put.offset, in.taken(slot_there, slot));
          ASSERT_EQ(put.rank, to);
          ASSERT_EQ(put.drained_count, 7u);
          if (mapped)
            ASSERT_EQ(out.fill(there, node, slot), in.taken(slot_there, slot));
          else
            ASSERT_EQ(put.from, out.fill(there, node, slot));
        }
      }
  }
}

// A slot may be filled when the one that lay there before is credited; the first ones at once, in the first call and no
// other.
TEST(Outbox, AsksForTheCreditOfTheSlotBefore) {
  Boards all({2}, 3, true);
  PlainWarp warp;
  Outbox<W, PeerLink> out(*warp, all.peers(0));
  const int m = int(1 * kDispatchStreams + kFromSender);
  out.begin(*warp, 1, Members::only(m));
  for (Word sent = 0; sent < 10; ++sent) {
    const Need need = out.credit_need(m);
    ASSERT_EQ(need.least, sent < 3 ? 0 : sent - 2);
    ASSERT_EQ(need.whom, 1u);
    ASSERT_EQ(out.credited(m), sent < 3);  // what was seen is of the slot before
    ASSERT_TRUE(out.drained(m));           // no network between peers
    ASSERT_EQ(out.wraps(m), sent >= 3 && sent % 3 == 0);
    PeerLink link = all.peers(0);
    link.channel = 1;
    ASSERT_EQ(out.next(m), link.fill(link.far_end(uint32_t(m)), uint32_t(m), uint32_t(sent % 3)));
    out.credited_seen(m) = need.least;
    out.advance(m);
    ASSERT_EQ(out.mark(m).count, sent + 1);
  }
  out.credited_seen(m) = 7;
  EXPECT_FALSE(out.credited(m));
  out.credited_seen(m) = 8;
  EXPECT_TRUE(out.credited(m));
}

TEST(Outbox, AStagedSlotIsReadByTheNetworkFirst) {
  Boards all({1, 1}, 2, false);
  PlainWarp warp;
  Outbox<W, RailLink> out(*warp, all.toward_nodes(0));
  const int m = 1;
  out.begin(*warp, 0, Members::only(m));
  ASSERT_TRUE(out.staged(m));
  for (Word sent = 0; sent < 4; ++sent) {
    ASSERT_EQ(out.drain_need(m).least, sent < 2 ? 0 : sent - 1);
    ASSERT_EQ(out.drained(m), sent < 2);
    ASSERT_EQ(out.put(m, 64).drained_count, sent + 1);
    ASSERT_EQ(out.put(m, 64).drained, out.drain_need(m).word);
    out.drained_seen(m) = out.drain_need(m).least;
    out.credited_seen(m) = out.credit_need(m).least;
    out.advance(m);
  }
  out.drained_seen(m) = 2;
  EXPECT_FALSE(out.drained(m));
  out.drained_seen(m) = 3;
  EXPECT_TRUE(out.drained(m));
}

TEST(Outbox, AMappedRailHasNothingToDrain) {
  Boards all({1, 1}, 1, true);
  PlainWarp warp;
  Outbox<W, RailLink> out(*warp, all.toward_nodes(0));
  out.begin(*warp, 0, Members::only(1));
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(out.drained(1));
    ASSERT_EQ(word_at(out.drain_need(1)), ~Word(0));
    out.credited_seen(1) = out.credit_need(1).least;
    out.advance(1);
  }
}

// A role that goes on without the credit, the network's word or a token stops the program: it would give wrong rows.
TEST(RingsDeathTest, NobodyRunsAhead) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Boards all({1, 1}, 2, false);
  PlainWarp warp;
  Outbox<W, RailLink> out(*warp, all.toward_nodes(0));
  Inbox<W, RailLink> in(*warp, all.from_sources(1));
  out.begin(*warp, 0, Members::only(1));
  in.begin(*warp, 0, Members::only(0));
  EXPECT_DEATH(in.advance(0), "broken: arrived");
  for (int slot = 0; slot < 2; ++slot) out.advance(1);
  out.drained_seen(1) = 1;
  EXPECT_DEATH(out.advance(1), "broken: .*credited");
  out.drained_seen(1) = 0;
  out.credited_seen(1) = 1;
  EXPECT_DEATH(out.advance(1), "broken: .*drained");
  out.drained_seen(1) = 1;
  out.advance(1);
  EXPECT_EQ(out.mark(1).count, 3u);
}

TEST(RingsDeathTest, NobodyRunsAheadOfAPeer) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Boards all({2}, 1, true);
  PlainWarp warp;
  Outbox<W, PeerLink> out(*warp, all.peers(0));
  Inbox<W, PeerLink> in(*warp, all.peers(1));
  out.begin(*warp, 0, Members::first(4));
  in.begin(*warp, 0, Members::first(4));
  const int to = int(1 * kDispatchStreams + kFromForwarder), from = int(0 * kDispatchStreams + kFromForwarder);
  EXPECT_DEATH(in.advance(from), "broken: arrived");
  out.advance(to);
  EXPECT_DEATH(out.advance(to), "broken: .*credited");
  in.seen(from) = 1;
  in.advance(from);
  EXPECT_DEATH(in.advance(from), "broken: arrived");
}

// What a slot or a table has no room for would be another one's bytes.
TEST(RingsDeathTest, NothingReachesIntoAnotherSlot) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Boards all({1, 1}, 2, false);
  PlainWarp warp;
  Outbox<W, RailLink> out(*warp, all.toward_nodes(0));
  out.begin(*warp, 0, Members::only(1));
  const uint64_t slot_bytes = all.boards[0].net.dispatch.send.unit;
  EXPECT_EQ(out.put(1, slot_bytes).bytes, slot_bytes);
  EXPECT_DEATH(out.put(1, slot_bytes + 1), "broken: slot.bytes <= slot_bytes");
  const RailLink link = all.toward_nodes(0);
  EXPECT_DEATH(link.drained_word(2), "broken: m < count");
  const RailLink::Far far = link.far_end(1);
  EXPECT_DEATH(link.fill(far, 1, 2), "broken: a < n0");
  RailLink other = link;
  other.channel = kChannels;
  EXPECT_DEATH(other.tail(1), "broken: a < n0");
  EXPECT_DEATH(all.peers(0).tail(kDispatchStreams), "broken: a < n0");
}

TEST(BoardDeathTest, WordsLieInTheirRegion) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Boards all({1, 1}, 1, false);
  const Board& board = all.boards[0];
  EXPECT_EQ(board.my_word(board.up.bytes - sizeof(Word)), board.my_word(0) + board.up.bytes / sizeof(Word) - 1);
  EXPECT_DEATH(board.my_word(board.up.bytes), "broken: .*offset < up.bytes");
  EXPECT_DEATH(board.my_word(4), "broken: offset % sizeof");
  EXPECT_DEATH(board.my_net_word(board.net.bytes), "broken: .*offset < net.bytes");
  EXPECT_DEATH(board.my_net_word(4), "broken: offset % sizeof");
  EXPECT_DEATH(board.rail_word(2, 0), "broken: rank < map.ranks");
}

// Many calls of changing lengths through both ends: every row comes out as it went in, and both ends agree without a
// message.
TEST(Rings, PositionsOutliveCalls) {
  for (uint32_t slots : {1u, 2u, 5u}) {
    Boards all({2}, slots, true);
    PlainWarp sender, taker;
    Outbox<W, PeerLink> out(*sender, all.peers(0));
    Inbox<W, PeerLink> in(*taker, all.peers(1));
    const int to = int(1 * kDispatchStreams + kFromForwarder), from = int(0 * kDispatchStreams + kFromForwarder);
    Word value = 0, expected = 0;
    for (int call = 0; call < 12; ++call) {
      out.begin(*sender, 2, Members::only(to));
      in.begin(*taker, 2, Members::only(from));
      ASSERT_FALSE(in.arrived(from)) << "nothing of a new call is there yet";
      int left_to_send = call % 4 * 3, left_to_take = left_to_send;
      while (left_to_take > 0) {
        out.credited_seen(to) = word_at(out.credit_need(to));
        if (left_to_send > 0 && out.credited(to)) {
          *reinterpret_cast<Word*>(out.next(to)) = ++value;
          out.advance(to);
          *out.mark(to).word.at = out.mark(to).count;
          --left_to_send;
          continue;
        }
        in.seen(from) = word_at(in.need(from));
        ASSERT_TRUE(in.arrived(from)) << "neither end can move, slots " << slots << ", call " << call;
        ASSERT_EQ(*reinterpret_cast<const Word*>(in.first(from)), ++expected);
        in.advance(from);
        *in.mark(from).word.at = in.mark(from).count;
        --left_to_take;
      }
      out.keep(*sender, Members::only(to));
      in.keep(*taker, Members::only(from));
    }
    EXPECT_EQ(value, expected);
    EXPECT_EQ(all.kept[0].sent[2 * 4 + uint32_t(to)], value);
    EXPECT_EQ(all.kept[1].taken[2 * 4 + uint32_t(from)], value);
    EXPECT_EQ(all.kept[0].sent[1 * 4 + uint32_t(to)], 0u) << "another channel";
  }
}

// Two warps may hold boxes over the same members; each keeps what it fills and leaves the rest alone.
TEST(Rings, KeepTouchesOnlyItsOwnMembers) {
  Boards all({2}, 2, true);
  PlainWarp warp;
  Outbox<W, PeerLink> a(*warp, all.peers(0));
  {
    Outbox<W, PeerLink> b(*warp, all.peers(0));
    a.begin(*warp, 0, Members::only(0));
    b.begin(*warp, 0, Members::only(1));
    a.advance(0);
    b.advance(1), b.advance(1);
    b.keep(*warp, Members::only(1));
  }
  a.keep(*warp, Members::only(0));
  EXPECT_EQ(all.kept[0].sent[0], 1u);
  EXPECT_EQ(all.kept[0].sent[1], 2u);
}

}  // namespace
}  // namespace transload::test
