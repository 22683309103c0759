// What a warp owns of its block's near memory: a few stages for bytes on their way, and room for its tables.
#pragma once
#include <cstddef>

#include "executor/cuda/members.cuh"
#include "executor/cuda/rank.h"

namespace transload {

// What lies beside the stages of a warp: for each stage the barrier on which its load is awaited, and what a pipe keeps
// of its move.
struct alignas(16) StageDesk {
  uint64_t barriers[kStages];
  uint4 kept[kStages];
};

// The stages of one warp, used in turn; near addresses. Positions count the moves since the kernel began.
struct Stages {
  uint32_t base, desk;
  uint32_t stage_bytes;
  uint32_t issued = 0, done = 0;  // moves whose loads were started; moves that are over for this warp
  uint32_t next = 0, oldest = 0;  // the stage of the next move to start; the stage of the oldest move that is not over
  uint32_t phases = 0;            // phases of the barriers, a bit each

  TRANSLOAD_DEVICE Stages(const char* stages, const StageDesk* beside, uint32_t bytes)
      : base(ptx::near_address(stages)), desk(ptx::near_address(beside)), stage_bytes(bytes) {}
  TRANSLOAD_DEVICE void begin() {
    if (lane_of_thread() == 0) {
      for (uint32_t s = 0; s < kStages; ++s) ptx::barrier_init(barrier(s));
      ptx::barrier_init_fence();
      ptx::engine_fence_near();
    }
    __syncwarp();
  }
  TRANSLOAD_DEVICE uint32_t at(uint32_t stage) const { return base + stage * stage_bytes; }
  TRANSLOAD_DEVICE uint32_t barrier(uint32_t stage) const { return desk + uint32_t(sizeof(uint64_t)) * stage; }
  // What is kept of a stage's move, alike for all lanes.
  TRANSLOAD_DEVICE uint4 kept(uint32_t stage) const { return ptx::near_load128(place_of(stage)); }
  TRANSLOAD_DEVICE void keep(uint32_t stage, const uint4& value) const {
    if (lane_of_thread() == 0) ptx::near_store128(place_of(stage), value);
  }
  TRANSLOAD_DEVICE bool full() const { return issued - done == uint32_t(kStages); }
  TRANSLOAD_DEVICE void await_oldest() {
    ptx::barrier_wait(barrier(oldest), phases >> oldest & 1);
    phases ^= uint32_t(1) << oldest;
    __syncwarp();  // joins lanes that came apart in the wait, so that the warp does what follows once
  }
  TRANSLOAD_DEVICE void move_on() {
    ++issued;
    next = after(next);
  }
  TRANSLOAD_DEVICE void finish() {
    ++done;
    oldest = after(oldest);
  }

 private:
  TRANSLOAD_DEVICE static uint32_t after(uint32_t stage) { return stage == uint32_t(kStages) - 1 ? 0 : stage + 1; }
  TRANSLOAD_DEVICE uint32_t place_of(uint32_t stage) const {
    return desk + uint32_t(offsetof(StageDesk, kept) + sizeof(uint4) * stage);
  }
};

// The size of the pieces into which `bytes` are cut: whole lines, at most `most`. The last piece may be shorter.
TRANSLOAD_DEVICE uint32_t even_piece(uint32_t bytes, uint32_t most) {
  uint32_t each = bytes;
  if (bytes > most) {
    const uint32_t pieces = bytes <= 2 * most ? 2 : (bytes + most - 1) / most;
    each = pieces == 2 ? (bytes + 1) / 2 : (bytes + pieces - 1) / pieces;  // most rows need no division
  }
  return (each + kLineBytes - 1) / kLineBytes * kLineBytes;
}

}  // namespace transload
