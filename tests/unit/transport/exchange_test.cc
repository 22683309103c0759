// The exchange of descriptors under attack and in need: strangers, squatters, liars, limits of an ordinary user.
#include "transport/scaleup/exchange.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "tests/support/sanitized.h"
#include "tests/support/sides.h"

namespace transload {
namespace {

using namespace test;

constexpr uid_t kNobodyUser = 65534;
constexpr uint32_t kDeadlineMs = 60'000;

// Sends `words` with descriptors, as a stranger may.
bool pass(int socket, const std::vector<int>& fds, const std::array<uint64_t, 3>& words = {}) {
  iovec part{const_cast<uint64_t*>(words.data()), sizeof words};
  alignas(cmsghdr) char control[CMSG_SPACE(32 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == ssize_t(sizeof words);
}

// A caller that knows no secret gets nothing and disturbs nobody.
TEST(Neighbours, StrangersGetNothing) {
  Child child([](int line) {
    Side side(0);
    side.neighbours.connect(trade_offers(line, side.neighbours, 2), {0, 1}, kDeadlineMs);
    return side.neighbours.base(1)[0] == 2 ? 0 : 1;
  });
  Side side(1);
  const RegionOffer mine = side.neighbours.offer();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int length = ::snprintf(address.sun_path + 1, 64, "transload-%016llx", (unsigned long long)(mine.region));
  Descriptor stranger(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(stranger.get(), reinterpret_cast<sockaddr*>(&address),
                      socklen_t(offsetof(sockaddr_un, sun_path) + 1 + size_t(length))),
            0);
  // A whole greeting in the name of rank 0, but for the secret.
  ASSERT_TRUE(pass(stranger.get(), {side.bell.get(), side.region->fd()}, {mine.secret + 1, 2, 0}));
  const RegionOffer theirs = RegionOffer::unpack(hear(child.line()));
  std::thread later([&] {  // the stranger is heard first
    ::usleep(100'000);
    say(child.line(), theirs.pack());
    say(child.line(), mine.pack());
  });
  EXPECT_NO_THROW(side.neighbours.connect({theirs, mine}, {0, 1}, kDeadlineMs));
  later.join();
  ASSERT_NE(side.neighbours.base(0), nullptr);
  EXPECT_EQ(side.neighbours.base(0)[0], 1);
  char byte;
  EXPECT_EQ(::recv(stranger.get(), &byte, 1, 0), 0);
  EXPECT_EQ(child.wait(), 0);
}

// A peer that offers more than it passes is named, not believed.
TEST(Neighbours, NamesTheLiar) {
  Child child([](int line) {
    Side side(1);
    RegionOffer lie = side.neighbours.offer();
    const RegionOffer theirs = RegionOffer::unpack(hear(line));
    lie.bytes *= 2;
    say(line, lie.pack());
    side.neighbours.connect({theirs, lie}, {0, 1}, kDeadlineMs);
    return 0;
  });
  Side side(0);
  say(child.line(), side.neighbours.offer().pack());
  const RegionOffer theirs = RegionOffer::unpack(hear(child.line()));
  const Error error = error_of([&] {
    side.neighbours.connect({side.neighbours.offer(), theirs}, {0, 1}, kDeadlineMs);
  });
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
}

// Becomes an ordinary user, with few descriptors. False: this test's own user may not.
bool become_ordinary(rlim_t descriptors) {
  const rlimit limit{descriptors, descriptors};
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && ::setgid(kNobodyUser) == 0 && ::setuid(kNobodyUser) == 0 &&
         ::geteuid() == kNobodyUser;
}

// What rank 0 meets where `false_peer` listens at the name that the true rank 1, which has left, had offered.
Error error_at_a_false_peer(Side& side, Child& false_peer) {
  std::vector<RegionOffer> offers(2, side.neighbours.offer());
  {
    Side gone(1);
    offers[1] = gone.neighbours.offer();
    offers[1].process.nonce += 1;
  }
  say(false_peer.line(), offers[1].pack());
  EXPECT_EQ(hear(false_peer.line()), "here");
  return error_of([&] { side.neighbours.connect(offers, {0, 1}, kDeadlineMs); });
}

// The kernel says who listens at a name: nothing is said to another user.
TEST(Neighbours, ASquatterHearsNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can play another user";
  Child child([](int line) {
    if (!become_ordinary(100)) return 1;
    RegionOffer offer = RegionOffer::unpack(hear(line));  // what the true rank 1 said, and has left
    Descriptor listener = listen_for(offer.region);
    say(line, "here");
    pollfd waiting{listener.get(), POLLIN, 0};
    if (::poll(&waiting, 1, kPatienceMs) != 1) return 2;
    Descriptor caller(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char word[64];
    return ::recv(caller.get(), word, sizeof word, 0) == 0 ? 0 : 3;
  });
  Side side(0);
  const Error error = error_at_a_false_peer(side, child);
  EXPECT_EQ(error.code(), Code::kFault);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_NE(error.fault().detail.find("user " + std::to_string(kNobodyUser)), std::string::npos) << error.what();
  EXPECT_NE(error.fault().detail.find("user 0"), std::string::npos) << error.what();
  EXPECT_EQ(child.wait(), 0);
}

// Whoever answers proves that it heard my offer, too, before it gets what is mine.
TEST(Neighbours, AnAnswerWithoutMySecretGetsNothing) {
  Child child([](int line) {
    const RegionOffer mine = RegionOffer::unpack(hear(line));
    Descriptor listener = listen_for(mine.region);
    say(line, "here");
    pollfd waiting{listener.get(), POLLIN, 0};
    if (::poll(&waiting, 1, kPatienceMs) != 1) return 1;
    Descriptor caller(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    uint64_t words[3];
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    iovec part{words, sizeof words};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(caller.get(), &message, 0) != ssize_t(sizeof words)) return 2;
    if (CMSG_FIRSTHDR(&message) != nullptr) return 3;  // a descriptor before any proof
    Descriptor bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    SharedRegion region(8192);
    if (!pass(caller.get(), {bell.get(), region.fd()}, {words[0] + 1, mine.region, 1})) return 5;
    message.msg_controllen = sizeof control;
    return ::recvmsg(caller.get(), &message, 0) == 0 ? 0 : 4;
  });
  Side side(0);
  const Error error = error_at_a_false_peer(side, child);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_EQ(child.wait(), 0);
}

// An ordinary user may have as many descriptors on their way as RLIMIT_NOFILE says: others of the same user have taken
// all of it for a while. Nobody is dead for that.
TEST(Neighbours, DescriptorsOnTheirWayAreLimited) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become an ordinary user, to whom the limit applies";
  constexpr rlim_t kDescriptors = 40;
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    children.push_back(std::make_unique<Child>([rank](int line) {
      if (!become_ordinary(kDescriptors)) return 1;
      Side side(rank);
      side.neighbours.connect(trade_offers(line, side.neighbours, 2), {0, 1}, kDeadlineMs);
      return side.neighbours.base(1 - rank)[0] == char(2 - rank) ? 0 : 2;
    }));
  }
  Child hoarder([](int line) {
    if (!become_ordinary(kDescriptors)) return 1;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) != 0) return 2;
    int sent = 0;
    while (pass(ends[0], std::vector<int>(20, line))) ++sent;
    say(line, errno == ETOOMANYREFS && sent > 1 ? "full" : "not full");
    const std::string word = hear(line);
    ::close(ends[0]);
    ::close(ends[1]);
    return word == "drop" ? 0 : 3;
  });
  ASSERT_EQ(hear(hoarder.line()), "full");
  spread_offers(children);
  ::usleep(300'000);  // both are at it
  say(hoarder.line(), "drop");
  for (const auto& child : children) EXPECT_EQ(child->wait(), 0);
  EXPECT_EQ(hoarder.wait(), 0);
}

TEST(Neighbours, WhatThisMachineLacksIsNoFaultOfAPeer) {
  if (kNoDescriptorsLeft != nullptr) GTEST_SKIP() << kNoDescriptorsLeft;
  Child child([](int) {
    Side side(0);
    std::vector<RegionOffer> offers(2, side.neighbours.offer());
    offers[1].process.nonce += 1;
    const rlimit few{40, 40};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    while (::dup(0) >= 0) {
    }
    const Error error = error_of([&] { side.neighbours.connect(offers, {0, 1}, 100); });
    const bool told = std::string(error.what()).find("ulimit -n") != std::string::npos;
    return error.code() == Code::kOutOfMemory && told ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
}

// Many ranks of an ordinary user, with hardly more descriptors than they end up with.
TEST(Neighbours, ManyProcessesOfAnOrdinaryUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become an ordinary user, to whom the limit applies";
  constexpr uint32_t kRanks = 28;
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    children.push_back(std::make_unique<Child>([rank](int line) {
      if (!become_ordinary(kRanks * 2 + 30)) return 1;
      Side side(rank);
      side.neighbours.connect(trade_offers(line, side.neighbours, kRanks), all_of(kRanks), kDeadlineMs);
      for (uint32_t peer = 0; peer < kRanks; ++peer)
        if (side.neighbours.base(peer)[0] != char(peer + 1)) return 2;
      say(line, "done");
      return hear(line) == "go" ? 0 : 3;
    }));
  }
  spread_offers(children);
  for (const auto& child : children) EXPECT_EQ(hear(child->line()), "done");
  for (const auto& child : children) say(child->line(), "go");
  for (const auto& child : children) EXPECT_EQ(child->wait(), 0);
}

// Rank 1 offers its memory and does no more: the error of rank 0.
Error error_at_an_idle_peer(uint32_t deadline_ms, const ExchangeWatch& watch) {
  Child child([](int line) {
    Side side(1);
    say(line, side.neighbours.offer().pack());
    ::pause();
    return 0;
  });
  Side side(0);
  const std::vector<RegionOffer> offers{side.neighbours.offer(), RegionOffer::unpack(hear(child.line()))};
  return error_of([&] { side.neighbours.connect(offers, {0, 1}, deadline_ms, watch); });
}

TEST(Neighbours, ALostGroupIsNotWaitedFor) {
  int asked = 0;
  const ExchangeWatch watch{nullptr, [&] { return ++asked > 2; }};
  EXPECT_EQ(error_at_an_idle_peer(600'000, watch).code(), Code::kFault);
}

// A deadline that passed while this process was stopped is given again.
TEST(Neighbours, TimeThatDidNotCountIsGivenAnew) {
  std::vector<uint32_t> blamed;
  const ExchangeWatch watch{[&](uint32_t rank) {
                              blamed.push_back(rank);
                              return blamed.size() == 3;
                            },
                            nullptr};
  EXPECT_EQ(error_at_an_idle_peer(50, watch).fault().kind, FaultKind::kAbsent);
  EXPECT_EQ(blamed, std::vector<uint32_t>(3, 1));
}

}  // namespace
}  // namespace transload
