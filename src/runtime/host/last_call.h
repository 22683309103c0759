// The call that a rank of this process has returned from last, for other ranks of its group here. A rank that frees its
// group need not wait for one that has all it needs, and whose thread may be the very one that waits.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

namespace transload {

class LastCall {
 public:
  // `group`: the id that its ranks have in common.
  LastCall(uint64_t group, uint32_t rank);
  ~LastCall();
  LastCall(const LastCall&) = delete;
  LastCall& operator=(const LastCall&) = delete;

  void returned_from(uint64_t epoch) { epoch_->store(epoch, std::memory_order_release); }
  // Whether that rank has returned from that call. False of ranks that are not in this process, or have been freed.
  static bool is_past(uint64_t group, uint32_t rank, uint64_t epoch);

 private:
  uint64_t group_;
  uint32_t rank_;
  std::shared_ptr<std::atomic<uint64_t>> epoch_;
};

}  // namespace transload
