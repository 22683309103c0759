// What a rendezvous does with the frames of good, bad and foreign members, without a socket.
#include "runtime/meetings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace transload {
namespace {

constexpr uint64_t ms = kMillisecondNs;

// Feeds frames as a socket would, and keeps what comes back by connection.
class Desk {
 public:
  explicit Desk(MeetingsOptions options = {true, 77}) : meetings(options) {}
  void open(uint64_t connection, bool remote = false) { meetings.opened(connection, {"10.0.0.1", remote}, now); }
  void send(uint64_t connection, const std::string& frame) {
    const FrameHead head = unpack_head(frame.data());
    keep(meetings.frame(connection, FrameType(head.type), std::string_view(frame).substr(kFrameHeadBytes), now));
  }
  void hello(uint64_t connection, uint32_t rank, uint32_t ranks, const std::string& name = "g") {
    open(connection);
    Hello hello{name, rank, ranks, 0, 1000, std::vector<uint32_t>(ranks, 0)};
    send(connection, pack(hello));
  }
  void close(uint64_t connection) { keep(meetings.closed(connection, now)); }
  void pass(uint64_t duration) {
    for (const uint64_t end = now + duration; now < end;) {
      now += 50 * ms;
      keep(meetings.tick(now));
    }
  }
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
  desk.send(1, pack(Hello{"g", 0, 1, 78, 1000, {0}}));
  EXPECT_TRUE(unpack_refused(desk.got(1, FrameType::kRefused).value())->retry);
  desk.open(2);
  desk.send(2, pack(Hello{"g", 0, 1, 77, 1000, {0}}));
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
  desk.send(2, pack(Hello{"g", 1, 2, 0, 1000, {0, 1}}));
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

TEST(Meetings, AGatherIsTakenPartInOnceAndByAll) {
  Desk desk;
  desk.hello(1, 0, 3);
  desk.send(1, pack(Gather{0, 1000, "early"}));
  EXPECT_TRUE(desk.shown_out.count(1)) << "not all have come";
  for (uint32_t rank = 0; rank < 3; ++rank) desk.hello(11 + rank, rank, 3, "h");
  desk.send(11, pack(Gather{0, 1000, "a"}));
  desk.send(11, pack(Gather{0, 1000, "a again"}));
  EXPECT_TRUE(desk.shown_out.count(11));
  desk.send(12, pack(Gather{1, 1000, "b"}));
  EXPECT_TRUE(desk.shown_out.count(12)) << "of a round to come";
  EXPECT_FALSE(desk.got(13, FrameType::kGathered));
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
      pack(Hello{"n", 7, 2, 0, 1000, {0, 0}}),  // no such rank
      pack(Hello{"n", 0, 2, 0, 1000, {0, 9}}),  // no such node
      pack(Hello{std::string(kNameBytesMax + 1, 'x'), 0, 1, 0, 1000, {0}}),
  };
  uint64_t connection = 10;
  for (const std::string& frame : frames) {
    desk.open(++connection);
    desk.send(connection, frame);
    EXPECT_TRUE(desk.shown_out.count(connection)) << connection;
  }
  EXPECT_EQ(desk.meetings.frame_bytes_max(connection), kHelloBytesMax);
  EXPECT_EQ(desk.meetings.frame_bytes_max(1), kFrameBytesMax);
  desk.open(50);  // says nothing
  desk.pass(kHelloNs);
  EXPECT_TRUE(desk.shown_out.count(50));
  EXPECT_FALSE(desk.verdict(1));
}

// Every frame, cut short at every byte or with bytes too many: refused, never read past its end.
TEST(Meetings, TruncatedFrames) {
  const std::string frames[] = {
      pack(Hello{"name", 1, 3, 5, 9, {0, 1, 1}}), pack(Gather{1, 2, "three"}),
      pack(Message(Heartbeat{1, 2, 3, true, 4})), pack(Message(Suspicion{1, 2, 3, 4, 5})),
      pack(Message(Mismatch{1, 2, "argument"})),  pack(Message(Verdict{FaultKind::kLost, 1, "detail"}))};
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
