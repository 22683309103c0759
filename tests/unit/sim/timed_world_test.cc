// Worlds with time: small ones, each with one thing that is scarce, which must be what bounds the call.
#include <gtest/gtest.h>

#include "sim/time/port_times.h"
#include "sim/time/timed_job.h"

namespace transload {
namespace {

constexpr uint64_t kRowBytes = 7168 * 2, kTokenBytes = kRowBytes + 16;  // a cached token has a header besides

struct Small {
  TimedMachine machine{.gpus = 2, .sms = 4};
  TimedJob job{.tokens = 256};
  std::vector<TimedCall> run() const { return run_timed(machine, job); }
};

// As ranks on GPUs have it: the model's figures are those of the library's own choices.
TEST(TimedWorld, LeavesTheRowsOfAPutToTheLibrary) {
  Small small;
  EXPECT_EQ(with_choices(small.machine, small.job).batch, 1u);
  small.machine.rails = RailMode::kProxy;
  EXPECT_EQ(with_choices(small.machine, small.job).batch, 4u);
  small.job.batch = 2;
  EXPECT_EQ(with_choices(small.machine, small.job).batch, 2u);
}

double sum(const PortTime& p) { return p.sends + p.start + p.stores + p.slots + p.commands + p.peers + p.tail; }

TEST(TimedWorld, MakesBothCallsAndMovesWhatTheRoutingSays) {
  const std::vector<TimedCall> calls = Small().run();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].name, "dispatch, cached");
  EXPECT_EQ(calls[1].name, "combine");
  // Of 4 x 256 tokens all but one in some 256 choose an expert of the other node.
  EXPECT_GT(calls[0].rail_rows, 1000u);
  EXPECT_LE(calls[0].rail_rows, 1024u);
  EXPECT_EQ(calls[0].rail_rows, calls[1].rail_rows);
  EXPECT_GE(calls[0].rail_bytes, calls[0].rail_rows * kTokenBytes);
  EXPECT_LT(calls[0].rail_bytes, uint64_t(double(calls[0].rail_rows * kTokenBytes) * 1.002));  // cards besides
  EXPECT_GE(calls[1].rail_bytes, calls[1].rail_rows * kRowBytes);
  EXPECT_LT(calls[1].rail_bytes, uint64_t(double(calls[1].rail_rows * kRowBytes) * 1.002));
}

TEST(TimedWorld, HasTheSameTimesAgain) {
  const std::vector<TimedCall> first = Small().run(), second = Small().run();
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].ns, second[i].ns);
    EXPECT_EQ(first[i].rail_bytes, second[i].rail_bytes);
    EXPECT_EQ(first[i].port.stores, second[i].port.stores);
  }
}

TEST(TimedWorld, AccountsForAllOfThePortsTime) {
  for (const TimedCall& call : Small().run()) EXPECT_NEAR(sum(call.port), 1, 1e-9) << call.name;
}

TEST(TimedWorld, ASlowWireIsWhatBoundsAndIsFilled) {
  Small slow;
  slow.machine.wire_gb_s = 2;
  for (const TimedCall& call : slow.run()) {
    EXPECT_EQ(bound_of(call.port), "the wire") << call.name;
    EXPECT_GT(call.share, 0.9) << call.name;
    EXPECT_LE(call.share, slow.machine.wire_rows) << call.name;
  }
}

TEST(TimedWorld, TimeGrowsWithTheWayThere) {
  Small near, far;
  near.machine.latency_ns = 1000;
  far.machine.latency_ns = 20'000;
  EXPECT_LT(near.run()[0].ns + 10'000, far.run()[0].ns);
}

// Of 16 rows that are under way at once the wire could carry 60 in the time that one takes there and back.
TEST(TimedWorld, FewSlotsAndALongWayAreWhatBounds) {
  Small few;
  few.machine.latency_ns = 100'000;
  few.job.slots = 1;
  for (const TimedCall& call : few.run()) {
    EXPECT_EQ(bound_of(call.port), "slots") << call.name;
    EXPECT_LT(call.share, 0.4) << call.name;
  }
  Small many = few;
  many.job.slots = 16;
  EXPECT_GT(many.run()[0].share, 2 * few.run()[0].share);
}

TEST(TimedWorld, SlowProcessorsAreWhatBounds) {
  Small slow;
  slow.machine.sm_gb_s = 4;
  EXPECT_EQ(bound_of(slow.run()[0].port), "stores");
  Small fast = slow;
  fast.machine.sm_gb_s = 400;
  EXPECT_GT(fast.run()[0].share, 2 * slow.run()[0].share);
}

TEST(TimedWorld, ASlowProxyIsWhatBounds) {
  Small slow;
  slow.machine.rails = RailMode::kProxy;
  slow.machine.command_ns = 2000;
  slow.job.batch = 1;
  for (const TimedCall& call : slow.run()) EXPECT_EQ(bound_of(call.port), "commands") << call.name;
  // A put of four rows is one command for them, and one for their count.
  Small joined = slow;
  joined.job.slots = 16;
  joined.job.batch = 4;
  EXPECT_GT(joined.run()[0].share, 1.5 * slow.run()[0].share);
}

TEST(TimedWorld, Fp8RowsAreHalfTheBytes) {
  Small half;
  half.job.fp8 = true;
  const std::vector<TimedCall> calls = half.run();
  constexpr uint64_t kBytes = 7168 + 7168 / 128 * 4 + 16;
  EXPECT_GE(calls[0].rail_bytes, calls[0].rail_rows * kBytes);
  EXPECT_LT(calls[0].rail_bytes, calls[0].rail_rows * (kBytes + 64));
  EXPECT_GE(calls[1].rail_bytes, calls[1].rail_rows * kRowBytes);
}

TEST(PortTimes, SayWhatWasDoneWhileThePortStoodIdle) {
  uint64_t now = 1000;
  PortTimes times(1, &now);
  times.begin();
  const auto until = [&](uint64_t then) { now = 1000 + then; };
  times.feeder(0, Doing::kGone, Doing::kStores);
  times.feeder(0, Doing::kGone, Doing::kStores);
  times.taker(Doing::kGone, Doing::kWaits);
  until(10);  // start
  times.sends(0, 1000 + 40);
  until(40);
  times.rests(0);
  until(60);  // 30 sends, 20 stores
  times.feeder(0, Doing::kStores, Doing::kWaitsForSlot);
  until(70);  // 5 stores, 5 slots
  times.taker(Doing::kWaits, Doing::kStores);
  until(80);  // 10 stores: the taker is why there is no slot
  times.feeder(0, Doing::kStores, Doing::kGone);
  times.feeder(0, Doing::kWaitsForSlot, Doing::kGone);
  until(100);  // tail
  const PortTime p = times.end();
  EXPECT_DOUBLE_EQ(p.start, 0.1);
  EXPECT_DOUBLE_EQ(p.sends, 0.3);
  EXPECT_DOUBLE_EQ(p.stores, 0.35);
  EXPECT_DOUBLE_EQ(p.slots, 0.05);
  EXPECT_DOUBLE_EQ(p.tail, 0.2);
  EXPECT_DOUBLE_EQ(sum(p), 1);
}

TEST(PortTimes, NameWhatTookMost) {
  EXPECT_EQ(bound_of({.sends = 0.91, .slots = 0.09}), "the wire");
  EXPECT_EQ(bound_of({.sends = 0.8, .stores = 0.05, .slots = 0.15}), "slots");
  EXPECT_EQ(bound_of({.sends = 0.5, .commands = 0.3, .tail = 0.2}), "commands");
}

}  // namespace
}  // namespace transload
