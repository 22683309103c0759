// What the warps of one rank on a GPU share beside the protocol's memory. Plain C++: the host fills it.
#pragma once
#include <cstdint>

#include "base/macros.h"
#include "base/word.h"
#include "executor/cuda/rail_queue.h"

namespace transload {

enum class DeviceFailure : Word {
  kNone,
  kExpired,  // a wait outlasted the deadline; `what` is a Waiting
  kBroken,   // another rank broke a promise; `what` is a Broken
  kAborted,  // the host has set the abort word
};

// The first failure of a rank, in its host's memory. The warp that fails first writes it, the host reads it. `set` is a
// DeviceFailure, and is written last.
struct DeviceFault {
  Word set;
  Word rank;  // the rank itself; its host writes this before the first launch, and kernels read it
  Word role, channel, whom, what, seen, expected;
  Word deadline_ns;  // deadline of the call that the kernel belongs to
};

// Where warps may store. Only builds that check it (checks.cuh) look here.
struct StoreArea {
  const char* base;
  uint64_t bytes;
};
struct StoreAreas {
  const StoreArea* regions;  // of ranks, as they are mapped here
  uint32_t count;
  StoreArea own[2];  // memory of the caller that this call stores to
};

// Whom the warps of a rank wait for, as they last said: 1 + the rank; 0: nobody. It lies in host memory; warps write
// it, the host reads it.
struct WaitsFor {
  Word peer;       // whom a warp waits for in the course of its role
  Word to_finish;  // whom a warp waits for at its end (Waiting::kDone)
};

struct CudaRank {
  Word* gave_up;       // in device memory; not 0 once a warp has failed: that warp writes it, the rank's others read it
  const Word* abort;   // in host memory; the host writes it, warps read it; not 0 means leave
  DeviceFault* fault;  // record in host memory
  WaitsFor* waits_for;
  uint64_t deadline_ns;
  const StoreAreas* areas;
  const RailQueue* queue;
};

constexpr int kCudaMembersMax = 32 * 32;  // the most members of a set: 32 in each lane
constexpr int kStages = 3;
constexpr uint32_t kLineBytes = 128;  // moves take whole lines, because others are up to a quarter slower
// Whole lines for 8 elements of the longest sum: 32 rows and 2 biases, fp32.
constexpr uint32_t kStageBytesMin = 9 * kLineBytes;
static_assert(kStageBytesMin >= 34 * 4 * 8);

// How a warp's near memory is cut, alike for all warps of a kernel.
struct NearShape {
  uint32_t piece_bytes;                  // most bytes of one bulk move; whole lines
  uint32_t stage_bytes;                  // a piece, and room for scales and an extra that ride with the last one
  uint32_t table_bytes;                  // bytes for a role's tables
  uint32_t publish_every, credit_every;  // calls to gather before a mark becomes due
  char* global_tables;  // device memory for the tables of all warps, where near memory has no room; else null

  TRANSLOAD_HD uint32_t bytes_of_warp() const {
    return uint32_t(kStages) * stage_bytes + (global_tables == nullptr ? table_bytes : 0);
  }
};

}  // namespace transload
