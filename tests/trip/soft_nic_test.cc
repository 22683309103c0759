// Groups whose ranks fill the queues of a NIC themselves, on CPUs as ranks on GPUs would, and on GPUs in the program
// gpu/soft_nic_calls: freed and made again, jobs in which queues have room for next to nothing, NICs that fail. Jobs
// of processes are in tests/program/soft_nic.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/faulty_team.h"
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

// Of a GPU, which its driver may keep. A network region of each group would be many times that.
constexpr uint64_t kSpareBytes = 8 << 20;

size_t entries_of(const char* folder) {
  return size_t(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

TEST(SoftNics, AGroupIsFreedAndMadeAgain) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("depth=4");
  const World w = two_nodes();
  const reference::Problem problem = problem_of(w);
  size_t threads = 0, descriptors = 0;
  uint64_t free_bytes = 0;
  for (uint64_t times = 0; times < 100; ++times) {
    run_team(w, [&](Group& group, uint32_t rank) {
      if (rank == 0) {
        ASSERT_EQ(group.scale_out_name(), on_gpus() ? "soft NIC, by GPUs" : "soft NIC");
      }
      Member(w, problem, group).pass(Pass{}, times);
    });
    ASSERT_FALSE(HasFailure()) << "group " << times;
    if (times != 9) continue;
    threads = entries_of("/proc/self/task");
    descriptors = entries_of("/proc/self/fd");
    free_bytes = free_bytes_of(0);
  }
  EXPECT_LE(entries_of("/proc/self/task"), threads + w.ranks());
  EXPECT_LE(entries_of("/proc/self/fd"), descriptors + 4 * w.ranks());
  EXPECT_GE(free_bytes_of(0) + kSpareBytes, free_bytes);
}

TEST(SoftNics, QueuesMayHaveRoomForOneEntry) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("depth=1");
  run_passes(two_nodes(), {{}, {.landing = Landing::kRing, .source = CombineSource::kPush}, {.weights = true}});
}

// A rank credits what it took in its next call, or by hand of whoever frees it, and here that is the thread that waits
// for the credits. It would wait for the deadline, which this test does not live to see.
TEST(SoftNics, OneThreadFreesRanksOneByOne) {
  if (on_gpus()) GTEST_SKIP() << "ranks are on GPUs, whose kernels credit all that they took before they end";
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

// A fault that comes so long after its deadline came by another one.
constexpr double kLateMs = 20000;
constexpr uint8_t kRetriesExceeded = 21;

void meet(const std::latch& latch) {
  EXPECT_TRUE(eventually([&] { return latch.try_wait(); }));
}

class CardFails : public testing::TestWithParam<std::vector<uint32_t>> {
 protected:
  World world() const {
    World w = two_nodes();
    w.node_sizes = GetParam();
    w.tokens = {40};
    return w;
  }
  bool on_node_0(uint32_t rank) const { return rank < GetParam()[0]; }

  // A call over NICs that work, then one after `break_it`, which rank 0 calls, to which `away` does not come.
  void run(ToldFaults& seen, const std::function<void()>& break_it, uint32_t away = kNobody) {
    const World w = world();
    const reference::Problem problem = problem_of(w);
    std::latch passed(w.ranks()), broken(1);
    run_faulty(w, seen, [&](Group& group, uint32_t rank) {
      Member(w, problem, group).pass(Pass{}, 1);
      passed.count_down();
      if (rank == 0) {
        meet(passed);
        break_it();
        broken.count_down();
      }
      meet(broken);
      if (rank == away) return;
      Member(w, problem, group).pass(short_pass(), 2);
      ADD_FAILURE() << "rank " << rank << " did not notice";
    });
  }
  // All that are left tell the same, in time.
  void expect_alike(const ToldFaults& seen, size_t reports) {
    ASSERT_EQ(seen.faults.size(), reports);
    for (const Fault& fault : seen.faults) {
      EXPECT_EQ(fault.culprit_rank, seen.faults[0].culprit_rank) << fault.to_string();
      EXPECT_EQ(fault.kind, seen.faults[0].kind) << fault.to_string();
      EXPECT_LT(fault.after_ms, kShortMs + kLateMs) << fault.to_string();
    }
  }
  // The process lives on, and so do its NICs.
  void expect_a_new_group() { run_passes(world(), {Pass{}}); }
};

// The NIC cannot reach the other node, and says so by an error completion.
// Contract 8.2, 8.5.
TEST_P(CardFails, AndSaysSo) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("seed=3");
  ToldFaults seen;
  const uint32_t ranks = world().ranks();
  run(seen, [&] {
    EXPECT_TRUE(SoftNic::with(0, [&](SoftNic& nic) {
      for (uint32_t rank = 0; rank < ranks; ++rank)
        if (!on_node_0(rank)) nic.refuse(rank, kRetriesExceeded);
    }));
  });
  expect_alike(seen, ranks);
  bool told = false;
  for (const Fault& fault : seen.faults) {
    EXPECT_EQ(fault.kind, FaultKind::kUnreachable) << fault.to_string();
    EXPECT_EQ(fault.culprit_rank, 0u) << fault.to_string();  // the lower end of the link
    const std::string& said = fault.detail;
    told |= said.find("failed with syndrome 21") != std::string::npos;
    const size_t lost = said.find("the network lost rank ");
    if (lost == std::string::npos) continue;
    EXPECT_EQ(fault.rank, 0u) << said;
    EXPECT_FALSE(on_node_0(uint32_t(std::stoul(said.substr(lost + 22))))) << said;
  }
  EXPECT_TRUE(told) << "the rank of that NIC tells what the NIC said";
  expect_a_new_group();
}

// The NIC of a rank executes nothing any more and says nothing: a cable that is dead.
// Contract 8.2, 8.5.
TEST_P(CardFails, AndSaysNothing) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("seed=4");
  ToldFaults seen;
  run(seen, [] { EXPECT_TRUE(SoftNic::with(0, [](SoftNic& nic) { nic.hold(true); })); });
  expect_alike(seen, world().ranks());
  for (const Fault& fault : seen.faults) {
    EXPECT_EQ(fault.kind, FaultKind::kUnreachable) << fault.to_string();
    EXPECT_EQ(fault.culprit_rank, 0u) << fault.to_string();
  }
  expect_a_new_group();
}

// A rank of the other node and its NIC stand still together. Its thread lives, so this stands for a process that is
// stopped between its calls as far as its peers on the network see: nothing comes, and nothing is taken.
TEST_P(CardFails, AndItsRankIsAway) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("seed=5");
  ToldFaults seen;
  const uint32_t away = world().ranks() - 1;
  run(
      seen, [&] { EXPECT_TRUE(SoftNic::with(away, [](SoftNic& nic) { nic.hold(true); })); }, away);
  expect_alike(seen, world().ranks() - 1);
  for (const Fault& fault : seen.faults) {
    EXPECT_EQ(fault.kind, FaultKind::kAbsent) << fault.to_string();
    EXPECT_EQ(fault.culprit_rank, away) << fault.to_string();
  }
  expect_a_new_group();
}

// A NIC that stands still for less than the deadline is nobody's fault.
// Contract 8.12.
TEST_P(CardFails, AndGoesOnInTime) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const WithSoftNics soft("seed=6");
  const World w = world();
  const reference::Problem problem = problem_of(w);
  std::latch passed(w.ranks()), held(1);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    passed.count_down();
    std::jthread mends;
    if (rank == 0) {
      meet(passed);
      EXPECT_TRUE(SoftNic::with(0, [](SoftNic& nic) { nic.hold(true); }));
      mends = std::jthread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(kShortMs / 4));
        EXPECT_TRUE(SoftNic::with(0, [](SoftNic& nic) { nic.hold(false); }));
      });
      held.count_down();
    }
    meet(held);
    Member(w, problem, group).pass(Pass{}, 2);
  });
}

INSTANTIATE_TEST_SUITE_P(Each, CardFails,
                         testing::Values(std::vector<uint32_t>{1, 1}, std::vector<uint32_t>{2, 2},
                                         std::vector<uint32_t>{1, 3}));

}  // namespace
}  // namespace transload::test
