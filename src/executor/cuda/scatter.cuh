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
      : stages_(stages), piece_(shape.piece_bytes), ride_room_(shape.stage_bytes - shape.piece_bytes) {
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
    const uint32_t s = stages_.oldest;
    stages_.await_oldest();
    char* const row = row_.get(s);
    char* const tail = tail_.get(s);
    const uint32_t size = size_.get(s), row_bytes = size & 0xffff, tail_bytes = size >> 16;
    if (row != nullptr) ptx::bulk_store(row, stages_.at(s), row_bytes);
    char* const scales = scales_.get(s);
    const uint32_t scale_bytes = scale_bytes_.get(s);
    if (scales != nullptr) ptx::bulk_store(scales, stages_.at(s) + row_bytes, scale_bytes);
    if (tail != nullptr) ptx::bulk_store(tail, stages_.at(s) + row_bytes + scale_bytes, tail_bytes);
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
    Piece part{to.row, parts.row, parts.row_bytes};
    for (int k = 0; k < 3; ++k) {
      const uint32_t each = part.bytes != 0 ? even_piece(uint32_t(part.bytes), piece_) : 0;
      for (uint64_t at = 0; at < part.bytes; at += each) {
        const bool last = at + each >= part.bytes, with = last && ride;
        issue({part.to != nullptr ? part.to + at : nullptr, part.from + at, last ? part.bytes - at : each},
              {{with ? to.scales : nullptr, parts.scales, with ? scale_bytes : 0},
               {with ? to.tail : nullptr, parts.tail, with ? tail_bytes : 0}},
              step);
      }
      if (ride) return;
      part = k == 0 ? Piece{to.scales, parts.scales, scale_bytes} : Piece{to.tail, parts.tail, tail_bytes};
    }
  }

 private:
  // Behind the last piece of a row.
  struct Riders {
    Piece scales, tail;
  };

  // One load in flight; the stores of the stage's last move must have read it.
  template <class Step>
  TRANSLOAD_DEVICE void issue(const Piece& row, const Riders& with, Step step) {
    const Piece& scales = with.scales;
    const Piece& tail = with.tail;
    while (stages_.issued != stages_.done) step();
    const uint32_t s = stages_.next;
    ptx::bulk_wait_read<kStages - 1>();
    __syncwarp();
    if (lane_of_thread() == 0) {
      ptx::barrier_expect(stages_.barrier(s), uint32_t(row.bytes + scales.bytes + tail.bytes));
      ptx::bulk_load(stages_.at(s), row.from, uint32_t(row.bytes), stages_.barrier(s));
      if (scales.bytes != 0)
        ptx::bulk_load(stages_.at(s) + row.bytes, scales.from, uint32_t(scales.bytes), stages_.barrier(s));
      if (tail.bytes != 0)
        ptx::bulk_load(stages_.at(s) + row.bytes + scales.bytes, tail.from, uint32_t(tail.bytes), stages_.barrier(s));
    }
    __syncwarp();
    row_.set(s, row.to);
    tail_.set(s, tail.to);
    scales_.set(s, scales.to);
    scale_bytes_.set(s, uint32_t(scales.bytes));
    size_.set(s, uint32_t(row.bytes) | uint32_t(tail.bytes) << 16);
    stages_.move_on();
  }

  Stages stages_;
  const uint32_t piece_, ride_room_;
  // Of the move in each stage: where my lane's copy goes, and its bytes (row | tail << 16).
  ByStage<char*> row_, tail_, scales_;
  ByStage<uint32_t> size_, scale_bytes_;
};

}  // namespace transload
