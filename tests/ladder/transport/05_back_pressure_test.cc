// Rung 05: far more is put than any queue holds. Nothing blocks or is lost, and a stuck rank holds up nobody else.
#include "base/situations.h"
#include "wires.h"

namespace transload::test {
namespace {

class Rung05BackPressure : public TransportLadder {};

TEST_P(Rung05BackPressure, MoreThanTheQueueHolds) {
  const uint64_t rows = kSlow ? 2000 : 6000, bytes = 1024, from = 4096 + rows * bytes;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = from + rows * bytes, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const uint32_t other = 1 - me.rank();
              for (uint64_t i = 0; i < rows; ++i) {
                fill(me.region() + from + i * bytes, bytes, i * 2 + me.rank());
                link->put({me.region() + from + i * bytes, 4096 + i * bytes, bytes, other, nullptr, 0});
                if (i % 7 == 0) link->publish({0, other}, i + 1);
              }
              link->publish({0, other}, rows);
              Word checked = 0;
              wait_until(me, *link, [&] {
                for (const Word tail = observe(me.region(), 0); checked < tail; ++checked)
                  require(holds(me.region() + 4096 + checked * bytes, bytes, checked * 2 + other), "wrong bytes");
                return checked == rows;
              });
              finish(me, *link);
            }));
}

// Counts are sent from memory that the network knows since the link was made, however many wait.
TEST_P(Rung05BackPressure, NothingIsRegisteredInACall) {
  if (!by_libfabric(GetParam().kind)) GTEST_SKIP() << "nothing is registered with libfabric";
  if (GetParam().proxied) GTEST_SKIP() << "a proxy registers nothing by itself";
  const uint64_t counts = 3000;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 128 * counts, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const auto& fabric = static_cast<const LibfabricLink&>(*link);
              const size_t before = fabric.registrations();
              require(before == 2, "the region, and the words of counts");
              for (uint64_t i = 0; i < counts; ++i) link->publish({128 * i, 1 - me.rank()}, i + 1);
              wait_until(me, *link, [&] {
                for (uint64_t i = counts; i-- > 0;)
                  if (observe(me.region(), 128 * i) != i + 1) return false;
                return true;
              });
              finish(me, *link);
              require(fabric.registrations() == before, "registered in a call");
            }));
}

TEST_P(Rung05BackPressure, AStuckRankHoldsUpNobodyElse) {
  const uint64_t bytes = 1 << 16, rows = kSlow && GetParam().piece_bytes != 0 ? 64 : 256;
  EXPECT_EQ("", run({.ranks = 3, .as = {}, .region_bytes = 4096 + rows * bytes, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 0) {
                fill(me.region() + 4096, bytes, 5);
                for (uint64_t i = 0; i < rows; ++i) {
                  link->put({me.region() + 4096, 4096 + i * bytes, bytes, 2, nullptr, 0});
                  link->put({me.region() + 4096, 4096 + i * bytes, bytes, 1, nullptr, 0});
                  link->publish({0, 2}, i + 1);
                  link->publish({0, 1}, i + 1);
                }
                wait_until(me, *link, [&] { return me.note().load() >= 1; });
              } else {
                // Rank 2 moves nothing on until rank 1 has everything.
                if (me.rank() == 2)
                  for (; me.note().load() == 0; usleep(200)) me.check();
                wait_until(me, *link, [&] { return observe(me.region(), 0) == rows; });
                for (uint64_t i = 0; i < rows; ++i)
                  require(holds(me.region() + 4096 + i * bytes, bytes, 5), "wrong bytes");
                me.note().fetch_add(1);
              }
              finish(me, *link);
            }));
#ifdef TRANSLOAD_SITUATIONS
  if (GetParam().kind != Kind::kLoopback && GetParam().as == As::kThreads) {
    EXPECT_GT(times_reached(Situation::kQueueFull), 0u);
  }
#endif
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung05BackPressure, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung05BackPressure, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
