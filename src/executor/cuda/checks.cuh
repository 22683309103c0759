// What a build with TRANSLOAD_GPU_CHECKS (preset gpu_debug) asks of every verb of a CudaWarp: that all lanes call it
// with the same arguments, and that what it stores lies in memory that it may name. Nothing of it is in other builds.
#pragma once
#include <type_traits>

#include "executor/cuda/members.cuh"
#include "executor/cuda/rank.h"

namespace transload::checks {

#ifdef TRANSLOAD_GPU_CHECKS
constexpr bool kOn = true;
#else
constexpr bool kOn = false;
#endif

template <class T>
TRANSLOAD_DEVICE uint64_t bits_of(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<uint64_t>(value);
  else
    return uint64_t(value);
}

// The first lane whose values are not those of lane 0; -1: all are alike. The whole warp calls it.
template <class... T>
TRANSLOAD_DEVICE int first_unlike(T... values) {
  uint32_t unlike = 0;
  const auto look = [&](uint64_t bits) {
    int same = 0;
    __match_all_sync(kAllLanes, (unsigned long long)bits, &same);
    const uint64_t first = uint64_t(__shfl_sync(kAllLanes, (unsigned long long)bits, 0));
    if (!same) unlike |= __ballot_sync(kAllLanes, bits != first);
  };
  (look(bits_of(values)), ...);
  return __ffs(int(unlike)) - 1;
}

// What first_unlike() compares of a set. The members of a CudaMembers are spread over the lanes, so only its span can
// be compared.
TRANSLOAD_DEVICE uint32_t shape_of(Set set) { return set.bits; }
TRANSLOAD_DEVICE uint32_t shape_of(const CudaMembers& members) { return uint32_t(members.span); }

TRANSLOAD_DEVICE bool holds(const StoreArea& area, const void* at, uint64_t bytes) {
  const uint64_t base = bits_of(area.base), begin = bits_of(at);
  return begin >= base && bytes <= area.bytes && begin - base <= area.bytes - bytes;
}
// True if the bytes lie in a region of a rank or, with `own`, in other memory that this call writes.
TRANSLOAD_DEVICE bool may_store(const StoreAreas& areas, const void* at, uint64_t bytes, bool own) {
  bool found = bytes == 0;
  for (uint32_t i = 0; i < areas.count && !found; ++i) found = holds(areas.regions[i], at, bytes);
  for (const StoreArea& area : areas.own) found = found || (own && holds(area, at, bytes));
  return found;
}

}  // namespace transload::checks
