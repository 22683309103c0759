// Whom a rank accuses when its warps wait for each other and for others.
#include "executor/fiber/scheduler.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "os/descriptor.h"
#include "tests/support/patience.h"

namespace transload {
namespace {

constexpr uint32_t kAnother = 41;

// Waits in vain for a word of that rank.
void wait_for(HostWarp& w, Word* word, uint32_t whom) {
  w.enter(Role::kReceiver, 0);
  const Set one = Set::only(0);
  auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
  const Set met = w.wait_any(
      one,
      [&](Lane) {
        return Need{word, 1, whom, Waiting::kTokens};
      },
      seen);
  EXPECT_TRUE(met.empty());
}

// A rank alone, which hears a verdict as soon as it accuses somebody; or at last, if it does not.
class Rank {
 public:
  explicit Rank(uint32_t deadline_ms) {
    options_.bells = {{&asleep_, bell_.get()}};
    options_.bell = options_.bells[0];
    options_.abort = &abort_;
    options_.deadline_ms = deadline_ms;
    options_.on_expired = [&](const WaitRecord& wait) {
      accused_.push_back(wait.whom);
      abort_ = 1;
      return true;
    };
  }
  HostMemoryOptions& options() { return options_; }
  std::vector<uint32_t> accused_by(const std::vector<Scheduler::Task>& warps, uint32_t linger_us = 50) {
    std::promise<void> done;
    std::thread patience([&] {
      if (done.get_future().wait_for(kPatience) == std::future_status::ready) return;
      abort_ = 1;
      Bell::fence();
      options_.bell.ring();
    });
    HostMemory memory(options_);
    Scheduler scheduler(memory, {2, 4096, linger_us});
    scheduler.run(warps);
    done.set_value();
    patience.join();
    return accused_;
  }

 private:
  std::atomic<uint32_t> asleep_{0}, abort_{0};
  const Descriptor bell_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::vector<uint32_t> accused_;
  HostMemoryOptions options_;
};

// A caller that wants waits to end is asked there.
TEST(Scheduler, SaysThatItIsIdleWhileItLooksAround) {
  alignas(64) Word words[16] = {};
  Rank rank(60000);
  int idle = 0;
  rank.options().on_idle = [&](const WaitRecord&) {
    if (++idle == 2) std::atomic_ref<Word>(words[0]).store(1);
  };
  bool met = false;
  rank.accused_by({[&](HostWarp& w) {
                    auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
                    w.wait_all(
                        Set::only(0),
                        [&](Lane) {
                          return Need{&words[0], 1, kAnother, Waiting::kTokens};
                        },
                        seen);
                    met = !w.failed();
                  }},
                  ~0u);
  EXPECT_TRUE(met);
  EXPECT_EQ(idle, 2);
}

// One warp waits for another of its rank, which waits for another rank, and not for so long yet: that wait is to tell.
TEST(Scheduler, AWarpLeavesItToTheOneThatItWaitsFor) {
  alignas(64) Word words[16] = {};
  const std::vector<uint32_t> accused =
      Rank(200).accused_by({[&](HostWarp& w) { wait_for(w, &words[0], 0); },
                            [&](HostWarp& w) {
                              std::this_thread::sleep_for(std::chrono::milliseconds(100));
                              wait_for(w, &words[8], kAnother);
                            }});
  EXPECT_EQ(accused, std::vector<uint32_t>{kAnother});
}

TEST(Scheduler, WarpsThatWaitForEachOtherAreTheirRanksFault) {
  alignas(64) Word words[16] = {};
  const std::vector<uint32_t> accused = Rank(60).accused_by(
      {[&](HostWarp& w) { wait_for(w, &words[0], 0); }, [&](HostWarp& w) { wait_for(w, &words[8], 0); }});
  EXPECT_EQ(accused, std::vector<uint32_t>{0});
}

}  // namespace
}  // namespace transload
