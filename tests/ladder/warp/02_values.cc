// Rung 2: a Per holds a value for each lane of its set, a Table one for each member; pick reads one; near memory comes
// back.
#include <array>

#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung02Values : public ::testing::Test {};
TYPED_TEST_SUITE(Rung02Values, EveryWarp, NameOfRanks);

TYPED_TEST(Rung02Values, PerIsItsSetsAndZeroElsewhere) {
  TypeParam ranks(1);
  run_one(ranks, [](typename TypeParam::Warp& w) {
    const Set set{0xA0000005u};
    auto p = w.template per<int>(set, [](Lane l) { return l.i + 100; });
    for (int i = 0; i < kSetMax; ++i) EXPECT_EQ(w.pick(p, i), set.has(i) ? i + 100 : 0);
    auto copy = p;
    w.each(set, [&](Lane l) { copy[l] = 1; });
    EXPECT_EQ(w.pick(p, 31), 131);
  });
}

TYPED_TEST(Rung02Values, TablesOfManyMembers) {
  TypeParam ranks(1);
  run_one(ranks, [](typename TypeParam::Warp& w) {
    for (int n : {1, 33, 65, 130, 1024}) {
      auto a = w.template table<Word>(n, [](Lane l) { return Word(l.i); });
      auto b = w.template table<uint8_t>(n, [](Lane l) { return uint8_t(l.i * 3); });
      w.each(Members::first(n), [&](Lane l) { a[l] += 7; });
      for (int i = 0; i < n; ++i) {
        EXPECT_EQ(w.pick(a, i), Word(i) + 7);
        EXPECT_EQ(b[i], uint8_t(i * 3));
      }
    }
  });
}

TYPED_TEST(Rung02Values, NearMemoryComesBack) {
  TypeParam ranks(1);
  run_one(ranks, [](typename TypeParam::Warp& w) {
    for (int turn = 0; turn < 10000; ++turn) {
      auto a = w.template table<Word>(1024, [&](Lane) { return Word(turn); });
      auto b = w.template table<Word>(1024, [&](Lane) { return Word(turn) + 1; });
      ASSERT_EQ(a[1023] + 1, b[0]);
    }
  });
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
