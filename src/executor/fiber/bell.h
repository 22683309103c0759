// A rank's bell: a writer of one of its words wakes the rank with it, from a thread or from another process.
#pragma once
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace transload {

struct Bell {
  // In the rank's shared memory. The rank sets it before it sleeps and clears it after; who rings clears it too.
  std::atomic<uint32_t>* asleep = nullptr;
  int fd = -1;  // the rank's eventfd; -1: others do not reach the rank's memory

  // Orders the words stored before against the flags read by ring(); the sleeper's half is a fence between setting its
  // flag and reading its words again.
  static void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

  // Wakes the rank, after fence(), if it sleeps or is about to.
  void ring() const {
    if (asleep == nullptr || asleep->load(std::memory_order_relaxed) == 0) return;
    if (asleep->exchange(0, std::memory_order_relaxed) == 0) return;
    const uint64_t one = 1;
    // An eventfd refuses only when it is already readable, which wakes as well.
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof one);
  }
};

}  // namespace transload
