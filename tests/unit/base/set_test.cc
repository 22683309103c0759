// Sets of one token's routes, and sets of many members, below and above the words that hold them.
#include "base/set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace transload {
namespace {

TEST(Set, Arithmetic) {
  EXPECT_TRUE(Set::first(0).empty());
  EXPECT_EQ(Set::first(32).count(), 32);
  EXPECT_EQ(Set::first(32).bits, ~uint32_t(0));
  EXPECT_EQ(Set::first(5).bits, 31u);
  EXPECT_TRUE(Set::only(31).has(31));
  EXPECT_EQ(Set::only(31).count(), 1);
  const Set a{0b1100}, b{0b1010};
  EXPECT_EQ(a & b, Set{0b1000});
  EXPECT_EQ(a | b, Set{0b1110});
  EXPECT_EQ(a - b, Set{0b0100});
  EXPECT_FALSE((a - b).has(3));
}

class MembersOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sizes, MembersOf, ::testing::Values(1, 31, 32, 33, 63, 64, 65, 128, 130, 4095, 4096));

TEST_P(MembersOf, FirstHasAllAndNoMore) {
  const int n = GetParam();
  const Members m = Members::first(n);
  EXPECT_EQ(m.count(), n);
  EXPECT_FALSE(m.empty());
  for (int i = 0; i < n; ++i) ASSERT_TRUE(m.has(i)) << i;
  for (int i = n; i < kMembersMax; ++i) ASSERT_FALSE(m.has(i)) << i;
}

TEST_P(MembersOf, AgreesWithAPlainSet) {
  const int n = GetParam();
  std::mt19937 random(uint32_t(n) + 1);
  Members m;
  std::set<int> plain;
  for (int step = 0; step < 500; ++step) {
    const int i = int(random() % uint32_t(n));
    if (random() % 3 != 0)
      m.add(i), plain.insert(i);
    else if (m.has(i))
      m.remove(i), plain.erase(i);
    ASSERT_EQ(m.has(i), plain.count(i) == 1);
    ASSERT_EQ(m.count(), int(plain.size()));
    ASSERT_EQ(m.empty(), plain.empty());
  }
  for (int i = 0; i < n; ++i) ASSERT_EQ(m.has(i), plain.count(i) == 1) << i;
}

TEST_P(MembersOf, OnlyOne) {
  const int last = GetParam() - 1;
  const Members one = Members::only(last);
  EXPECT_EQ(one.count(), 1);
  EXPECT_TRUE(one.has(last));
  EXPECT_EQ(one.span, last + 1);
  Members rest = Members::first(GetParam());
  rest.remove(last);
  EXPECT_EQ(rest.count(), last);
  EXPECT_FALSE(rest.has(last));
}

TEST(Members, EmptyOnes) {
  EXPECT_TRUE(Members{}.empty());
  EXPECT_TRUE(Members::first(0).empty());
  Members m;
  m.add(130);
  m.remove(130);
  EXPECT_TRUE(m.empty());
  EXPECT_EQ(m.count(), 0);
}

}  // namespace
}  // namespace transload
