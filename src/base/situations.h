// Named rare situations. Tests assert that each was reached: on the host in builds with TRANSLOAD_SITUATIONS, in the
// simulator always. Of what ships only the simulator holds a trace of them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/canary.h"
#include "base/macros.h"

namespace transload {

enum class Situation : uint8_t {
  kRingFull,      // a producer found no free slot and had to wait for a credit
  kRingWrap,      // a stream filled slot 0 once more, in this call or after an earlier one
  kDrainWait,     // a slot was credited before the network had read its source
  kChannelEmpty,  // a channel without a token
  kRankEmpty,     // a rank without tokens
  kLandingDirect,
  kLandingRing,
  kSourcePull,
  kSourcePush,
  kCachedDispatch,
  kForwarderBlocked,  // an owner's ring was full, so a forwarder left that stream for later
  kRowsDropped,       // more rows than rows_max
  kAllDropped,        // none of a token's rows on another node was kept
  kSlabExhausted,     // a lease could not be had, so the landing fell back to the ring
  kQueueFull,         // the network took no more and the executor kept the put back
  kSlept,             // a thread of a rank went to sleep and a bell woke it
  kRefusedAlike,      // a dispatch ended because another rank refused it
  kAbortInNotify,
  kAbortInDispatch,
  kAbortInCombine,
  kCount
};

constexpr const char* kSituationNames[] = {"ring_full",     "ring_wrap",       "drain_wait",        "channel_empty",
                                           "rank_empty",    "landing_direct",  "landing_ring",      "source_pull",
                                           "source_push",   "cached_dispatch", "forwarder_blocked", "rows_dropped",
                                           "all_dropped",   "slab_exhausted",  "queue_full",        "slept",
                                           "refused_alike", "abort_in_notify", "abort_in_dispatch", "abort_in_combine"};
static_assert(sizeof(kSituationNames) / sizeof(*kSituationNames) == std::size_t(Situation::kCount));

// True for what only a real executor or network has: a world's queues do not fill and no thread of it sleeps. The
// simulator's scenarios must reach all others.
constexpr bool needs_real_executor(Situation situation) {
  return situation == Situation::kQueueFull || situation == Situation::kSlept;
}

#ifdef TRANSLOAD_SITUATIONS
constexpr bool kSituationsCount = true;
#else
constexpr bool kSituationsCount = false;
#endif

// Both functions count for the whole process. Of what ships only the simulator calls them.
void count_reached(Situation situation);
uint64_t times_reached(Situation situation);

// Counts that the situation was reached. Code that a world runs too gives its Plants, so that worlds always count; code
// that only a host runs gives none.
template <class Plants = NoPlants>
TRANSLOAD_HD void reached([[maybe_unused]] Situation situation) {
  if constexpr (Plants::kLive || kSituationsCount) count_reached(situation);
}

}  // namespace transload
