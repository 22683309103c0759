// What host and kernels of one rank share. Plain C++: the host fills it, kernels read it.
#pragma once
#include <cstdint>

#include "base/mix.h"
#include "base/word.h"
#include "executor/cuda/rank.h"
#include "protocol/warp.h"

namespace transload {

// The state of a rank's calls, in device memory. Only the kernels of these calls change it, in stream order, so that a
// captured call replays.
struct DeviceState {
  Word epoch;            // epoch of the last call that ended
  Word notify_uses;      // notifies that ended
  Word too_many;         // dispatches that failed because room was short
  Word arrivals;         // Call::arrivals; 0 between kernels
  Word claims[kClaims];  // Call::claims, [Role]; 0 between kernels
  Word left;             // warps of the kernel that have ended; 0 between kernels
  Word gave_up;          // not 0: a wait expired, a promise was broken, or the host aborted; never set back
};

// What a first dispatch finds out, for later kernels and for a host that asks later. It lies in the memory of the
// handle, followed by counts by expert and by source. Each replay writes it again.
struct DeviceReport {
  Word seal;         // seal_of() of the dispatch; any other value: none of its calls has run yet
  Word call;         // epoch of the call
  Word rows_needed;  // rows that I receive, with the dropped ones
  Word bad_found, bad_token, bad_slot, bad_value;  // the first expert id out of range, as BadExpert
  Word scale_out_rows;                             // copies of my tokens that cross to other nodes
};

// Marks the report of one dispatch: no row and no other record has these bytes by accident. Each dispatch of a group
// has a `number` of its own.
constexpr Word seal_of(Word number) { return (number + 1) * kSplitMixStep; }

// What host and kernels tell each other, in pinned host memory that both reach. The host writes `abort` and fault.rank,
// and kernels read these; kernels write all else, and the host reads it.
struct HostWords {
  alignas(128) Word abort;     // not 0 tells kernels to leave
  alignas(128) Word reported;  // the number of the dispatch that `report` belongs to; the plan writes both
  DeviceReport report;         // report of a call that the host waits for
  alignas(128) Word too_many;  // dispatches that failed because room was short; the plan writes this and the next two
  Word needed, given;          // rows that came, and rows_max, of the last dispatch that failed for want of room
  alignas(128) Word running;   // the call that a kernel is in, as running_word(); 0: none
  alignas(128) DeviceFault fault;
  alignas(128) WaitsFor waits_for;
  alignas(128) Word ended;  // epoch of the last call that ended
};

// What every kernel of a call gets beside its trip.
struct DeviceCall {
  DeviceState* state;
  HostWords* host;
  const Word* born;  // DeviceHandle::born of the handle that the call uses; null: a first dispatch
  uint64_t deadline_ns;
  uint32_t blocks;
  uint32_t phase;  // Phase
};

// The call that a kernel is in, as one word.
constexpr uint32_t kPhaseBits = 2;
constexpr Word running_word(Word epoch, uint32_t phase) { return epoch << kPhaseBits | phase; }
constexpr Word running_epoch(Word running) { return running >> kPhaseBits; }
constexpr uint32_t running_phase(Word running) { return uint32_t(running) & ((1u << kPhaseBits) - 1); }

}  // namespace transload
