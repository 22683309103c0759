// Two guards against warps that never end. Nothing can end a warp that never gives up its turn, so StepWatch ends the
// process and says which world it was. LoneTurns finds a warp that gives up its turn and takes it again for ever.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace transload {

class StepWatch {
 public:
  // `who` says which step does not end. Another thread calls it, while that step still runs.
  StepWatch(uint64_t limit_ms, std::function<std::string()> who);
  ~StepWatch();
  StepWatch(const StepWatch&) = delete;
  StepWatch& operator=(const StepWatch&) = delete;

  void step() { ++steps_; }
  // Between worlds no step is due.
  void rest(bool rests) { rests_ = rests; }

 private:
  void watch();

  const uint64_t limit_ms_;
  const std::function<std::string()> who_;
  std::atomic<uint64_t> steps_{0};
  std::atomic<bool> rests_{true};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

// Counts the turns that one warp had in a row because nothing else could happen: a warp that polls for what never comes
// does not wait, so no deadline ends it.
class LoneTurns {
 public:
  static constexpr uint32_t kMost = 4'000'000;
  // To be called when something else could happen. The count begins again.
  void end() { fiber_ = -1; }
  // Counts another turn of this fiber; false: it has had too many.
  bool take(int fiber) {
    turns_ = fiber == fiber_ ? turns_ + 1 : 0;
    fiber_ = fiber;
    return turns_ < kMost;
  }

 private:
  int fiber_ = -1;
  uint32_t turns_ = 0;
};

}  // namespace transload
