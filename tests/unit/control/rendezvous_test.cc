// The rendezvous over real sockets: how long it lives, what it says of itself, what copies of its process and of its
// members do to it, strangers, and addresses of both families.
#include "control/rendezvous.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "control/address.h"
#include "control/control.h"
#include "control/frame.h"
#include "tests/support/control_ranks.h"
#include "tests/support/sanitized.h"

namespace transload {
namespace {

using namespace meet;

// A server belongs to no group: it goes with its last member, though rank 0 of the first group has left.
TEST(Rendezvous, ServerOutlivesTheGroupThatOpenedIt) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  Bootstrap serves = place(0, 1, port, "a");
  serves.serve = true;
  std::optional<Control> first(std::in_place, serves, kDeadlineMs, one_node(1));
  std::barrier step(3);
  std::thread others([&] {
    as_threads(2, [&](uint32_t rank) {
      Control control(place(rank, 2, port, "b"), kDeadlineMs, one_node(2));
      step.arrive_and_wait();
      step.arrive_and_wait();
      EXPECT_EQ(control.gather(std::to_string(rank)).at(1), "1");
      EXPECT_EQ(control.settled().kind, FaultKind::kNone);
      step.arrive_and_wait();
      step.arrive_and_wait();
      EXPECT_EQ(control.gather("").size(), 2u);
      control.goodbye();
    });
  });
  step.arrive_and_wait();
  first->goodbye();
  first.reset();
  step.arrive_and_wait();
  step.arrive_and_wait();
  serves.name = "c";  // whoever asks for it while it is still there gets the same one
  Control again(serves, kDeadlineMs, one_node(1));
  EXPECT_EQ(again.gather("").size(), 1u);
  again.goodbye();
  step.arrive_and_wait();
  others.join();
}

TEST(Rendezvous, ServerGoesWithItsLastMember) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  Bootstrap serves = place(0, 1, port, "a");
  serves.serve = true;
  std::optional<Control> first(std::in_place, serves, kDeadlineMs, one_node(1));
  Control second(place(0, 1, port, "b"), kDeadlineMs, one_node(1));
  first->goodbye();
  first.reset();
  EXPECT_EQ(second.gather("").size(), 1u);
  second.goodbye();
  EXPECT_TRUE(is_free(port));
}

// The process that serves ends, and no rank of this group lived in it: none is to blame.
TEST(Rendezvous, ServersProcessEnds) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  PortChild child([](uint16_t port) {
    Bootstrap serves = place(0, 1, port, "a");
    serves.serve = true;
    auto& control = *new Control(serves, kDeadlineMs, one_node(1));
    control.gather("");
    ::pause();
    return 0;
  });
  child.go(port);
  std::barrier met(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, port, "b"), kDeadlineMs, {0, 1});
    control.gather("");
    met.arrive_and_wait();
    if (rank == 0) child.kill(SIGKILL);
    const Fault fault = fault_of([&] {
      while (true) control.gather("");
    });
    EXPECT_EQ(fault.kind, FaultKind::kRendezvous);
    EXPECT_EQ(fault.culprit_rank, kNobody);
  });
}

// A copy of the process that is killed lives on: its connection has ended all the same. Rank 2 alone, or rank 0 with
// the rendezvous.
class KilledWithACopy : public testing::TestWithParam<uint32_t> {};

TEST_P(KilledWithACopy, IsLostAtOnce) {
  const uint32_t victim = GetParam();
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  int until[2];
  ASSERT_EQ(::pipe2(until, O_CLOEXEC), 0);
  PortChild child([&](uint16_t port) {
    Bootstrap bootstrap = place(victim, 3, port);
    bootstrap.serve = victim == 0;
    Control control(bootstrap, kDeadlineMs, one_node(3));
    control.gather("");
    if (::fork() == 0) {
      ::close(until[1]);
      char byte;
      ::_exit(::read(until[0], &byte, 1) < 0);  // until the test ends, at last
    }
    control.gather("forked");
    ::pause();
    return 0;
  });
  std::optional<Rendezvous> rendezvous;
  if (victim != 0) rendezvous.emplace("127.0.0.1", port);
  child.go(port);
  std::barrier forked(2);
  as_threads(3, [&](uint32_t rank) {
    if (rank == victim) return;
    Control control(place(rank, 3, port), kDeadlineMs, one_node(3));
    control.gather("");
    control.gather("forked");
    forked.arrive_and_wait();
    if (rank == 1) child.kill(SIGKILL);
    EXPECT_TRUE(aborted(control));
    EXPECT_EQ(control.verdict().kind, FaultKind::kLost);
    EXPECT_EQ(control.verdict().culprit, victim);
  });
  if (victim == 0) {
    EXPECT_TRUE(is_free(port));
  }
  ::close(until[0]);
  ::close(until[1]);
}

INSTANTIATE_TEST_SUITE_P(Rendezvous, KilledWithACopy, testing::Values(0, 2));

// A copy may end by exit() or free what it finds: nothing is said in the original's name, and nothing is waited for.
TEST(Rendezvous, ACopyFreesARendezvous) {
  auto rendezvous = std::make_unique<Rendezvous>();
  Control control(place(0, 1, rendezvous->port()), kDeadlineMs, one_node(1));
  const pid_t copy = ::fork();
  if (copy == 0) {
    ::alarm(unsigned(kPatience.count()));
    rendezvous.reset();
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(copy, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(control.gather("me").at(0), "me");
  control.goodbye();
}

// A whole job that is stopped while it meets still meets, as if nothing had been.
TEST(Rendezvous, StoppedWhileItMeets) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  PortChild child([](uint16_t port) {
    Bootstrap bootstrap = place(0, 2, port);
    bootstrap.serve = true;
    Control control(bootstrap, 4000, one_node(2));
    control.gather("");
    control.goodbye();
    return 0;
  });
  child.go(port);
  ASSERT_TRUE(is_served(port));
  ::usleep(30'000);
  child.kill(SIGSTOP);
  child.wait_until_stopped();
  ::usleep(4'500'000);
  child.kill(SIGCONT);
  Control control(place(1, 2, port), kDeadlineMs, one_node(2));
  EXPECT_EQ(control.gather("").size(), 2u);
  control.goodbye();
  EXPECT_EQ(child.wait(), 0);
}

// A process with a rendezvous, which has two descriptors left when it says so on `ready`.
int serve_with_two_more(uint16_t port, int ready) {
  const Rendezvous rendezvous("127.0.0.1", port);
  const int lowest = ::dup(0);
  const rlimit limit{rlim_t(lowest) + 2, rlim_t(lowest) + 2};
  ::close(lowest);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || ::write(ready, "", 1) != 1) return 3;
  ::pause();
  return 0;
}

// The rendezvous cannot take them all. Nobody is called absent: it says what it lacks, to who came and to who waits.
TEST(Rendezvous, RendezvousOutOfDescriptors) {
  if (kNoDescriptorsLeft != nullptr) GTEST_SKIP() << kNoDescriptorsLeft;
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  PortChild child([&](uint16_t port) { return serve_with_two_more(port, ready[1]); });
  child.go(port);
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  std::atomic<int> told{0};
  as_threads(4, [&](uint32_t rank) {
    try {
      Control control(place(rank, 4, port), kDeadlineMs, one_node(4));
      ADD_FAILURE() << "rank " << rank << " was served";
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("ulimit -n"), std::string::npos) << text;
      EXPECT_EQ(text.find("absent"), std::string::npos) << text;
      ++told;
    }
  });
  EXPECT_EQ(told, 4);
  for (const int fd : ready) ::close(fd);
}

// A stranger that makes a group of its own and reads nothing of what it gathers.
TEST(Rendezvous, ShowsOutWhoDoesNotRead) {
  Rendezvous rendezvous;
  const int fd = connect_raw(rendezvous.port());
  const timeval patience{5, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const auto say = [&](const std::string& frame) {
    return ::send(fd, frame.data(), frame.size(), MSG_NOSIGNAL) == ssize_t(frame.size());
  };
  ASSERT_TRUE(say(pack(Hello{"own", 0, 1, 0, 0, 60'000, {0}})));
  uint32_t rounds = 0;
  while (rounds < 200 && say(pack(Gather{rounds, 60'000, std::string(kGatherBytesMax, 'x')}))) ++rounds;
  EXPECT_LT(rounds, 50u);
  ::close(fd);
}

// Only signals that are sent to the process are left to its other threads.
TEST(Rendezvous, ThreadsKeepTheSignalsOfTheirOwnFaults) {
  if (kForeignThread != nullptr) GTEST_SKIP() << kForeignThread;
  const auto threads = [] {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
      all.push_back(entry.path().filename());
    return all;
  };
  const std::vector<std::string> before = threads();
  Rendezvous rendezvous;
  Control control(place(0, 1, rendezvous.port()), kDeadlineMs, one_node(1));
  control.gather("");
  int started = 0;
  for (const std::string& thread : threads()) {
    if (std::find(before.begin(), before.end(), thread) != before.end()) continue;
    std::ifstream status("/proc/self/task/" + thread + "/status");
    std::string line;
    while (std::getline(status, line) && line.rfind("SigBlk:", 0) != 0) {
    }
    ASSERT_EQ(line.rfind("SigBlk:", 0), 0u) << line;
    const uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
      EXPECT_EQ(blocked >> (own - 1) & 1, 0u) << own;
    for (const int sent : {SIGTERM, SIGINT, SIGUSR1}) EXPECT_EQ(blocked >> (sent - 1) & 1, 1u) << sent;
    ++started;
  }
  EXPECT_EQ(started, 2);
  control.goodbye();
}

// Every way in which a host is written down, and both families at once.
TEST(Rendezvous, V6) {
  if (!has_v6()) GTEST_SKIP() << "this host has no IPv6";
  for (const char* const host : {"::1", "[::1]"}) {
    const uint16_t port = [] { return RendezvousServer({"::1", 0}).port(); }();
    as_threads(2, [&](uint32_t rank) {
      Bootstrap bootstrap = place(rank, 2, port);
      bootstrap.host = host;
      bootstrap.serve = rank == 0;
      Control control(bootstrap, kDeadlineMs, one_node(2));
      EXPECT_EQ(control.gather("").size(), 2u);
      EXPECT_EQ(control.local_address(), "::1");
      control.goodbye();
    });
    EXPECT_NE(fault_of([&] {
                Bootstrap bootstrap = place(1, 2, port);
                bootstrap.host = host;
                Control(bootstrap, 200, one_node(2));
              })
                  .to_string()
                  .find("[::1]:" + std::to_string(port)),
              std::string::npos);
  }
}

TEST(Rendezvous, AllInterfacesAreOfBothFamilies) {
  for (const char* const all : {"0.0.0.0", "::"}) {
    Rendezvous rendezvous(all);
    as_threads(2, [&](uint32_t rank) {
      Bootstrap bootstrap = place(rank, 2, rendezvous.port());
      bootstrap.host = rank == 0 || !has_v6() ? "127.0.0.1" : "::1";
      Control control(bootstrap, kDeadlineMs, one_node(2));
      control.gather("");
      EXPECT_EQ(control.local_address(), bootstrap.host);
      control.goodbye();
    });
  }
}

TEST(Rendezvous, Rank0IsNotWhereItsHostSays) {
  Bootstrap bootstrap = place(0, 2, [] { return RendezvousServer({}).port(); }());
  bootstrap.serve = true;
  bootstrap.host = "192.0.2.1";  // an address for documents, which nobody has
  const std::string why = refusal_of([&] { Control(bootstrap, 300, one_node(2)); });
  EXPECT_NE(why.find("bootstrap.host (MASTER_ADDR): 192.0.2.1"), std::string::npos) << why;
}

TEST(Rendezvous, OfAnotherSecretIsAnother) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  Bootstrap serves = place(0, 1, port, "a");
  serves.serve = true;
  serves.secret = "right";
  Control control(serves, kDeadlineMs, one_node(1));
  serves.name = "b";
  serves.secret = "wrong";
  const std::string why = refusal_of([&] { Control(serves, 100, one_node(1)); });
  EXPECT_NE(why.find("groups of another job or secret"), std::string::npos) << why;
  control.goodbye();
}

// Somebody has the port in one family: in the other alone, ranks would meet two.
TEST(Rendezvous, APortIsOfBothFamilies) {
  if (!has_v6()) GTEST_SKIP() << "this host has no IPv6";
  const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int only = 1;
  ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_THROW(RendezvousServer({"::", ntohs(address.sin6_port)}), Error);
  ::close(fd);
}

// A whole process that stands still in a gather has its time when it goes on.
TEST(Rendezvous, StoppedWhileItGathers) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  PortChild child([](uint16_t port) {
    Bootstrap bootstrap = place(0, 2, port);
    bootstrap.serve = true;
    Control control(bootstrap, {4000, kDeadlineMs}, one_node(2));
    control.gather("");
    control.made();
    const bool both = control.gather("mine").at(1) == "late";
    control.goodbye();
    return both ? 0 : 3;
  });
  child.go(port);
  Control control(place(1, 2, port), kDeadlineMs, one_node(2));
  control.gather("");
  ::usleep(100'000);
  child.kill(SIGSTOP);
  child.wait_until_stopped();
  ::usleep(4'500'000);
  child.kill(SIGCONT);
  ::usleep(200'000);
  EXPECT_EQ(control.gather("late").at(0), "mine");
  control.goodbye();
  EXPECT_EQ(child.wait(), 0);
}

// The last descriptor is for hearing who comes: who says nothing does not keep it.
TEST(Rendezvous, WhoIsUnservedAndSilentIsShownOut) {
  if (kNoDescriptorsLeft != nullptr) GTEST_SKIP() << kNoDescriptorsLeft;
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  PortChild child([&](uint16_t port) { return serve_with_two_more(port, ready[1]); });
  child.go(port);
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  int strangers[3];
  for (int& fd : strangers) fd = connect_raw(port);
  try {
    Control control(place(0, 2, port), kDeadlineMs, one_node(2));
    ADD_FAILURE() << "it was served";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("ulimit -n"), std::string::npos) << error.what();
  }
  for (const int fd : {strangers[0], strangers[1], strangers[2], ready[0], ready[1]}) ::close(fd);
}

// Where it is dialled by another of its addresses, all the same: nobody is told to come by that one.
TEST(Rendezvous, AMemberOfItsOwnHostIsNotFromElsewhere) {
  std::string own;
  for (const std::string& address : own_addresses())
    if (own.empty() && address.find(':') == std::string::npos) own = address;
  if (own.empty()) GTEST_SKIP() << "this host has no address that others can reach";
  const Rendezvous rendezvous("0.0.0.0");
  as_threads(2, [&](uint32_t rank) {
    Bootstrap bootstrap = place(rank, 2, rendezvous.port());
    bootstrap.host = rank == 0 ? "127.0.0.1" : own;
    Control control(bootstrap, kDeadlineMs, one_node(2));
    control.gather("");
    EXPECT_EQ(control.local_address(), bootstrap.host);
    control.goodbye();
  });
}

}  // namespace
}  // namespace transload
