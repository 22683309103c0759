// Rung 11: a rank leaves when its host says so, and one that was itself stopped does not accuse others of the time that
// it slept through. A world stops a rank by holding its fibers, and not by a signal: scenario stopped_and_continues.
#include <csignal>

#include "ranks.h"
#include "stage.h"

namespace transload::ladder {
namespace {

void nap(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// A child waits, with a deadline of 3 s, for a word that comes after about 4 s; is stopped for most of them, or not at
// all. Returns how often it accused.
int accusations(bool stop) {
  Ranks ranks(1);
  const pid_t child = fork();
  if (child == 0) {
    HostMemoryOptions o = ranks.options(0);
    o.deadline_ms = 3000;
    int accused = 0;
    o.on_expired = [&](const WaitRecord&) { return ++accused > 0; };
    HostMemory memory(o);
    Scheduler scheduler(memory, {2, 4096});
    scheduler.run({[&](HostWarp& w) {
      auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
      w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(1), 0}, 1}; });
      w.wait_any(
          Set::only(0),
          [&](Lane) {
            return Need{ranks.word(0), 1, 5};
          },
          seen);
    }});
    _exit(accused);
  }
  while (std::atomic_ref<Word>(*ranks.word(1)).load(std::memory_order_acquire) == 0) nap(1);
  int status = -1;
  if (stop) {
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
  }
  nap(3700);
  if (stop) kill(child, SIGCONT);
  nap(300);
  std::atomic_ref<Word>(*ranks.word(0)).store(1, std::memory_order_release);
  ranks.ring(0);
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Rung11Stopped, TheHostMakesThemLeave) {
  Stage<Ranks> stage;
  rungs::abort_rung(stage);
}

TEST(Rung11Stopped, AStoppedRankReArms) { EXPECT_EQ(accusations(true), 0); }
TEST(Rung11Stopped, ARankThatWaitedAccuses) { EXPECT_EQ(accusations(false), 1); }

}  // namespace
}  // namespace transload::ladder
