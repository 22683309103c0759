// Meeting on the shared pages; over the control channel where there are none.
#include "cli/run/meeting.h"

#include <algorithm>
#include <thread>

#include "base/time_units.h"
#include "os/clock.h"

namespace transload::cli {

bool Meeting::wait_for(uint32_t other, uint64_t arrivals, bool asleep) const {
  const StatusPage& page = board_.of(other);
  uint64_t steps = page.steps;
  uint64_t last_work_ns = now_ns();
  for (int round = 0; page.arrivals < arrivals; ++round) {
    if (page.gone != 0) return false;
    if (page.steps != steps) {
      steps = page.steps;
      last_work_ns = now_ns();
    } else if (now_ns() - last_work_ns > deadline_ms_ * kMillisecondNs) {
      return false;
    }
    if (round < 64 || !asleep)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(round, 1000)));
  }
  return true;
}

bool Meeting::wait_for_all(bool asleep) {
  for (uint32_t other = 0; other < ranks_; ++other)
    if (other != rank_ && !wait_for(other, arrivals_, asleep)) return false;
  return true;
}

// Waits asleep, because the slowest rank may be busy for seconds; then, if all are to go on at once, awake.
void Meeting::meet(Group& group, bool at_once) {
  if (ranks_ == 1) return;
  if (!board_.shared(ranks_)) {
    group.gather("");
    return;
  }
  board_.of(rank_).arrivals = ++arrivals_;
  const bool all_came = wait_for_all(true);
  if (!at_once) return;
  board_.of(rank_).arrivals = ++arrivals_;
  if (all_came) wait_for_all(false);
}

}  // namespace transload::cli
