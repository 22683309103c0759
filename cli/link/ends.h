// A rank and the rank at the far end of its rail: how they meet, wait for each other and part.
#pragma once
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "base/time_units.h"
#include "control/control.h"
#include "os/clock.h"

namespace transload::cli {

// How far a rank is, and how far it must come; `what` is what it waits for.
struct Goal {
  const char* what;
  Word least;
};

class LinkEnds {
 public:
  // Collective. Ranks of the first half have their other ends in the second.
  LinkEnds(const Bootstrap& bootstrap, uint32_t deadline_ms);
  ~LinkEnds() { control_.goodbye(); }
  LinkEnds(const LinkEnds&) = delete;
  LinkEnds& operator=(const LinkEnds&) = delete;

  const uint32_t rank, ranks, other;

  std::vector<std::string> gather(const std::string& mine) { return control_.gather(mine, "link"); }
  // Collective: the largest `mine` of all ranks.
  uint64_t most(uint64_t mine);
  // Collective: makes a step that may fail on some ranks. If it does, all ranks refuse, with the reason of the lowest
  // that failed.
  void all_or_none(const std::function<void()>& step);
  std::string address() const { return control_.local_address(); }

  // Moves `net` on until step(), which does what it can and returns how far the rank is, has reached the goal. Throws
  // the Fault if a deadline passes in which the rank comes no further, or the network or another rank is lost.
  template <class Net, class Step>
  void await(Net& net, Goal goal, Step step) {
    uint64_t since = now_ns();
    Word far = 0;
    for (int idle = 0;;) {
      const bool moved = net.progress();
      const Word now_far = step();
      if (now_far >= goal.least) return;
      if (now_far > far) since = now_ns();
      idle = moved || now_far > far ? 0 : idle + 1;
      far = now_far;
      if (idle < kLooks) continue;
      if (const std::string reason = net.lost(); !reason.empty()) give_up(goal, far, since, reason);
      if (control_.abort_word().load() != 0) fault(goal, far, since, "");
      if (now_ns() - since > deadline_ms_ * kMillisecondNs) give_up(goal, far, since, "");
      control_.note(1, Phase::kDispatch, true, other);
      if (net.may_sleep() && step() == far) nap(net.wait_fd());
    }
  }

 private:
  static constexpr int kLooks = 20;  // looks for new bytes before a sleep

  static void nap(int fd);
  [[noreturn]] void give_up(Goal goal, Word seen, uint64_t since, const std::string& reason);
  [[noreturn]] void fault(Goal goal, Word seen, uint64_t since, const std::string& reason);

  Control control_;
  const uint64_t deadline_ms_;
};

}  // namespace transload::cli
