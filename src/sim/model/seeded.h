// A scheduler for worlds: fibers of many ranks on one thread, each resumed when the world chooses it.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "executor/fiber/fiber.h"
#include "executor/fiber/park.h"
#include "executor/fiber/warp.h"

namespace transload {

class Seeded final : public Parker {
 public:
  // How many fibers there may be at once, and what each of them has.
  struct FiberLimits {
    int fibers;
    size_t near_bytes;
    uint32_t needs;  // the most words that one wait may be for
  };
  struct Fiber {
    std::function<void(int fiber, NearMemory near)> body;
    uint32_t process = 0;  // the simulated process: a rank, with all its groups
    uint32_t region = 0;   // the rank of a group whose words the fiber waits for
    Park* park = nullptr;
    bool failed = false;  // the wait ended without the fiber's words
    bool live = false;
    bool blocked = false;           // the fiber stands still until wake()
    uint64_t since = 0, armed = 0;  // virtual times: when the wait began, and when its deadline began to run
  };

  Seeded() = default;
  Seeded(const Seeded&) = delete;
  Seeded& operator=(const Seeded&) = delete;

  // Begins a world, before its first start(). Stacks and near memory stay if they suffice.
  void reset(const FiberLimits& room, const uint64_t* now);

  struct Post {
    uint32_t process, region;
  };
  int start(const Post& place, std::function<void(int fiber, NearMemory near)> body);
  uint32_t ready() const { return uint32_t(ready_.size()); }
  int ready_fiber(uint32_t i) const { return ready_[i]; }
  void run(uint32_t i);  // resumes the i-th ready fiber, until it parks, yields, blocks or ends
  int running() const { return running_; }
  uint32_t live() const { return live_; }
  const Fiber& fiber(int i) const { return fibers_[size_t(i)]; }
  Fiber& fiber(int i) { return fibers_[size_t(i)]; }

  // park(), yield() and block() are called inside a fiber.
  bool park(Park& park) override;
  void yield() override;
  void block();

  void wake(int fiber);  // ends the block() of that fiber; does nothing if the fiber does not block
  // A word of this region has grown: fibers that wait there become ready if their waits are met.
  void word_grew(uint32_t region);
  // All waits for words of this region end, unmet.
  void fail(uint32_t region);
  // The fibers of a process stand still (`held`), or run again.
  void hold(uint32_t process, bool held);
  bool held(uint32_t process) const { return process < held_.size() && held_[process]; }
  // True if the words have reached what this wait needs.
  static bool met(const Park& park);
  // Calls f(number, fiber) for each fiber that waits for a word of this region.
  template <class F>
  void each_parked_of(uint32_t region, F f) {
    if (region >= parked_.size()) return;
    for (const int i : parked_[region]) f(i, fibers_[size_t(i)]);
  }

 private:
  static void entry(void* argument);
  void make_room(uint32_t process);
  void make_ready(int i);
  void suspend();

  struct Start {
    Seeded* owner;
    int number;
  };
  const uint64_t* now_ = nullptr;
  FiberLimits room_{0, 0, 0};
  std::unique_ptr<Fibers> stacks_;
  std::unique_ptr<char[]> near_;
  std::unique_ptr<Need[]> needs_;
  std::vector<Fiber> fibers_;
  std::vector<Start> starts_;
  std::vector<int> free_, ready_;
  std::vector<std::vector<int>> parked_;   // [regions] parked fibers
  std::vector<std::vector<int>> waiting_;  // [processes] ready fibers of a process that stands still
  std::vector<bool> held_;
  int running_ = -1;
  uint32_t live_ = 0;
  char order_ = 0;  // an address by which the thread sanitizer is told that steps follow each other
};

// The value of a word as it has landed.
Word word_now(const Need& need);
// What a Fault says of this wait.
WaitRecord wait_record(const Park& park, double waited_ms);

}  // namespace transload
