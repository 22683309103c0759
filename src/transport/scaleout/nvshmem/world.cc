// Starting a world, and who has which block of its heap.
#include "transport/scaleout/nvshmem/world.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <utility>

#include "base/check.h"
#include "os/fork.h"
#include "os/thread.h"
#include "transload/status.h"

namespace transload {

struct LibraryCall::Line {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr error;
};

LibraryCall::LibraryCall(std::function<void()> call) : line_(std::make_shared<Line>()) {
  start_thread([line = line_, call = std::move(call)] {
    std::exception_ptr error;
    try {
      call();
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(line->mutex);
    line->done = true;
    line->error = error;
    line->changed.notify_all();
  }).detach();
}

bool LibraryCall::returned(uint64_t within_ns) const {
  std::unique_lock lock(line_->mutex);
  const bool done = line_->changed.wait_for(lock, std::chrono::nanoseconds(within_ns), [this] { return line_->done; });
  if (line_->error) std::rethrow_exception(line_->error);
  return done;
}

NvshmemWorld& NvshmemWorld::here() { return one_per_process<NvshmemWorld>(); }

std::string NvshmemWorld::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

void NvshmemWorld::lose(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (lost_.empty()) lost_ = why;
}

void NvshmemWorld::start(const NvshmemLibrary& library, const NvshmemStart& start) {
  NvshmemStart mine = start;
  if (const int error = library.init(NvshmemLibrary::kById, &mine); error != 0)
    throw Error(Code::kNotSupported, "scale_out: nvshmem: its init failed with " + std::to_string(error));
  if (const int status = library.status(); status < NvshmemLibrary::kInitialized)
    throw Error(Code::kNotSupported, "scale_out: nvshmem: its init left the process in status " +
                                         std::to_string(status) + ", must be " +
                                         std::to_string(NvshmemLibrary::kInitialized) +
                                         " or more: it finds no way between the ranks, neither peer memory nor a NIC");
}

void NvshmemWorld::join(uint64_t number, int device, const NvshmemLibrary& library) {
  TRANSLOAD_CHECK(!started() && number != 0);
  number_ = number;
  device_ = device;
  pe_ = library.my_pe();
  pes_ = library.pes();
}

std::vector<NvshmemWorld::HeapPart> NvshmemWorld::blocks() const {
  const std::lock_guard lock(mutex_);
  return blocks_;
}

size_t NvshmemWorld::add(char* base, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  blocks_.push_back({base, bytes, false});
  return blocks_.size() - 1;
}

void NvshmemWorld::take(size_t block) {
  const std::lock_guard lock(mutex_);
  TRANSLOAD_CHECK(block < blocks_.size() && !blocks_[block].taken);
  blocks_[block].taken = true;
}

void NvshmemWorld::give_back(size_t block) {
  const std::lock_guard lock(mutex_);
  blocks_[block].taken = false;
}

NvshmemTurn::NvshmemTurn(NvshmemWorld& world, uint64_t within_ns) : world_(world) {
  std::unique_lock lock(world_.mutex_);
  mine_ = world_.turn_ended_.wait_for(lock, std::chrono::nanoseconds(within_ns), [this] { return !world_.in_turn_; });
  if (mine_) world_.in_turn_ = true;
}

NvshmemTurn::~NvshmemTurn() {
  if (!mine_) return;
  const std::lock_guard lock(world_.mutex_);
  world_.in_turn_ = false;
  world_.turn_ended_.notify_all();
}

HeapBlock::HeapBlock(NvshmemWorld& world, size_t block)
    : world_(world), block_(block), base_(world.blocks()[block].base), bytes_(world.blocks()[block].bytes) {
  world_.take(block_);
}

HeapBlock::~HeapBlock() {
  if (begun_)
    world_.lose(why_);
  else
    world_.give_back(block_);
}

}  // namespace transload
