// Canaries: bugs that can be planted in the lines that ship, one at a time, so that the simulator shows that it finds
// them.
//
// A branch of a canary is live only where Plants is LivePlants, which the simulator's instantiations alone use;
// elsewhere `planted` is false at compile time and nothing of the branch is left. The exception is a build with
// TRANSLOAD_HOST_PLANTS, which measures what the other tests find: tools/canaries_without_simulator.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/macros.h"

namespace transload {

enum class Canary : uint8_t {
  kNone,
  // Marks and order.
  kCountBeforeBytes,    // a count is published before the bytes that it counts
  kCountToWrongReader,  // a tail is published to the member beside the right one
  kMarkBeforePut,       // counts are handed to the network before the puts that they speak for
  kRelaxedPublish,      // a count is stored without release
  kRelaxedObserve,      // a count is read without acquire
  kNoEngineFence,       // moves read what was observed without the fence that makes it visible to them
  kNoStoreFence,        // streamed stores are not ordered before the count
  kTornTrusted,         // a word that falls, because it landed in part, is believed
  kCountRewritten,      // a count is sent from a word that is rewritten while it is in flight
  kNoFlushBeforeWait,   // marks are kept while the warp waits
  // Rings.
  kCreditOffByOne,   // a slot is filled one credit too soon
  kCreditEarly,      // a slot is credited before it has been read
  kCreditTwice,      // one slot more is credited than was taken
  kCreditNever,      // a slot is not credited
  kCreditKept,       // credits below a chunk are kept while the warp waits
  kSourceReused,     // a staged slot is filled again before the network has read it
  kCreditUndrained,  // a credit is given before the moves have read the slot
  kBlocksOnOne,      // a warp with several streams blocks on one of them
  kRingWrap,         // the slot at the wrap is computed wrongly
  kPositionLost,     // a ring starts the next call where it started the last one
  kStrideOfCall,     // slots lie as far apart as this call's tokens are long
  // Calls.
  kDoneBeforeSettle,  // "done" is said before what was stored has landed
  kElectedUnordered,  // "done" is said by the last to arrive, who arrived before it had settled
  kStaleGrant,        // a grant of the call before is taken for this one's
  kNoGrantWait,       // rows are stored before the grant has come
  kParityByEpoch,     // mailboxes are chosen by epoch instead of by use
  kClearing,          // words are cleared at the end of a call
  kPullNoExit,        // a pulled combine returns before its readers are done
  kCachedUnframed,    // a cached dispatch takes the grants of the dispatch that it repeats
  kWriteAfterAbort,   // a role still stores after the fault
  kSharedWord,        // two groups of one rank count in the same word
  // Plan and content.
  kPrefixOffByOne,    // a source's rows begin one row late
  kWrongRail,         // the rail of a rank is its peer index, whatever the size of the other node
  kLastChannelEmpty,  // the last channel is left out
  kClaimBackwards,    // senders claim channels highest first
  kEmptyRankSilent,   // a rank without tokens does not forward
  kDuplicateOnce,     // the second choice of the same expert is dropped
  kScaleStrides,      // scales are read as if their rows followed each other
  kScalesByOrdinal,   // scales are stored at a token's ordinal instead of at its row
  // Rows past rows_max.
  kDropOffByOne,        // the row at rows_max is stored
  kDroppedRowSummed,    // a row that was dropped is summed
  kDroppedNotReturned,  // no partial sum is returned for a token whose rows on a node were all dropped
  kOverflowFailsEarly,  // a call that fails for want of room ends before its trip is complete
  // Offsets and sums.
  kOffset32,        // an offset loses its upper half
  kSumByArrival,    // parts are summed in the order in which they came
  kOwnPartRounded,  // the own node's part is rounded like one that crossed
  kBiasTwice,       // the first bias is added twice
  // Verdicts.
  kWrongCulprit,    // the rank that complains is named instead of the one at the end of the chain
  kDeathUnnoticed,  // the end of a connection is ignored
  kVerdictUntold,   // the arbiter judges and does not tell
  kStoppedAccuses,  // a rank that was itself stopped accuses others
  kSuspicionKept,   // a suspicion stays though its wait has ended
  kLateUnseen,      // a rank that entered the call after the deadline passes for one that was in time
  kLeftAwaited,     // a rank that has left is waited for until the deadline
  kLeftAccused,     // a rank that has left is accused by calls that it had made
  kRendezvousRank,  // where nobody judges any more a rank is named all the same
  kFirstBelieved,   // of ranks that call different things the first to complain is believed
  kCount
};

constexpr const char* kCanaryNames[] = {"none",
                                        "count_before_bytes",
                                        "count_to_wrong_reader",
                                        "mark_before_put",
                                        "relaxed_publish",
                                        "relaxed_observe",
                                        "no_engine_fence",
                                        "no_store_fence",
                                        "torn_trusted",
                                        "count_rewritten",
                                        "no_flush_before_wait",
                                        "credit_off_by_one",
                                        "credit_early",
                                        "credit_twice",
                                        "credit_never",
                                        "credit_kept",
                                        "source_reused",
                                        "credit_undrained",
                                        "blocks_on_one",
                                        "ring_wrap",
                                        "position_lost",
                                        "stride_of_call",
                                        "done_before_settle",
                                        "elected_unordered",
                                        "stale_grant",
                                        "no_grant_wait",
                                        "parity_by_epoch",
                                        "clearing",
                                        "pull_no_exit",
                                        "cached_unframed",
                                        "write_after_abort",
                                        "shared_word",
                                        "prefix_off_by_one",
                                        "wrong_rail",
                                        "last_channel_empty",
                                        "claim_backwards",
                                        "empty_rank_silent",
                                        "duplicate_once",
                                        "scale_strides",
                                        "scales_by_ordinal",
                                        "drop_off_by_one",
                                        "dropped_row_summed",
                                        "dropped_not_returned",
                                        "overflow_fails_early",
                                        "offset_32",
                                        "sum_by_arrival",
                                        "own_part_rounded",
                                        "bias_twice",
                                        "wrong_culprit",
                                        "death_unnoticed",
                                        "verdict_untold",
                                        "stopped_accuses",
                                        "suspicion_kept",
                                        "late_unseen",
                                        "left_awaited",
                                        "left_accused",
                                        "rendezvous_rank",
                                        "first_believed"};
static_assert(sizeof(kCanaryNames) / sizeof(*kCanaryNames) == std::size_t(Canary::kCount));

struct NoPlants {
  static constexpr bool kLive = false;
};
// What the simulator instantiates.
struct LivePlants {
  static constexpr bool kLive = true;
};
// What the host instantiates.
#ifdef TRANSLOAD_HOST_PLANTS
using HostPlants = LivePlants;
#else
using HostPlants = NoPlants;
#endif

// Which canary this thread's world has planted, or this process: never referred to by what ships.
bool canary_is_planted(Canary canary);
// For kSharedWord: one word for all groups of a rank, of this thread's world or of this process.
uint64_t* shared_by_groups(uint32_t rank);

template <class Plants>
TRANSLOAD_HD bool planted([[maybe_unused]] Canary canary) {
  if constexpr (Plants::kLive)
    return canary_is_planted(canary);
  else
    return false;
}

}  // namespace transload
