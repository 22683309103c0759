// Rung 4: reduce sums in the contract's order: bias, lower nodes, mine by itself, higher nodes; lanes ascending.
#include "stage.h"
#include "tests/ladder/rungs/reduce.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung04Reduce : public ::testing::Test {};
TYPED_TEST_SUITE(Rung04Reduce, EveryWarp, NameOfRanks);

// Contract 3.1.
TYPED_TEST(Rung04Reduce, TheContractsOrder) {
  Stage<TypeParam> stage;
  rungs::reduce_rung(stage);
}

}  // namespace
}  // namespace transload::ladder
