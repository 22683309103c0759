// Rung 06: a rank that sleeps on the link's descriptor is woken by what arrives, unless the link says that it arrives
// silently. Each sleep is bounded far beyond what a wake takes, and its running out is the failure.
#include "wires.h"

namespace transload::test {
namespace {

class Rung06Sleep : public TransportLadder {};

TEST_P(Rung06Sleep, ArrivalsWake) {
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 1 << 16, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const uint32_t other = 1 - me.rank();
              // Connections are made first: both sides have to move for these.
              link->publish({0, other}, 1);
              wait_until(me, *link, [&] { return observe(me.region(), 0) == 1 && link->quiet(); });
              finish(me, *link);
              for (Word turn = 2; turn < (kSlow ? 502 : 1502); ++turn) {
                me.moved();
                if (turn % 2 == me.rank()) {
                  if (turn % 500 < 2) usleep(20'000);  // the other is asleep for certain
                  if (turn % 3 == 0) link->put({me.region() + 4096, 8192, 4096, other, nullptr, 0});
                  link->publish({0, other}, turn);
                  continue;
                }
                const auto arrived = [&] { return observe(me.region(), 0) >= turn; };
                for (link->progress(); !arrived(); link->progress())
                  require(nap(*link, arrived, kPatienceMs), "nothing woke the sleeper");
              }
              finish(me, *link);
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung06Sleep, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung06Sleep, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
