// Rung 8: a million parks without a lost wake-up. Ranks here sleep until their deadline, which is far off: who sleeps
// that long has missed a bell. Sleeps and bells are of a host alone: a world has one thread and virtual time.
#include <chrono>

#include "base/situations.h"
#include "stage.h"
#include "tests/ladder/rungs/turns.h"

namespace transload::ladder {
namespace {

constexpr uint32_t kFarOffMs = 240000;

// Lives shorter than the shortest sleep that only a deadline ends.
class Awake {
 public:
  ~Awake() {
    EXPECT_LT(std::chrono::steady_clock::now() - begin_, std::chrono::milliseconds(kFarOffMs)) << "a bell was missed";
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void sleep_soundly(HostMemoryOptions& o, SchedulerOptions& s) {
  o.deadline_ms = kFarOffMs;
  s.sleep_max_ms = 1000000;
}

template <class R>
void take_turns(int pairs, Word turns, uint32_t linger_us) {
  Stage<R> stage;
  typename Stage<R>::Setting setting;
  setting.change = [&](HostMemoryOptions& o, SchedulerOptions& s) {
    sleep_soundly(o, s);
    s.linger_us = linger_us;
  };
  rungs::play_turns(stage, pairs, turns, setting);
}

template <class R>
class Rung08AllParks : public ::testing::Test {};
TYPED_TEST_SUITE(Rung08AllParks, EveryWarp, NameOfRanks);

TYPED_TEST(Rung08AllParks, AMillion) {
  const Awake awake;
  take_turns<TypeParam>(60, TypeParam::scaled(8400), 50);  // 1,008,000 waits of a host
}

template <class R>
class Rung08Sleeps : public ::testing::Test {};
TYPED_TEST_SUITE(Rung08Sleeps, OfAHost, NameOfRanks);

TYPED_TEST(Rung08Sleeps, EveryTime) {
  const Awake awake;
#ifdef TRANSLOAD_SITUATIONS
  const uint64_t before = times_reached(Situation::kSlept);
#endif
  take_turns<TypeParam>(1, scaled(20000), 0);
  take_turns<TypeParam>(3, scaled(10000), 0);
#ifdef TRANSLOAD_SITUATIONS
  EXPECT_GT(times_reached(Situation::kSlept), before);
#endif
}

TEST(Rung08Parks, FallingAsleepAsTheBellRings) {
  const Awake awake;
  // Lingering about as long as the other takes, so that words are written while their reader falls asleep.
  for (uint32_t linger_us : {1, 3, 10}) {
    take_turns<Ranks>(2, scaled(20000), linger_us);
  }
}

// Looks for the word a little while without giving up its processor, so that its answer is not late by a turn of
// others.
void look_closely(const Word* word, Word least) {
  for (int look = 0; look < 3000; ++look)
    if (std::atomic_ref<Word>(*const_cast<Word*>(word)).load(std::memory_order_relaxed) >= least) return;
}

TEST(Rung08Parks, TheBellAgainstTheSleeper) {
  const Awake awake;
  // Rank 0 writes its word some 0 to 500 ns after rank 1 has begun to fall asleep, over and over.
  const Word turns = scaled(60000);
  Ranks ranks(2);
  const auto tasks = [&](int rank) {
    return std::vector<Scheduler::Task>{[&, rank](HostWarp& w) {
      const Set one = Set::only(0);
      Word *const mine = ranks.word(rank), *const theirs = ranks.word(1 - rank);
      auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
      const uint32_t other = uint32_t(1 - rank);
      for (Word i = 1; i <= turns && !w.failed(); ++i) {
        if (rank == 1) w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, i}; });
        if (rank == 0) look_closely(mine, i);
        w.wait_all(
            one,
            [&](Lane) {
              return Need{mine, i, other};
            },
            seen);
        if (rank == 1) continue;
        for (Word spin = 0; spin < i % 1009; ++spin) asm volatile("" ::"r"(spin) : "memory");
        w.publish(one, [&](Lane) { return Mark<PeerWord>{{theirs, other}, i}; });
      }
      EXPECT_FALSE(w.failed());
    }};
  };
  ranks.run_threads(tasks, [&](HostMemoryOptions& o, SchedulerOptions& s) {
    sleep_soundly(o, s);
    o.publish_every = 1;
    s.linger_us = o.rank == 0 ? 1000000 : 0;
  });
}

TEST(Rung08Parks, WordsAreLookedAtAgainBeforeSleeping) {
  const Awake awake;
  // on_idle comes after the last look and before the flag: a word that is written there, without a bell, must be found.
  constexpr Word kTurns = 2;
  Ranks ranks(1);
  Word written = 0;
  HostMemoryOptions o = ranks.options(0);
  o.deadline_ms = kFarOffMs;
  o.on_idle = [&](const WaitRecord&) {
    std::atomic_ref<Word>(*ranks.word(0)).store(++written, std::memory_order_release);
  };
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096, 0, 1000000});
  scheduler.run({[&](HostWarp& w) {
    auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
    for (Word i = 1; i <= kTurns && !w.failed(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(11));  // so that on_idle is due again
      w.wait_all(
          Set::only(0),
          [&](Lane) {
            return Need{ranks.word(0), i, 0};
          },
          seen);
    }
  }});
  EXPECT_EQ(written, kTurns);
}

}  // namespace
}  // namespace transload::ladder
