// What ranks show while they work: a page each, shared with the launcher and the other ranks where there is a launcher
// of ours.
#pragma once
#include <atomic>
#include <cstdint>

#include "transload/group.h"

namespace transload::cli {

// A page is all zero at first. Its rank writes everything in it but `gone`.
struct alignas(4096) StatusPage {
  Progress progress{};
  std::atomic<uint64_t> iteration{};    // counted from 1, warm-up included
  std::atomic<uint64_t> steps{};        // grows with whatever the rank does or checks
  std::atomic<uint64_t> entry_ns{};     // when the rank entered its latest call
  std::atomic<uint64_t> expert_rows{};  // rows done in this expert phase
  std::atomic<uint32_t> halted_in_expert{};
  std::atomic<uint64_t> arrivals{};  // how often the rank has arrived at the meeting before a call
  std::atomic<uint32_t> gone{};      // the rank has ended, or will; written by the launcher, or by a rank that leaves
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(StatusPage) == 4096);

// The pages that a rank can see: of all ranks, or only its own under another launcher.
struct StatusBoard {
  StatusPage* pages = nullptr;
  uint32_t count = 0;

  bool shared(uint32_t ranks) const { return count == ranks; }
  StatusPage& of(uint32_t rank) const { return pages[count == 1 ? 0 : rank]; }
};

}  // namespace transload::cli
