// Rung 9: claim hands each number out once; the last to arrive publishes for all.
#include "stage.h"
#include "tests/ladder/rungs/claim.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung09Claim : public ::testing::Test {};
TYPED_TEST_SUITE(Rung09Claim, EveryWarp, NameOfRanks);

TYPED_TEST(Rung09Claim, EveryNumberOnce) {
  Stage<TypeParam> stage;
  rungs::claim_rung(stage);
}

TYPED_TEST(Rung09Claim, TheLastToArriveSpeaksForAll) {
  Stage<TypeParam> stage;
  rungs::arrive_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
