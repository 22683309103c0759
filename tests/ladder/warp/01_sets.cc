// Rung 1: each, where, turns and once visit the right lanes, for Sets and for Members of any size.
#include "stage.h"
#include "tests/ladder/rungs/values.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung01Sets : public ::testing::Test {};
TYPED_TEST_SUITE(Rung01Sets, EveryWarp, NameOfRanks);

TYPED_TEST(Rung01Sets, EveryLaneOnce) {
  Stage<TypeParam> stage;
  rungs::sets_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
