// What a header says is believed only where it can be so: by forwarders against what the counts announced, by receivers
// against the rows of the source that it names.
#include <gtest/gtest.h>

#include <vector>

#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"
#include "tests/support/one_forwarder.h"

namespace transload::test {
namespace {

// Rank 1 of nodes of 2 and 1 ranks, with 3 rows of rank 0 and 2 of each other rank.
struct OneRank {
  explicit OneRank(bool listed) {
    board.map = table.seen_by(1);
    trip.call.board = &board;
    trip.shape = {16, 0, 2, listed};
    trip.handle.row_base = row_base;
    trip.rows_max = ~Word(0);
    trip.handle.row_token = row_token;
    trip.handle.log = log;
    trip.log_width = 2;
  }
  // A slot of the ring with the header of a token.
  const char* slot(const Header& header, const std::vector<HeaderEntry>& entries) {
    bytes.assign(trip.shape.header_offset() / 8 + (sizeof header + entries.size() * sizeof(HeaderEntry)) / 8, 0);
    char* const at = reinterpret_cast<char*>(bytes.data()) + trip.shape.header_offset();
    std::memcpy(at, &header, sizeof header);
    if (!entries.empty()) std::memcpy(at + sizeof header, entries.data(), entries.size() * sizeof(HeaderEntry));
    return reinterpret_cast<const char*>(bytes.data());
  }
  uint64_t row(const Header& header, const std::vector<HeaderEntry>& entries) {
    return final_row(*warp, trip, header_at(slot(header, entries) + trip.shape.header_offset()));
  }

  PlainWarp warp;
  RankTable table{{2, 1}};
  Board board{};
  DispatchTrip trip{};
  uint64_t row_base[4] = {0, 3, 5, 7};
  uint32_t row_token[7] = {0, 4, 9, 1, 2, 3, 8};
  Route log[2] = {{1, 7}, {kNoRoute, 0}};
  std::vector<uint64_t> bytes;
};

TEST(Headers, ARowIsOfItsSource) {
  OneRank rank(true);
  EXPECT_EQ(rank.row({0, 4, 2, 2}, {{0, 9, -1, 0}, {1, 2, -1, 0}}), 2u);
  EXPECT_EQ(rank.row({2, 4, 1, 2}, {{1, 1, -1, 0}, {0, 0, -1, 0}}), 6u);
  EXPECT_EQ(rank.row({0, 4, 1, 2}, {{1, 3, -1, 0}, {0, 0, -1, 0}}), kNoRow) << "the next source's";
  EXPECT_EQ(rank.row({2, 4, 1, 2}, {{1, 2, -1, 0}, {0, 0, -1, 0}}), kNoRow) << "nobody's";
  EXPECT_EQ(rank.row({0, 4, 1, 2}, {{0, 1, -1, 0}, {1, 1, -1, 0}}), kNoRow) << "not for me";
  EXPECT_EQ(rank.row({3, 4, 1, 2}, {{1, 0, -1, 0}, {0, 0, -1, 0}}), kNoRow) << "of no rank";
  rank.trip.rows_max = 6;
  EXPECT_EQ(rank.row({2, 4, 1, 2}, {{1, 0, -1, 0}, {0, 0, -1, 0}}), 5u);
  EXPECT_EQ(rank.row({2, 4, 1, 2}, {{1, 1, -1, 0}, {0, 0, -1, 0}}), kNoRow) << "it was dropped";
}

TEST(Headers, ACachedRowIsOneOfTheHandle) {
  OneRank rank(false);
  EXPECT_EQ(rank.row({0, 9, 0, 2}, {}), 2u);
  EXPECT_EQ(rank.row({1, 1, 0, 2}, {}), 3u);
  EXPECT_EQ(rank.row({2, 8, 0, 2}, {}), 6u);
  EXPECT_EQ(rank.row({0, 5, 0, 2}, {}), kNoRow) << "between two of that source";
  EXPECT_EQ(rank.row({0, 1, 0, 2}, {}), kNoRow) << "the next source's";
  EXPECT_EQ(rank.row({2, 9, 0, 2}, {}), kNoRow) << "past all";
  EXPECT_EQ(rank.row({3, 8, 0, 2}, {}), kNoRow) << "of no rank";
}

bool accuses_the_source(const OneForwarder& rank) {
  return rank.told().size() == 1 && rank.told()[0].rank == 2 && rank.told()[0].what == Broken::kHeader;
}

TEST(Headers, AForwarderTakesWhatWasAnnounced) {
  OneForwarder rank;
  EXPECT_TRUE(rank.forwards({2, 4, 2, 8}, {0, 1}));
  EXPECT_TRUE(rank.told().empty());
  for (const Header& header : {Header{2, 3, 1, 8}, Header{2, 5, 1, 8}, Header{1, 4, 1, 8}}) {
    OneForwarder other;
    EXPECT_FALSE(other.forwards(header, {0}));
    EXPECT_TRUE(accuses_the_source(other));
  }
}

// One that is named twice has two places in a log which has one for each peer: what follows lies behind the entry.
TEST(Headers, AForwarderTakesEachOwnerOnce) {
  using Owners = std::vector<uint32_t>;
  for (const Owners& owners : {Owners{0, 0}, Owners{0, 0, 0, 0, 0, 0, 0, 0}, Owners{0, 1, 0}, Owners{1, 0},
                               Owners{0, 3}, Owners{kNobody}, Owners{0, kNobody, 0}, Owners{2, 2}}) {
    OneForwarder rank;
    EXPECT_FALSE(rank.forwards({2, 4, uint32_t(owners.size()), 8}, owners));
    EXPECT_TRUE(accuses_the_source(rank));
    EXPECT_EQ(rank.log_room_used(), 0u);
  }
  OneForwarder rank(2);
  EXPECT_FALSE(rank.forwards({2, 4, 3, 2}, {0, 1})) << "more owners than choices";
  EXPECT_TRUE(accuses_the_source(rank));
}

TEST(Headers, TheLogHasTheOwnersOfTheNode) {
  OneForwarder rank;
  EXPECT_TRUE(rank.forwards({2, 4, 2, 8}, {1, 2}));
  EXPECT_EQ(rank.log()[0].target, 1u);
  EXPECT_EQ(rank.log()[1].target, kNoRoute);
  EXPECT_EQ(rank.log_room_used(), OneForwarder::kLogWidth);
}

// On a GPU nobody else looks at what a rank of another node announces.
TEST(Headers, ALogHasRoomForWhatIsAnnounced) {
  OneForwarder rank;
  EXPECT_TRUE(rank.has_room(1));
  EXPECT_TRUE(rank.told().empty());
  EXPECT_FALSE(rank.has_room(2));
  ASSERT_EQ(rank.told().size(), 1u);
  EXPECT_EQ(rank.told()[0].what, Broken::kCounts);
  EXPECT_EQ(rank.told()[0].rank, 2u);
  EXPECT_EQ(rank.told()[0].seen, 2u);
  EXPECT_EQ(rank.told()[0].expected, 1u);
}

// Who makes another call is told by the card, which says more: not every such rank is the one that is wrong.
TEST(Headers, OfAnotherCallAreToldByTheCard) {
  OneForwarder rank;
  Card other = rank.card();
  other.top_k = 4;
  rank.show(other);
  EXPECT_FALSE(rank.forwards({2, 9, 1, 8}, {0}));
  ASSERT_FALSE(rank.told().empty());
  EXPECT_EQ(rank.told()[0].what, Broken::kTopK);
  EXPECT_EQ(rank.told()[0].rank, 2u);
}

TEST(Headers, AForwarderGoesToOwnersOfItsNode) {
  OneRank rank(true);
  const auto routes = [&](uint32_t count, const std::vector<HeaderEntry>& entries) {
    const auto heading = read_heading(*rank.warp, rank.trip, rank.slot({2, 0, count, 2}, entries), 0);
    return std::vector<uint32_t>{heading.route[Lane{0}].target, heading.route[Lane{1}].target};
  };
  using Targets = std::vector<uint32_t>;
  EXPECT_EQ(routes(2, {{0, 5, -1, 0}, {1, 6, -1, 0}}), (Targets{0, 1}));
  EXPECT_EQ(routes(2, {{1, 5, -1, 0}, {2, 6, -1, 0}}), (Targets{1, kNoRoute})) << "of another node";
  EXPECT_EQ(routes(2, {{3, 5, -1, 0}, {4'000'000'000, 6, -1, 0}}), (Targets{kWrongRoute, kWrongRoute})) << "of no rank";
  EXPECT_EQ(routes(1, {{0, 5, -1, 0}, {1, 6, -1, 0}}), (Targets{0, kNoRoute})) << "past the owners";
  EXPECT_EQ(routes(2, {{1, 5, -1, 0}, {0, 6, -1, 0}}), (Targets{1, kWrongRoute})) << "out of order";
}

}  // namespace
}  // namespace transload::test
