// How HostMemory moves and orders: release stores come after the store fence, bells after a full fence, and commands to
// the network go into a queue.
#include "executor/fiber/host_memory.h"

#include <cstring>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "base/situations.h"
#include "executor/fiber/sanitizer.h"

namespace transload {
namespace {

// Below a line or so a streamed copy has nothing to stream.
constexpr size_t kStreamMin = 64;

// What a fiber moves before others have a turn: some 30 us of copying, so that a sender that never waits does not keep
// the rank's forwarders and the network waiting.
constexpr size_t kTurnBytes = 256 << 10;

// Commands between fibers and network. They are handed over each time a fiber stops, so only a few ever wait.
constexpr uint64_t kCommands = 256;

// A role that polls instead of waiting gives up its turn after this many fruitless polls.
constexpr uint32_t kPollsMax = 16;

}  // namespace

HostMemory::HostMemory(HostMemoryOptions options)
    : options_(std::move(options)), rails_(options_.bells.size(), nullptr), commands_(new Command[kCommands]) {
  TRANSLOAD_CHECK(options_.rank < options_.bells.size() && options_.publish_every > 0);
  if (options_.scale_out == nullptr) return;
  for (uint32_t rank = 0; rank < rails_.size(); ++rank) rails_[rank] = options_.scale_out->mapped(rank);
}

void HostMemory::move(int, const Piece& piece, bool staged) {
  if (piece.bytes == 0) return;
  if (staged || piece.bytes < kStreamMin) {
    std::memcpy(piece.to, piece.from, piece.bytes);
  } else {
    simd::kernels().stream_copy(piece.to, piece.from, piece.bytes);
  }
  const Unwatched mine;
  moved_bytes_ += piece.bytes;
}

void HostMemory::sum(int, const simd::SumJob& job) {
  simd::kernels().sum_rows(job);
  const Unwatched mine;
  moved_bytes_ += job.elements * 2 * size_t(1 + job.before.count + job.here.count + job.after.count);
}

void HostMemory::moved(int warp, uint32_t rows) {
  if (Progress* const progress = options_.progress; progress != nullptr) {
    // This rank's thread is the only writer.
    const uint64_t now = progress->rows.load(std::memory_order_relaxed) + rows;
    progress->rows.store(now, std::memory_order_relaxed);
    const uint64_t epoch = progress->pause_epoch.load(std::memory_order_relaxed);
    if (epoch != 0 && epoch == progress->epoch.load(std::memory_order_relaxed) &&
        progress->pause_phase.load(std::memory_order_relaxed) == progress->phase.load(std::memory_order_relaxed) &&
        now >= progress->pause_rows.load(std::memory_order_relaxed)) {
      pause(epoch);
    }
  }
  bool due;
  {
    const Unwatched mine;
    due = moved_bytes_ >= kTurnBytes;
  }
  if (due) breathe(warp);
}

void HostMemory::pause(uint64_t epoch) {
  Progress& progress = *options_.progress;
  progress.paused.store(1, std::memory_order_relaxed);
  while (!failed() && progress.pause_epoch.load(std::memory_order_relaxed) == epoch) {
    const timespec nap{0, 1000000};
    nanosleep(&nap, nullptr);
  }
  progress.paused.store(0, std::memory_order_relaxed);
}

void HostMemory::wake(int, const Batch& batch) {
  bool fenced = false;
  for (int i = 0; i < batch.mark_count; ++i) {
    const PendingMark& mark = batch.marks[i];
    if (mark.at == nullptr || mark.rail.rank == options_.rank) continue;
    if (!fenced) Bell::fence();
    fenced = true;
    options_.bells[mark.rail.rank].ring();
  }
}

void HostMemory::push(const Command& command) {
  TRANSLOAD_CHECK(options_.scale_out != nullptr);
  const Unwatched mine;
  while (pushed_ - taken_ == kCommands) {
    reached(Situation::kQueueFull);
    parker_->yield();
    if (failed()) return;
  }
  commands_[pushed_ % kCommands] = command;
  ++pushed_;
  sync_release(&pushed_);
}

bool HostMemory::hand_over() {
  if (pushed_ == taken_) return false;
  sync_acquire(&pushed_);
  for (; taken_ != pushed_; ++taken_) {
    const Command& command = commands_[taken_ % kCommands];
    if (command.kind == Command::kPut)
      options_.scale_out->put(command.put);
    else if (command.kind == Command::kPublish)
      options_.scale_out->publish(command.to, command.count);
    else
      options_.scale_out->credit(command.to, command.count);
  }
  options_.scale_out->hand_over();
  return true;
}

void HostMemory::begin_run() {
  gave_up_.store(false, std::memory_order_relaxed);
  has_broken_ = told_broken_ = false;
}

bool HostMemory::park(int, Park& park) {
  const bool met = parker_->park(park);
  const Unwatched mine;
  moved_bytes_ = 0;
  missed_ = 0;
  return met;
}

void HostMemory::breathe(int) {
  const Unwatched mine;
  if (moved_bytes_ < kTurnBytes && pushed_ == taken_) return;
  parker_->yield();
  moved_bytes_ = 0;
}

void HostMemory::missed(int) {
  const Unwatched mine;
  if (++missed_ < kPollsMax) return;
  missed_ = 0;
  parker_->yield();
}

void HostMemory::broken(int, const BrokenRecord& record) {
  const Unwatched mine;
  if (!has_broken_) broken_ = record;
  has_broken_ = true;
  give_up();
}

bool HostMemory::take_broken(BrokenRecord& record) {
  if (!has_broken_ || told_broken_) return false;
  told_broken_ = true;
  record = broken_;
  return true;
}

}  // namespace transload
