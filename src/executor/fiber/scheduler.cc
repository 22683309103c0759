// The loop runs what is ready, hands the network its commands and polls parked words. With nothing to do it lingers,
// then sleeps.
#include "executor/fiber/scheduler.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "base/float_mode.h"
#include "base/situations.h"
#include "executor/fiber/sanitizer.h"

namespace transload {
namespace {

using namespace std::chrono_literals;

constexpr auto kNap = 50us;          // the longest sleep where arrivals wake nobody
constexpr auto kIdleEvery = 10ms;    // the least time between two calls of on_idle
constexpr auto kGiveUp = 5s;         // time from an accusation to giving up, if no verdict comes
constexpr auto kStoppedMin = 300ms;  // after a longer gap between two rounds, this rank itself has stood still
constexpr uint32_t kBusyRounds = 4;  // rounds between two looks at the network and the clock while fibers are ready

double ms_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

Scheduler::Scheduler(HostMemory& memory, SchedulerOptions options)
    : memory_(memory),
      options_(memory.options()),
      linger_(options.linger_us),
      sleep_max_(options.sleep_max_ms),
      fibers_(options.fibers_max),
      state_(size_t(options.fibers_max)),
      near_(new char[options.near_bytes * size_t(options.fibers_max)]),
      needs_(new Need[size_t(kMembersMax) * size_t(options.fibers_max)]),
      ready_(size_t(options.fibers_max)),
      ready_size_(uint64_t(options.fibers_max)) {
  parked_.reserve(size_t(options.fibers_max));
  for (int i = 0; i < options.fibers_max; ++i) {
    Running& fiber = state_[size_t(i)];
    fiber = {};
    fiber.owner = this;
    fiber.number = i;
    fiber.near = {near_.get() + options.near_bytes * size_t(i), options.near_bytes,
                  needs_.get() + size_t(kMembersMax) * size_t(i)};
  }
  naps_ = options_.scale_out != nullptr && options_.scale_out->arrives_silently();
  memory_.serve(this);
}

Scheduler::~Scheduler() { memory_.serve(nullptr); }

void Scheduler::run(const std::vector<Task>& tasks) {
  TRANSLOAD_CHECK(tasks.size() <= state_.size());
  const DefaultFloatMode mode;
  last_wait_ = {};
  memory_.begin_run();
  live_ = int(tasks.size());
  last_look_ = Clock::now();
  idle_since_ = {};
  accused_ = -1;
  sync_release(&start_order_);
  {
    const Unwatched mine;
    for (int i = 0; i < live_; ++i) {
      state_[size_t(i)].task = &tasks[size_t(i)];
      fibers_.start(i, entry, &state_[size_t(i)]);
      make_ready(i);
    }
    while (live_ > 0) {
      run_ready();
      if (memory_.hand_over()) idle_since_ = {};
      if (live_ == 0) break;
      tell_broken();
      poll_parked();
      const bool busy = !nothing_ready();
      if (busy && ++rounds_ % kBusyRounds != 0) continue;
      const Time now = Clock::now();
      look_at_time(now);
      if (busy) {
        idle_since_ = {};
        progress();
      } else if (nothing_ready()) {
        idle(now, now + sleep_max_);
      }
    }
    tell_broken();
  }
  sync_acquire(&end_order_);
}

bool Scheduler::finish_network(uint32_t deadline_ms) {
  if (options_.scale_out == nullptr) return !memory_.failed();
  const Unwatched mine;
  const auto deadline = std::chrono::milliseconds(deadline_ms);
  finish_since_ = last_look_ = Clock::now();
  Time limit = finish_since_ + deadline;
  finishing_ = true;
  WaitRecord accused;
  bool done = false;
  for (;;) {
    memory_.hand_over();
    progress();
    if (memory_.failed()) break;
    done = options_.scale_out->quiet();
    if (done) break;
    const Time now = Clock::now();
    const auto gap = now - last_look_;
    if (gap > std::max<Clock::duration>(kStoppedMin, std::chrono::milliseconds(options_.deadline_ms) / 3)) limit += gap;
    last_look_ = now;
    if (now >= limit) {
      if (accused.present || !options_.on_expired) {
        memory_.give_up();
        continue;
      }
      accused = accuse_network(now);
      if (!accused.present) finish_since_ = now;
      limit = now + (accused.present ? kGiveUp : deadline);
    }
    idle(now, limit);
  }
  if (done && accused.present) withdraw();
  if (!done && !last_wait_.present) last_wait_ = accused.present ? accused : network_wait(Clock::now());
  finishing_ = false;
  return done;
}

// Returns the wait that was told. If none is present, the wait begins again.
WaitRecord Scheduler::accuse_network(Time now) {
  const WaitRecord wait = network_wait(now);
  const Watched theirs;
  return options_.on_expired(wait) ? wait : WaitRecord{};
}

void Scheduler::entry(void* argument) {
  const Running& fiber = *static_cast<Running*>(argument);
  Scheduler& scheduler = *fiber.owner;
  sync_acquire(&scheduler.start_order_);
  const Task* task;
  NearMemory near;
  int number;
  {
    const Unwatched ours;
    task = fiber.task;
    near = fiber.near;
    number = fiber.number;
  }
  HostWarp warp(scheduler.memory_, number, near);
  [&]() noexcept { (*task)(warp); }();
  warp.settle();
  sync_release(&scheduler.end_order_);
}

void Scheduler::run_ready() {
  // Fibers that get ready meanwhile have their turn in the next round.
  for (const uint64_t end = ready_end_; ready_begin_ != end;) {
    running_ = ready_[ready_begin_++ % ready_size_];
    const bool goes_on = fibers_.resume(running_);
    if (!goes_on) {
      --live_;
    } else if (const Running& fiber = state_[size_t(running_)]; fiber.park == nullptr) {
      make_ready(running_);
    } else {
      parked_.push_back(running_);
    }
  }
  running_ = -1;
}

bool Scheduler::park(Park& park) {
  const Unwatched mine;
  Running& fiber = state_[size_t(running_)];
  fiber.park = &park;
  fiber.failed = false;
  fiber.since = fiber.armed = Clock::now();
  fibers_.suspend();
  return !fiber.failed;
}

void Scheduler::yield() { fibers_.suspend(); }

void Scheduler::wake(size_t at, bool failed) {
  const int i = parked_[at];
  state_[size_t(i)].failed = failed;
  state_[size_t(i)].park = nullptr;
  parked_[at] = parked_.back();
  parked_.pop_back();
  make_ready(i);
  if (i != accused_) return;
  accused_ = -1;
  if (!failed) withdraw();
}

void Scheduler::withdraw() {
  if (!options_.on_withdrawn) return;
  const Watched theirs;
  options_.on_withdrawn();
}

// Parked words are read without order, because whoever wakes reads again, with order.
bool Scheduler::poll_parked() {
  bool any = false;
  for (size_t at = 0; at < parked_.size();) {
    Park& park = *state_[size_t(parked_[at])].park;
    bool met = false;
    for (int k = 0; k < park.count;) {
      const Need& need = park.needs[k];
      if (std::atomic_ref<Word>(*const_cast<Word*>(need.word)).load(std::memory_order_relaxed) < need.least) {
        ++k;
        continue;
      }
      met = !park.all || park.count == 1;
      if (met) break;
      // The order of the needs matters only for whom a deadline names: the first that is unmet.
      std::copy(park.needs + k + 1, park.needs + park.count, park.needs + k);
      --park.count;
    }
    if (met) {
      wake(at, false);
      any = true;
    } else {
      ++at;
    }
  }
  return any;
}

// A rank that stood still must not accuse others of what it did not look at. That includes long turns of its own
// fibers.
void Scheduler::look_at_time(Time now) {
  if (now - last_look_ > std::max<Clock::duration>(kStoppedMin, std::chrono::milliseconds(options_.deadline_ms) / 3))
    rearm(now);
  last_look_ = now;
  if (memory_.failed()) return end_waits(now);
  expire(now);
}

void Scheduler::rearm(Time now) {
  for (const int i : parked_) state_[size_t(i)].armed = now;
  accused_at_ = now;
}

bool Scheduler::expired(const Running& fiber, Time now) const {
  return now - fiber.armed >= std::chrono::milliseconds(options_.deadline_ms);
}

void Scheduler::expire(Time now) {
  const auto deadline = std::chrono::milliseconds(options_.deadline_ms);
  next_deadline_ = now + sleep_max_;
  bool any = false;
  for (const int i : parked_) {
    const Running& fiber = state_[size_t(i)];
    if (expired(fiber, now)) {
      any = true;
    } else {
      next_deadline_ = std::min(next_deadline_, fiber.armed + deadline);
    }
  }
  if (accused_ >= 0) {
    if (now - accused_at_ > kGiveUp) memory_.give_up();
  } else if (any) {
    accuse(now);
  }
}

// Reports the expired wait that explains most. A warp that waits for another one of this rank leaves it to the other
// one's wait to accuse. If all warps of this rank wait for each other, nobody else can end that, and this rank is
// accused.
void Scheduler::accuse(Time now) {
  bool mine = nothing_ready();
  int best = -1;
  std::tuple<int, bool, Time> best_order;
  for (const int i : parked_) {
    const Running& fiber = state_[size_t(i)];
    const WaitRecord record = record_of(fiber, now);
    mine = mine && record.whom == options_.rank;
    if (!expired(fiber, now)) continue;
    const auto order = wait_order(record, options_.rank, true, fiber.armed);
    if (best >= 0 && order >= best_order) continue;
    best = i;
    best_order = order;
  }
  WaitRecord record = record_of(state_[size_t(best)], now);
  if (record.whom == options_.rank && !mine) return;
  const auto overdue = now - state_[size_t(best)].armed - std::chrono::milliseconds(options_.deadline_ms);
  record.overdue_ns = uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(overdue).count());
  accused_ = best;
  accused_at_ = now;
  if (!options_.on_expired) return;
  const Watched theirs;
  if (options_.on_expired(record)) return;
  accused_ = -1;
  rearm(now);
}

// The wait that explains most, by wait_order().
WaitRecord Scheduler::telling_wait(Time now) const {
  if (finishing_) return network_wait(now);
  WaitRecord best;
  std::tuple<int, bool, Time> best_order;
  for (const int i : parked_) {
    const Running& fiber = state_[size_t(i)];
    const WaitRecord record = record_of(fiber, now);
    const bool late = expired(fiber, now);
    const auto order = wait_order(record, options_.rank, late, late ? fiber.armed : fiber.since);
    if (best.present && order >= best_order) continue;
    best = record;
    best_order = order;
  }
  return best;
}

// The wait of the rank itself, once its warps have ended, for the network to read what was put.
WaitRecord Scheduler::network_wait(Time now) const {
  WaitRecord record;
  record.whom = options_.scale_out->busy_with();
  record.present = record.whom != kNobody;
  record.role = Role::kCloser;
  record.what = Waiting::kDrained;
  record.waited_ms = ms_between(finish_since_, now);
  return record;
}

void Scheduler::end_waits(Time now) {
  if (!last_wait_.present) last_wait_ = telling_wait(now);
  while (!parked_.empty()) wake(parked_.size() - 1, true);
}

void Scheduler::tell_broken() {
  BrokenRecord record;
  if (!memory_.take_broken(record) || !options_.on_broken) return;
  const Watched theirs;
  options_.on_broken(record);
}

// The link lands bytes that fibers observe, and it runs on their thread. So TSan does not watch it, as it does not
// watch the switches between fibers.
bool Scheduler::progress() { return options_.scale_out != nullptr && options_.scale_out->progress(); }

void Scheduler::idle(Time now, Time limit) {
  if (progress()) {
    idle_since_ = {};
    return;
  }
  if (idle_since_ == Time{}) idle_since_ = now;
  if (now - idle_since_ < linger_) {
    if (linger_ > kIdleEvery) tell_idle(now);
    sched_yield();
    return;
  }
  tell_idle(now);
  sleep(now, limit);
}

void Scheduler::tell_idle(Time now) {
  if (!options_.on_idle || now - last_idle_ < kIdleEvery) return;
  last_idle_ = now;
  const WaitRecord record = telling_wait(now);
  const Watched theirs;
  options_.on_idle(record);
}

// The one sleeping place: whoever writes a word after our second look at it finds the flag set, and rings.
void Scheduler::sleep(Time now, Time limit) {
  std::atomic<uint32_t>* const asleep = options_.bell.asleep;
  if (asleep != nullptr) asleep->store(1, std::memory_order_relaxed);
  Bell::fence();
  bool may = true;
  if (options_.scale_out != nullptr)
    may = options_.scale_out->may_sleep();  // this may land bytes, so words are looked at afterwards
  may = !poll_parked() && !memory_.failed() && may;
  if (may) {
    Clock::duration most = sleep_max_;
    if (live_ > 0) most = std::min<Clock::duration>(most, next_deadline_ - now);
    most = std::min<Clock::duration>(most, limit - now);
    if (naps_ || asleep == nullptr || options_.bell.fd < 0) most = std::min<Clock::duration>(most, kNap);
    most = std::max<Clock::duration>(most, 0ns);
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(most).count();
    const timespec timeout{time_t(ns / 1000000000), long(ns % 1000000000)};
    pollfd fds[2] = {{options_.bell.fd, POLLIN, 0},
                     {options_.scale_out != nullptr ? options_.scale_out->wait_fd() : -1, POLLIN, 0}};
    ppoll(fds, 2, &timeout, nullptr);  // a negative descriptor is passed over
    last_look_ = now + most;           // an intended sleep does not count as standing still
    if ((fds[0].revents & POLLIN) != 0) {
      uint64_t rings;
      [[maybe_unused]] const ssize_t got = read(options_.bell.fd, &rings, sizeof rings);
      reached(Situation::kSlept);
    }
  }
  if (asleep != nullptr) asleep->store(0, std::memory_order_relaxed);
}

WaitRecord Scheduler::record_of(const Running& fiber, Time now) const {
  return wait_record(*fiber.park, ms_between(fiber.since, now), [](const Word* word) {
    return std::atomic_ref<Word>(*const_cast<Word*>(word)).load(std::memory_order_relaxed);
  });
}

}  // namespace transload
