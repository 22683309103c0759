// Rung 2: a Per holds a value for each lane of its set, a Table one for each member; pick reads one; near memory comes
// back.
#include <array>

#include "stage.h"
#include "tests/ladder/rungs/values.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung02Values : public ::testing::Test {};
TYPED_TEST_SUITE(Rung02Values, EveryWarp, NameOfRanks);

TYPED_TEST(Rung02Values, OfEveryLaneAndMember) {
  Stage<TypeParam> stage;
  rungs::values_rung(stage);
}

TEST(Rung02ValuesDeathTest, TooLargeATableIsCaught) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        Ranks ranks(1);
        run_one(ranks, [](HostWarp& w) {
          auto a = w.table<Word>(1024, [](Lane) { return Word(0); });
          auto b = w.table<std::array<Word, 8>>(1024, [](Lane) { return std::array<Word, 8>{}; });
          (void)a, (void)b;
        });
      },
      "broken");
}

}  // namespace
}  // namespace transload::ladder
