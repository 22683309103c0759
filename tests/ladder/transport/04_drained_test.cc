// Rung 04: a drained word says when sources are free: in order, and not before they have been read.
#include "wires.h"

namespace transload::test {
namespace {

class Rung04Drained : public TransportLadder {};

TEST_P(Rung04Drained, TheSourceMayBeRewritten) {
  const uint64_t puts = kSlow ? 400 : 1000, bytes = 1024;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 4096 + puts * bytes, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 0) {
                Word drained = 0;
                for (uint64_t i = 0; i < puts; ++i) {
                  fill(me.region(), bytes, i);
                  link->put({me.region(), 4096 + i * bytes, bytes, 1, &drained, i + 1});
                  wait_until(me, *link,
                             [&] { return std::atomic_ref<Word>(drained).load(std::memory_order_acquire) == i + 1; });
                }
                link->publish({0, 1}, 1);
              } else {
                wait_until(me, *link, [&] { return observe(me.region(), 0) == 1; });
                for (uint64_t i = 0; i < puts; ++i)
                  require(holds(me.region() + 4096 + i * bytes, bytes, i), "an older source");
              }
              finish(me, *link);
            }));
}

// More pieces than the window has room for, where puts are cut: the last of them are handed over long after the first
// have been read.
TEST_P(Rung04Drained, TheSourceOfALongPutToo) {
  const uint64_t puts = 20, bytes = 64 << 10;
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = bytes + puts * bytes, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              char* const source = me.region() + 8;
              if (me.rank() == 0) {
                Word drained = 0;
                for (uint64_t i = 0; i < puts; ++i) {
                  fill(source, bytes - 8, i);
                  link->put({source, bytes + i * bytes, bytes - 8, 1, &drained, i + 1});
                  wait_until(me, *link,
                             [&] { return std::atomic_ref<Word>(drained).load(std::memory_order_acquire) == i + 1; });
                }
                link->publish({0, 1}, 1);
              } else {
                wait_until(me, *link, [&] { return observe(me.region(), 0) == 1; });
                for (uint64_t i = 0; i < puts; ++i)
                  require(holds(me.region() + bytes + i * bytes, bytes - 8, i), "a newer source");
              }
              finish(me, *link);
            }));
}

TEST_P(Rung04Drained, WordsGrowInOrder) {
  const size_t sizes[] = {64, 1 << 20, 8, 30'000, 0, 512};
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = 2 << 20, .victim = -1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              constexpr Word kPuts = kSlow ? 60 : 150;
              Word drained[3] = {0, 0, 0}, seen[3] = {0, 0, 0};
              const auto check = [&] {
                for (int i = 0; i < 3; ++i) {
                  const Word now = std::atomic_ref<Word>(drained[i]).load(std::memory_order_acquire);
                  require(now >= seen[i] && now <= kPuts, "a drained word fell");
                  seen[i] = now;
                }
              };
              for (Word i = 0; i < kPuts; ++i) {
                link->put({me.region(), 1 << 20, sizes[i % 6], 1 - me.rank(), &drained[i % 3], i + 1});
                if (i % 5 == 0) link->progress();
                check();
              }
              wait_until(me, *link, [&] {
                check();
                return link->quiet();
              });
              check();
              for (int i = 0; i < 3; ++i) require(seen[i] == kPuts - 2 + Word(i), "quiet, but a source is not free");
              finish(me, *link);
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung04Drained, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung04Drained, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
