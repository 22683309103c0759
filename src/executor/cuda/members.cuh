// Sets of members on a GPU: lane l of a warp holds the bits of members l, l + 32, l + 64, ... in one register.
#pragma once
#include "base/set.h"
#include "executor/cuda/ptx.cuh"
#include "executor/cuda/rank.h"

namespace transload {

constexpr uint32_t kAllLanes = ~uint32_t(0);

TRANSLOAD_DEVICE int lane_of_thread() { return int(threadIdx.x % 32); }

// Offers what Members does. Every lane of the warp calls the functions that answer for the whole set.
struct CudaMembers {
  uint32_t bits = 0;  // bit t: member t * 32 + my lane
  int span = 0;

  TRANSLOAD_DEVICE bool empty() const { return !__any_sync(kAllLanes, bits != 0); }
  TRANSLOAD_DEVICE int count() const { return int(__reduce_add_sync(kAllLanes, uint32_t(__popc(bits)))); }
  TRANSLOAD_DEVICE bool has(int i) const { return __shfl_sync(kAllLanes, bits, i % 32) >> (i / 32) & 1; }
  TRANSLOAD_DEVICE void add(int i) {
    if (i % 32 == lane_of_thread()) bits |= uint32_t(1) << (i / 32);
    if (i >= span) span = i + 1;
  }
  TRANSLOAD_DEVICE void remove(int i) {
    if (i % 32 == lane_of_thread()) bits &= ~(uint32_t(1) << (i / 32));
  }
  TRANSLOAD_DEVICE int tiles() const { return (span + 31) / 32; }

  TRANSLOAD_DEVICE static CudaMembers first(int n) {
    const int mine = (n - lane_of_thread() + 31) / 32;  // members l + 32 t below n
    return {mine <= 0 ? 0u : mine >= 32 ? kAllLanes : (uint32_t(1) << mine) - 1, n};
  }
  TRANSLOAD_DEVICE static CudaMembers only(int i) {
    return {i % 32 == lane_of_thread() ? uint32_t(1) << (i / 32) : 0u, i + 1};
  }
};

// Calls the body once for each of my members.
template <class F>
TRANSLOAD_DEVICE void for_mine(Set set, F body) {
  if (set.has(lane_of_thread())) body(Lane{lane_of_thread()});
}
template <class F>
TRANSLOAD_DEVICE void for_mine(const CudaMembers& members, F body) {
#pragma unroll 1
  for (uint32_t bits = members.bits; bits != 0; bits &= bits - 1)
    body(Lane{lane_of_thread() + 32 * (__ffs(int(bits)) - 1)});
}

// The whole warp takes the members of a whole set one after another, ascending.
template <class F>
TRANSLOAD_DEVICE void for_turns(Set set, F body) {
  for (uint32_t bits = set.bits; bits != 0; bits &= bits - 1) body(__ffs(int(bits)) - 1);
}
template <class F>
TRANSLOAD_DEVICE void for_turns(const CudaMembers& members, F body) {
  for (int tile = 0; tile < members.tiles(); ++tile)
    for (uint32_t bits = __ballot_sync(kAllLanes, members.bits >> tile & 1); bits != 0; bits &= bits - 1)
      body(tile * 32 + __ffs(int(bits)) - 1);
}

}  // namespace transload
