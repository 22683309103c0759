// Rung 6: rings of one slot and of few, whatever is batched: marks are all set before a warp really waits.
#include <cstring>

#include "ranks.h"

namespace transload::ladder {
namespace {

// One ring from rank 0 to rank 1 and one back; each side only waits for the other's latest mark.
void ping_rows(uint64_t slots, uint32_t publish_every, uint64_t rows) {
  Ranks ranks(2);
  const auto tasks = [&](int rank) {
    std::vector<Scheduler::Task> list;
    list.push_back([&, rank](HostWarp& w) {
      const Set one = Set::only(0);
      const uint32_t other = uint32_t(1 - rank);
      auto tail_seen = w.per<Word>(one, [](Lane) { return Word(0); }), head_seen = tail_seen;
      Word *const my_tail = ranks.word(rank * 2), *const my_head = ranks.word(rank * 2 + 1);
      Word *const their_tail = ranks.word(2 - rank * 2), *const their_head = ranks.word(2 - rank * 2 + 1);
      auto slot = [&](int at, uint64_t i) { return ranks.room() + (uint64_t(at) * slots + i % slots) * 64; };
      for (uint64_t i = 0; i < rows && !w.failed(); ++i) {
        uint64_t row[8] = {i, i ^ 5, i * 3, i, i, i, i, i + uint64_t(rank)};
        w.wait_all(
            one,
            [&](Lane) {
              return Need{my_head, i < slots ? 0 : i + 1 - slots, other, Waiting::kCredit};
            },
            head_seen);
        w.scatter({reinterpret_cast<const char*>(row), 64, nullptr, 0}, one, [&](Lane) {
          return Destination{slot(1 - rank, i), nullptr, false};
        });
        w.publish(one, [&](Lane) { return Mark<PeerWord>{{their_tail, other}, i + 1}; });
        w.wait_all(
            one,
            [&](Lane) {
              return Need{my_tail, i + 1, other};
            },
            tail_seen);
        row[7] = i + other;
        EXPECT_EQ(std::memcmp(slot(rank, i), row, 64), 0);
        w.credit(one, [&](Lane) { return Mark<PeerWord>{{their_head, other}, i + 1}; });
      }
      EXPECT_FALSE(w.failed());
    });
    return list;
  };
  ranks.run_threads(tasks, [&](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = publish_every; });
  for (int i = 0; i < 4; ++i) EXPECT_EQ(*ranks.word(i), rows);
}

TEST(Rung06Credit, AnyBatchingWithAnySlots) {
  for (uint64_t slots : {1, 2, 3, 16})
    for (uint32_t every : {1, 3, 8, 1000}) ping_rows(slots, every, scaled(2000));
}

TEST(Rung06Credit, MoreMarksThanABatchHolds) {
  Ranks ranks(1);
  run_one(ranks, [&](HostWarp& w) {
    const Members all = Members::first(300);
    for (Word count = 1; count < 4; ++count)
      w.publish(all, [&](Lane l) { return Mark<PeerWord>{{ranks.word(l.i), 0}, count * 10 + Word(l.i)}; });
    w.settle();
    for (int i = 0; i < 300; ++i) EXPECT_EQ(*ranks.word(i), Word(30 + i));
  });
}

TEST(Rung06Credit, TheEndOfATaskSetsEveryMark) {
  Ranks ranks(1);
  run_one(ranks, [&](HostWarp& w) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(7), 0}, 3}; });
  });
  EXPECT_EQ(*ranks.word(7), 3u);
}

}  // namespace
}  // namespace transload::ladder
