// Rung 03: a count is taken by value when publish is called, never falls at its reader, and the last one stays.
#include "wires.h"

namespace transload::test {
namespace {

constexpr Word kCounts = kSlow ? 4'000 : 16'000;

class Rung03CountsByValue : public TransportLadder {};

TEST_P(Rung03CountsByValue, RaisedAgainAndAgain) {
  EXPECT_EQ("", run({}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const uint32_t other = 1 - me.rank();
              Word count = 0, seen[2] = {0, 0};
              const auto check = [&] {
                for (int i = 0; i < 2; ++i) {
                  const Word now = observe(me.region(), i * kWordBytes);
                  require(now >= seen[i], "a count fell");
                  require(now <= kCounts, "a count that was never published");
                  seen[i] = now;
                }
              };
              while (count < kCounts) {
                ++count;
                link->publish({0, other}, count);
                if (count % 3 == 0 || count == kCounts) link->publish({kWordBytes, other}, count);
                const Word kept = count;
                count = ~Word(0);  // whoever reads it later than now reads nonsense
                if (kept % 64 == 0) link->progress();
                check();
                count = kept;
              }
              wait_until(me, *link, [&] {
                check();
                return seen[0] == kCounts && seen[1] == kCounts;
              });
              finish(me, *link);
              check();
              require(seen[0] == kCounts && seen[1] == kCounts, "the last count did not stay");
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung03CountsByValue, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung03CountsByValue, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
