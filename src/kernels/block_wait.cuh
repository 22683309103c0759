// A wait of one block for another of the same rank, with deadline and abort inside.
#pragma once
#include <cstdint>

#include "channel/word.h"
#include "executor/cuda/order.cuh"
#include "kernels/device_call.h"
#include "protocol/warp.h"

namespace transload {

// Met once a block of this rank, `me`, has made the word exactly `value`.
struct OwnNeed {
  const Word* word;
  Word value;
  uint32_t me;
};

__device__ inline bool given_up(const DeviceCall& call) { return glanced_here(&call.state->gave_up) != 0; }

// The first to give up writes the fault; the host sees it once all of it is written.
__device__ inline void give_up(const DeviceCall& call, const OwnNeed& need, DeviceFailure why) {
  if (!first_to_set(&call.state->gave_up)) return;
  DeviceFault& fault = call.host->fault;
  fault.role = Word(Role::kOpener);
  fault.channel = ~Word(0);
  fault.whom = need.me;
  fault.what = Word(Waiting::kCounts);
  fault.seen = glanced_here(need.word);
  fault.expected = need.value;
  fault.deadline_ns = call.deadline_ns;
  publish_to_host(&fault.set, Word(why));
}

// One thread waits for the need. False if the call has given up, and then the word may be anything.
__device__ inline bool await(const DeviceCall& call, const OwnNeed& need) {
  constexpr uint32_t kTurnsBetweenLooks = 64;  // the abort word lies in the host's memory
  const uint64_t since = ptx::now_ns();
  for (uint32_t turn = 1; observed_here(need.word) != need.value; ++turn) {
    pause();
    if (turn % kTurnsBetweenLooks != 0) continue;
    if (given_up(call)) return false;
    if (glanced_at_host(&call.host->abort) != 0) give_up(call, need, DeviceFailure::kAborted);
    if (ptx::now_ns() - since > call.deadline_ns) give_up(call, need, DeviceFailure::kExpired);
  }
  return true;
}

}  // namespace transload
