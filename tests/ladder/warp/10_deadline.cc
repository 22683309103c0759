// Rung 10: a wait that outlasts its deadline is told once, names whom it waits for, and ends when the verdict comes, or
// by itself, which is told too. In a world, whose time is virtual, sim/world/world.h ends such a wait: tests/unit/sim
// and the scenarios with faults show it.
#include <atomic>
#include <mutex>

#include "ranks.h"
#include "stage.h"
#include "tests/support/patience.h"

namespace transload::ladder {
namespace {

struct Told {
  std::mutex lock;
  std::vector<WaitRecord> expired, idle;
  size_t count() {
    std::lock_guard<std::mutex> hold(lock);
    return expired.size();
  }
};

void listen(Told& told, HostMemoryOptions& o) {
  o.on_expired = [&](const WaitRecord& w) {
    std::lock_guard<std::mutex> hold(told.lock);
    told.expired.push_back(w);
    return true;
  };
  o.on_idle = [&](const WaitRecord& w) { told.idle.push_back(w); };
}

// Waits for the words 0 to 2, of ranks 40 to 42, and is told that it failed.
void waits_in_vain(Ranks& ranks, HostWarp& w) {
  w.enter(Role::kForwarder, 6);
  auto seen = w.table<Word>(3, [](Lane) { return Word(0); });
  const Members all = Members::first(3);
  auto need = [&](Lane l) { return Need{ranks.word(l.i), 7, uint32_t(40 + l.i)}; };
  EXPECT_TRUE(w.wait_all(all, need, seen).empty());
  EXPECT_TRUE(w.failed());
  EXPECT_TRUE(w.wait_any(
                   all,
                   [&](Lane l) {
                     return Need{ranks.word(l.i), 0, 0};
                   },
                   seen)
                  .empty());
}

// Waits for word 5 twice; the second wait begins later than the other fiber's.
void waits_later(Ranks& ranks, HostWarp& w) {
  const Set one = Set::only(0);
  auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
  w.wait_any(
      one,
      [&](Lane) {
        return Need{ranks.word(5), 1, 2, Waiting::kCard};
      },
      seen);
  w.enter(Role::kReceiver, 1);
  w.wait_any(
      one,
      [&](Lane) {
        return Need{ranks.word(5), 2, 2, Waiting::kCredit};
      },
      seen);
}

// Contract 8.1.
TEST(Rung10Deadline, NamesTheFirstUnmetAndEndsWithTheVerdict) {
  Ranks ranks(1);
  Told told;
  *ranks.word(0) = 9;
  *ranks.word(1) = 3;
  WaitRecord last;
  std::thread rank([&] {
    HostMemoryOptions o = ranks.options(0);
    o.deadline_ms = 120;
    listen(told, o);
    HostMemory memory(o);
    Scheduler scheduler(memory);
    scheduler.run({[&](HostWarp& w) { waits_in_vain(ranks, w); }, [&](HostWarp& w) { waits_later(ranks, w); }});
    last = scheduler.last_wait();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  std::atomic_ref<Word>(*ranks.word(5)).store(1, std::memory_order_release);
  ranks.ring(0);
  EXPECT_TRUE(eventually([&] { return told.count() == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // time to tell it twice, if it did
  ranks.abort_word() = 1;
  ranks.ring(0);
  rank.join();

  ASSERT_EQ(told.expired.size(), 1u);  // the later wait only once this one has ended
  const WaitRecord first = told.expired[0];
  EXPECT_TRUE(first.role == Role::kForwarder && first.what == Waiting::kTokens);
  EXPECT_EQ(first.channel, 6);
  EXPECT_EQ(first.whom, 41u);
  EXPECT_EQ(first.seen, 3u);
  EXPECT_EQ(first.expected, 7u);
  EXPECT_GE(first.waited_ms, 119.0);
  EXPECT_TRUE(last.present && last.role == Role::kForwarder);
  EXPECT_EQ(last.whom, 41u);
  EXPECT_GE(last.waited_ms, first.waited_ms);
  ASSERT_FALSE(told.idle.empty());
  EXPECT_EQ(told.idle[0].whom, 41u);
}

// Waits for word `awaited` of rank 0, and would then set the other.
void waits_for_peer(Ranks& ranks, HostWarp& w, int awaited) {
  w.enter(awaited == 0 ? Role::kReceiver : Role::kSender, awaited);
  const Set one = Set::only(0);
  auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
  const Set met = w.wait_any(
      one,
      [&](Lane) {
        return Need{ranks.word(awaited), 1, 0, awaited == 0 ? Waiting::kDone : Waiting::kTokens};
      },
      seen);
  EXPECT_TRUE(met.empty());
  w.publish(one, [&](Lane) { return Mark<PeerWord>{{ranks.word(1 - awaited), 0}, 1}; });
}

// Two warps of one rank that wait for each other: nobody else can end it, so the rank accuses itself, once.
TEST(Rung10Deadline, ARankThatWaitsForItselfIsNamed) {
  Ranks ranks(1);
  Told told;
  HostMemoryOptions o = ranks.options(0);
  o.deadline_ms = 60;
  listen(told, o);
  o.on_expired = [&, tell = o.on_expired](const WaitRecord& w) {
    ranks.abort_word() = 1;  // the verdict
    return tell(w);
  };
  HostMemory memory(o);
  Scheduler scheduler(memory, {2, 4096});
  scheduler.run({[&](HostWarp& w) { waits_for_peer(ranks, w, 0); }, [&](HostWarp& w) { waits_for_peer(ranks, w, 1); }});
  ASSERT_EQ(told.expired.size(), 1u);
  EXPECT_EQ(told.expired[0].whom, 0u);
  EXPECT_TRUE(told.expired[0].role == Role::kSender && told.expired[0].what == Waiting::kTokens);
  EXPECT_GE(told.expired[0].waited_ms, 59.0);
  EXPECT_TRUE(scheduler.last_wait().present);
  EXPECT_EQ(scheduler.last_wait().whom, 0u);
  EXPECT_EQ(scheduler.last_wait().channel, 1);
  EXPECT_TRUE(*ranks.word(0) == 0 && *ranks.word(1) == 0);
}

// Warps of a rank that wait for each other accuse nobody while one of them waits for another rank.
TEST(Rung10Deadline, AnotherRankIsAccusedFirst) {
  Stage<Ranks> stage;
  rungs::own_rung(stage);
}

TEST(Rung10Deadline, NothingIsDoneAfterIt) {
  Stage<Ranks> stage;
  rungs::deadline_rung(stage);
}

// Waits for a word of rank 40 + `awaited`.
void waits_for(Ranks& ranks, HostWarp& w, int awaited) {
  const Set one = Set::only(0);
  auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
  const Set met = w.wait_any(
      one,
      [&](Lane) {
        return Need{ranks.word(awaited), 1, uint32_t(40 + awaited)};
      },
      seen);
  EXPECT_FALSE(met.empty());
}

// What was told ends by itself, and that is told too; then the next one that has expired has its turn.
TEST(Rung10Deadline, AWaitThatEndsAfterAllIsTakenBack) {
  Ranks ranks(1);
  HostMemoryOptions o = ranks.options(0);
  o.deadline_ms = 50;
  std::string told;
  uint64_t overdue = 0;
  o.on_expired = [&](const WaitRecord& w) {
    told += "expired " + std::to_string(w.whom) + " ";
    overdue = w.overdue_ns;
    std::atomic_ref<Word>(*ranks.word(int(w.whom) - 40)).store(1, std::memory_order_release);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return true;
  };
  o.on_withdrawn = [&] { told += "withdrawn "; };
  HostMemory memory(o);
  Scheduler scheduler(memory, {2, 4096});
  scheduler.run({[&](HostWarp& w) { waits_for(ranks, w, 0); }, [&](HostWarp& w) { waits_for(ranks, w, 1); }});
  EXPECT_EQ(told, "expired 40 withdrawn expired 41 withdrawn ");
  EXPECT_GE(overdue, 2'000'000u);  // by the deadline it was as late as the first
  EXPECT_FALSE(memory.failed());
  EXPECT_FALSE(scheduler.last_wait().present);
}

// Nobody was accused, because this rank itself stood still: the wait has its whole deadline once more.
TEST(Rung10Deadline, ARefusedSuspicionBeginsAnew) {
  Ranks ranks(1);
  HostMemoryOptions o = ranks.options(0);
  o.deadline_ms = 50;
  int asked = 0;
  double waited_ms = 0;
  o.on_expired = [&](const WaitRecord& w) {
    waited_ms = w.waited_ms;
    if (++asked == 2) std::atomic_ref<Word>(*ranks.word(0)).store(1, std::memory_order_release);
    return asked == 2;
  };
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096});
  scheduler.run({[&](HostWarp& w) { waits_for(ranks, w, 0); }});
  EXPECT_EQ(asked, 2);
  EXPECT_GE(waited_ms, 99.0);
}

TEST(Rung10Deadline, AVerdictEndsWaitsThatHaveNotExpired) {
  Ranks ranks(1);
  HostMemoryOptions o = ranks.options(0);
  std::atomic<bool> waits{false};
  o.on_idle = [&](const WaitRecord&) { waits = true; };
  std::thread verdict([&] {
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    ranks.abort_word() = 1;
    ranks.ring(0);
  });
  HostMemory memory(o);
  Scheduler scheduler(memory, {4, 4096});
  scheduler.run(std::vector<Scheduler::Task>(3, [&](HostWarp& w) {
    auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
    EXPECT_TRUE(w.wait_any(
                     Set::only(0),
                     [&](Lane) {
                       return Need{ranks.word(0), 1, 3, Waiting::kGrant};
                     },
                     seen)
                    .empty());
  }));
  verdict.join();
  EXPECT_TRUE(scheduler.last_wait().present);
  EXPECT_EQ(scheduler.last_wait().whom, 3u);
  EXPECT_FALSE(scheduler.finish_network(10));
}

TEST(Rung10Deadline, WithoutAVerdictTheRankGivesUp) {
  Ranks ranks(1);
  HostMemoryOptions o = ranks.options(0);
  o.deadline_ms = 50;
  HostMemory memory(o);
  Scheduler scheduler(memory, {2, 4096});
  bool failed = false;
  scheduler.run({[&](HostWarp& w) {
    auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
    w.wait_any(
        Set::only(0),
        [&](Lane) {
          return Need{ranks.word(0), 1, 3, Waiting::kGrant};
        },
        seen);
    failed = w.failed();
  }});
  EXPECT_TRUE(failed);
  EXPECT_GE(scheduler.last_wait().waited_ms, 5000.0);
  // The next run starts afresh.
  scheduler.run({[&](HostWarp& w) { failed = w.failed(); }});
  EXPECT_FALSE(failed);
  EXPECT_FALSE(scheduler.last_wait().present);
}

TEST(Rung10Deadline, ABrokenPromiseEndsTheRun) {
  Stage<Ranks> stage;
  rungs::broken_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
