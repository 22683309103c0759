// Rung 5, the litmus: who observes a count reads every byte that it counts, between threads, between
// processes and in worlds.
#include <cstring>

#include "model_ranks.h"

namespace transload::ladder {
namespace {

// Rings from each rank to the other, a few of them, each with a tail at the consumer and a head at the producer.
struct Ring {
  int from, number;
  size_t row_bytes;
  uint64_t slots, rows;

  int index() const { return from * 8 + number; }
  template <class R>
  Word* tail(R& ranks) const {
    return ranks.word(index() * 2);
  }
  template <class R>
  Word* head(R& ranks) const {
    return ranks.word(index() * 2 + 1);
  }
  template <class R>
  char* slot(R& ranks, uint64_t i) const {
    return ranks.room(1 - from) + (uint64_t(number) * slots + i % slots) * row_bytes;
  }
  // Every eight bytes of every row are others.
  uint64_t value(uint64_t row, size_t k) const {
    return (row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(index()) << 56;
  }
};

// `tell(w, count)` says that so many rows are there.
template <class R, class Tell>
typename R::Task producer_that(R& ranks, const Ring& ring, Tell tell) {
  return [&ranks, ring, tell](typename R::Warp& w) {
    w.enter(Role::kSender, ring.number);
    const Set one = Set::only(0);
    auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
    const size_t words = ring.row_bytes / 8;
    std::vector<uint64_t> rows(words * ring.slots);  // as deep as the ring: a credit says that a row has been read
    for (uint64_t i = 0; i < ring.rows && !w.failed(); ++i) {
      w.wait_all(
          one,
          [&](Lane) {
            return Need{ring.head(ranks), i < ring.slots ? 0 : i + 1 - ring.slots, uint32_t(1 - ring.from),
                        Waiting::kCredit};
          },
          seen);
      uint64_t* const row = rows.data() + i % ring.slots * words;
      for (size_t k = 0; k < words; ++k) row[k] = ring.value(i, k);
      w.scatter({reinterpret_cast<const char*>(row), ring.row_bytes, nullptr, 0}, one, [&](Lane) {
        return Destination{ring.slot(ranks, i), nullptr, false};
      });
      tell(w, i + 1);
    }
    w.drain();
  };
}

template <class R>
typename R::Task producer(R& ranks, const Ring& ring) {
  return producer_that(ranks, ring, [&ranks, ring](typename R::Warp& w, Word count) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ring.tail(ranks), uint32_t(1 - ring.from)}, count}; });
  });
}

template <class R>
typename R::Task consumer(R& ranks, const Ring& ring) {
  return [&ranks, ring](typename R::Warp& w) {
    w.enter(Role::kReceiver, ring.number);
    const Set one = Set::only(0);
    auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < ring.rows && !w.failed(); ++i) {
      w.wait_all(
          one,
          [&](Lane) {
            return Need{ring.tail(ranks), i + 1, uint32_t(ring.from)};
          },
          seen);
      const uint64_t* const slot = reinterpret_cast<const uint64_t*>(ring.slot(ranks, i));
      for (size_t k = 0; k < ring.row_bytes / 8; ++k) wrong += w.peek(slot + k) != ring.value(i, k);
      w.credit(one, [&](Lane) { return Mark<PeerWord>{{ring.head(ranks), uint32_t(ring.from)}, i + 1}; });
    }
    EXPECT_FALSE(w.failed());
    EXPECT_EQ(wrong, 0u) << "rows of " << ring.row_bytes;
  };
}

template <class R>
void litmus(size_t row_bytes, uint64_t rows) {
  constexpr int kRings = 3;
  constexpr uint64_t kSlots = 16;
  R ranks(2, kRings * kSlots * row_bytes);
  ranks.run([&](int rank) {
    std::vector<typename R::Task> list;
    for (int n = 0; n < kRings; ++n) {
      list.push_back(producer(ranks, {rank, n, row_bytes, kSlots, rows}));
      list.push_back(consumer(ranks, {1 - rank, n, row_bytes, kSlots, rows}));
    }
    return list;
  });
}

template <class R>
class Rung05Publish : public ::testing::Test {};
TYPED_TEST_SUITE(Rung05Publish, EveryWay, NameOfRanks);

TYPED_TEST(Rung05Publish, ShortRows) {
  for (size_t bytes : {64, 128, 256, 448, 512}) litmus<TypeParam>(bytes, TypeParam::scaled(60000));
}

// Rows of each length: without its fence a row is overtaken now and then only, more seldom on a busy machine.
constexpr uint64_t kOnTheHeels = 1600000;

// Each count right behind its row, into the hands of a reader that does nothing but look for it: where a streamed row
// would be overtaken if anything let it be.
TYPED_TEST(Rung05Publish, OnTheHeels) {
  for (size_t bytes : {64, 256, 512}) {
    const Ring ring{0, 0, bytes, 32768, TypeParam::scaled(kOnTheHeels)};
    TypeParam ranks(2, ring.slots * bytes);
    ranks.run(
        [&](int rank) {
          return std::vector<typename TypeParam::Task>{rank == 0 ? producer(ranks, ring) : consumer(ranks, ring)};
        },
        [](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = 1; });
  }
}

// What has settled has landed, however it is told: here by a store that no warp knows of, as a caller would tell
// another thread that its call has returned.
template <class R>
class Rung05Settle : public ::testing::Test {};
using Hosts = ::testing::Types<Ranks, ProcessRanks>;
TYPED_TEST_SUITE(Rung05Settle, Hosts, NameOfRanks);

TYPED_TEST(Rung05Settle, LandsBeforeWhateverFollows) {
  for (size_t bytes : {64, 256, 512}) {
    const Ring ring{0, 0, bytes, 32768, TypeParam::scaled(kOnTheHeels)};
    TypeParam ranks(2, ring.slots * bytes);
    auto tell = [&](HostWarp& w, Word count) {
      w.settle();
      std::atomic_ref<Word>(*ring.tail(ranks)).store(count, std::memory_order_release);
      ranks.ring(1);
    };
    ranks.run([&](int rank) {
      return std::vector<typename TypeParam::Task>{rank == 0 ? producer_that(ranks, ring, tell)
                                                             : consumer(ranks, ring)};
    });
  }
}

TYPED_TEST(Rung05Publish, LongRows) { litmus<TypeParam>(14336, TypeParam::scaled(20000)); }

}  // namespace
}  // namespace transload::ladder
