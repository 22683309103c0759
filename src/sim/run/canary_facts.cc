// The list of canaries (canaries.h). Which of them the tests find without the simulator was measured with
//   tools/canaries_without_simulator --presets host,tsan
#include "sim/run/canaries.h"

namespace transload {

namespace {
using enum FoundByTests;

const std::vector<CanaryFacts> kFacts{
    {Canary::kNoEngineFence,
     "moves read what was observed without the fence that makes it visible to them",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kNoStoreFence,
     "streamed stores are not ordered before the count",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kTornTrusted, "a word that falls, because it landed in part, is believed", {"counters_wrap"}, kYes},
    {Canary::kNoFlushBeforeWait,
     "marks are kept while the warp waits",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kCreditOffByOne,
     "a slot is filled one credit too soon",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kCreditTwice,
     "one slot more is credited than was taken",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kSourceReused,
     "a staged slot is filled again before the network has read it",
     {"hybrid_2x4", "slots_1"},
     kYes},
    {Canary::kCreditUndrained,
     "a credit is given before the moves have read the slot",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kRingWrap, "the slot at the wrap is computed wrongly", {"tiny_2x2", "counters_wrap", "hybrid_2x4"}, kYes},
    {Canary::kPositionLost,
     "a ring starts the next call where it started the last one",
     {"beyond_4_gib", "slab_runs_out", "counters_wrap"},
     kYes},
    {Canary::kDoneBeforeSettle,
     "\"done\" is said before what was stored has landed",
     {"one_rank", "1_plus_2", "many_calls"},
     kYes},
    {Canary::kStaleGrant,
     "a grant of the call before is taken for this one's",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kNoGrantWait,
     "rows are stored before the grant has come",
     {"tiny_2x2", "counters_wrap", "hybrid_2x4"},
     kYes},
    {Canary::kPullNoExit, "a pulled combine returns before its readers are done", {"tiny_2x2", "two_groups"}, kYes},
    {Canary::kWriteAfterAbort, "a role still stores after the fault", {"dead_rank", "dead_link"}, kYes},
    {Canary::kLastChannelEmpty, "the last channel is left out", {"one_rank", "1_plus_2"}, kYes},
    {Canary::kEmptyRankSilent, "a rank without tokens does not forward", {"zero_tokens"}, kYes},
    {Canary::kScaleStrides,
     "scales are read as if their rows followed each other",
     {"token_sizes", "hybrid_2x4"},
     kYes},
    {Canary::kDropOffByOne, "the row at rows_max is stored", {"rows_max_drop", "rows_max_one_node"}, kYes},
    {Canary::kDroppedRowSummed, "a row that was dropped is summed", {"rows_max_drop", "rows_max_one_node"}, kYes},
    {Canary::kOverflowFailsEarly,
     "a call that fails for want of room ends before its trip is complete",
     {"rows_max_fail"},
     kYes},
    {Canary::kCountAheadOfPuts,
     "a count is given to the network before the puts that it counts",
     {"proxy_2x4", "queues_2x4", "hybrid_2x4"}},
    {Canary::kCreditNotRead, "a slot of a rail is filled without its credit", {"queues_2x4", "proxy_2x4"}},
    {Canary::kProxySleeps,
     "the proxy asks whether calls are over after it has looked, and sleeps on what came between",
     {"proxy_2x4"}},
};
}  // namespace

const std::vector<CanaryFacts>& canary_facts() { return kFacts; }

}  // namespace transload
