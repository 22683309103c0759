// Rung 01: what is put lands where it was sent, and nothing around it changes.
#include "wires.h"

namespace transload::test {
namespace {

class Rung01PutLands : public TransportLadder {};

TEST_P(Rung01PutLands, OneOfEachSize) {
  const size_t sizes[] = {8, 16, 64, 1000, 4096, 14336, 100'000, 3 << 20};
  const size_t half = 4 << 20;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 2 * half, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              Word step = 0;
              for (const size_t bytes : sizes) {
                ++step;
                std::memset(me.region() + kWordBytes, 0xEE, half - kWordBytes);
                meet(me, *link);
                fill(me.region() + half, bytes, step * 2 + me.rank());
                link->put({me.region() + half, 4096, bytes, 1 - me.rank(), nullptr, 0});
                link->publish({0, 1 - me.rank()}, step);
                wait_until(me, *link, [&] { return observe(me.region(), 0) == step; });
                require(holds(me.region() + 4096, bytes, step * 2 + 1 - me.rank()), "wrong bytes");
                require(me.region()[4095] == char(0xEE) && me.region()[4096 + bytes] == char(0xEE),
                        "wrote beyond the put");
                finish(me, *link);
              }
            }));
}

TEST_P(Rung01PutLands, NothingIsAPut) {
  EXPECT_EQ("", run({}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              Word drained = 0;
              link->put({me.region(), 4096, 0, 1 - me.rank(), &drained, 7});
              link->publish({0, 1 - me.rank()}, 3);
              // A count may come before what a proxy does here.
              const auto told = [&] { return std::atomic_ref<Word>(drained).load() == 7; };
              wait_until(me, *link, [&] { return observe(me.region(), 0) == 3 && told(); });
              finish(me, *link);
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung01PutLands, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung01PutLands, ::testing::ValuesIn(scrambled_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(V6, Rung01PutLands,
                         ::testing::Values(Wire{Kind::kOrdered, As::kProcesses, 0, 0, "::1"},
                                           Wire{Kind::kUnordered, As::kThreads, 0, 0, "::1"}),
                         name_of);

}  // namespace
}  // namespace transload::test
