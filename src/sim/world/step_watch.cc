// The thread of StepWatch.
#include "sim/world/step_watch.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace transload {

StepWatch::StepWatch(uint64_t limit_ms, std::function<std::string()> who)
    : limit_ms_(limit_ms), who_(std::move(who)), thread_([this] { watch(); }) {}

StepWatch::~StepWatch() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StepWatch::watch() {
  std::unique_lock lock(mutex_);
  uint64_t before = steps_;
  uint32_t still = 0;  // looks since the number of steps changed
  constexpr uint32_t kLooks = 8;
  while (!changed_.wait_for(lock, std::chrono::milliseconds(limit_ms_ / kLooks), [&] { return over_; })) {
    const uint64_t now = steps_;
    still = now == before && !rests_ ? still + 1 : 0;
    before = now;
    if (still < kLooks) continue;
    std::fprintf(stderr, "%s never gives up its turn\n", who_().c_str());
    std::_Exit(1);
  }
}

}  // namespace transload
