// Rung 1: each, where, turns and once visit the right lanes, for Sets and for Members of any size.
#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung01Sets : public ::testing::Test {};
TYPED_TEST_SUITE(Rung01Sets, EveryWarp, NameOfRanks);

template <class W, class S>
void check_visits(W& w, const S& set, int span) {
  std::vector<int> visits(size_t(span), 0), order;
  w.each(set, [&](Lane l) { ++visits[size_t(l.i)]; });
  w.turns(set, [&](int i) { order.push_back(i); });
  int present = 0;
  for (int i = 0; i < span; ++i) {
    EXPECT_EQ(visits[size_t(i)], set.has(i) ? 1 : 0) << i;
    present += set.has(i);
  }
  EXPECT_EQ(int(order.size()), present);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  const S odd = w.where(set, [](Lane l) { return l.i % 2 == 1; });
  for (int i = 0; i < span; ++i) EXPECT_EQ(odd.has(i), set.has(i) && i % 2 == 1);
  EXPECT_TRUE(w.where(set, [](Lane) { return false; }).empty());
}

TYPED_TEST(Rung01Sets, SetsOfEverySize) {
  TypeParam ranks(1);
  run_one(ranks, [](typename TypeParam::Warp& w) {
    for (int n = 0; n <= kSetMax; ++n) check_visits(w, Set::first(n), kSetMax);
    check_visits(w, Set{0x80000001u}, kSetMax);
  });
}

TYPED_TEST(Rung01Sets, MembersBeyondAWarp) {
  TypeParam ranks(1);
  run_one(ranks, [](typename TypeParam::Warp& w) {
    for (int n : {0, 1, 32, 33, 64, 65, 130, 1024}) {
      check_visits(w, Members::first(n), n);
      if (n <= 2) continue;
      Members some = Members::first(n);
      some.remove(n - 1);
      some.remove(1);
      check_visits(w, some, n);
    }
  });
}

TYPED_TEST(Rung01Sets, OnceIsOnce) {
  TypeParam ranks(1);
  int times = 0;
  run_one(ranks, [&](typename TypeParam::Warp& w) { w.once([&] { ++times; }); });
  EXPECT_EQ(times, 1);
}

}  // namespace
}  // namespace transload::ladder
