// Rung 5, the litmus: who observes a count reads every byte that it counts, between threads and between processes.
#include <cstring>

#include "ranks.h"

namespace transload::ladder {
namespace {

// Rings from each rank to the other, a few of them, each with a tail at the consumer and a head at the producer.
struct Ring {
  int from, number;
  size_t row_bytes;
  uint64_t slots, rows;

  int index() const { return from * 8 + number; }
  Word* tail(Ranks& ranks) const { return ranks.word(index() * 2); }
  Word* head(Ranks& ranks) const { return ranks.word(index() * 2 + 1); }
  char* slot(Ranks& ranks, uint64_t i) const {
    return ranks.room() + (uint64_t(index()) * slots + i % slots) * row_bytes;
  }
  // Every eight bytes of every row are others.
  uint64_t value(uint64_t row, size_t k) const {
    return (row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(index()) << 56;
  }
};

Scheduler::Task producer(Ranks& ranks, const Ring& ring) {
  return [&ranks, ring](HostWarp& w) {
    w.enter(Role::kSender, ring.number);
    const Set one = Set::only(0);
    auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
    std::vector<uint64_t> row(ring.row_bytes / 8);
    for (uint64_t i = 0; i < ring.rows && !w.failed(); ++i) {
      for (size_t k = 0; k < row.size(); ++k) row[k] = ring.value(i, k);
      w.wait_all(
          one,
          [&](Lane) {
            return Need{ring.head(ranks), i < ring.slots ? 0 : i + 1 - ring.slots, uint32_t(1 - ring.from),
                        Waiting::kCredit};
          },
          seen);
      w.scatter({reinterpret_cast<const char*>(row.data()), ring.row_bytes, nullptr, 0}, one, [&](Lane) {
        return Destination{ring.slot(ranks, i), nullptr, false};
      });
      w.publish(one, [&](Lane) { return Mark<PeerWord>{{ring.tail(ranks), uint32_t(1 - ring.from)}, i + 1}; });
    }
  };
}

Scheduler::Task consumer(Ranks& ranks, const Ring& ring) {
  return [&ranks, ring](HostWarp& w) {
    w.enter(Role::kReceiver, ring.number);
    const Set one = Set::only(0);
    auto seen = w.per<Word>(one, [](Lane) { return Word(0); });
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < ring.rows && !w.failed(); ++i) {
      w.wait_all(
          one,
          [&](Lane) {
            return Need{ring.tail(ranks), i + 1, uint32_t(ring.from)};
          },
          seen);
      const uint64_t* const slot = reinterpret_cast<const uint64_t*>(ring.slot(ranks, i));
      for (size_t k = 0; k < ring.row_bytes / 8; ++k) wrong += slot[k] != ring.value(i, k);
      w.credit(one, [&](Lane) { return Mark<PeerWord>{{ring.head(ranks), uint32_t(ring.from)}, i + 1}; });
    }
    EXPECT_FALSE(w.failed());
    EXPECT_EQ(wrong, 0u) << "rows of " << ring.row_bytes;
  };
}

enum class As { kThreads, kProcesses };

void run(As as, Ranks& ranks, const Ranks::Tasks& tasks, uint32_t publish_every) {
  const auto change = [&](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = publish_every; };
  if (as == As::kThreads) {
    ranks.run_threads(tasks, change);
  } else {
    ranks.run_processes(tasks, change);
  }
}

void litmus(As as, size_t row_bytes, uint64_t rows) {
  constexpr int kRings = 3;
  constexpr uint64_t kSlots = 16;
  Ranks ranks(2, 16 * kSlots * row_bytes);
  const auto tasks = [&](int rank) {
    std::vector<Scheduler::Task> list;
    for (int n = 0; n < kRings; ++n) {
      list.push_back(producer(ranks, {rank, n, row_bytes, kSlots, rows}));
      list.push_back(consumer(ranks, {1 - rank, n, row_bytes, kSlots, rows}));
    }
    return list;
  };
  run(as, ranks, tasks, 8);
}

class Rung05Publish : public ::testing::TestWithParam<As> {};

TEST_P(Rung05Publish, ShortRows) {
  for (size_t bytes : {64, 128, 256, 448, 512}) litmus(GetParam(), bytes, scaled(60000));
}

// Each count right behind its row, into the hands of a reader that does nothing but look for it: where a streamed row
// would be overtaken if anything let it be.
TEST_P(Rung05Publish, OnTheHeels) {
  for (size_t bytes : {64, 256, 512}) {
    const Ring ring{0, 0, bytes, 32768, scaled(400000)};
    Ranks ranks(2, ring.slots * bytes);
    run(
        GetParam(), ranks,
        [&](int rank) {
          return std::vector<Scheduler::Task>{rank == 0 ? producer(ranks, ring) : consumer(ranks, ring)};
        },
        1);
  }
}

TEST_P(Rung05Publish, LongRows) { litmus(GetParam(), 14336, scaled(20000)); }

INSTANTIATE_TEST_SUITE_P(Ways, Rung05Publish, ::testing::Values(As::kThreads, As::kProcesses), [](const auto& info) {
  return std::string(info.param == As::kThreads ? "Threads" : "Processes");
});

}  // namespace
}  // namespace transload::ladder
