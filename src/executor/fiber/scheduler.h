// Runs the fibers of one rank on the calling thread, polls what they wait for, lets the network progress, and sleeps in
// one place.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "executor/fiber/fiber.h"
#include "executor/fiber/host_memory.h"
#include "executor/fiber/park.h"
#include "executor/fiber/warp.h"

namespace transload {

using HostWarp = FiberWarp<HostMemory>;
static_assert(Warp<HostWarp>);

struct SchedulerOptions {
  int fibers_max = 64;           // the most tasks of one run
  size_t near_bytes = 64 << 10;  // near memory for the tables of each fiber
  uint32_t linger_us = GroupOptions().linger_us;
  uint32_t sleep_max_ms = 20;  // the longest sleep, for words that nobody rings for, such as those of a rank that died
};

class Scheduler final : private Parker {
 public:
  using Task = std::function<void(HostWarp&)>;

  // `memory` must outlive it, and serves one scheduler. Throws Error{kOutOfMemory}. Nothing is allocated afterwards.
  explicit Scheduler(HostMemory& memory, SchedulerOptions options = {});
  ~Scheduler() override;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs one fiber for each task; returns when all have ended, with every mark set and every put with the network. A
  // task must not throw. The same thread always calls it, or the caller orders the threads.
  void run(const std::vector<Task>& tasks);

  // Waits until the network has read what it was given and handed all counts over. Whoever it is stuck with at the
  // deadline is accused, and the wait goes on, as any wait does. False if the group is faulted.
  bool finish_network(uint32_t deadline_ms);

  // The wait that explains most, of those of the last run that a fault ended.
  const WaitRecord& last_wait() const { return last_wait_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  struct Running {
    Scheduler* owner;
    const Task* task;
    int number;
    NearMemory near;
    Park* park;   // null: not waiting
    bool failed;  // the wait ended because the rank has failed
    Time since;   // when the wait began
    Time armed;   // when the wait's deadline began to run
  };

  bool park(Park& park) override;
  void yield() override;

  static void entry(void* fiber);
  void make_ready(int i) { ready_[ready_end_++ % ready_size_] = i; }
  bool nothing_ready() const { return ready_begin_ == ready_end_; }
  void run_ready();
  bool poll_parked();
  void wake(size_t at, bool failed);
  void look_at_time(Time now);
  void rearm(Time now);
  void expire(Time now);
  void accuse(Time now);
  void withdraw();
  bool expired(const Running& fiber, Time now) const;
  void end_waits(Time now);
  void tell_broken();
  bool progress();
  void idle(Time now, Time limit);
  void sleep(Time now, Time limit);
  void tell_idle(Time now);
  WaitRecord record_of(const Running& fiber, Time now) const;
  WaitRecord telling_wait(Time now) const;
  WaitRecord network_wait(Time now) const;
  WaitRecord accuse_network(Time now);

  HostMemory& memory_;
  const HostMemoryOptions& options_;
  const std::chrono::microseconds linger_;
  const std::chrono::milliseconds sleep_max_;
  Fibers fibers_;
  std::vector<Running> state_;
  std::unique_ptr<char[]> near_;
  std::unique_ptr<Need[]> needs_;
  std::vector<int> ready_;  // a ring of the fibers that are ready
  uint64_t ready_begin_ = 0, ready_end_ = 0;
  uint64_t ready_size_;
  std::vector<int> parked_;
  int running_ = -1;
  int accused_ = -1;  // the fiber whose wait was reported as expired
  Time accused_at_{};
  int live_ = 0;
  bool finishing_ = false;  // finish_network() is waiting
  bool naps_ = false;       // what comes over the network does not wake this thread
  Time last_look_{}, last_idle_{}, idle_since_{}, finish_since_{};
  Time next_deadline_{};
  uint32_t rounds_ = 0;
  WaitRecord last_wait_;
  // Their addresses tell the thread sanitizer of the order at a run's start and at its end.
  char start_order_ = 0, end_order_ = 0;
};

}  // namespace transload
