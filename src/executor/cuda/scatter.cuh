// Copies through near memory by the bulk copy engine: one load, a store for each lane that has a destination.
#pragma once
#include "executor/cuda/stages.cuh"
#include "protocol/warp.h"

namespace transload {

class ScatterPipe {
 public:
  // A count is published only after this many later moves: by then the stores that it counts have mostly landed, and
  // the wait for them is short.
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

  // Waits for the load that is in flight, so its source has been read, and starts the stores of that move.
  template <bool = false>
  TRANSLOAD_DEVICE void finish_one() {
    const uint32_t near = stages_.at(stages_.oldest);
    stages_.await_oldest();
    const Loading& l = loading_;
    if (l.row != nullptr) ptx::bulk_store(l.row, near, l.row_bytes);
    // Few pieces have scales or an extra, and a store costs its instructions even where nobody has one.
    if ((l.scale_bytes | l.extra_bytes) != 0) {
      if (l.scale_bytes != 0 && l.scales != nullptr) ptx::bulk_store(l.scales, near + l.row_bytes, l.scale_bytes);
      if (l.extra_bytes != 0 && l.extra != nullptr)
        ptx::bulk_store(l.extra, near + l.row_bytes + l.scale_bytes, l.extra_bytes);
    }
    ptx::bulk_commit();
    __syncwarp();
    stages_.finish();
  }

  // `to` is my lane's, or nulls. `step` is called while a stage has to become free.
  template <class Step>
  TRANSLOAD_DEVICE void move(const TokenPieces& pieces, const Destination& to, Step step) {
    const bool extras = pieces.extra_bytes != 0 && __any_sync(kAllLanes, to.extra != nullptr);
    const uint32_t scale_bytes = uint32_t(pieces.scale_bytes), extra_bytes = extras ? uint32_t(pieces.extra_bytes) : 0;
    const bool ride = scale_bytes + extra_bytes <= ride_room_;
    const Riders riders{.scales_to = to.scales,
                        .scales = pieces.scales,
                        .extra_to = to.extra,
                        .extra = pieces.extra,
                        .scale_bytes = ride ? scale_bytes : 0,
                        .extra_bytes = ride ? extra_bytes : 0};
    move_piece({to.row, pieces.row, pieces.row_bytes}, riders, step);
    if (ride) return;
#pragma unroll 1
    for (int k = 0; k < 2; ++k)
      move_piece(k == 0 ? Piece{to.scales, pieces.scales, scale_bytes} : Piece{to.extra, pieces.extra, extra_bytes}, {},
                 step);
  }

 private:
  // What moves with the last piece of a row, and lies after it.
  struct Riders {
    char* scales_to;
    const char* scales;
    char* extra_to;
    const char* extra;
    uint32_t scale_bytes, extra_bytes;
  };

  template <class Step>
  TRANSLOAD_DEVICE void move_piece(const Piece& piece, const Riders& riders, Step step) {
    const uint32_t bytes = uint32_t(piece.bytes), each = bytes == 0 ? 0 : even_piece(bytes, piece_);
    char* to = piece.to;
    const char* from = piece.from;
    for (uint32_t at = 0; at < bytes; at += each) {
      const bool last = bytes - at <= each;
      issue({to, from, last ? bytes - at : each}, riders, last, step);
      if (to != nullptr) to += each;
      from += each;
    }
  }

  // Starts a load, the only one in flight. The stores of the stage's last move must have read the stage before.
  template <class Step>
  TRANSLOAD_DEVICE void issue(const Piece& piece, const Riders& riders, bool last, Step step) {
    if (stages_.issued != stages_.done) step();
    const uint32_t near = stages_.at(stages_.next), bytes = uint32_t(piece.bytes);
    const uint32_t scale_bytes = last ? riders.scale_bytes : 0, extra_bytes = last ? riders.extra_bytes : 0;
    ptx::bulk_wait_read<kStages - 1>();
    __syncwarp();
    if (lane_of_thread() == 0) {
      const uint32_t barrier = stages_.barrier(stages_.next);
      ptx::barrier_expect(barrier, bytes + scale_bytes + extra_bytes);
      ptx::bulk_load(near, piece.from, bytes, barrier);
      if (scale_bytes != 0) ptx::bulk_load(near + bytes, riders.scales, scale_bytes, barrier);
      if (extra_bytes != 0) ptx::bulk_load(near + bytes + scale_bytes, riders.extra, extra_bytes, barrier);
    }
    __syncwarp();
    loading_ = {.row = piece.to,
                .scales = riders.scales_to,
                .extra = riders.extra_to,
                .row_bytes = bytes,
                .scale_bytes = scale_bytes,
                .extra_bytes = extra_bytes};
    stages_.move_on();
  }

  // The move whose load is in flight: where my lane's copy goes.
  struct Loading {
    char *row, *scales, *extra;
    uint32_t row_bytes, scale_bytes, extra_bytes;
  };

  Stages stages_;
  const uint32_t piece_, ride_room_;
  Loading loading_{};
};

}  // namespace transload
