// Starting, parking and resuming the fibers of a world.
#include "sim/model/seeded.h"

#include <algorithm>

#include "base/check.h"
#include "executor/fiber/sanitizer.h"
#include "sim/model/space.h"

namespace transload {

Word word_now(const Need& need) { return word_at(need.word); }

WaitRecord wait_record(const Park& park, double waited_ms) { return wait_record(park, waited_ms, word_at); }

bool Seeded::met(const Park& park) {
  for (int k = 0; k < park.count; ++k)
    if ((word_now(park.needs[k]) >= park.needs[k].least) != park.all) return !park.all;
  return park.all;
}

void Seeded::reset(const FiberLimits& room, const uint64_t* now) {
  now_ = now;
  TRANSLOAD_CHECK(live_ == 0);
  if (room.fibers > room_.fibers || room.near_bytes > room_.near_bytes || room.needs > room_.needs) {
    room_ = {std::max(room.fibers, room_.fibers), std::max(room.near_bytes, room_.near_bytes),
             std::max(room.needs, room_.needs)};
    stacks_ = std::make_unique<Fibers>(room_.fibers);
    near_.reset(new char[room_.near_bytes * size_t(room_.fibers)]);
    needs_.reset(new Need[size_t(room_.needs) * size_t(room_.fibers)]);
    fibers_.assign(size_t(room_.fibers), {});
    starts_.resize(size_t(room_.fibers));
    for (int i = 0; i < room_.fibers; ++i) starts_[size_t(i)] = {this, i};
  }
  free_.clear();
  for (int i = room_.fibers; i-- > 0;) free_.push_back(i);
  ready_.clear();
  parked_.clear();
  waiting_.clear();
  held_.clear();
}

int Seeded::start(const Post& place, std::function<void(int, NearMemory)> body) {
  TRANSLOAD_CHECK(!free_.empty());
  const int i = free_.back();
  free_.pop_back();
  Fiber& fiber = fibers_[size_t(i)];
  fiber = {};
  fiber.body = std::move(body);
  fiber.process = place.process;
  fiber.region = place.region;
  fiber.live = true;
  if (parked_.size() <= place.region) parked_.resize(place.region + 1);
  make_room(place.process);
  stacks_->start(i, entry, &starts_[size_t(i)]);
  ++live_;
  make_ready(i);
  return i;
}

void Seeded::entry(void* argument) {
  const Start& start = *static_cast<Start*>(argument);
  Seeded& mine = *start.owner;
  const size_t i = size_t(start.number);
  const NearMemory near{mine.near_.get() + mine.room_.near_bytes * i, mine.room_.near_bytes,
                        mine.needs_.get() + mine.room_.needs * i};
  sync_acquire(&mine.order_);
  [&]() noexcept { mine.fibers_[i].body(start.number, near); }();
  sync_release(&mine.order_);
}

void Seeded::make_ready(int i) {
  const uint32_t process = fibers_[size_t(i)].process;
  if (held_[process])
    waiting_[process].push_back(i);
  else
    ready_.push_back(i);
}

void Seeded::run(uint32_t at) {
  const int i = ready_[at];
  ready_[at] = ready_.back();
  ready_.pop_back();
  running_ = i;
  sync_release(&order_);
  const bool goes_on = stacks_->resume(i);
  sync_acquire(&order_);
  running_ = -1;
  Fiber& fiber = fibers_[size_t(i)];
  if (!goes_on) {
    fiber.live = false;
    fiber.body = nullptr;
    free_.push_back(i);
    --live_;
  } else if (fiber.park != nullptr && !met(*fiber.park)) {
    parked_[fiber.region].push_back(i);
  } else if (!fiber.blocked) {
    fiber.park = nullptr;  // the fiber's words may have come between its look and its wait
    make_ready(i);
  }
}

// One thread runs all fibers, so each step sees what the last one did; the thread sanitizer must be told that.
void Seeded::suspend() {
  sync_release(&order_);
  stacks_->suspend();
  sync_acquire(&order_);
}

bool Seeded::park(Park& park) {
  Fiber& fiber = fibers_[size_t(running_)];
  fiber.park = &park;
  fiber.failed = false;
  fiber.since = fiber.armed = *now_;
  suspend();
  return !fiber.failed;
}

void Seeded::yield() { suspend(); }

void Seeded::block() {
  fibers_[size_t(running_)].blocked = true;
  suspend();
}

void Seeded::wake(int i) {
  Fiber& fiber = fibers_[size_t(i)];
  if (!fiber.blocked) return;
  fiber.blocked = false;
  make_ready(i);
}

void Seeded::word_grew(uint32_t region) {
  if (region >= parked_.size()) return;
  std::vector<int>& parked = parked_[region];
  for (size_t at = 0; at < parked.size();) {
    Fiber& fiber = fibers_[size_t(parked[at])];
    if (!met(*fiber.park)) {
      ++at;
      continue;
    }
    fiber.park = nullptr;
    make_ready(parked[at]);
    parked[at] = parked.back();
    parked.pop_back();
  }
}

void Seeded::fail(uint32_t region) {
  if (region >= parked_.size()) return;
  for (const int i : parked_[region]) {
    Fiber& fiber = fibers_[size_t(i)];
    fiber.park = nullptr;
    fiber.failed = true;
    make_ready(i);
  }
  parked_[region].clear();
}

void Seeded::make_room(uint32_t process) {
  if (held_.size() > process) return;
  held_.resize(process + 1);
  waiting_.resize(process + 1);
}

void Seeded::hold(uint32_t process, bool held) {
  make_room(process);
  held_[process] = held;
  if (held) {
    for (size_t at = 0; at < ready_.size();) {
      if (fibers_[size_t(ready_[at])].process != process) {
        ++at;
        continue;
      }
      waiting_[process].push_back(ready_[at]);
      ready_[at] = ready_.back();
      ready_.pop_back();
    }
    return;
  }
  ready_.insert(ready_.end(), waiting_[process].begin(), waiting_[process].end());
  waiting_[process].clear();
}

}  // namespace transload
