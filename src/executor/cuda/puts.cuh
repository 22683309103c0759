// Puts that a warp holds back until their bytes have landed: one a lane, in two generations, as marks have them
// (marks.cuh).
//
// They lie in memory of their thread and are reached by calls: in registers, and inlined in every verb, they cost warps
// a tenth of their speed where nothing is held at all.
#pragma once
#include "channel/scaleout.h"
#include "executor/cuda/members.cuh"

namespace transload {

// A put that begins where the held one ends, or after its padding, joins it. With `kQueues` the rail has several queues
// to a rank.
template <bool kQueues>
struct HeldPut {
  static constexpr uint64_t kPaddingMax = 1024;  // equal to the one in executor/fiber/batch.h

  const char* from;
  Word* drained;
  uint64_t offset, count;
  uint32_t where;      // the rank, with the queue in the bits above it
  uint32_t bytes = 0;  // 0: the lane holds no put
  uint32_t padding;

  TRANSLOAD_DEVICE static uint32_t where_of(const Put& put) {
    return kQueues ? put.queue << kRankBits | put.rank : put.rank;
  }
  TRANSLOAD_DEVICE uint32_t rank() const { return kQueues ? where & ((1u << kRankBits) - 1) : where; }
  TRANSLOAD_DEVICE uint32_t queue() const { return where >> kRankBits; }
  TRANSLOAD_DEVICE bool empty() const { return bytes == 0; }
  TRANSLOAD_DEVICE bool continued_by(const Put& put) const {
    const uint64_t gap = uint64_t(put.from - from) - bytes;
    return where == where_of(put) && drained == put.drained && offset + bytes + gap == put.offset &&
           (gap == 0 || (gap == padding && gap <= kPaddingMax));
  }
  TRANSLOAD_DEVICE void take(const Put& put, bool joins) {
    if (!joins) {
      from = put.from;
      drained = put.drained;
      offset = put.offset;
      where = where_of(put);
    }
    bytes = uint32_t(put.from - from) + uint32_t(put.bytes);
    padding = uint32_t(put.padding);
    count = put.drained_count;
  }
};

// The puts that each lane holds; the whole warp calls these functions.
template <bool kQueues>
struct HeldPuts {
  HeldPut<kQueues> due, later;

  // False if some lane has no room, and then nothing was held.
  __device__ __noinline__ static bool hold(HeldPuts* held, bool mine, const Put put) {
    HeldPut<kQueues>& later = held->later;
    const bool joins = mine && !later.empty() && later.continued_by(put);
    if (__any_sync(kAllLanes, mine && !joins && !later.empty())) return false;
    if (mine) later.take(put, joins);
    return true;
  }
  // What was held until now becomes due, with the marks that speak for it.
  __device__ __noinline__ static void promote(HeldPuts* held) {
    held->due = held->later;
    held->later.bytes = 0;
  }
};

}  // namespace transload
