// What a warp owns of its block's near memory: a few stages for bytes on their way, and room for its tables.
#pragma once
#include "executor/cuda/members.cuh"
#include "executor/cuda/rank.h"

namespace transload {

// The stages of one warp, used in turn. Positions count the moves since the kernel began.
struct Stages {
  char* base;
  uint64_t* barriers;  // [kStages]
  uint32_t stage_bytes;
  uint32_t issued = 0, done = 0;  // moves whose loads were started; that are over for this warp
  uint32_t phases = 0;            // of the barriers, a bit each

  TRANSLOAD_DEVICE void begin() {
    if (lane_of_thread() == 0) {
      for (int s = 0; s < kStages; ++s) ptx::barrier_init(barriers + s);
      ptx::barrier_init_fence();
      ptx::proxy_fence_near();
    }
    __syncwarp();
  }
  TRANSLOAD_DEVICE char* at(uint32_t stage) const { return base + stage * stage_bytes; }
  TRANSLOAD_DEVICE void await(uint32_t stage) {
    ptx::barrier_wait(barriers + stage, phases >> stage & 1);
    phases ^= uint32_t(1) << stage;
    __syncwarp();  // together again: what follows is done once by the warp, not once by each part of it
  }
};

// An array in registers whose index is no constant.
template <class T>
struct ByStage {
  T values[kStages];

  TRANSLOAD_DEVICE T get(uint32_t i) const {
    T value = values[0];
#pragma unroll
    for (int s = 1; s < kStages; ++s) value = i == uint32_t(s) ? values[s] : value;
    return value;
  }
  TRANSLOAD_DEVICE void set(uint32_t i, T value) {
#pragma unroll
    for (int s = 0; s < kStages; ++s) values[s] = i == uint32_t(s) ? value : values[s];
  }
};

// Pieces of `bytes`, all but the last of whole lines and alike, none over `most`.
TRANSLOAD_DEVICE uint32_t even_piece(uint64_t bytes, uint32_t most) {
  const uint64_t pieces = (bytes + most - 1) / most;
  return uint32_t(((bytes + pieces - 1) / pieces + kLineBytes - 1) / kLineBytes * kLineBytes);
}

}  // namespace transload
