// Rung 7: a warp that waits for any of several streams serves those that move, however long one of them stands.
#include "stage.h"
#include "tests/ladder/rungs/any.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung07Any : public ::testing::Test {};
TYPED_TEST_SUITE(Rung07Any, EveryWarp, NameOfRanks);

TYPED_TEST(Rung07Any, AStandingStreamStarvesNobody) {
  Stage<TypeParam> stage;
  rungs::any_rung(stage);
}

TYPED_TEST(Rung07Any, PollNeverWaitsAndSeenNeverFalls) {
  Stage<TypeParam> stage;
  rungs::poll_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
