// Named rare situations. A test asserts that each was reached; a normal build holds no trace of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace transload {

enum class Situation : uint8_t {
  kRingFull,      // a producer found no free slot and had to wait for a credit
  kRingWrap,      // a stream used slot 0 again in a call
  kDrainWait,     // a slot was credited before the network had read its source
  kChannelEmpty,  // a channel without a token
  kRankEmpty,     // a rank without tokens
  kLandingDirect,
  kLandingRing,
  kSourcePull,
  kSourcePush,
  kCachedDispatch,
  kForwarderBlocked,  // one stream of a forwarder waited for a credit while another moved on
  kSlabExhausted,     // a lease could not be had, so the landing fell back to the ring
  kQueueFull,         // the network took no more and the executor kept the put back
  kSlept,             // a thread of a rank went to sleep and a bell woke it
  kAbortInNotify,
  kAbortInDispatch,
  kAbortInCombine,
  kCount
};

constexpr const char* kSituationNames[] = {
    "ring_full",    "ring_wrap",   "drain_wait",      "channel_empty",     "rank_empty",        "landing_direct",
    "landing_ring", "source_pull", "source_push",     "cached_dispatch",   "forwarder_blocked", "slab_exhausted",
    "queue_full",   "slept",       "abort_in_notify", "abort_in_dispatch", "abort_in_combine"};
static_assert(sizeof(kSituationNames) / sizeof(*kSituationNames) == std::size_t(Situation::kCount));

#ifdef TRANSLOAD_MARKS
void reached(Situation situation);  // counts it, process wide
uint64_t times_reached(Situation situation);
#else
inline void reached(Situation) {}
#endif

}  // namespace transload
