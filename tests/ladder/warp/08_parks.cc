// Rung 8: a million parks without a lost wake-up. Ranks here sleep without end, so that a bell that did not ring is a
// deadline.
#include "protocol/marks.h"
#include "ranks.h"

namespace transload::ladder {
namespace {

// Each pair of fibers, one of each rank, takes turns: every wait but the first is for something not yet there.
void take_turns(Ranks& ranks, int pairs, Word turns, uint32_t linger_us, bool processes) {
  const auto tasks = [&](int rank) {
    std::vector<Scheduler::Task> list;
    for (int pair = 0; pair < pairs; ++pair) {
      list.push_back([&, rank, pair](HostWarp& w) {
        const Set one = Set::only(0);
        Word *const mine = ranks.word(pair * 2 + rank), *const theirs = ranks.word(pair * 2 + 1 - rank);
        const Word start = *theirs;
        auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
        const uint32_t other = uint32_t(1 - rank);
        for (Word i = 1; i <= turns && !w.failed(); ++i) {
          if (rank == 0) w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, start + i}; });
          w.wait_all(
              one, Waiting::kTokens,
              [&](Lane) {
                return Need{mine, start + i, other};
              },
              seen);
          if (rank == 1) w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, start + i}; });
        }
        EXPECT_FALSE(w.failed());
      });
    }
    return list;
  };
  const auto change = [&](HostMemoryOptions& o, SchedulerOptions& s) {
    o.deadline_ms = 40000;
    s.sleep_max_ms = 1000000;
    s.linger_us = linger_us;
  };
  if (processes) {
    ranks.run_processes(tasks, change);
  } else {
    ranks.run_threads(tasks, change);
  }
}

TEST(Rung08Parks, AMillion) {
  Ranks ranks(2);
  take_turns(ranks, 60, scaled(8400), 50, false);  // 1,008,000 waits
}

TEST(Rung08Parks, SleepingEveryTime) {
  for (bool processes : {false, true}) {
    Ranks ranks(2);
#ifdef TRANSLOAD_MARKS
    const uint64_t before = times_reached(Situation::kSlept);
#endif
    take_turns(ranks, 1, scaled(40000), 0, processes);
    take_turns(ranks, 3, scaled(20000), 0, processes);
#ifdef TRANSLOAD_MARKS
    EXPECT_GT(times_reached(Situation::kSlept), before);
#endif
  }
}

TEST(Rung08Parks, FallingAsleepAsTheBellRings) {
  // Lingering about as long as the other takes, so that words are written while their reader falls asleep.
  for (uint32_t linger_us : {1, 3, 10}) {
    Ranks ranks(2);
    take_turns(ranks, 2, scaled(20000), linger_us, false);
  }
}

TEST(Rung08Parks, TheBellAgainstTheSleeper) {
  // Rank 0 is always awake and writes its word some 0 to 600 ns after rank 1 has begun to fall asleep, over and over.
  const Word turns = scaled(300000);
  Ranks ranks(2);
  const auto tasks = [&](int rank) {
    return std::vector<Scheduler::Task>{[&, rank](HostWarp& w) {
      const Set one = Set::only(0);
      Word *const mine = ranks.word(rank), *const theirs = ranks.word(1 - rank);
      auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
      const uint32_t other = uint32_t(1 - rank);
      for (Word i = 1; i <= turns && !w.failed(); ++i) {
        if (rank == 1) w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, i}; });
        w.wait_all(
            one, Waiting::kTokens,
            [&](Lane) {
              return Need{mine, i, other};
            },
            seen);
        if (rank == 0) {
          for (Word spin = 0; spin < i % 97; ++spin) asm volatile("" ::"r"(spin) : "memory");
          for (Word spin = 0; spin < i % 7; ++spin) sched_yield();
          w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, i}; });
        }
      }
      EXPECT_FALSE(w.failed());
    }};
  };
  ranks.run_threads(tasks, [&](HostMemoryOptions& o, SchedulerOptions& s) {
    o.deadline_ms = 40000;
    o.publish_every = 1;
    s.sleep_max_ms = 1000000;
    s.linger_us = o.rank == 0 ? 1000000 : 0;
  });
}

}  // namespace
}  // namespace transload::ladder
