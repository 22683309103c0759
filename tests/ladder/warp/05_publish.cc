// Rung 5, the litmus: who observes a count reads every byte that it counts, between threads, between
// processes and in worlds.
#include "stage.h"
#include "tests/ladder/rungs/publish.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung05Publish : public ::testing::Test {};
TYPED_TEST_SUITE(Rung05Publish, EveryWay, NameOfRanks);

TYPED_TEST(Rung05Publish, RowsOfEveryLength) {
  Stage<TypeParam> stage;
  rungs::publish_rung(stage);
}

// Rows of each length: without its fence a row is overtaken now and then only, more seldom on a busy machine.
constexpr uint64_t kOnTheHeels = 1600000;

// A reader that does nothing but look for each count, of a ring so long that its writer never waits: where a streamed
// row would be overtaken if anything let it be.
template <class R>
void on_the_heels(bool settles) {
  for (uint32_t row_bytes : {64, 256, 512}) {
    Stage<R> stage;
    rungs::play_rings(stage, {row_bytes, R::scaled(kOnTheHeels), 32768, 0, settles}, 1);
  }
}

TYPED_TEST(Rung05Publish, OnTheHeels) { on_the_heels<TypeParam>(false); }

// What has settled has landed, however it is told: here by a store that no warp knows of.
template <class R>
class Rung05Settle : public ::testing::Test {};
TYPED_TEST_SUITE(Rung05Settle, OfAHost, NameOfRanks);

TYPED_TEST(Rung05Settle, LandsBeforeWhateverFollows) { on_the_heels<TypeParam>(true); }

TYPED_TEST(Rung05Settle, InRingsOfFewSlots) {
  Stage<TypeParam> stage;
  rungs::settle_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
