// A member whose rendezvous says what none of this version says: it listens no more, and its waits end by name.
#include <gtest/gtest.h>

#include <thread>

#include "control/frame.h"
#include "tests/support/control_ranks.h"

namespace transload {
namespace {

using namespace meet;

// Welcomes one member of two, and then says what it is told to.
class FalseRendezvous {
 public:
  explicit FalseRendezvous(const std::string& early, const std::string& late) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), at, size), 0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    EXPECT_EQ(::getsockname(listener_.get(), at, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, early, late] {
      const Descriptor member(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      say(member.get(), pack(Challenge{}) + early + pack(Welcome{}) + late);
      char bytes[4096];
      while (::recv(member.get(), bytes, sizeof bytes, 0) > 0) {  // until the member listens no more
      }
    });
  }
  ~FalseRendezvous() { thread_.join(); }
  uint16_t port() const { return port_; }

 private:
  static void say(int member, const std::string& frames) {
    EXPECT_EQ(::send(member, frames.data(), frames.size(), MSG_NOSIGNAL), ssize_t(frames.size()));
  }

  Descriptor listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  uint16_t port_ = 0;
  std::thread thread_;
};

// A frame of any type, whatever that may be.
std::string frame(uint8_t type, const std::string& body) {
  std::string bytes(4, 0);
  for (int i = 0; i < 4; ++i) bytes[size_t(i)] = char(body.size() >> 8 * i);
  return bytes + char(type) + body;
}

const std::string kNonsense[] = {
    frame(uint8_t(FrameType::kMessage), "\x06"),  // a verdict that is cut short
    frame(uint8_t(FrameType::kMessage), "\xFF"),
    pack(Message(Lost{1})),  // a member is told a verdict
    pack(Message(Goodbye{2, 1})),
    pack(Message(Verdict{FaultKind::kLost, 2, "x", false})),
    pack(Message(Verdict{FaultKind::kLost, kNobody, "x", false})),
    pack(Message(Verdict{FaultKind::kRendezvous, 1, "x", false})),
};

TEST(FalseRendezvous, IsNotListenedTo) {
  std::vector<std::string> late(std::begin(kNonsense), std::end(kNonsense));
  late.push_back(frame(uint8_t(FrameType::kGathered), "x"));
  late.push_back(pack(Gathered{0, 1, "", {"a", "b"}}));  // of ranks 1 and 2, of two
  late.push_back(pack(Gathered{9, ~0u, "", {"a", "b"}}));
  late.push_back(frame(uint8_t(FrameType::kFarewell), "x"));
  late.push_back(frame(99, ""));
  for (size_t i = 0; i < late.size(); ++i) {
    FalseRendezvous server("", late[i]);
    Control control(place(1, 2, server.port()), kDeadlineMs, one_node(2));
    EXPECT_TRUE(aborted(control)) << i;
    const Fault fault = fault_of([&] { control.gather("me"); });
    EXPECT_EQ(fault.kind, FaultKind::kRendezvous) << i;
    EXPECT_EQ(fault.detail, "it said what no rendezvous of this version says") << i;
    EXPECT_TRUE(fault.own_view);
  }
}

TEST(FalseRendezvous, IsRefusedBeforeItWelcomes) {
  for (const std::string& early : kNonsense) {
    FalseRendezvous server(early, "");
    const std::string why = refusal_of([&] { Control(place(1, 2, server.port()), kDeadlineMs, one_node(2)); });
    EXPECT_NE(why.find("is not a rendezvous of this version"), std::string::npos) << why;
  }
}

TEST(GatherRound, HasEachPartOnce) {
  GatherRound round(2);
  round.begin();
  EXPECT_TRUE(round.take({0, 1, "10.0.0.1", {"b"}}));
  EXPECT_FALSE(round.take({0, 0, "", {"a", "c"}}));
  EXPECT_FALSE(round.whole());
  EXPECT_TRUE(round.take({7, 0, "", {"x"}})) << "of a round that was given up";
  EXPECT_TRUE(round.take({0, 0, "", {"a"}}));
  ASSERT_TRUE(round.whole());
  EXPECT_EQ(round.end(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(round.reach(), "10.0.0.1");
  EXPECT_EQ(round.number(), 1u);
}

}  // namespace
}  // namespace transload
