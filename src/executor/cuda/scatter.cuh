// Copies through near memory by the bulk copy engine: one load, a store for each lane that has a destination.
#pragma once
#include "executor/cuda/stages.cuh"
#include "protocol/warp.h"

namespace transload {

class ScatterPipe {
 public:
  // A publish waits for the stores of moves this many positions back: by then they have landed.
  static constexpr int kLandedAfter = 4;

  TRANSLOAD_DEVICE ScatterPipe(const Stages& stages, const NearShape& shape)
      : stages_(stages), piece_(shape.piece_bytes), ride_room_(shape.stage_bytes - shape.piece_bytes - kLaneKeepBytes) {
    stages_.begin();
  }

  TRANSLOAD_DEVICE uint32_t issued() const { return stages_.issued; }
  TRANSLOAD_DEVICE uint32_t done() const { return stages_.done; }
  template <int kMoves>
  TRANSLOAD_DEVICE void wait_landed() const {
    ptx::bulk_wait_landed<kMoves>();
  }

  // Starts the stores of the oldest move whose load is in flight: its source has been read.
  template <bool = false>
  TRANSLOAD_DEVICE void finish_one() {
    const uint32_t s = stages_.oldest, near = stages_.at(s);
    const uint4 bytes = stages_.kept(s);  // row, scales, tail
    stages_.await_oldest();
    if (char* const row = row_.get(s)) ptx::bulk_store(row, near, bytes.x);
    if ((bytes.y | bytes.z) != 0) store_riders(s, bytes);
    ptx::bulk_commit();
    __syncwarp();
    stages_.finish();
  }

  // `to` is my lane's, or nulls. `step` is called while a stage has to become free.
  template <class Step>
  TRANSLOAD_DEVICE void move(const Parts& parts, const Destination& to, Step step) {
    const bool tails = parts.tail_bytes != 0 && __any_sync(kAllLanes, to.tail != nullptr);
    const uint32_t scale_bytes = uint32_t(parts.scale_bytes), tail_bytes = tails ? uint32_t(parts.tail_bytes) : 0;
    const bool ride = scale_bytes + tail_bytes <= ride_room_;
    const Riders riders{to.scales, parts.scales, to.tail, parts.tail, ride ? scale_bytes : 0, ride ? tail_bytes : 0};
    move_part({to.row, parts.row, parts.row_bytes}, riders, step);
    if (ride) return;
#pragma unroll 1
    for (int k = 0; k < 2; ++k)
      move_part(k == 0 ? Piece{to.scales, parts.scales, scale_bytes} : Piece{to.tail, parts.tail, tail_bytes}, {},
                step);
  }

 private:
  // Behind the last piece of a row.
  struct Riders {
    char* scales_to;
    const char* scales;
    char* tail_to;
    const char* tail;
    uint32_t scale_bytes, tail_bytes;
  };

  template <class Step>
  TRANSLOAD_DEVICE void move_part(const Piece& part, const Riders& riders, Step step) {
    const uint32_t bytes = uint32_t(part.bytes), each = bytes == 0 ? 0 : even_piece(bytes, piece_);
    char* to = part.to;
    const char* from = part.from;
    for (uint32_t at = 0; at < bytes; at += each) {
      const bool last = bytes - at <= each;
      issue({to, from, last ? bytes - at : each}, riders, last, step);
      if (to != nullptr) to += each;
      from += each;
    }
  }

  // One load in flight; the stores of the stage's last move must have read it.
  template <class Step>
  TRANSLOAD_DEVICE void issue(const Piece& part, const Riders& riders, bool last, Step step) {
    while (stages_.issued != stages_.done) step();
    const uint32_t s = stages_.next, near = stages_.at(s), bytes = uint32_t(part.bytes);
    const uint32_t scale_bytes = last ? riders.scale_bytes : 0, tail_bytes = last ? riders.tail_bytes : 0;
    ptx::bulk_wait_read<kStages - 1>();
    __syncwarp();
    if (lane_of_thread() == 0) {
      const uint32_t barrier = stages_.barrier(s);
      ptx::barrier_expect(barrier, bytes + scale_bytes + tail_bytes);
      ptx::bulk_load(near, part.from, bytes, barrier);
      if (scale_bytes != 0) ptx::bulk_load(near + bytes, riders.scales, scale_bytes, barrier);
      if (tail_bytes != 0) ptx::bulk_load(near + bytes + scale_bytes, riders.tail, tail_bytes, barrier);
    }
    stages_.keep(s, {bytes, scale_bytes, tail_bytes, 0});
    __syncwarp();
    row_.set(s, part.to);
    if ((scale_bytes | tail_bytes) != 0) keep_riders(s, riders);
    stages_.move_on();
  }

  // Where scales and tail of my lane's copy go: in near memory, for most pieces have neither.
  TRANSLOAD_DEVICE uint32_t lane_place(uint32_t stage) const {
    return stages_.at(stage) + stages_.stage_bytes - kLaneKeepBytes + uint32_t(lane_of_thread()) * 16;
  }
  TRANSLOAD_DEVICE void keep_riders(uint32_t stage, const Riders& riders) const {
    const auto scales = reinterpret_cast<uint64_t>(riders.scales_to), tail = reinterpret_cast<uint64_t>(riders.tail_to);
    ptx::near_store128(lane_place(stage),
                       {uint32_t(scales), uint32_t(scales >> 32), uint32_t(tail), uint32_t(tail >> 32)});
  }
  TRANSLOAD_DEVICE void store_riders(uint32_t stage, const uint4& bytes) const {
    const uint32_t near = stages_.at(stage);
    const uint4 kept = ptx::near_load128(lane_place(stage));
    char* const scales = reinterpret_cast<char*>(uint64_t(kept.y) << 32 | kept.x);
    char* const tail = reinterpret_cast<char*>(uint64_t(kept.w) << 32 | kept.z);
    if (bytes.y != 0 && scales != nullptr) ptx::bulk_store(scales, near + bytes.x, bytes.y);
    if (bytes.z != 0 && tail != nullptr) ptx::bulk_store(tail, near + bytes.x + bytes.y, bytes.z);
  }

  Stages stages_;
  const uint32_t piece_, ride_room_;
  ByStage<char*> row_;  // of the move in each stage: where my lane's copy goes
};

}  // namespace transload
