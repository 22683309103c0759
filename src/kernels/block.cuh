// How a kernel of a call begins and ends. It fills in what only the device knows of its trip, and makes a Warp for each
// warp. The last warp to leave advances the state of the rank's calls.
#pragma once
#include "executor/cuda/rail_fifo.cuh"
#include "executor/cuda/rail_mapped.cuh"
#include "executor/cuda/warp.cuh"
#include "kernels/device_call.h"
#include "kernels/near.h"
#include "protocol/call.h"

namespace transload {

TRANSLOAD_DEVICE uint32_t warp_of_block() { return threadIdx.x / 32; }
// Warps of the first block that open a call before they play their role. They are two, because cards must not delay
// grants.
constexpr uint32_t kGranter = kWarpsOfBlock - 1, kOpener = kWarpsOfBlock - 2;

TRANSLOAD_DEVICE uint32_t warp_of_grid() { return blockIdx.x * kWarpsOfBlock + warp_of_block(); }

// Fills in what the host left open. `mine` is part of a copy of the trip that registers hold, and the board stays in
// the kernel's parameters: reading a field of either costs no load.
TRANSLOAD_DEVICE void begin_kernel(Call& mine, const Board& board, const DeviceCall& call) {
  mine.board = &board;
  mine.card.epoch = call.state->epoch + 1;
  // The host has put the id of the group in the place of the handle's name.
  mine.card.handle = call.born != nullptr ? handle_name(mine.card.handle, *call.born) : 0;
  mine.arrivals = &call.state->arrivals;
  mine.claims = call.state->claims;
  if (blockIdx.x == 0 && threadIdx.x == 0) show_to_all(&call.host->running, running_word(mine.card.epoch, call.phase));
}

TRANSLOAD_DEVICE const StageDesk* desk_of_warp() {
  __shared__ StageDesk desks[kWarpsOfBlock];
  return &desks[warp_of_block()];
}

template <class Pipe, class Rail, class Launch>
TRANSLOAD_DEVICE CudaWarp<Pipe, Rail> make_warp(char* near, const Launch& launch, typename Rail::RailHeld& held) {
  const NearShape& shape = launch.near;
  const DeviceCall& call = launch.call;
  char* const mine = near + warp_of_block() * shape.bytes_of_warp();
  char* const tables = shape.global_tables != nullptr
                           ? shape.global_tables + uint64_t(warp_of_grid()) * shape.table_bytes
                           : mine + kStages * shape.stage_bytes;
  const CudaRank rank{.gave_up = &call.state->gave_up,
                      .abort = &call.host->abort,
                      .fault = &call.host->fault,
                      .waits_for = &call.host->waits_for,
                      .deadline_ns = call.deadline_ns,
                      .areas = &launch.areas,
                      .queue = &launch.queue};
  return CudaWarp<Pipe, Rail>(rank, {Stages(mine, desk_of_warp(), shape.stage_bytes), tables, held}, shape);
}

// Every warp of the kernel ends with this. The last one makes the state ready for the next kernel.
template <class W>
TRANSLOAD_DEVICE void end_kernel(W& w, const DeviceCall& call) {
  w.retire();
  if (lane_of_thread() != 0) return;
  DeviceState& state = *call.state;
  if (arrive_here(&state.left) + 1 != Word(gridDim.x) * kWarpsOfBlock) return;
  for (Word& claim : state.claims) claim = 0;
  state.arrivals = 0;
  state.left = 0;
  state.epoch += 1;
  show_to_all(&call.host->running, 0);
  publish_to_all(&call.host->ended, state.epoch);
}

}  // namespace transload
