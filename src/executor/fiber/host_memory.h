// HostMemory: one rank's memory and its ways to others, on a CPU. The Memory of FiberWarp for real runs; all of that
// rank's fibers share it, and one thread at a time runs them.
#pragma once
#include <transload/group.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/canary.h"
#include "channel/scaleout.h"
#include "channel/word.h"
#include "executor/fiber/batch.h"
#include "executor/fiber/bell.h"
#include "executor/fiber/park.h"
#include "executor/simd/simd.h"

namespace transload {

struct HostMemoryOptions {
  uint32_t rank = 0;
  Bell bell;                // my own bell
  std::vector<Bell> bells;  // bells by rank; mine is not used
  ScaleOut* scale_out = nullptr;
  // Not 0: the group is faulted. Control, or another writer, sets it, then fences and rings my bell.
  const std::atomic<uint32_t>* abort = nullptr;
  uint32_t deadline_ms = 10000;
  Progress* progress = nullptr;
  uint32_t publish_every = 8;  // publish and credit calls of a warp between two flushes
  // The thread that runs the fibers calls the four functions below on its own stack, never from inside a fiber.
  //
  // on_expired is told of a wait that has outlasted the deadline; of several it is the one that explains most. It is
  // not told of another one before that one has ended. It returns false if nobody is accused, because this process
  // stood still, and then all waits begin again.
  std::function<bool(const WaitRecord&)> on_expired;
  std::function<void()> on_withdrawn;                  // the wait that on_expired was told of has ended as it should
  std::function<void(const WaitRecord&)> on_idle;      // the oldest wait, every 10 ms at most while nothing can move
  std::function<void(const BrokenRecord&)> on_broken;  // the first broken promise of a run
};

class HostMemory {
 public:
  explicit HostMemory(HostMemoryOptions options);
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  const HostMemoryOptions& options() const { return options_; }
  // May be called between runs only.
  void set_deadline(uint32_t ms) { options_.deadline_ms = ms; }

  // The Memory of FiberWarp: see warp.h.
  using Plants = HostPlants;
  uint32_t publish_every() const { return options_.publish_every; }
  bool failed(int) const { return failed(); }
  Word observe(int, const Word* word) const {
    return std::atomic_ref<Word>(*const_cast<Word*>(word)).load(std::memory_order_acquire);
  }
  template <class T>
  T peek(int, const T* at) const {
    return *at;
  }
  char* rail_base(uint32_t rank) const { return rails_[rank]; }
  void advance(int, Word* word, Word count) { std::atomic_ref<Word>(*word).store(count, std::memory_order_release); }
  Word claim(int, Word* counter) { return std::atomic_ref<Word>(*counter).fetch_add(1, std::memory_order_relaxed); }
  Word arrive(int, Word* counter) { return std::atomic_ref<Word>(*counter).fetch_add(1, std::memory_order_acq_rel); }
  void engine_fence(int) {}  // needs nothing: moves are loads of the thread that observed
  void move(int, const Piece& piece, bool staged);
  void sum(int, const simd::SumJob& job);
  void moved(int, uint32_t rows);
  void store_fence(int) { simd::stream_fence(); }
  void settle(int) { simd::stream_fence(); }
  void drain(int) {}  // needs nothing: a move has read its source when it returns
  void put(int, const Put& put) { push({.kind = Command::kPut, .put = put}); }
  void publish(int, const RailWord& word, Word count, bool credit) {
    push({.kind = credit ? Command::kCredit : Command::kPublish, .to = word, .count = count});
  }
  void store(int, Word* at, uint32_t, Word count) {
    std::atomic_ref<Word>(*at).store(count, std::memory_order_release);
  }
  void wake(int, const Batch& batch);
  void knows(int, const Word*, Word, Word) {}  // does nothing: only checkers of the simulator use this
  bool park(int, Park& park);
  void missed(int);
  void breathe(int);
  void broken(int, const BrokenRecord& record);

  // The scheduler calls these.
  void serve(Parker* parker) { parker_ = parker; }
  bool failed() const {
    return gave_up_.load(std::memory_order_relaxed) ||
           (options_.abort != nullptr && options_.abort->load(std::memory_order_acquire) != 0);
  }
  void begin_run();
  void give_up() { gave_up_.store(true, std::memory_order_relaxed); }
  bool hand_over();  // gives the network what fibers queued; true if there was anything
  bool take_broken(BrokenRecord& record);

 private:
  struct Command {
    enum CommandKind : uint8_t { kPut, kPublish, kCredit } kind;
    Put put{};
    RailWord to{};
    Word count = 0;
  };
  void push(const Command& command);
  void pause(uint64_t epoch);

  HostMemoryOptions options_;
  std::vector<char*> rails_;  // [ranks] where that rank's network region is mapped, or null
  Parker* parker_ = nullptr;
  std::atomic<bool> gave_up_{false};  // set by give_up(), cleared by begin_run(); waits end while it is set
  bool has_broken_ = false, told_broken_ = false;
  BrokenRecord broken_{};
  size_t moved_bytes_ = 0;  // bytes moved since a fiber was resumed
  uint32_t missed_ = 0;
  std::unique_ptr<Command[]> commands_;
  uint64_t pushed_ = 0, taken_ = 0;
};

}  // namespace transload
