// Rung 6: rings of one slot and of few, whatever is batched: marks are all set before a warp really waits.
#include "stage.h"
#include "tests/ladder/rungs/credit.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung06Credit : public ::testing::Test {};
TYPED_TEST_SUITE(Rung06Credit, EveryWarp, NameOfRanks);

TYPED_TEST(Rung06Credit, AnyBatchingWithAnySlots) {
  Stage<TypeParam> stage;
  rungs::credit_rung(stage);
}

TYPED_TEST(Rung06Credit, OfRowsThatGoOn) {
  Stage<TypeParam> stage;
  rungs::forward_rung(stage);
}

TYPED_TEST(Rung06Credit, MoreMarksThanABatchHolds) {
  Stage<TypeParam> stage;
  rungs::marks_rung(stage);
}

TYPED_TEST(Rung06Credit, TheEndOfATaskSetsEveryMark) {
  TypeParam ranks(1);
  run_one(ranks, [&](typename TypeParam::Warp& w) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(7), 0}, 3}; });
  });
  EXPECT_EQ(*ranks.word(7), 3u);
}

}  // namespace
}  // namespace transload::ladder
