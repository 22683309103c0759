// What a held mark of a rail is known by, where the rail carries some and a warp stores the others.
#pragma once
#include "channel/word.h"
#include "executor/cuda/ptx.cuh"

namespace transload {

// A key is an address that a warp stores to, or it is far: no address looks like that.
struct FarKeys {
  static constexpr uint64_t kFar = uint64_t(1) << 63;

  TRANSLOAD_DEVICE static bool is_far(const Word* key) { return reinterpret_cast<uint64_t>(key) >> 63 != 0; }
  // Where such a mark stores, if a warp does; else null.
  TRANSLOAD_DEVICE static const char* store_at(const Word* key) {
    return is_far(key) ? nullptr : reinterpret_cast<const char*>(key);
  }
};

}  // namespace transload
