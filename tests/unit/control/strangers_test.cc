// What a rendezvous does with the frames of strangers, and of members that say what they may not.
#include <gtest/gtest.h>

#include "control/frame.h"
#include "tests/support/desk.h"

namespace transload {
namespace {

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
      pack(Hello{"n", 7, 2, 0, kHere, 1000, {0, 0}}),  // no such rank
      pack(Hello{"n", 0, 2, 0, kHere, 1000, {0, 9}}),  // no such node
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
    Versions other;
    ++(word == 4 ? other.protocol : other.layout);
    EXPECT_NE(desk.why_refused(connection).find("this rank has " + text_of(other)), std::string::npos)
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
  const std::string no_fault = pack(Message(Verdict{FaultKind::kNone, kNobody, "all is well"}));
  EXPECT_FALSE(unpack_message(std::string_view(no_fault).substr(kFrameHeadBytes)));
  uint64_t connection = 30;
  for (const Verdict& verdict : {Verdict{FaultKind::kLost, 1, "x"}, Verdict{FaultKind::kLost, kNobody, "x"},
                                 Verdict{FaultKind::kRendezvous, 0, "x"}}) {
    ++connection;
    desk.hello(connection, 0, 1, std::to_string(connection));
    desk.send(connection, pack(Message(verdict)));  // of nobody in a group of one
    EXPECT_TRUE(desk.shown_out.count(connection)) << connection;
  }
  desk.hello(41, 0, 1, "j");
  desk.send(41, pack(Message(Verdict{FaultKind::kRendezvous, kNobody, "x"})));
  EXPECT_FALSE(desk.shown_out.count(41));
}

// Groups that nobody completes, as large as they may be: the oldest goes, whatever it had come to, and none that is
// complete.
TEST(Meetings, StrangersKeepNoMoreGroupsOpenThanFit) {
  Desk desk;
  const auto name = [](uint64_t n) { return "of a stranger " + std::to_string(n); };
  desk.hello(1, 0, 2, "whole");
  desk.hello(2, 1, 2, "whole");
  constexpr uint64_t kMost = kOpenSeatsMax / kControlRanksMax;
  for (uint64_t n = 0; n < kMost; ++n) desk.hello(10 + n, 0, kControlRanksMax, name(n));
  EXPECT_TRUE(desk.shown_out.empty());
  desk.hello(500, 0, 2, "small");
  EXPECT_EQ(desk.shown_out, std::set<uint64_t>{10});
  ASSERT_TRUE(desk.verdict(10));
  EXPECT_EQ(desk.verdict(10)->kind, FaultKind::kRendezvous);
  desk.close(10);
  desk.pass(2000 * ms);  // the others' deadlines, too: whoever stays after that is shown out all the same
  ASSERT_TRUE(desk.verdict(11));
  EXPECT_EQ(desk.shown_out.count(11), 0u);
  for (uint64_t n = 0; n < 3; ++n) desk.hello(100 + n, 0, kControlRanksMax, name(100 + n));
  EXPECT_EQ(desk.shown_out, (std::set<uint64_t>{10, 11, 12, 13}));
  EXPECT_FALSE(desk.verdict(1));
  EXPECT_FALSE(desk.verdict(100));
}

}  // namespace
}  // namespace transload
