// Rung 6: rings of one slot and of few, whatever is batched: marks are all set before a warp really waits.
#include <array>

#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung06Credit : public ::testing::Test {};
TYPED_TEST_SUITE(Rung06Credit, EveryWarp, NameOfRanks);

// One ring from rank 0 to rank 1 and one back; each side only waits for the other's latest mark.
template <class TypeParam>
void ping_rows(uint64_t slots, uint32_t publish_every, uint64_t rows) {
  TypeParam ranks(2);
  const auto tasks = [&](int rank) {
    std::vector<typename TypeParam::Task> list;
    list.push_back([&, rank](typename TypeParam::Warp& w) {
      const Set one = Set::only(0);
      const uint32_t other = uint32_t(1 - rank);
      auto tail_seen = w.template per<Word>(one, [](Lane) { return Word(0); }), head_seen = tail_seen;
      Word *const my_tail = ranks.word(rank * 2), *const my_head = ranks.word(rank * 2 + 1);
      Word *const their_tail = ranks.word(2 - rank * 2), *const their_head = ranks.word(2 - rank * 2 + 1);
      auto slot = [&](int at, uint64_t i) { return ranks.room(at) + i % slots * 64; };
      // As deep as the ring: a credit says that a row has been read.
      std::vector<std::array<uint64_t, 8>> rows_of_mine(slots);
      for (uint64_t i = 0; i < rows && !w.failed(); ++i) {
        w.wait_all(
            one,
            [&](Lane) {
              return Need{my_head, i < slots ? 0 : i + 1 - slots, other, Waiting::kCredit};
            },
            head_seen);
        auto& row = rows_of_mine[i % slots];
        row = {i, i ^ 5, i * 3, i, i, i, i, i + uint64_t(rank)};
        w.scatter({reinterpret_cast<const char*>(row.data()), 64, nullptr, 0}, one, [&](Lane) {
          return Destination{slot(1 - rank, i), nullptr, false};
        });
        w.publish(one, [&](Lane) { return Mark<PeerWord>{{their_tail, other}, i + 1}; });
        w.wait_all(
            one,
            [&](Lane) {
              return Need{my_tail, i + 1, other};
            },
            tail_seen);
        const std::array<uint64_t, 8> theirs{i, i ^ 5, i * 3, i, i, i, i, i + other};
        for (size_t k = 0; k < 8; ++k)
          EXPECT_EQ(w.peek(reinterpret_cast<const uint64_t*>(slot(rank, i)) + k), theirs[k]);
        w.credit(one, [&](Lane) { return Mark<PeerWord>{{their_head, other}, i + 1}; });
      }
      w.drain();
      EXPECT_FALSE(w.failed());
    });
    return list;
  };
  ranks.run(tasks, [&](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = publish_every; });
  for (int i = 0; i < 4; ++i) EXPECT_EQ(*ranks.word(i), rows);
}

TYPED_TEST(Rung06Credit, AnyBatchingWithAnySlots) {
  for (uint64_t slots : {1, 2, 3, 16})
    for (uint32_t every : {1, 3, 8, 1000}) ping_rows<TypeParam>(slots, every, TypeParam::scaled(2000));
}

TYPED_TEST(Rung06Credit, MoreMarksThanABatchHolds) {
  TypeParam ranks(1);
  run_one(ranks, [&](typename TypeParam::Warp& w) {
    const Members all = Members::first(300);
    for (Word count = 1; count < 4; ++count)
      w.publish(all, [&](Lane l) { return Mark<PeerWord>{{ranks.word(l.i), 0}, count * 10 + Word(l.i)}; });
    w.settle();
    for (int i = 0; i < 300; ++i) EXPECT_EQ(*ranks.word(i), Word(30 + i));
  });
}

TYPED_TEST(Rung06Credit, TheEndOfATaskSetsEveryMark) {
  TypeParam ranks(1);
  run_one(ranks, [&](typename TypeParam::Warp& w) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(7), 0}, 3}; });
  });
  EXPECT_EQ(*ranks.word(7), 3u);
}

}  // namespace
}  // namespace transload::ladder
