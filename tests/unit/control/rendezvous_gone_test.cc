// The launcher that holds the rendezvous is killed or stopped: all ranks say the same.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <cstdlib>
#include <thread>
#include <vector>

#include "control/control.h"
#include "control/rendezvous.h"
#include "os/clock.h"
#include "tests/support/patience.h"

namespace transload {
namespace {

constexpr uint32_t kRanks = 6, kShortDeadlineMs = 1000;

// A process with nothing but the rendezvous; forked before any thread of this test runs.
class Launcher {
 public:
  Launcher() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      RendezvousServer server({});
      const uint16_t port = server.port();
      if (::write(ends[1], &port, sizeof port) == sizeof port) ::pause();
      ::_exit(0);
    }
    EXPECT_EQ(::read(ends[0], &port_, sizeof port_), ssize_t(sizeof port_));
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Launcher() {
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  // A stop has come to pass on return.
  void signal(int number) {
    ::kill(pid_, number);
    int status = 0;
    if (number == SIGSTOP) ::waitpid(pid_, &status, WUNTRACED);
  }
  uint16_t port() const { return port_; }

 private:
  pid_t pid_ = 0;
  uint16_t port_ = 0;
};

// Runs `body(rank, control)` on a thread for each rank of 2,2,2; the verdicts that they were told.
template <class Body>
std::vector<Verdict> verdicts_of(uint16_t port, Body body) {
  std::vector<Verdict> verdicts(kRanks);
  std::vector<std::thread> ranks;
  std::barrier done(kRanks);
  for (uint32_t rank = 0; rank < kRanks; ++rank)
    ranks.emplace_back([&, rank] {
      Bootstrap bootstrap;
      bootstrap.rank = rank;
      bootstrap.ranks = kRanks;
      bootstrap.port = port;
      Control control(bootstrap, {kShortDeadlineMs, 60'000}, {0, 0, 1, 1, 2, 2});
      control.gather("");
      control.made();
      body(rank, control);
      verdicts[rank] = control.verdict();
      done.arrive_and_wait();
    });
  for (std::thread& rank : ranks) rank.join();
  return verdicts;
}

void expect_rendezvous(const std::vector<Verdict>& verdicts) {
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    EXPECT_EQ(verdicts[rank].kind, FaultKind::kRendezvous) << "rank " << rank << ": " << name_of(verdicts[rank].kind);
    EXPECT_EQ(verdicts[rank].culprit, kNobody) << "rank " << rank;
  }
}

void wait_for_verdict(Control& control) {
  EXPECT_TRUE(eventually([&] { return control.abort_word().load(std::memory_order_acquire) != 0; }));
}

class LauncherEnds : public testing::TestWithParam<bool> {};  // is a suspicion open?

// With a suspicion open it is stopped first, so that it does not judge before it dies.
TEST_P(LauncherEnds, KilledIsItsOwnKind) {
  Launcher launcher;
  std::barrier ready(kRanks);
  const std::vector<Verdict> verdicts = verdicts_of(launcher.port(), [&](uint32_t rank, Control& control) {
    control.note(1, Phase::kDispatch, true, rank ^ 1);
    ready.arrive_and_wait();
    if (rank == 3 && GetParam()) launcher.signal(SIGSTOP);
    ready.arrive_and_wait();
    if (GetParam() && rank % 2 == 0) control.accuse({rank, 1, (rank + 2) % kRanks, 0, 1}, now_ns());
    ready.arrive_and_wait();
    if (rank == 3) launcher.signal(SIGKILL);
    wait_for_verdict(control);
  });
  expect_rendezvous(verdicts);
  for (const Verdict& verdict : verdicts) EXPECT_TRUE(GetParam() || !verdict.own_view);
}
INSTANTIATE_TEST_SUITE_P(Open, LauncherEnds, testing::Bool());

TEST(LauncherStands, EverySuspicionEndsAlike) {
  Launcher launcher;
  std::barrier ready(kRanks);
  const std::vector<Verdict> verdicts = verdicts_of(launcher.port(), [&](uint32_t rank, Control& control) {
    ready.arrive_and_wait();
    if (rank == 3) launcher.signal(SIGSTOP);
    ready.arrive_and_wait();
    ::usleep(500'000);
    control.accuse({rank, 1, (rank + 2) % kRanks, 0, 1}, now_ns());
  });
  expect_rendezvous(verdicts);
  for (const Verdict& verdict : verdicts) EXPECT_TRUE(verdict.own_view);
}

TEST(LauncherStands, EveryGatherEndsAlike) {
  Launcher launcher;
  std::barrier ready(kRanks);
  expect_rendezvous(verdicts_of(launcher.port(), [&](uint32_t rank, Control& control) {
    ready.arrive_and_wait();
    if (rank == 3) launcher.signal(SIGSTOP);
    ready.arrive_and_wait();
    try {
      control.gather("x");
      ADD_FAILURE() << "rank " << rank << " gathered";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault().kind, FaultKind::kRendezvous) << error.what();
    }
  }));
}

}  // namespace
}  // namespace transload
