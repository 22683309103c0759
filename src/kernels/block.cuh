// How a kernel of a call begins and ends: its trip and board in near memory, a Warp for each warp, and the state of the
// group moved on by the last one to leave.
#pragma once
#include "executor/cuda/warp.cuh"
#include "kernels/device_call.h"
#include "kernels/near.h"
#include "protocol/call.h"

namespace transload {

// A trip and the board that it points to, where every warp of a block reads them.
template <class Trip>
struct Desk {
  Trip trip;
  Board board;
  uint64_t barriers[kWarpsOfBlock][kStages];
};

// Room for one: near memory takes no initialisers.
template <class Trip>
struct DeskRoom {
  static_assert(sizeof(Desk<Trip>) <= kDeskBytesMax - 512);
  alignas(16) char bytes[sizeof(Desk<Trip>)];
  TRANSLOAD_DEVICE Desk<Trip>& desk() { return *reinterpret_cast<Desk<Trip>*>(bytes); }
};

TRANSLOAD_DEVICE uint32_t warp_of_block() { return threadIdx.x / 32; }
TRANSLOAD_DEVICE uint32_t warp_of_grid() { return blockIdx.x * kWarpsOfBlock + warp_of_block(); }

template <class T>
TRANSLOAD_DEVICE void copy_words(T& to, const T& from) {
  static_assert(sizeof(T) % 4 == 0);
  for (uint32_t i = threadIdx.x; i < sizeof(T) / 4; i += blockDim.x)
    reinterpret_cast<uint32_t*>(&to)[i] = reinterpret_cast<const uint32_t*>(&from)[i];
}

// By the whole block. `call_of(trip)` is its Call.
template <class Trip, class CallOf>
TRANSLOAD_DEVICE void sit_down(Desk<Trip>& desk, const Trip& trip, const DeviceCall& call, CallOf call_of) {
  copy_words(desk.trip, trip);
  copy_words(desk.board, *call.board);
  __syncthreads();
  if (threadIdx.x == 0) {
    Call& mine = call_of(desk.trip);
    mine.board = &desk.board;
    mine.card.epoch = call.state->epoch + 1;
    mine.card.handle = call.born != nullptr ? *call.born : 0;
    mine.arrivals = &call.state->arrivals;
    mine.tickets = call.state->tickets;
  }
  __syncthreads();
}

template <class Pipe, class Trip>
TRANSLOAD_DEVICE CudaWarp<Pipe> make_warp(Desk<Trip>& desk, char* near, const DeviceCall& call,
                                          const NearShape& shape) {
  char* const mine = near + warp_of_block() * shape.bytes_of_warp();
  char* const tables = shape.far_tables != nullptr ? shape.far_tables + uint64_t(warp_of_grid()) * shape.table_bytes
                                                   : mine + kStages * shape.stage_bytes;
  const CudaRank rank{desk.board.mapped,    &call.state->gave_up, &call.host->abort, &call.host->fault,
                      call.host->waits_for, call.deadline_ns,     &call.areas};
  return CudaWarp<Pipe>(rank, Stages{mine, desk.barriers[warp_of_block()], shape.stage_bytes}, shape, tables);
}

// Every warp of the kernel ends with this. The last one makes the state ready for the next kernel.
template <class W>
TRANSLOAD_DEVICE void stand_up(W& w, const DeviceCall& call, bool ends_call) {
  w.retire();
  if (lane_of_thread() != 0) return;
  DeviceState& state = *call.state;
  if (ptx::add_one(&state.left) + 1 != Word(gridDim.x) * kWarpsOfBlock) return;
  for (Word& ticket : state.tickets) ticket = 0;
  state.arrivals = 0;
  state.left = 0;
  if (!ends_call) return;
  state.epoch += 1;
  ptx::store_release(&call.host->ended, state.epoch);
}

}  // namespace transload
