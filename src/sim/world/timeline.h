// Virtual time of one world, and what is to happen when.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/time_units.h"

namespace transload {

class Timeline {
 public:
  using Act = std::function<void()>;
  static constexpr uint64_t kNever = ~uint64_t(0);
  static constexpr uint64_t kBeginNs = kSecondNs;  // not 0, which some records read as "never"

  uint64_t now() const { return now_; }
  const uint64_t& clock() const { return now_; }  // now() by reference, for callers that look often
  // Time does not go back. What falls due on the way happens in run_due().
  void advance_to(uint64_t time) {
    TRANSLOAD_CHECK(time >= now_);
    now_ = time;
  }
  // Acts that are due at the same time happen in the order in which they were asked for.
  void at(uint64_t when, Act act) {
    events_.push_back({std::max(when, now_), count_++, std::move(act)});
    std::push_heap(events_.begin(), events_.end(), later);
  }
  void in(uint64_t duration, Act act) { at(now_ + duration, std::move(act)); }
  // When the earliest event is due; kNever: there is none.
  uint64_t next() const { return events_.empty() ? kNever : events_.front().when; }
  // Runs all acts that are due by now, also those that such acts add.
  void run_due() {
    while (next() <= now_) {
      std::pop_heap(events_.begin(), events_.end(), later);
      const Act act = std::move(events_.back().act);
      events_.pop_back();
      act();
    }
  }

 private:
  struct Alarm {
    uint64_t when;
    uint64_t number;
    Act act;
  };
  static bool later(const Alarm& a, const Alarm& b) { return a.when != b.when ? a.when > b.when : a.number > b.number; }

  uint64_t now_ = kBeginNs;
  uint64_t count_ = 0;
  std::vector<Alarm> events_;  // a heap
};

}  // namespace transload
