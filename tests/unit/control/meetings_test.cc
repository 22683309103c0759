// What a rendezvous does with the frames of its members.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/desk.h"

namespace transload {
namespace {

TEST(Meetings, WelcomesWhenAllAreThere) {
  Desk desk;
  desk.hello(1, 0, 2);
  EXPECT_FALSE(desk.got(1, FrameType::kWelcome));
  desk.hello(2, 1, 2);
  ASSERT_TRUE(desk.got(1, FrameType::kWelcome));
  ASSERT_TRUE(desk.got(2, FrameType::kWelcome));
  EXPECT_TRUE(unpack_welcome(*desk.got(2, FrameType::kWelcome))->arbiter_in_rank_0);
}

TEST(Meetings, NamesTheLowestThatDoesNotCome) {
  Desk desk;
  desk.hello(1, 0, 4);
  desk.hello(2, 3, 4);
  desk.pass(900 * ms);
  EXPECT_FALSE(desk.verdict(1));
  desk.pass(200 * ms);
  for (uint64_t connection : {1, 2}) {
    ASSERT_TRUE(desk.verdict(connection));
    EXPECT_EQ(desk.verdict(connection)->kind, FaultKind::kAbsent);
    EXPECT_EQ(desk.verdict(connection)->culprit, 1u);
  }
  desk.hello(3, 1, 4);  // too late: told so
  ASSERT_TRUE(desk.verdict(3));
  EXPECT_EQ(desk.verdict(3)->culprit, 1u);
  desk.hello(4, 0, 4);  // the others try again: a new generation
  desk.hello(5, 1, 4);
  desk.hello(6, 2, 4);
  desk.hello(7, 3, 4);
  EXPECT_TRUE(desk.got(7, FrameType::kWelcome));
}

// The arbiter is in rank 0 of those groups alone whose rank 0 lives in the server's process.
TEST(Meetings, SaysWhetherRank0Serves) {
  Desk desk;
  desk.hello(1, 0, 2, "a");
  desk.hello(2, 1, 2, "a");
  for (uint32_t rank = 0; rank < 2; ++rank) {
    desk.open(rank + 3);
    Hello elsewhere = Desk::words(rank, 2, "b");
    elsewhere.process = rank == 0 ? kHere + 1 : kHere;
    desk.send(rank + 3, pack(elsewhere));
  }
  EXPECT_TRUE(unpack_welcome(desk.got(1, FrameType::kWelcome).value())->arbiter_in_rank_0);
  for (uint64_t connection : {3, 4})
    EXPECT_FALSE(unpack_welcome(desk.got(connection, FrameType::kWelcome).value())->arbiter_in_rank_0);
}

// It is in use as long as a member is here, of whatever group.
TEST(Meetings, InUse) {
  Desk desk;
  EXPECT_FALSE(desk.meetings.in_use());
  desk.open(9);  // a stranger
  EXPECT_FALSE(desk.meetings.in_use());
  desk.hello(1, 0, 1, "a");
  desk.hello(2, 0, 2, "b");
  desk.send(1, pack(Message(Goodbye{0})));
  EXPECT_TRUE(desk.meetings.in_use());
  desk.close(2);
  EXPECT_FALSE(desk.meetings.in_use());
}

TEST(Meetings, ItsEndIsNoRanksFault) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.hello(3, 0, 2, "not all here");
  desk.end();
  for (uint64_t connection : {1, 2, 3}) {
    ASSERT_TRUE(desk.verdict(connection));
    EXPECT_EQ(desk.verdict(connection)->kind, FaultKind::kRendezvous);
    EXPECT_EQ(desk.verdict(connection)->culprit, kNobody);
  }
}

TEST(Meetings, LostBeforeAllCame) {
  Desk desk;
  desk.hello(1, 0, 3);
  desk.hello(2, 2, 3);
  desk.close(2);
  ASSERT_TRUE(desk.verdict(1));
  EXPECT_EQ(desk.verdict(1)->kind, FaultKind::kLost);
  EXPECT_EQ(desk.verdict(1)->culprit, 2u);
}

TEST(Meetings, RefusesByName) {
  Desk desk;
  desk.hello(1, 0, 4);
  desk.hello(2, 1, 5);
  auto refused = unpack_refused(desk.got(2, FrameType::kRefused).value());
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->retry);
  EXPECT_NE(refused->why.find("rank 1 of group \"g\" gave ranks 5"), std::string::npos) << refused->why;
  EXPECT_TRUE(desk.shown_out.count(2));
  desk.hello(3, 0, 4);
  refused = unpack_refused(desk.got(3, FrameType::kRefused).value());
  EXPECT_TRUE(refused->retry);
  EXPECT_NE(refused->why.find("rank 0 of group \"g\" is already there"), std::string::npos) << refused->why;
  desk.hello(4, 1, 5, "h");  // another name
  EXPECT_FALSE(desk.got(4, FrameType::kRefused));
  EXPECT_FALSE(desk.verdict(1));
}

TEST(Meetings, RefusesWhoMeansAnotherServer) {
  Desk desk;
  desk.open(1);
  desk.send(1, pack(Hello{"g", 0, 1, 78, kHere, 1000, {0}}));
  EXPECT_TRUE(unpack_refused(desk.got(1, FrameType::kRefused).value())->retry);
  desk.open(2);
  desk.send(2, pack(Hello{"g", 0, 1, 77, kHere, 1000, {0}}));
  EXPECT_TRUE(desk.got(2, FrameType::kWelcome));
}

TEST(Meetings, GathersInAnyOrderAndSize) {
  Desk desk;
  for (uint32_t rank = 0; rank < 5; ++rank) desk.hello(rank + 1, rank, 5);
  const auto part = [](uint32_t rank) { return std::string(rank == 2 ? 0 : 400'000, char('a' + rank)); };
  for (uint32_t rank : {3, 0, 4, 2, 1}) {
    EXPECT_FALSE(desk.got(1, FrameType::kGathered));
    desk.send(rank + 1, pack(Gather{0, 1000, part(rank)}));
  }
  for (uint64_t connection = 1; connection <= 5; ++connection) {
    uint32_t next = 0;
    for (const auto& [to, frame] : desk.sent) {
      if (to != connection || uint8_t(frame[4]) != uint8_t(FrameType::kGathered)) continue;
      EXPECT_LE(frame.size(), kFrameBytesMax + kFrameHeadBytes);
      const auto some = unpack_gathered(std::string_view(frame).substr(kFrameHeadBytes));
      ASSERT_TRUE(some);
      EXPECT_EQ(some->first, next);
      for (const std::string& got : some->parts) EXPECT_EQ(got, part(next++));
    }
    EXPECT_EQ(next, 5u);
  }
}

TEST(Meetings, TellsTheAddressThatOthersReach) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.open(2, true);
  desk.send(2, pack(Hello{"g", 1, 2, 0, kHere, 1000, {0, 1}}));
  desk.send(1, pack(Gather{0, 1000, "a"}));
  desk.send(2, pack(Gather{0, 1000, "b"}));
  EXPECT_EQ(unpack_gathered(desk.got(1, FrameType::kGathered).value())->reach, "10.0.0.1");
}

TEST(Meetings, GatherWithoutSomebody) {
  Desk desk;
  for (uint32_t rank = 0; rank < 3; ++rank) desk.hello(rank + 1, rank, 3);
  desk.send(1, pack(Gather{0, 400, "a"}));
  desk.send(3, pack(Gather{0, 400, "c"}));
  const auto all_beat = [&] {
    for (uint32_t rank = 0; rank < 3; ++rank) desk.send(rank + 1, pack(Message(Heartbeat{rank, 0, 0, false, kNobody})));
  };
  desk.pass(300 * ms);
  EXPECT_FALSE(desk.verdict(1));
  all_beat();
  desk.pass(200 * ms);
  ASSERT_TRUE(desk.verdict(3));
  EXPECT_EQ(desk.verdict(3)->culprit, 1u);
  EXPECT_EQ(desk.verdict(3)->kind, FaultKind::kAbsent);
}

// The rendezvous's own process stood still: for so long nobody could have come, and the rest of the time is still
// theirs.
TEST(Meetings, AStopOfTheRendezvousIsNobodysFault) {
  Desk desk;
  desk.hello(11, 0, 2, "h");  // waits for somebody
  for (uint32_t rank = 0; rank < 3; ++rank) desk.hello(rank + 1, rank, 3);
  desk.send(1, pack(Gather{0, 1000, "a"}));
  desk.send(3, pack(Gather{0, 1000, "c"}));
  desk.pass(100 * ms);
  desk.now += 60'000 * ms;
  desk.pass(700 * ms);
  EXPECT_FALSE(desk.verdict(1));
  EXPECT_FALSE(desk.verdict(11));
  desk.send(2, pack(Gather{0, 1000, "b"}));
  EXPECT_TRUE(desk.got(3, FrameType::kGathered));
  desk.hello(12, 1, 2, "h");
  EXPECT_TRUE(desk.got(11, FrameType::kWelcome));
  desk.send(1, pack(Gather{1, 1000, "a"}));
  desk.pass(100 * ms);
  desk.now += 60'000 * ms;
  desk.pass(800 * ms);
  for (uint32_t rank = 0; rank < 3; ++rank) desk.send(rank + 1, pack(Message(Heartbeat{rank, 0, 0, false, kNobody})));
  EXPECT_FALSE(desk.verdict(1));
  desk.pass(300 * ms);
  ASSERT_TRUE(desk.verdict(1));
  EXPECT_EQ(desk.verdict(1)->culprit, 1u);
}

// Time in which nobody could be heard counts for nobody: after an idle time, in the first moments of a group, in a
// gather.
TEST(Meetings, IdleTimeIsNoStop) {
  Desk desk;
  desk.hello(1, 0, 1, "earlier");
  desk.send(1, pack(Message(Goodbye{0})));
  desk.close(1);
  desk.pass(kLateNs);
  EXPECT_EQ(desk.meetings.parties(), 0u);
  desk.stop_for(60'000 * ms);
  desk.hello(2, 0, 2);
  desk.pass(1050 * ms);
  ASSERT_TRUE(desk.verdict(2));
  EXPECT_EQ(desk.verdict(2)->culprit, 1u);
}

TEST(Meetings, StoppedWhileAGroupIsMade) {
  for (const bool heard_first : {false, true}) {
    Desk desk;
    desk.hello(1, 0, 3);
    desk.stop_for(5'000 * ms);
    if (heard_first) desk.hello(2, 1, 3);
    desk.tick();
    desk.pass(900 * ms);
    EXPECT_FALSE(desk.verdict(1)) << heard_first;
    desk.pass(200 * ms);
    ASSERT_TRUE(desk.verdict(1));
    EXPECT_EQ(desk.verdict(1)->culprit, heard_first ? 2u : 1u);
  }
}

TEST(Meetings, StoppedInAGather) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.send(1, pack(Gather{0, 1000, "a"}));
  desk.stop_for(5'000 * ms);
  desk.tick();
  EXPECT_FALSE(desk.verdict(1));
  desk.send(2, pack(Gather{0, 1000, "b"}));
  EXPECT_TRUE(desk.got(1, FrameType::kGathered));
}

// Who came and could not be served is told why, and so are those who wait for it.
TEST(Meetings, WhoCannotBeServedIsNotAbsent) {
  Desk desk;
  desk.hello(1, 0, 3);
  desk.hello(2, 1, 3);
  for (uint64_t connection = 3; connection < 20 && !desk.verdict(1); ++connection) {
    desk.open(connection, false, "out of descriptors (ulimit -n 9)");
    desk.send(connection, pack(Desk::words(2, 3)));
    const auto refused = unpack_refused(desk.got(connection, FrameType::kRefused).value());
    EXPECT_TRUE(refused->retry);
    EXPECT_EQ(refused->why, "out of descriptors (ulimit -n 9)");
    EXPECT_TRUE(desk.shown_out.count(connection));
    desk.close(connection);
    desk.pass(100 * ms);
  }
  desk.open(30, false, "out of descriptors (ulimit -n 9)");
  desk.send(30, pack(Desk::words(2, 3)));
  for (uint64_t connection : {1, 2, 30}) {
    ASSERT_TRUE(desk.verdict(connection)) << connection;
    EXPECT_EQ(desk.verdict(connection)->kind, FaultKind::kRendezvous);
    EXPECT_EQ(desk.verdict(connection)->detail, "out of descriptors (ulimit -n 9): rank 2 was turned away");
  }
}

TEST(Meetings, TurnedAwayAndThenServed) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.open(2, false, "out of descriptors");
  desk.send(2, pack(Desk::words(1, 2)));
  desk.close(2);
  desk.pass(500 * ms);
  desk.hello(3, 1, 2);
  EXPECT_TRUE(desk.got(1, FrameType::kWelcome));
  EXPECT_TRUE(desk.got(3, FrameType::kWelcome));
}

// Rank 0 alone knows that its address is another host's; if others came, it is not.
TEST(Meetings, Rank0IsElsewhere) {
  for (const bool another_came : {false, true}) {
    Desk desk;
    Hello hello = Desk::words(0, 3);
    hello.note = "no other rank came: far is 10.0.0.9, but rank 0 listens on 10.0.0.1";
    desk.open(1);
    desk.send(1, pack(hello));
    if (another_came) desk.hello(2, 2, 3);
    desk.pass(1050 * ms);
    ASSERT_TRUE(desk.verdict(1));
    EXPECT_EQ(desk.verdict(1)->kind, another_came ? FaultKind::kAbsent : FaultKind::kUnreachable);
    EXPECT_EQ(desk.verdict(1)->culprit, another_came ? 1u : 0u);
    if (!another_came) {
      EXPECT_EQ(desk.verdict(1)->detail, hello.note);
    }
  }
}

// What a member sends must be kept until the others have sent theirs: one part each, of bounded size.
TEST(Meetings, KeepsOneRoundAtMost) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.send(1, pack(Gather{0, 1000, "a"}));
  EXPECT_FALSE(desk.shown_out.count(1));
  desk.send(1, pack(Gather{1, 1000, "ahead"}));
  EXPECT_TRUE(desk.shown_out.count(1));
  desk.hello(3, 0, 2, "h");
  desk.hello(4, 1, 2, "h");
  desk.send(3, pack(Gather{0, 1000, "a"}));
  desk.send(3, pack(Gather{0, 1000, "again"}));
  EXPECT_TRUE(desk.shown_out.count(3));
  desk.hello(5, 0, 2, "not all here");
  desk.send(5, pack(Gather{0, 1000, "early"}));
  EXPECT_TRUE(desk.shown_out.count(5));
}

TEST(Meetings, PartsOfManyRanksAreShorter) {
  constexpr uint32_t kRanks = 128;
  Desk desk;
  for (uint32_t rank = 0; rank < kRanks; ++rank) desk.hello(rank + 1, rank, kRanks);
  EXPECT_EQ(gather_bytes_max(kRanks), kGatherBytesMax / 2);
  EXPECT_LT(desk.meetings.frame_bytes_max(1, FrameType::kGather), kFrameBytesMax);
  desk.send(1, pack(Gather{0, 1000, std::string(gather_bytes_max(kRanks), 'x')}));
  EXPECT_FALSE(desk.shown_out.count(1));
  desk.send(2, pack(Gather{0, 1000, std::string(gather_bytes_max(kRanks) + 1, 'x')}));
  EXPECT_TRUE(desk.shown_out.count(2));
}

// Groups that begin and end at once, and guests that say nothing: neither piles up.
TEST(Meetings, ForgetsWhatIsOver) {
  Desk desk;
  desk.hello(1, 0, 2, "lives");
  for (uint64_t connection = 2; connection < 500; ++connection) {
    desk.hello(connection, 1, 4, "g" + std::to_string(connection));
    desk.close(connection);
  }
  EXPECT_LE(desk.meetings.parties(), kFinishedMax + 1);
  desk.hello(1000, 1, 2, "lives");
  EXPECT_TRUE(desk.got(1, FrameType::kWelcome));
}

TEST(Meetings, ShowsTheOldestStrangerOut) {
  Desk desk;
  desk.hello(1, 0, 2);
  for (uint64_t connection = 2; connection < kStrangersMax + 2; ++connection) desk.open(connection);
  EXPECT_TRUE(desk.shown_out.empty());
  desk.open(kStrangersMax + 2);
  EXPECT_EQ(desk.shown_out, std::set<uint64_t>{2});
}

// Its process may end as soon as it has its farewell: by then the others have been told.
TEST(Meetings, TellsOthersBeforeTheFarewell) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.sent.clear();
  desk.send(1, pack(Message(Goodbye{0})));
  ASSERT_FALSE(desk.sent.empty());
  EXPECT_EQ(desk.sent.back().first, 1u);
  EXPECT_EQ(uint8_t(desk.sent.back().second[4]), uint8_t(FrameType::kFarewell));
  EXPECT_TRUE(desk.got(2, FrameType::kMessage));
}

TEST(Meetings, GatherWithSomebodyWhoLeft) {
  Desk desk;
  for (uint32_t rank = 0; rank < 3; ++rank) desk.hello(rank + 1, rank, 3);
  desk.send(2, pack(Message(Goodbye{1})));
  EXPECT_TRUE(desk.got(2, FrameType::kFarewell));
  EXPECT_TRUE(desk.shown_out.count(2));
  desk.close(2);
  EXPECT_FALSE(desk.verdict(1));
  desk.send(1, pack(Gather{0, 10'000, "a"}));
  desk.pass(100 * ms);
  ASSERT_TRUE(desk.verdict(1));
  EXPECT_EQ(desk.verdict(1)->culprit, 1u);
}

TEST(Meetings, SameNameAgain) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.send(2, pack(Message(Goodbye{1})));
  desk.close(2);
  desk.hello(3, 1, 2);  // is ahead: the others are still in the old one
  EXPECT_FALSE(desk.got(3, FrameType::kWelcome));
  EXPECT_FALSE(desk.got(3, FrameType::kRefused));
  desk.send(1, pack(Message(Goodbye{0})));
  desk.close(1);
  desk.hello(4, 0, 2);
  EXPECT_TRUE(desk.got(3, FrameType::kWelcome));
  EXPECT_TRUE(desk.got(4, FrameType::kWelcome));
  desk.close(4);  // judged
  ASSERT_TRUE(desk.verdict(3));
  desk.hello(5, 0, 1);  // who is left makes a smaller one
  EXPECT_TRUE(desk.got(5, FrameType::kWelcome));
  desk.close(3);
  desk.send(5, pack(Message(Goodbye{0})));
  desk.close(5);
  desk.pass(kLateNs + 100 * ms);
  EXPECT_EQ(desk.meetings.parties(), 0u);
  EXPECT_EQ(desk.meetings.connections(), 0u);
}

// While it stood still nobody could come again, and strangers could not speak.
TEST(Meetings, StoppedWhileSomebodyIsToComeAgain) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.open(2, false, "out of descriptors");
  desk.send(2, pack(Desk::words(1, 2)));
  desk.close(2);
  desk.open(3);
  desk.stop_for(60'000 * ms);
  desk.tick();
  EXPECT_FALSE(desk.verdict(1));
  EXPECT_FALSE(desk.shown_out.count(3));
  desk.pass(1050 * ms);
  ASSERT_TRUE(desk.verdict(1));  // judged
  desk.stop_for(2 * kLateNs);
  desk.hello(4, 1, 2);
  EXPECT_TRUE(desk.verdict(4));
}

TEST(Meetings, AVerdictIsOldInTheEnd) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.pass(1050 * ms);
  ASSERT_TRUE(desk.verdict(1));
  desk.pass(kLateNs);
  desk.hello(2, 1, 2);  // of the next group
  EXPECT_FALSE(desk.verdict(2));
}

TEST(Meetings, OfAnotherSizeIsTheNextGroup) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  desk.send(1, pack(Message(Goodbye{0})));
  desk.hello(3, 1, 3);  // once the other has left as well
  EXPECT_TRUE(unpack_refused(desk.got(3, FrameType::kRefused).value())->retry);
}

// A launcher's process has no number of its own, and neither has a rank that does not say it.
TEST(Meetings, ARankOfNoProcessDoesNotServe) {
  Desk desk({0, 77, "", ""});
  Hello hello = Desk::words(0, 1);
  hello.process = 0;
  desk.open(1);
  desk.send(1, pack(hello));
  EXPECT_FALSE(unpack_welcome(desk.got(1, FrameType::kWelcome).value())->arbiter_in_rank_0);
}

TEST(Meetings, WhoIsServedIsNotMissed) {
  Desk desk;
  desk.hello(1, 0, 3);
  desk.open(2, false, "out of descriptors");
  desk.send(2, pack(Desk::words(1, 3)));
  desk.close(2);
  desk.hello(3, 1, 3);
  desk.pass(1050 * ms);
  ASSERT_TRUE(desk.verdict(1));
  EXPECT_EQ(desk.verdict(1)->kind, FaultKind::kAbsent);
  EXPECT_EQ(desk.verdict(1)->culprit, 2u);
}

// What is left of an earlier group is forgotten, and the group that has its name is not.
TEST(Meetings, TheNameIsTheFollowers) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.close(1);  // judged
  for (uint64_t connection : {2, 3}) {
    Hello patient = Desk::words(uint32_t(connection) - 2, 2);
    patient.deadline_ms = 100'000;
    if (connection == 3) desk.pass(kLateNs + 100 * ms);
    desk.open(connection);
    desk.send(connection, pack(patient));
  }
  EXPECT_TRUE(desk.got(2, FrameType::kWelcome));
}

TEST(Meetings, WhoSaysGoodbyeTwiceLeavesOnce) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  for (int again = 0; again < 2; ++again) desk.send(1, pack(Message(Goodbye{0})));
  EXPECT_TRUE(desk.meetings.in_use());
}

// Two launches that meet at one port in the same second: seats of one are not for the other, whoever comes first.
// Every frame, cut short at every byte or with bytes too many: refused, never read past its end.

}  // namespace
}  // namespace transload
