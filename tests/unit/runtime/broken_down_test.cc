// Threads of the library that cannot do their work: all ranks are told, or see a connection end; no process does.
#include <dirent.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <barrier>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/allocations.h"
#include "tests/support/control_ranks.h"
#include "tests/support/sanitized.h"

namespace transload {
namespace {

using test::refusals;
using test::refused_thread;

std::set<pid_t> threads() {
  std::set<pid_t> all;
  DIR* const tasks = ::opendir("/proc/self/task");
  while (const dirent* const task = ::readdir(tasks))
    if (const pid_t id = std::atoi(task->d_name)) all.insert(id);
  ::closedir(tasks);
  return all;
}

// The one that make() starts.
template <class Make>
pid_t thread_of(Make make) {
  const std::set<pid_t> before = threads();
  make();
  for (const pid_t id : threads())
    if (!before.contains(id)) return id;
  ADD_FAILURE() << "no new thread";
  return 0;
}

void refuse(pid_t thread, int64_t times) {
  refused_thread = thread;
  refusals = times;
}

// Ranks 0 and 2 of three are processes, which leave with 0 if they are told what they expect of rank 1.
int expects(uint32_t rank, uint16_t port, FaultKind kind) {
  Control control(meet::place(rank, 3, port), meet::kDeadlineMs, meet::one_node(3));
  if (!meet::aborted(control)) return 2;
  const Verdict verdict = control.verdict();
  return verdict.kind == kind && verdict.culprit == 1 ? 0 : 3;
}

// What rank 1 hears itself.
Verdict with_refusals(int64_t times, FaultKind kind) {
  meet::PortChild first([&](uint16_t port) { return expects(0, port, kind); });
  meet::PortChild last([&](uint16_t port) { return expects(2, port, kind); });
  RendezvousServer server({});
  first.go(server.port());
  last.go(server.port());
  std::optional<Control> control;
  const pid_t thread =
      thread_of([&] { control.emplace(meet::place(1, 3, server.port()), meet::kDeadlineMs, meet::one_node(3)); });
  refuse(thread, times);
  EXPECT_TRUE(meet::aborted(*control));
  const Verdict verdict = control->verdict();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(last.wait(), 0);
  refuse(0, 0);
  return verdict;
}

TEST(BrokenDown, AControlThreadTellsItsRank) {
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  const Verdict verdict = with_refusals(1, FaultKind::kFailed);
  EXPECT_EQ(verdict.kind, FaultKind::kFailed);
  EXPECT_EQ(verdict.culprit, 1u);
  EXPECT_EQ(verdict.detail, "out of memory");
}

// It cannot even say so: the others see that its connection has ended.
TEST(BrokenDown, AControlThreadThatCannotSaySo) {
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  const Verdict verdict = with_refusals(std::numeric_limits<int64_t>::max(), FaultKind::kLost);
  EXPECT_NE(verdict.kind, FaultKind::kNone);
}

// Two ranks of a server whose thread is refused so much memory once they have met.
std::vector<Verdict> of_server(int64_t times) {
  std::optional<RendezvousServer> server;
  const pid_t thread = thread_of([&] { server.emplace(ServerOptions{}); });
  std::vector<Verdict> verdicts(2);
  std::barrier both(2);
  meet::as_threads(2, [&](uint32_t rank) {
    Control control(meet::place(rank, 2, server->port()), meet::kDeadlineMs, meet::one_node(2));
    control.gather("");
    both.arrive_and_wait();
    if (rank == 0) refuse(thread, times);
    EXPECT_TRUE(meet::aborted(control));
    verdicts[rank] = control.verdict();
    both.arrive_and_wait();
  });
  refuse(0, 0);
  EXPECT_TRUE(meet::is_free(server->port()));
  return verdicts;
}

TEST(BrokenDown, AServerTellsItsGroups) {
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  for (const Verdict& verdict : of_server(1)) {
    EXPECT_EQ(verdict.kind, FaultKind::kRendezvous);
    EXPECT_EQ(verdict.detail, "its server fails: out of memory");
  }
}

// It is in rank 0's process: that is what the others see end.
TEST(BrokenDown, AServerThatCannotSaySo) {
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  for (const Verdict& verdict : of_server(std::numeric_limits<int64_t>::max())) {
    EXPECT_EQ(verdict.kind, FaultKind::kLost);
    EXPECT_EQ(verdict.culprit, 0u);
  }
}

// Whoever holds one that broke down lets it go, and the next one is new.
TEST(BrokenDown, ASharedServerIsReplaced) {
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  std::shared_ptr<RendezvousServer> server;
  const pid_t thread = thread_of([&] { server = shared_server({}, 0); });
  refuse(thread, std::numeric_limits<int64_t>::max());
  const int stranger = meet::connect_raw(server->port());
  char byte = 0;
  EXPECT_LE(::recv(stranger, &byte, 1, 0), 0);
  refuse(0, 0);
  ::close(stranger);
  const uint64_t number = server->number();
  server.reset();
  EXPECT_NE(shared_server({}, 0)->number(), number);
}

// A stack that no address space has room for, as if the user had no thread left.
TEST(BrokenDown, WithoutAThreadAServerSaysWhichLimit) {
  pthread_attr_t usual, huge;
  ASSERT_EQ(::pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(::pthread_attr_init(&huge), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&huge, size_t(1) << 47), 0);
  ASSERT_EQ(::pthread_setattr_default_np(&huge), 0);
  std::string text;
  try {
    RendezvousServer server({});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kOutOfMemory);
    text = error.what();
  }
  ASSERT_EQ(::pthread_setattr_default_np(&usual), 0);
  ::pthread_attr_destroy(&usual);
  ::pthread_attr_destroy(&huge);
  EXPECT_EQ(text.rfind("rendezvous: a thread cannot be started: ", 0), 0u) << text;
  EXPECT_NE(text.find("ulimit -u "), std::string::npos) << text;
}

}  // namespace
}  // namespace transload
