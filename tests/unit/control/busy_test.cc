// Who is named where machines are busy: what is said comes late, and in another order than it happened.
#include <gtest/gtest.h>

#include "tests/unit/control/verdict_world.h"

namespace transload {
namespace {

using namespace test;
using World = VerdictWorld;

constexpr uint64_t kDeadline = 700 * ms;

// Three ranks of a node, all but rank 1 in call 2, for so long.
World all_but_rank_1(uint64_t duration) {
  World world({0, 0, 0});
  world.run(500 * ms);
  for (const uint32_t rank : {0u, 2u}) {
    world.enter(rank, 2);
    world.ranks[rank].waits_for = 1;
  }
  world.ranks[1].phase = 0;
  world.run(duration);
  return world;
}

void rank_1_enters(World& world) {
  world.enter(1, 2);
  world.ranks[1].waits_for = 0;
}

// It enters after the deadline, and the suspicion comes after that.
TEST(Verdict, ASuspicionThatTravelsForLongIsOfItsDeadline) {
  for (uint64_t slow = 30 * ms; slow <= 120 * ms; slow += 10 * ms) {
    World world = all_but_rank_1(kDeadline);
    world.ranks[0].slow = slow;
    world.expire(0, 1, kDeadline);
    world.run(20 * ms);
    rank_1_enters(world);
    EXPECT_LE(world.run_until_judged(), 500 * ms + slow);
    world.expect(FaultKind::kAbsent, 1);
    if (HasFailure()) FAIL() << slow / ms;
  }
}

// It was filed late: another suspicion of the rank was open until then.
TEST(Verdict, ASuspicionThatIsFiledLateIsOfItsDeadline) {
  World world = all_but_rank_1(kDeadline);
  world.run(20 * ms);
  rank_1_enters(world);
  world.run(20 * ms);
  world.expire(0, 1, kDeadline + 40 * ms, 40 * ms);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 1);
}

// However short deadlines are, the accuser has half a second to see its wait end.
TEST(Verdict, ALateRankHasTimeWhateverTheDeadline) {
  World world = all_but_rank_1(100 * ms);
  world.expire(0, 1, 100 * ms);
  world.run(20 * ms);
  rank_1_enters(world);
  world.run(400 * ms);
  EXPECT_FALSE(world.any_verdict());
  world.run(100 * ms);
  world.expect(FaultKind::kAbsent, 1);
}

// Its beats come late, and it did not: the two others have lost each other's count.
TEST(Verdict, ABeatThatTravelsForLongMakesNobodyLate) {
  World world = all_but_rank_1(kDeadline - 30 * ms);
  world.ranks[1].slow = 80 * ms;
  rank_1_enters(world);
  world.ranks[0].waits_for = 2;
  world.ranks[2].waits_for = 0;
  world.run(30 * ms);
  world.expire(0, 2, kDeadline);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kSilent, 0);
}

// The beat that says that it is not in the call was sent before it was, and before the suspicion.
TEST(Verdict, ABeatThatTravelsForLongIsNoNews) {
  for (uint64_t slow = 20 * ms; slow <= 240 * ms; slow += 20 * ms) {
    World world = all_but_rank_1(kDeadline - 240 * ms);
    world.ranks[1].slow = slow;
    world.run(230 * ms);
    rank_1_enters(world);
    world.run(10 * ms);
    world.expire(0, 1, kDeadline);
    world.run(400 * ms);
    EXPECT_FALSE(world.any_verdict()) << slow / ms;
    world.withdraw(0);
    world.run(1000 * ms);
    EXPECT_FALSE(world.any_verdict()) << slow / ms;
  }
}

// One accuser has not looked at its wait for a while. The others, and the late rank, are in the next call.
TEST(Verdict, ALateRankIsNamedAfterItWentOn) {
  for (uint64_t in_call = 10 * ms; in_call <= 60 * ms; in_call += 10 * ms) {
    World world = all_but_rank_1(kDeadline);
    world.expire(2, 0, kDeadline);  // the first of the two that it waits for
    world.run(20 * ms);
    rank_1_enters(world);
    world.run(in_call);
    world.enter(0, 3);
    world.enter(1, 3);
    world.ranks[0].waits_for = 1;
    world.ranks[1].waits_for = 0;
    EXPECT_LE(world.run_until_judged(), 500 * ms);
    world.expect(FaultKind::kAbsent, 1);
  }
}

// It was in time for the rank that is believed first, and not for the other one.
TEST(Verdict, ARankThatWasLateForAnyIsLate) {
  World world = all_but_rank_1(kDeadline);
  world.ranks[2].slow = 40 * ms;
  world.expire(2, 1, kDeadline);
  world.run(10 * ms);
  rank_1_enters(world);
  world.ranks[0].waits_for = 2;
  world.ranks[2].waits_for = 0;
  world.run(20 * ms);
  world.expire(0, 2, kDeadline);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 1);
}

// It was late for a wait that has ended by itself, and that has held up others.
TEST(Verdict, ARankThatWasLateForAWaitThatEndedIsLate) {
  World world = all_but_rank_1(kDeadline);
  world.expire(2, 1, kDeadline);
  world.run(10 * ms);
  rank_1_enters(world);
  world.run(100 * ms);
  world.withdraw(2);
  world.ranks[0].waits_for = 2;
  world.ranks[2].waits_for = 0;
  world.run(100 * ms);
  world.expire(0, 2, kDeadline);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 1);
}

// It came in time, if only just. The accuser has half a second to see its wait end, and is the last to be blamed.
TEST(Verdict, ACircleIsNotClosedByARankThatHasJustCome) {
  for (const std::vector<uint32_t>& nodes : {std::vector<uint32_t>{0, 0}, {0, 1}}) {
    for (const bool ends : {true, false}) {
      World world(nodes);
      world.enter(0, 2);
      world.ranks[0].waits_for = 1;
      world.ranks[1].phase = 0;
      world.run(kDeadline - 10 * ms);
      rank_1_enters(world);
      world.run(10 * ms);
      world.expire(0, 1, kDeadline);
      world.run(430 * ms);
      EXPECT_FALSE(world.any_verdict());
      if (ends) world.withdraw(0);
      world.run(1000 * ms);
      if (ends)
        EXPECT_FALSE(world.any_verdict());
      else if (nodes[0] == nodes[1])
        world.expect(FaultKind::kSilent, 1);
      else
        world.expect(FaultKind::kUnreachable, 0);  // of the two ends of a path the lower one
    }
  }
}

// Whose own deadline is over too waits for the others as they wait for it.
TEST(Verdict, ACircleOfThoseThatHaveWaitedIsJudgedAtOnce) {
  World world({0, 0, 0});
  for (const uint32_t rank : {0u, 1u}) {
    world.enter(rank, 2);
    world.ranks[rank].waits_for = 1 - rank;
  }
  world.run(kDeadline);
  world.enter(2, 1);
  world.ranks[2].waits_for = kNobody;
  world.ranks[2].epoch = 2;
  world.ranks[2].entered = 0;
  world.expire(1, 0, kDeadline);
  EXPECT_LE(world.run_until_judged(), 200 * ms);
  world.expect(FaultKind::kSilent, 0);
}

// The others' rows are there, and it has not looked yet.
TEST(Verdict, WhoWaitsForARankThatHasReturnedHasTime) {
  World world(kTwoNodes);
  world.ranks[1].waits_for = 6;
  world.ranks[6].epoch = 2;
  world.ranks[6].waits_for = 1;
  world.run(500 * ms);
  world.expire(1, 6);
  world.run(420 * ms);
  EXPECT_FALSE(world.any_verdict());
  world.withdraw(1);
  world.run(1000 * ms);
  EXPECT_FALSE(world.any_verdict());
}

// What it waits for there is of that call.
TEST(Verdict, ARankInALaterCallHasReturned) {
  World world({0, 0, 0});
  for (const uint32_t rank : {0u, 1u}) {
    world.ranks[rank].epoch = 2;
    world.ranks[rank].waits_for = 1 - rank;
  }
  world.ranks[2].waits_for = 1;
  world.run(500 * ms);
  world.expire(2, 1);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 1);
}

// An arbiter of three ranks, of which rank 1 has a clock of its own. All but rank 1 are in call 2.
class Clocks {
 public:
  explicit Clocks(uint64_t rank_1_begins_at) : begins_at_(rank_1_begins_at) { arbiter_.start(now_); }
  // Rank 1's beats take `delay`.
  void beat_for(uint64_t duration, uint64_t delay = 0) {
    for (const uint64_t end = now_ + duration; now_ < end; now_ += 100 * ms) beat(delay);
  }
  void stand_still(uint64_t duration) { begins_at_ -= duration; }
  // Rank 1 enters 20 ms after the deadline of rank 0, or before it, and both wait for each other for ever.
  void enter(bool late) {
    entered_ = late ? now_ - 10 * ms : now_ - 50 * ms;
    arbiter_.take(Suspicion{0, 2, 1, 0, 1, 2000 * ms, 30 * ms, now_}, now_);
    for (int i = 0; i < 6 && arbiter_.verdict().kind == FaultKind::kNone; ++i) {
      now_ += 100 * ms;
      beat(30 * ms);
      arbiter_.tick(now_);
    }
  }
  const Verdict& verdict() const { return arbiter_.verdict(); }

 private:
  void beat(uint64_t delay) {
    for (const uint32_t rank : {0u, 2u}) arbiter_.take(Heartbeat{rank, 2, kBusy, true, 1, now_, 99'000 * ms}, now_);
    const bool in_call = entered_ != 0;
    const uint64_t entered = begins_at_ + (in_call ? entered_ : 98'000 * ms);
    arbiter_.take(Heartbeat{1, 1u + in_call, in_call ? kBusy : 0, in_call, 0, begins_at_ + now_ - delay, entered},
                  now_);
  }

  Arbiter arbiter_{{0, 0, 0}};
  uint64_t begins_at_;
  uint64_t now_ = 100'000 * ms;
  uint64_t entered_ = 0;
};

void expect_late(const Clocks& clocks) {
  EXPECT_EQ(clocks.verdict().culprit, 1u);
  EXPECT_EQ(clocks.verdict().detail, "it entered the call 20 ms after the first wait in it had expired");
}

// What a process says is read by what its fastest beat tells, and its clock begins where it likes.
TEST(Verdict, ClocksThatBeginAnywhere) {
  for (const uint64_t begin : {uint64_t(0), 900'000'000 * ms, ~uint64_t(0) - 100'500 * ms}) {
    for (const bool late : {true, false}) {
      Clocks clocks(begin);
      clocks.beat_for(1000 * ms);
      clocks.beat_for(1000 * ms, 30 * ms);
      clocks.enter(late);
      if (late)
        expect_late(clocks);
      else
        EXPECT_EQ(clocks.verdict().kind, FaultKind::kSilent);
    }
  }
}

// The fastest beat of the span before counts too.
TEST(Verdict, ASpanOfTimeThatEndsForgetsNoClock) {
  Clocks clocks(7 * ms);
  clocks.beat_for(kClockSpanNs - 100 * ms);
  clocks.beat_for(300 * ms, 90 * ms);
  clocks.enter(true);
  expect_late(clocks);
}

// Its machine was suspended, and its clock with it.
TEST(Verdict, AClockThatStoodStillIsUnderstoodAgain) {
  Clocks clocks(1'000'000 * ms);
  clocks.beat_for(3000 * ms);
  clocks.stand_still(60'000 * ms);
  clocks.beat_for(2 * kClockSpanNs + 100 * ms);
  clocks.enter(true);
  expect_late(clocks);
}

}  // namespace
}  // namespace transload
