// The pipe of a warp that moves no rows: what it copies goes by plain loads and stores.
#pragma once
#include "executor/cuda/stages.cuh"

namespace transload {

struct NoMoves {
  static constexpr int kLandedAfter = 0;

  TRANSLOAD_DEVICE NoMoves(const Stages&, const NearShape&) {}
  TRANSLOAD_DEVICE uint32_t issued() const { return 0; }
  TRANSLOAD_DEVICE uint32_t done() const { return 0; }
  template <int kMoves>
  TRANSLOAD_DEVICE void wait_landed() const {}
  template <bool = false>
  TRANSLOAD_DEVICE void finish_one() {}
};

}  // namespace transload
