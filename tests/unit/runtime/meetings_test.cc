// What a rendezvous does with the frames of good, bad and foreign members, without a socket.
#include "runtime/meetings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "runtime/secret.h"

namespace transload {
namespace {

constexpr uint64_t ms = kMillisecondNs;
constexpr uint64_t kHere = 5;  // the nonce of the process that the server lives in

// Feeds frames as a socket would, and keeps what comes back by connection.
class Desk {
 public:
  explicit Desk(MeetingsOptions options = {kHere, 77, "", ""}) : meetings(std::move(options)) {}
  void open(uint64_t connection, bool remote = false, const std::string& unserved = "") {
    keep(meetings.opened(connection, {"10.0.0.1", remote, unserved}, now));
  }
  std::string nonce_for(uint64_t connection) const {
    return unpack_challenge(got(connection, FrameType::kChallenge).value()).value().nonce;
  }
  // A rank of a job, which proves a secret.
  void hello_of(uint64_t connection, uint32_t rank, const std::string& job, const std::string& secret) {
    open(connection);
    Hello hello{"g", rank, 2, 0, kHere, 1000, {0, 0}, "", job, "its own nonce", ""};
    hello.proof = proof(secret, {Prover::kMember, nonce_for(connection), said_in(hello)});
    send(connection, pack(hello));
  }
  std::string why_refused(uint64_t connection) const {
    const auto frame = got(connection, FrameType::kRefused);
    return frame ? unpack_refused(*frame).value().why : "it was not refused";
  }
  void send(uint64_t connection, const std::string& frame) {
    const FrameHead head = unpack_head(frame.data());
    keep(meetings.frame(connection, FrameType(head.type), std::string_view(frame).substr(kFrameHeadBytes), now));
  }
  void hello(uint64_t connection, uint32_t rank, uint32_t ranks, const std::string& name = "g") {
    open(connection);
    send(connection, pack(words(rank, ranks, name)));
  }
  static Hello words(uint32_t rank, uint32_t ranks, const std::string& name = "g") {
    return {name, rank, ranks, 0, kHere, 1000, std::vector<uint32_t>(ranks, 0)};
  }
  void end() { keep(meetings.end(now)); }
  void close(uint64_t connection) { keep(meetings.closed(connection, now)); }
  void pass(uint64_t duration) {
    for (const uint64_t end = now + duration; now < end;) {
      now += 50 * ms;
      keep(meetings.tick(now));
    }
  }
  // Nobody ticks: the process is stopped, or has nothing to do.
  void stop_for(uint64_t duration) { now += duration; }
  void tick() { keep(meetings.tick(now)); }
  // The last frame of that type that a connection was sent.
  std::optional<std::string> got(uint64_t connection, FrameType type) const {
    for (auto at = sent.rbegin(); at != sent.rend(); ++at) {
      if (at->first != connection || uint8_t(at->second[4]) != uint8_t(type)) continue;
      return at->second.substr(kFrameHeadBytes);
    }
    return std::nullopt;
  }
  std::optional<Verdict> verdict(uint64_t connection) const {
    for (const auto& [to, frame] : sent) {
      if (to != connection || uint8_t(frame[4]) != uint8_t(FrameType::kMessage)) continue;
      const auto message = unpack_message(std::string_view(frame).substr(kFrameHeadBytes));
      if (message && std::holds_alternative<Verdict>(*message)) return std::get<Verdict>(*message);
    }
    return std::nullopt;
  }

  Meetings meetings;
  std::vector<std::pair<uint64_t, std::string>> sent;
  std::set<uint64_t> shown_out;
  uint64_t now = 1000 * ms;

 private:
  void keep(const Meetings::Letters& letters) {
    for (const Letter& letter : letters) {
      if (letter.frame) sent.emplace_back(letter.to, *letter.frame);
      if (letter.close) shown_out.insert(letter.to);
    }
  }
};

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

TEST(Meetings, ShowsStrangersOut) {
  Desk desk;
  desk.hello(1, 0, 2);
  desk.hello(2, 1, 2);
  const std::string frames[] = {
      std::string("\x04\0\0\0\x01"
                  "abcd",
                  9),          // a hello that is none
      pack(Message(Lost{0})),  // before a hello
      pack(Gather{0, 1, ""}),
      std::string("\0\0\0\0\xFF", 5),
      pack(Hello{"g", 7, 2, 0, kHere, 1000, {0, 0}}),  // no such rank
      pack(Hello{"g", 0, 2, 0, kHere, 1000, {0, 9}}),  // no such node
      pack(Hello{std::string(kNameBytesMax + 1, 'x'), 0, 1, 0, kHere, 1000, {0}}),
      pack(Hello{"g", 0, 1, 0, kHere, 1000, {0}, std::string(kNoteBytesMax + 1, 'x')}),
      pack(Hello{"g", 0, 1, 0, kHere, 1000, {0}, "", std::string(kNameBytesMax + 1, 'x')}),
      pack(Hello{"g", 0, 1, 0, kHere, 1000, {0}, "", "", std::string(kProofBytesMax + 1, 'x')}),
      pack(Hello{"g", 0, 1, 0, kHere, 1000, {0}, "", "", "", std::string(kProofBytesMax + 1, 'x')}),
  };
  uint64_t connection = 10;
  for (const std::string& frame : frames) {
    desk.open(++connection);
    desk.send(connection, frame);
    EXPECT_TRUE(desk.shown_out.count(connection)) << connection;
  }
  EXPECT_EQ(desk.meetings.frame_bytes_max(connection, FrameType::kGather), kHelloBytesMax);
  EXPECT_EQ(desk.meetings.frame_bytes_max(1, FrameType::kGather), kFrameBytesMax);
  EXPECT_EQ(desk.meetings.frame_bytes_max(1, FrameType::kMessage), kMessageBytesMax);
  EXPECT_EQ(desk.meetings.frame_bytes_max(1, FrameType::kGathered), 0u);
  desk.open(50);  // says nothing
  desk.pass(kHelloNs);
  EXPECT_TRUE(desk.shown_out.count(50));
  EXPECT_FALSE(desk.verdict(1));
}

// Two launches that meet at one port in the same second: seats of one are not for the other, whoever comes first.
TEST(Meetings, RanksOfAnotherJob) {
  for (const char* of_the_server : {"X", ""}) {
    Desk desk({kHere, 77, of_the_server, ""});
    desk.hello_of(1, 0, "X", "");
    desk.hello_of(2, 1, "Y", "");
    EXPECT_FALSE(desk.got(1, FrameType::kWelcome));
    EXPECT_FALSE(desk.got(2, FrameType::kWelcome));
    desk.hello_of(3, 1, "X", "");
    EXPECT_TRUE(desk.got(1, FrameType::kWelcome));
    EXPECT_TRUE(desk.got(3, FrameType::kWelcome));
    EXPECT_FALSE(desk.got(2, FrameType::kWelcome));
    if (*of_the_server != 0) {
      EXPECT_TRUE(desk.shown_out.count(2));
      EXPECT_NE(desk.why_refused(2).find("rendezvous of job \"X\", but rank 1 is of job \"Y\""), std::string::npos)
          << desk.why_refused(2);
    } else {  // a launcher's server knows no job: each has its own party
      desk.hello_of(4, 0, "Y", "");
      EXPECT_TRUE(desk.got(2, FrameType::kWelcome));
      EXPECT_TRUE(desk.got(4, FrameType::kWelcome));
    }
  }
}

TEST(Meetings, OtherBuild) {
  Desk desk;
  for (const size_t word : {4, 8}) {  // protocol, layout
    const uint64_t connection = word;
    desk.open(connection);
    std::string frame = pack(Hello{"g", 0, 1, 0, kHere, 1000, {0}});
    ++frame[kFrameHeadBytes + word];
    desk.send(connection, frame);
    EXPECT_NE(desk.why_refused(connection).find("all ranks must run one build"), std::string::npos);
    EXPECT_NE(desk.why_refused(connection).find(word == 4 ? "this rank has protocol 3, layout 1" : "layout 2"),
              std::string::npos)
        << desk.why_refused(connection);
    EXPECT_TRUE(desk.shown_out.count(connection));
  }
}

TEST(Meetings, StrangersHaveNoSecret) {
  Desk desk({kHere, 77, "", "the secret"});
  desk.hello_of(1, 0, "", "the secret");
  desk.hello_of(2, 1, "", "");
  desk.hello_of(3, 1, "", "another secret");
  for (const uint64_t stranger : {2, 3}) {
    EXPECT_NE(desk.why_refused(stranger).find("does not prove the job's secret"), std::string::npos);
    EXPECT_TRUE(desk.shown_out.count(stranger));
  }
  // What another rank has proved on another connection, said again; and the same with another rank's seat.
  desk.open(4);
  Hello replayed{"g", 1, 2, 0, kHere, 1000, {0, 0}};
  replayed.proof = proof("the secret", {Prover::kMember, desk.nonce_for(1), said_in(replayed)});
  desk.send(4, pack(replayed));
  desk.open(5);
  Hello altered{"g", 0, 2, 0, kHere, 1000, {0, 0}};
  altered.proof = proof("the secret", {Prover::kMember, desk.nonce_for(5), said_in(altered)});
  altered.rank = 1;
  desk.send(5, pack(altered));
  EXPECT_TRUE(desk.shown_out.count(4));
  EXPECT_TRUE(desk.shown_out.count(5));
  EXPECT_FALSE(desk.got(1, FrameType::kWelcome));
  desk.hello_of(6, 1, "", "the secret");
  ASSERT_TRUE(desk.got(1, FrameType::kWelcome));
  const Welcome welcome = unpack_welcome(*desk.got(1, FrameType::kWelcome)).value();
  EXPECT_TRUE(proves(welcome.proof, "the secret", {Prover::kServer, "its own nonce", said_in(welcome)}));
  EXPECT_FALSE(proves(welcome.proof, "the secret", {Prover::kServer, "another", said_in(welcome)}));
  EXPECT_FALSE(proves(welcome.proof, "the secret", {Prover::kMember, "its own nonce", said_in(welcome)}));
}

// Every frame, cut short at every byte or with bytes too many: refused, never read past its end.
TEST(Meetings, TruncatedFrames) {
  const std::string frames[] = {pack(Hello{"name", 1, 3, 5, 6, 9, {0, 1, 1}, "note", "job", "nonce", "proof"}),
                                pack(Gather{1, 2, "three"}),
                                pack(Message(Heartbeat{1, 2, 3, true, 4})),
                                pack(Message(Suspicion{1, 2, 3, 4, 5})),
                                pack(Message(Mismatch{1, 2, "argument"})),
                                pack(Message(Verdict{FaultKind::kLost, 1, "detail"})),
                                pack(Message(Goodbye{1, 2})),
                                pack(Message(Withdrawn{1})),
                                pack(Message(Failed{1, "out of memory"}))};
  for (const std::string& frame : frames) {
    const std::string body = frame.substr(kFrameHeadBytes);
    const auto valid = [&](const std::string& bytes) {
      const auto type = FrameType(frame[4]);
      if (type == FrameType::kHello) return unpack_hello(bytes).has_value();
      if (type == FrameType::kGather) return unpack_gather(bytes).has_value();
      return unpack_message(bytes).has_value();
    };
    EXPECT_TRUE(valid(body));
    for (size_t size = 0; size < body.size(); ++size) EXPECT_FALSE(valid(body.substr(0, size))) << size;
    EXPECT_FALSE(valid(body + "x"));
  }
}

TEST(Meetings, SpeaksInNobodyElsesName) {
  Desk desk;
  for (uint32_t rank = 0; rank < 3; ++rank) desk.hello(rank + 1, rank, 3);
  desk.send(2, pack(Message(Goodbye{2})));  // rank 1 says that rank 2 leaves
  desk.close(3);
  ASSERT_TRUE(desk.verdict(1));
  EXPECT_EQ(desk.verdict(1)->culprit, 2u);
  desk.hello(11, 0, 1, "h");
  desk.send(11, pack(Message(Lost{0})));  // not for a member to say
  EXPECT_TRUE(desk.shown_out.count(11));
  desk.hello(21, 0, 1, "i");
  desk.send(21, pack(Message(Verdict{FaultKind::kNone, 0, "all is well"})));  // not for anybody to say
  EXPECT_TRUE(desk.shown_out.count(21));
}

}  // namespace
}  // namespace transload
