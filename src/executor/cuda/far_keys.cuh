// The keys by which held marks of a rail are known, where the rail carries some of them and a warp stores the others.
#pragma once
#include "channel/word.h"
#include "executor/cuda/order.cuh"
#include "executor/cuda/rail_queue.h"

namespace transload {

// A key is either the address that a warp stores the mark to, or far: then its top bit is set, as in no address.
struct FarKeys {
  static constexpr uint64_t kFar = uint64_t(1) << 63;

  TRANSLOAD_DEVICE static bool is_far(const Word* key) { return reinterpret_cast<uint64_t>(key) >> 63 != 0; }
  // Where a warp stores the mark with this key; null if the rail carries it.
  TRANSLOAD_DEVICE static const char* store_at(const Word* key) {
    return is_far(key) ? nullptr : reinterpret_cast<const char*>(key);
  }
};

// What a far key says: a word of another rank and, where the rail has several queues to a rank, the queue that leads to
// that word.
template <uint32_t kBitsOfQueue>
struct RailKey {
  static constexpr uint32_t kQueueAt = 63 - kRankBits - kBitsOfQueue, kRankAt = kQueueAt + kBitsOfQueue;

  uint32_t rank, queue;
  uint64_t place;  // where the word lies, in the rail's unit

  TRANSLOAD_DEVICE Word* pack() const {
    return reinterpret_cast<Word*>(FarKeys::kFar | uint64_t(rank) << kRankAt | uint64_t(queue) << kQueueAt | place);
  }
  TRANSLOAD_DEVICE static RailKey unpack(const Word* key) {
    const uint64_t bits = reinterpret_cast<uint64_t>(key);
    return {.rank = uint32_t(bits >> kRankAt) & ((1u << kRankBits) - 1),
            .queue = uint32_t(bits >> kQueueAt) & ((1u << kBitsOfQueue) - 1),
            .place = bits & ((uint64_t(1) << kQueueAt) - 1)};
  }
};

}  // namespace transload
