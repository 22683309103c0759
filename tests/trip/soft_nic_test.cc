// Groups whose ranks fill the queues of a card themselves, as ranks on GPUs would: freed and made again, and jobs in
// which queues have room for next to nothing. Jobs of processes are in tests/program/soft_nic.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/team.h"
#include "tests/support/with_soft_nics.h"

namespace transload::test {
namespace {

World two_nodes() {
  World w;
  w.node_sizes = {1, 2};
  w.tokens = {9};
  w.top_k = 3;
  w.slots = 2;
  return w;
}

size_t entries_of(const char* folder) {
  return size_t(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

TEST(SoftNics, AGroupIsFreedAndMadeAgain) {
  if (on_gpus()) GTEST_SKIP() << "these cards are for ranks on CPUs";
  const WithSoftNics soft("depth=4");
  const World w = two_nodes();
  const reference::Problem problem = problem_of(w);
  size_t threads = 0, descriptors = 0;
  for (uint64_t times = 0; times < 100; ++times) {
    run_team(w, [&](Group& group, uint32_t rank) {
      if (rank == 0) {
        ASSERT_EQ(group.scale_out_name(), "soft NIC");
      }
      Member(w, problem, group).pass(Pass{}, times);
    });
    ASSERT_FALSE(HasFailure()) << "group " << times;
    if (times != 9) continue;
    threads = entries_of("/proc/self/task");
    descriptors = entries_of("/proc/self/fd");
  }
  EXPECT_LE(entries_of("/proc/self/task"), threads + w.ranks());
  EXPECT_LE(entries_of("/proc/self/fd"), descriptors + 4 * w.ranks());
}

TEST(SoftNics, QueuesMayHaveRoomForOneEntry) {
  if (on_gpus()) GTEST_SKIP() << "these cards are for ranks on CPUs";
  const WithSoftNics soft("depth=1");
  run_passes(two_nodes(), {{}, {.landing = Landing::kRing, .source = CombineSource::kPush}, {.weights = true}});
}

// A rank credits what it took in its next call, or by hand of whoever frees it, and here that is the thread that waits
// for the credits. It would wait for the deadline, which this test does not live to see.
TEST(SoftNics, OneThreadFreesRanksOneByOne) {
  if (on_gpus()) GTEST_SKIP() << "these cards are for ranks on CPUs";
  const WithSoftNics soft("late=40");
  World w = two_nodes();
  w.deadline_ms = 3'600'000;
  const reference::Problem problem = problem_of(w);
  for (uint64_t times = 0; times < 3; ++times) {
    Rendezvous rendezvous;
    std::vector<std::unique_ptr<Group>> groups(w.ranks());
    std::vector<std::thread> ranks;
    for (uint32_t rank = 0; rank < w.ranks(); ++rank)
      ranks.emplace_back([&, rank] {
        groups[rank] = std::make_unique<Group>(options_of(w, rank, rendezvous.port()));
        Member(w, problem, *groups[rank]).pass(Pass{}, times);
      });
    for (std::thread& rank : ranks) rank.join();
    for (uint32_t i = 0; i < w.ranks(); ++i) groups[(times + i) % w.ranks()].reset();
  }
}

}  // namespace
}  // namespace transload::test
