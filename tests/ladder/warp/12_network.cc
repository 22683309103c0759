// Rung 12: puts and counts reach the network in order, as few as can be; what is mapped never goes there.
// How many writes reach a ScaleOut, and its queue, are a host's: a world has neither.
#include "base/situations.h"
#include "stage.h"
#include "tests/ladder/rungs/rails.h"
#include "tests/support/step_network.h"

namespace transload::ladder {
namespace {

using rungs::RailStream;

constexpr size_t kRow = 128;
constexpr uint64_t kWords = 8192;  // where words begin in a region, behind the rows

struct Net {
  Ranks ranks{2, 1 << 18};
  char *mine = ranks.room(), *theirs = ranks.room() + (1 << 17);
  HostMemoryOptions options(test::StepNetwork& wire, uint32_t publish_every) {
    HostMemoryOptions o = ranks.options(0);
    o.scale_out = &wire;
    o.publish_every = publish_every;
    o.bells[1] = {};
    return o;
  }
};

// Over a Wire both ranks are fibers of one.
struct NetworkAgent : rungs::AgentBase<HostWarp> {
  template <class Body>
  void lanes(uint32_t n, Body body) const {
    for (uint32_t k = 0; k < n; ++k) body(k);
  }
  void wrote() const {}
};

void stream(Net& net, HostMemory& memory, uint64_t slots, Word rows) {
  Scheduler scheduler(memory, {2, 4096});
  Word drained = 0;
  std::vector<char> source(slots * kRow);
  const auto tail = reinterpret_cast<Word*>(net.theirs + kWords), credit = reinterpret_cast<Word*>(net.mine + kWords);
  const RailStream s{.slots = slots,
                     .rows = rows,
                     .row_bytes = kRow,
                     .sender = 0,
                     .receiver = 1,
                     .source = source.data(),
                     .staged = net.mine,
                     .ring = net.theirs,
                     .ring_offset = 0,
                     .drained = &drained,
                     .credit = credit,
                     .tail = tail,
                     .credit_offset = kWords,
                     .tail_offset = kWords};
  rungs::Ledger ledger;
  scheduler.run({[&](HostWarp& w) {
                   NetworkAgent agent{{w, 0, 0, {}}};
                   put_rows(agent, s);
                 },
                 [&](HostWarp& w) {
                   NetworkAgent agent{{w, 1, 0, {}}};
                   take_rows(agent, s);
                   ledger.add(agent.tally, 1);
                 }});
  EXPECT_TRUE(scheduler.finish_network(60000));
  EXPECT_EQ(ledger.wrong, 0u) << ledger.first;
  EXPECT_EQ(ledger.done, rows * kRow / 8 + 1);
  EXPECT_EQ(*tail, rows);
  EXPECT_EQ(*credit, rows);
  EXPECT_EQ(drained, rows);
}

TEST(Rung12Network, RowsAndCountsInOrder) {
  for (uint64_t slots : {1, 3, 16}) {
    for (uint32_t every : {1, 4, 100}) {
      Net net;
      test::StepNetwork wire({net.mine, net.theirs});
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
      std::vector<char> source(slots * kRow);
      Word *const tail = ranks.word(0, 1), *const credit = ranks.word(1, 0);
      const RailStream s{.slots = slots,
                         .rows = 100,
                         .row_bytes = kRow,
                         .sender = 0,
                         .receiver = 1,
                         .source = source.data(),
                         .staged = ranks.room(0),
                         .ring = ranks.room(1),
                         .ring_offset = ranks.offset(ranks.room(1)),
                         .drained = &drained,
                         .credit = credit,
                         .tail = tail,
                         .credit_offset = ranks.offset(credit),
                         .tail_offset = ranks.offset(tail)};
      rungs::Ledger ledger;
      ranks.run(
          [&](int rank) {
            return std::vector<typename TypeParam::Task>{[&, rank](typename TypeParam::Warp& w) {
              Agent<TypeParam> agent{{w, rank, 0, {}}, ranks};
              if (rank == 0) put_rows(agent, s);
              if (rank == 1) take_rows(agent, s);
              ledger.add(agent.tally, rank);
            }};
          },
          [&](HostMemoryOptions& o, SchedulerOptions&) { o.publish_every = every; });
      EXPECT_EQ(ledger.wrong, 0u) << ledger.first;
      EXPECT_EQ(ledger.done, s.rows * kRow / 8 + 1);
      EXPECT_EQ(*tail, s.rows);
      EXPECT_EQ(drained, s.rows);
    }
  }
}

TEST(Rung12Network, AdjacentPutsBecomeOne) {
  Net net;
  test::StepNetwork wire({net.mine, net.theirs});
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
  test::StepNetwork wire({net.mine, net.theirs}, {net.mine, net.theirs});
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
  test::StepNetwork wire({net.mine, net.theirs});
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
  test::StepNetwork wire({net.mine, net.theirs});
  wire.stuck = true;
  HostMemoryOptions o = net.options(wire, 1);
  std::vector<WaitRecord> expired;
  o.on_expired = [&](const WaitRecord& w) {
    expired.push_back(w);
    net.ranks.abort_word() = 1;  // the verdict
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
  net.ranks.abort_word() = 0;
  wire.stuck = false;
  EXPECT_TRUE(scheduler.finish_network(60000));
}

// It is stuck until after its deadline: what was accused for it is taken back, once.
TEST(Rung12Network, FinishTakesBackWhatItAccused) {
  Net net;
  test::StepNetwork wire({net.mine, net.theirs});
  wire.stuck = true;
  HostMemoryOptions o = net.options(wire, 1);
  int accused = 0, taken_back = 0;
  o.on_expired = [&](const WaitRecord&) {
    ++accused;
    wire.stuck = false;
    return true;
  };
  o.on_withdrawn = [&] { ++taken_back; };
  HostMemory memory(o);
  Scheduler scheduler(memory, {1, 4096});
  scheduler.run({[&](HostWarp& w) { w.publish(Set::only(0), [&](Lane) { return Mark<RailWord>{{kWords, 1}, 1}; }); }});
  EXPECT_TRUE(scheduler.finish_network(30));
  EXPECT_EQ(accused, 1);
  EXPECT_EQ(taken_back, 1);
  EXPECT_FALSE(scheduler.last_wait().present);
}

// Nobody was accused, because this rank itself stood still: the network has its whole deadline once more.
TEST(Rung12Network, FinishBeginsAnew) {
  Net net;
  test::StepNetwork wire({net.mine, net.theirs});
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
