// Canaries: bugs that can be planted in the lines that ship, one at a time, so that the simulator shows that it finds
// them.
//
// A branch of a canary is live only where Plants is LivePlants, which the simulator's instantiations alone use;
// elsewhere `planted` is false at compile time and nothing of the branch is left. The exception is a build with
// TRANSLOAD_HOST_PLANTS, which measures what the other tests find: tools/canaries_without_simulator.
//
// A canary of this list is one predicate in one line, and changes no signature. Bugs that need more are texts in
// tests/canaries: tools/canaries puts them into a copy of the tree, and into the list of that copy.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/macros.h"

namespace transload {

enum class Canary : uint8_t {
  kNone,
  // Marks and order.
  kNoEngineFence,      // moves read what was observed without the fence that makes it visible to them
  kNoStoreFence,       // streamed stores are not ordered before the count
  kTornTrusted,        // a word that seems to fall, because only a part of it has landed, is believed
  kNoFlushBeforeWait,  // marks are kept while the warp waits
  // Rings.
  kCreditOffByOne,   // a slot is filled one credit too soon
  kCreditTwice,      // one slot more is credited than was taken
  kSourceReused,     // a staged slot is filled again before the network has read it
  kCreditUndrained,  // a credit is given before the moves have read the slot
  kRingWrap,         // the slot at the wrap is computed wrongly
  kPositionLost,     // a ring starts the next call where it started the last one
  // Calls.
  kDoneBeforeSettle,  // "done" is said before what was stored has landed
  kStaleGrant,        // a grant of the call before is taken for a grant of this call
  kNoGrantWait,       // rows are stored before the grant has come
  kPullNoExit,        // a pulled combine returns before its readers are done
  kWriteAfterAbort,   // a role still stores after the fault
  // Plan and content.
  kLastChannelEmpty,  // the last channel is left out
  kEmptyRankSilent,   // a rank without tokens forwards nothing
  kScaleStrides,      // scales are read as if their rows followed each other
  // Rows past rows_max.
  kDropOffByOne,        // the row at rows_max is stored
  kDroppedRowSummed,    // a row that was dropped is summed
  kOverflowFailsEarly,  // a call that fails because room is short ends before its trip is complete
  // Rails.
  kCountAheadOfPuts,  // a count is given to the network before the puts that it counts
  kCreditNotRead,     // a slot of a rail is filled without its credit
  kProxySleeps,       // the proxy asks whether calls are over after it has looked, and sleeps on what came between
  kCount
};

constexpr const char* kCanaryNames[] = {"none",
                                        "no_engine_fence",
                                        "no_store_fence",
                                        "torn_trusted",
                                        "no_flush_before_wait",
                                        "credit_off_by_one",
                                        "credit_twice",
                                        "source_reused",
                                        "credit_undrained",
                                        "ring_wrap",
                                        "position_lost",
                                        "done_before_settle",
                                        "stale_grant",
                                        "no_grant_wait",
                                        "pull_no_exit",
                                        "write_after_abort",
                                        "last_channel_empty",
                                        "empty_rank_silent",
                                        "scale_strides",
                                        "drop_off_by_one",
                                        "dropped_row_summed",
                                        "overflow_fails_early",
                                        "count_ahead_of_puts",
                                        "credit_not_read",
                                        "proxy_sleeps"};
static_assert(sizeof(kCanaryNames) / sizeof(*kCanaryNames) == std::size_t(Canary::kCount));

struct NoPlants {
  static constexpr bool kLive = false;
};
// What the simulator instantiates roles with.
struct LivePlants {
  static constexpr bool kLive = true;
};
// What ranks on CPUs instantiate roles with.
#ifdef TRANSLOAD_HOST_PLANTS
using HostPlants = LivePlants;
#else
using HostPlants = NoPlants;
#endif

// Says whether this thread's world, or this process, has planted the canary. Of what ships only the simulator
// refers to this function.
bool canary_is_planted(Canary canary);

template <class Plants>
TRANSLOAD_HD bool planted([[maybe_unused]] Canary canary) {
  if constexpr (Plants::kLive)
    return canary_is_planted(canary);
  else
    return false;
}

}  // namespace transload
