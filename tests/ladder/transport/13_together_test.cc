// Rung 13: what is handed over together goes in few writes where one stream keeps their order, and one by one where
// none does.
#include "wires.h"

namespace transload::test {
namespace {

class Rung13Together : public TransportLadder {};

TEST_P(Rung13Together, PutsAndTheirCounts) {
  const uint64_t bytes = 20'000, first = 4096, second = first + bytes;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 1 << 16, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const auto& fabric = static_cast<const LibfabricLink&>(*link);
              const uint32_t other = 1 - me.rank();
              // Connections are made first: until then the network takes nothing.
              link->publish({0, other}, 1);
              wait_until(me, *link, [&] { return observe(me.region(), 0) == 1 && link->quiet(); });
              finish(me, *link);
              if (me.rank() == 0) {
                fill(me.region() + first, bytes, 5);
                fill(me.region() + second, bytes, 6);
                Word drained = 0;
                const uint64_t before = fabric.writes();
                link->put({me.region() + first, first, bytes, other, &drained, 1});
                link->publish({128, other}, 7);
                link->put({me.region() + second, second, bytes, other, &drained, 2});
                link->credit({256, other}, 8);
                require(fabric.writes() == before, "sent before it was handed over");
                link->hand_over();
                wait_until(me, *link, [&] { return link->quiet() && drained == 2; });
                wait_until(me, *link, [&] { return me.note().load() == 1; });
                require(fabric.writes() - before == (fabric.ordered() ? 1 : 4), "in another number of writes");
              } else {
                wait_until(me, *link, [&] { return observe(me.region(), 128) == 7; });
                require(holds(me.region() + first, bytes, 5), "wrong bytes before the first count");
                wait_until(me, *link, [&] { return observe(me.region(), 256) == 8; });
                require(holds(me.region() + second, bytes, 6), "wrong bytes before the second count");
                me.note().fetch_add(1);
              }
              finish(me, *link);
            }));
}

const std::vector<Wire> kWhole = {
    {Kind::kOrdered, As::kProcesses}, {Kind::kUnordered, As::kProcesses}, {Kind::kOrdered, As::kThreads}};
INSTANTIATE_TEST_SUITE_P(Wires, Rung13Together, ::testing::ValuesIn(kWhole), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung13Together, ::testing::ValuesIn({kScrambledWires[0]}), name_of);

}  // namespace
}  // namespace transload::test
