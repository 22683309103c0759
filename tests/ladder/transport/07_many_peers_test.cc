// Rung 07: five ranks, all to all at once, rows of many sizes.
#include "wires.h"

namespace transload::test {
namespace {

constexpr uint32_t kRanks = 5;
constexpr uint64_t kRows = 150;
constexpr size_t kRowMost = 8192;
constexpr uint64_t kLane = kRows * kRowMost;  // where the rows of one source land

size_t bytes_of(uint64_t row) { return 8 * (1 + pattern(row, 9) % (kRowMost / 8)); }
uint64_t row_id(uint32_t from, uint32_t to, uint64_t i) { return (uint64_t(from) * kRanks + to) * kRows + i; }

class Rung07ManyPeers : public TransportLadder {};

TEST_P(Rung07ManyPeers, AllToAll) {
  const size_t region = 4096 + 2 * kRanks * kLane;
  EXPECT_EQ("", run({.ranks = kRanks, .as = {}, .region_bytes = region, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              for (uint64_t i = 0; i < kRows; ++i)
                for (uint32_t to = 0; to < kRanks; ++to) {
                  if (to == me.rank()) continue;
                  char* const from = me.region() + 4096 + (kRanks + to) * kLane + i * kRowMost;
                  const uint64_t row = row_id(me.rank(), to, i);
                  fill(from, bytes_of(row), row);
                  link->put({from, 4096 + me.rank() * kLane + i * kRowMost, bytes_of(row), to, nullptr, 0});
                  if (i % 4 == 3 || i + 1 == kRows) link->publish({me.rank() * kWordBytes, to}, i + 1);
                  link->progress();
                }
              Word checked[kRanks] = {};
              wait_until(me, *link, [&] {
                uint32_t done = 0;
                for (uint32_t from = 0; from < kRanks; ++from) {
                  for (const Word tail = observe(me.region(), from * kWordBytes); checked[from] < tail;
                       ++checked[from]) {
                    const uint64_t row = row_id(from, me.rank(), checked[from]);
                    const char* const at = me.region() + 4096 + from * kLane + checked[from] * kRowMost;
                    require(holds(at, bytes_of(row), row), "wrong bytes");
                  }
                  done += from == me.rank() || checked[from] == kRows;
                }
                return done == kRanks;
              });
              finish(me, *link);
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung07ManyPeers, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung07ManyPeers, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
