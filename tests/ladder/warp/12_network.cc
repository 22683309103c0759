// Rung 12: puts and counts reach the network in order, as few as can be; what is mapped never goes there.
#include <cstring>
#include <deque>

#include "base/situations.h"
#include "model_ranks.h"

namespace transload::ladder {
namespace {

// A network in this process that moves one thing a step: `regions` are those of all ranks, by rank.
class Wire : public ScaleOut {
 public:
  explicit Wire(std::vector<char*> regions, std::vector<char*> mapped = {})
      : regions_(std::move(regions)), mapped_(std::move(mapped)) {}
  std::string name() const override { return "wire"; }
  char* mapped(uint32_t rank) const override { return mapped_.empty() ? nullptr : mapped_[rank]; }
  void put(const Put& put) override {
    ++puts;
    queue_.push_back({true, put, {}, 0});
  }
  void publish(RailWord to, Word count) override {
    ++counts;
    queue_.push_back({false, {}, to, count});
  }
  bool progress() override {
    if (queue_.empty() || stuck) return false;
    const Thing thing = queue_.front();
    queue_.pop_front();
    if (thing.is_put) {
      std::memcpy(regions_[thing.put.rank] + thing.put.offset, thing.put.from, thing.put.bytes);
      if (thing.put.drained != nullptr)
        std::atomic_ref<Word>(*thing.put.drained).store(thing.put.drained_count, std::memory_order_release);
    } else {
      Word* const word = reinterpret_cast<Word*>(regions_[thing.to.rank] + thing.to.offset);
      std::atomic_ref<Word>(*word).store(thing.count, std::memory_order_release);
    }
    return true;
  }
  uint32_t busy_with() const override {
    return queue_.empty() ? kNobody : queue_.front().is_put ? queue_.front().put.rank : queue_.front().to.rank;
  }
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

  int puts = 0, counts = 0;
  bool stuck = false;

 private:
  struct Thing {
    bool is_put;
    Put put;
    RailWord to;
    Word count;
  };
  std::vector<char*> regions_, mapped_;
  std::deque<Thing> queue_;
};

constexpr size_t kRow = 128;
constexpr uint64_t kWords = 8192;  // where words begin in a region, behind the rows

struct Net {
  Ranks ranks{2, 1 << 18};
  char *mine = ranks.room(), *theirs = ranks.room() + (1 << 17);
  HostMemoryOptions options(Wire& wire, uint32_t publish_every) {
    HostMemoryOptions o = ranks.options(0);
    o.scale_out = &wire;
    o.publish_every = publish_every;
    o.bells[1] = {};
    return o;
  }
};

struct Stream {
  char *staged, *ring;  // of rank 0, of rank 1
  uint64_t ring_offset;
  Word* tail;
  uint64_t tail_offset;
  uint64_t slots;
  Word rows;
  Word *drained, *credit;  // of rank 0
};

// Rank 0 stages rows in a ring of slots, puts them, and waits for their slots to be drained and credited.
template <class W>
void put_rows(W& w, const Stream& s) {
  const Set one = Set::only(0);
  auto seen = w.template per<Word>(one, [](Lane) { return Word(0); }), free = seen;
  std::vector<char> rows(kRow * s.slots);
  for (Word i = 0; i < s.rows && !w.failed(); ++i) {
    const Word least = i < s.slots ? 0 : i + 1 - s.slots;
    w.wait_all(
        one,
        [&](Lane) {
          return Need{s.drained, least, 0, Waiting::kDrained};
        },
        seen);
    w.wait_all(
        one,
        [&](Lane) {
          return Need{s.credit, least, 1, Waiting::kCredit};
        },
        free);
    const uint64_t at = i % s.slots * kRow;
    std::memset(rows.data() + at, int(i * 7 + 1), kRow);
    w.scatter({rows.data() + at, kRow, nullptr, 0}, one, [&](Lane) {
      return Destination{s.staged + at, nullptr, true};
    });
    w.put(one, [&](Lane) { return Put{s.staged + at, s.ring_offset + at, kRow, 1, s.drained, i + 1}; });
    w.publish(one, [&](Lane) { return Mark<RailWord>{{s.tail_offset, 1}, i + 1}; });
  }
  w.drain();
}

template <class W>
void take_rows(W& w, const Stream& s) {
  const Set one = Set::only(0);
  auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
  for (Word i = 0; i < s.rows && !w.failed(); ++i) {
    w.wait_all(
        one,
        [&](Lane) {
          return Need{s.tail, i + 1, 0};
        },
        seen);
    const char* const row = s.ring + i % s.slots * kRow;
    for (size_t k = 0; k < kRow; ++k) ASSERT_EQ(w.peek(row + k), char(i * 7 + 1)) << i;
    w.credit(one, [&](Lane) { return Mark<PeerWord>{{s.credit, 0}, i + 1}; });
  }
}

// Over a Wire both ranks are fibers of one.
void stream(Net& net, HostMemory& memory, uint64_t slots, Word rows) {
  Scheduler scheduler(memory, {2, 4096});
  Word drained = 0, credit = 0;
  const auto word = reinterpret_cast<Word*>(net.theirs + kWords);
  const Stream s{net.mine, net.theirs, 0, word, kWords, slots, rows, &drained, &credit};
  scheduler.run({[&](HostWarp& w) { put_rows(w, s); }, [&](HostWarp& w) { take_rows(w, s); }});
  EXPECT_TRUE(scheduler.finish_network(60000));
  EXPECT_EQ(*word, rows);
  EXPECT_EQ(drained, rows);
}

TEST(Rung12Network, RowsAndCountsInOrder) {
  for (uint64_t slots : {1, 3, 16}) {
    for (uint32_t every : {1, 4, 100}) {
      Net net;
      Wire wire({net.mine, net.theirs});
      HostMemory memory(net.options(wire, every));
      stream(net, memory, slots, 500);
      if (HasFatalFailure()) return;
    }
  }
}

template <class R>
class Rung12World : public ::testing::Test {};
using Worlds = ::testing::Types<ModelRanks<1>, ModelRanks<2>, ModelRanks<3>, ModelRanks<4>>;
TYPED_TEST_SUITE(Rung12World, Worlds, NameOfRanks);

TYPED_TEST(Rung12World, RowsAndCountsInOrder) {
  for (uint64_t slots : {1, 3, 16}) {
    for (uint32_t every : {1, 4, 100}) {
      TypeParam ranks(2);
      Word drained = 0;
      char* const ring = ranks.room(1);
      const Stream s{ranks.room(0), ring, ranks.offset(ring), ranks.word(0, 1), ranks.offset(ranks.word(0, 1)),
                     slots,         100,  &drained,           ranks.word(1)};
      ranks.run(
          [&](int rank) {
            return std::vector<typename TypeParam::Task>{[&, rank](typename TypeParam::Warp& w) {
              if (rank == 0) put_rows(w, s);
              if (rank == 1) take_rows(w, s);
            }};
          },
          [&](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = every; });
      EXPECT_EQ(*ranks.word(1), s.rows);
      EXPECT_EQ(drained, s.rows);
    }
  }
}

TEST(Rung12Network, OtherRungsInAWorld) {
  GTEST_SKIP() << "how many writes reach a ScaleOut, and its queue, are a host's: a world has neither";
}

TEST(Rung12Network, AdjacentPutsBecomeOne) {
  Net net;
  Wire wire({net.mine, net.theirs});
  HostMemory memory(net.options(wire, 4));
  stream(net, memory, 16, 64);
  EXPECT_LE(wire.puts, 24);
  EXPECT_LE(wire.counts, 24);
}

TEST(Rung12Network, OnlyWhatIsContiguousIsMerged) {
  Word a = 0, b = 0;
  char from[256];
  Batch batch;
  batch.add(Put{from, 0, 64, 1, &a, 1});
  batch.add(Put{from + 64, 64, 64, 1, &a, 2});
  EXPECT_EQ(batch.put_count, 1);
  EXPECT_EQ(batch.puts[0].bytes, 128u);
  EXPECT_EQ(batch.puts[0].drained_count, 2u);
  batch.add(Put{from, 0, 64, 2, &b, 1});          // another rank
  batch.add(Put{from + 128, 128, 64, 1, &a, 3});  // begins behind it
  EXPECT_EQ(batch.put_count, 2);
  batch.add(Put{from, 0, 64, 1, &a, 4});          // wraps
  batch.add(Put{from + 192, 192, 64, 1, &a, 5});  // would have gone on before the wrap
  EXPECT_EQ(batch.put_count, 4);
  batch.add(Put{from + 64, 64, 64, 2, &a, 6});  // another word
  EXPECT_EQ(batch.put_count, 5);
}

TEST(Rung12Network, ThePaddingOfASlotTravelsAlong) {
  Word a = 0;
  char from[256];
  Batch batch;
  batch.add(Put{from, 0, 48, 1, &a, 1, 16});
  batch.add(Put{from + 64, 64, 48, 1, &a, 2, 16});
  EXPECT_EQ(batch.put_count, 1);
  EXPECT_EQ(batch.puts[0].bytes, 112u);
  EXPECT_EQ(batch.puts[0].drained_count, 2u);
  batch.add(Put{from + 192, 192, 48, 1, &a, 3, 16});  // a slot between belongs to others
  EXPECT_EQ(batch.put_count, 2);
  batch.add(Put{from + 248, 240, 8, 1, &a, 4});  // elsewhere at the other end
  EXPECT_EQ(batch.put_count, 3);
}

TEST(Rung12Network, WhatIsMappedIsStored) {
  Net net;
  Wire wire({net.mine, net.theirs}, {net.mine, net.theirs});
  wire.stuck = true;
  HostMemoryOptions o = net.options(wire, 4);
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096});
  Word drained = 0;
  scheduler.run({[&](HostWarp& w) {
    w.put(Set::only(0), [&](Lane) { return Put{net.mine, 0, kRow, 1, &drained, 9}; });
    EXPECT_EQ(drained, 9u);
    w.publish(Members::only(0), [&](Lane) {
      return Mark<RailWord>{{.offset = kWords, .rank = 1, .mapped = net.theirs}, 5};
    });
    w.settle();
    EXPECT_EQ(*reinterpret_cast<Word*>(net.theirs + kWords), 5u);
  }});
  EXPECT_EQ(wire.puts + wire.counts, 0);
  EXPECT_TRUE(scheduler.finish_network(60000));
}

TEST(Rung12Network, MoreThanTheQueueHolds) {
  Net net;
  Wire wire({net.mine, net.theirs});
  HostMemory memory(net.options(wire, 1000000));
  Scheduler scheduler(memory, {1, 4096});
#ifdef TRANSLOAD_SITUATIONS
  const uint64_t before = times_reached(Situation::kQueueFull);
#endif
  scheduler.run({[&](HostWarp& w) {
    w.publish(Members::first(1000), [&](Lane l) {
      return Mark<RailWord>{{kWords + uint64_t(l.i) * 8, 1}, Word(l.i) + 1};
    });
  }});
  EXPECT_TRUE(scheduler.finish_network(60000));
  EXPECT_EQ(wire.counts, 1000);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(reinterpret_cast<Word*>(net.theirs + kWords)[i], Word(i) + 1);
#ifdef TRANSLOAD_SITUATIONS
  EXPECT_GT(times_reached(Situation::kQueueFull), before);
#endif
}

TEST(Rung12Network, FinishHasADeadline) {
  Net net;
  Wire wire({net.mine, net.theirs});
  wire.stuck = true;
  HostMemoryOptions o = net.options(wire, 1);
  std::vector<WaitRecord> expired;
  o.on_expired = [&](const WaitRecord& w) {
    expired.push_back(w);
    return true;
  };
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096});
  scheduler.run({[&](HostWarp& w) { w.publish(Set::only(0), [&](Lane) { return Mark<RailWord>{{kWords, 1}, 1}; }); }});
  EXPECT_FALSE(scheduler.finish_network(30));
  // Whoever it is stuck with is accused.
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].whom, 1u);
  EXPECT_EQ(expired[0].what, Waiting::kDrained);
  EXPECT_EQ(scheduler.last_wait().whom, 1u);
  wire.stuck = false;
  EXPECT_TRUE(scheduler.finish_network(60000));
}

// Nobody was accused, because this rank itself stood still: the network has its whole deadline once more.
TEST(Rung12Network, FinishBeginsAnew) {
  Net net;
  Wire wire({net.mine, net.theirs});
  wire.stuck = true;
  HostMemoryOptions o = net.options(wire, 1);
  int asked = 0;
  o.on_expired = [&](const WaitRecord&) {
    wire.stuck = false;
    ++asked;
    return false;
  };
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096});
  scheduler.run({[&](HostWarp& w) { w.publish(Set::only(0), [&](Lane) { return Mark<RailWord>{{kWords, 1}, 1}; }); }});
  EXPECT_TRUE(scheduler.finish_network(30));
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE(scheduler.last_wait().present);
}

}  // namespace
}  // namespace transload::ladder
