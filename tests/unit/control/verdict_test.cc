// Suspicion and verdict with time driven by hand: who is named, how, and by when.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "tests/unit/control/verdict_world.h"

namespace transload {
namespace {

using namespace test;
using World = VerdictWorld;

TEST(Verdict, LostAtOnce) {
  World world(kTwoNodes);
  world.run(500 * ms);
  world.end_of_file(5);
  EXPECT_EQ(world.run_until_judged(), 0u);
  world.expect(FaultKind::kLost, 5);
}

TEST(Verdict, LostArbiterIsRank0AtOnce) {
  World world(kTwoNodes);
  world.run(500 * ms);
  world.end_of_file(0);
  EXPECT_EQ(world.run_until_judged(), 0u);
  world.expect(FaultKind::kLost, 0);
}

TEST(Verdict, OneForEver) {
  World world(kTwoNodes);
  world.end_of_file(5);
  world.end_of_file(2);
  world.mismatch(1, 3);
  world.run(2000 * ms);
  world.expect(FaultKind::kLost, 5);
  EXPECT_FALSE(world.member(1).suspecting());
}

TEST(Verdict, StoppedForLong) {
  for (uint32_t victim : {1u, 3u, 4u, 7u}) {
    World world(kTwoNodes);
    world.run(300 * ms);
    world.ranks[victim].stopped = true;
    world.run(1000 * ms);
    world.expire(2, victim);
    EXPECT_LE(world.run_until_judged(), 500 * ms);
    world.expect(FaultKind::kSilent, victim);
  }
}

// The accusation comes while the last beat of the culprit is still fresh, whenever in its interval it was stopped.
TEST(Verdict, StoppedRightBeforeTheSuspicion) {
  for (uint64_t before = 0; before <= 400; before += 10) {
    World world(kTwoNodes);
    world.run(500 * ms);
    world.ranks[5].waits_for = 2;  // its last word: it waits for the accuser
    world.ranks[2].waits_for = 5;
    world.run(200 * ms);
    world.ranks[5].stopped = true;
    world.run(before * ms);
    world.expire(2, 5);
    EXPECT_LE(world.run_until_judged(), 500 * ms) << before;
    world.expect(FaultKind::kSilent, 5);
  }
}

TEST(Verdict, ArbiterStopped) {
  World world(kTwoNodes);
  world.run(300 * ms);
  world.ranks[0].stopped = true;
  world.run(900 * ms);
  for (uint32_t rank = 1; rank < 8; ++rank) world.expire(rank, rank == 7 ? 0 : rank + 1);
  EXPECT_LE(world.run_until_judged(), 820 * ms);
  for (uint32_t rank = 1; rank < 8; ++rank) {
    ASSERT_EQ(world.ranks[rank].verdicts.size(), 1u);
    EXPECT_EQ(world.ranks[rank].verdicts[0].culprit, 0u);
    EXPECT_EQ(world.ranks[rank].verdicts[0].kind, rank < 4 ? FaultKind::kSilent : FaultKind::kUnreachable);
  }
  // When it runs again it finds their verdict in its mail, and is told of itself.
  world.ranks[0].stopped = false;
  world.run(500 * ms);
  ASSERT_EQ(world.ranks[0].verdicts.size(), 1u);
  EXPECT_EQ(world.ranks[0].verdicts[0].culprit, 0u);
}

struct ChainCase {
  const char* name;
  std::function<void(World&)> break_3;
  FaultKind kind;
};

// 1 waits for 2, 2 waits for 3, and 3 is the trouble.
TEST(Verdict, FollowsTheChain) {
  const ChainCase cases[] = {
      {"stopped", [](World& w) { w.ranks[3].stopped = true; }, FaultKind::kSilent},
      {"absent: an earlier call", [](World& w) { w.ranks[3].epoch = 0; }, FaultKind::kAbsent},
      {"absent: idle", [](World& w) { w.ranks[3].phase = w.ranks[3].epoch = 0; }, FaultKind::kAbsent},
      {"busy", [](World&) {}, FaultKind::kSilent},
      {"left", [](World& w) { w.goodbye(3); }, FaultKind::kAbsent},
  };
  for (const ChainCase& chain : cases) {
    World world(kTwoNodes);
    world.ranks[1].waits_for = 2;
    world.ranks[2].waits_for = 3;
    chain.break_3(world);
    world.run(900 * ms);
    world.expire(1, 2);
    EXPECT_LE(world.run_until_judged({3}), 500 * ms) << chain.name;
    world.expect(chain.kind, 3, {3});
    if (HasFailure()) FAIL() << chain.name;
  }
}

TEST(Verdict, ChainEndsAtTheDead) {
  World world(kTwoNodes);
  world.ranks[1].waits_for = 2;
  world.ranks[2].waits_for = 3;
  world.run(500 * ms);
  world.expire(1, 2);
  world.end_of_file(3);  // before the judgement
  EXPECT_EQ(world.run_until_judged(), 0u);
  world.expect(FaultKind::kLost, 3);
}

TEST(Verdict, TwoAccusersAtOnce) {
  World world(kTwoNodes);
  world.ranks[1].waits_for = 2;
  world.ranks[2].waits_for = 6;
  world.ranks[6].phase = 0;
  world.ranks[6].epoch = 0;
  world.run(1000 * ms);
  world.expire(1, 2);
  world.expire(2, 6);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 6);
}

TEST(Verdict, CycleNamesItsLowest) {
  World inside({0, 0, 0, 0});
  inside.ranks[3].waits_for = 2;
  inside.ranks[2].waits_for = 1;
  inside.ranks[1].waits_for = 2;
  inside.run(500 * ms);
  inside.expire(3, 2);
  EXPECT_LE(inside.run_until_judged(), 500 * ms);
  inside.expect(FaultKind::kSilent, 1);

  World across(kTwoNodes);
  across.ranks[2].waits_for = 6;
  across.ranks[6].waits_for = 2;
  across.run(500 * ms);
  across.expire(6, 2);
  EXPECT_LE(across.run_until_judged(), 500 * ms);
  across.expect(FaultKind::kUnreachable, 2);

  World behind({0, 0, 0, 0});  // a rank that waits for a circle is not in it
  behind.ranks[0].waits_for = 2;
  behind.ranks[2].waits_for = 1;
  behind.ranks[1].waits_for = 2;
  behind.run(500 * ms);
  behind.expire(3, 0);
  EXPECT_LE(behind.run_until_judged(), 500 * ms);
  behind.expect(FaultKind::kSilent, 1);

  World three(kTwoNodes);  // which crosses and comes back
  three.ranks[2].waits_for = 6;
  three.ranks[6].waits_for = 3;
  three.ranks[3].waits_for = 2;
  three.run(500 * ms);
  three.expire(1, 2);
  EXPECT_LE(three.run_until_judged(), 500 * ms);
  three.expect(FaultKind::kUnreachable, 2);
}

TEST(Verdict, ARankWhoseWarpsWaitForEachOther) {
  World world({0, 0, 1, 1});
  world.ranks[2].waits_for = 2;
  world.ranks[3].waits_for = 2;
  world.run(500 * ms);
  world.expire(2, 2);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kSilent, 2);
}

// While a group is made ranks wait for each other without being in a call.
TEST(Verdict, PathThatFailsAtCreation) {
  World world(kTwoNodes);
  for (World::Rank& rank : world.ranks) rank.epoch = rank.phase = 0;
  world.ranks[3].waits_for = 7;
  world.ranks[7].waits_for = 3;
  world.run(500 * ms);
  world.expire(7, 3);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kUnreachable, 3);
}

TEST(Verdict, ARankThatDoesNotComeToTheMakingIsAbsent) {
  World world(kTwoNodes);
  for (World::Rank& rank : world.ranks) rank.epoch = rank.phase = 0;
  world.ranks[1].waits_for = 7;
  world.run(500 * ms);
  world.expire(1, 7);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 7);
}

TEST(Verdict, CutNetworkBothSides) {
  for (uint64_t before : {0, 100, 350, 5000}) {
    World world(kTwoNodes);
    for (uint32_t rank = 0; rank < 8; ++rank) world.ranks[rank].waits_for = (rank + 4) % 8;
    world.run(500 * ms);
    for (uint32_t rank = 4; rank < 8; ++rank) world.ranks[rank].cut = true;
    world.run(before * ms);
    for (uint32_t rank = 0; rank < 8; ++rank) world.expire(rank, (rank + 4) % 8);
    EXPECT_LE(world.run_until_judged(), 820 * ms);
    world.expect(FaultKind::kUnreachable, 4, {4, 5, 6, 7});
    world.expect(FaultKind::kUnreachable, 0, {0, 1, 2, 3});
  }
}

// A node is cut off, and a rank of the other stands still: the lowest of the node is named.
TEST(Verdict, CutNetworkBesideASilentRank) {
  World world(kTwoNodes);
  world.run(500 * ms);
  for (uint32_t rank = 4; rank < 8; ++rank) world.ranks[rank].cut = true;
  world.ranks[2].stopped = true;
  world.run(1000 * ms);
  world.expire(1, 5);
  EXPECT_LE(world.run_until_judged({4, 5, 6, 7}), 500 * ms);
  world.expect(FaultKind::kUnreachable, 4, {4, 5, 6, 7});
}

// One rank of a node is silent, or a whole node of one: not a cut network.
TEST(Verdict, SilentRanksThatAreNoCut) {
  World one(kTwoNodes);
  one.run(200 * ms);
  one.ranks[6].stopped = one.ranks[7].stopped = true;
  one.run(1000 * ms);
  one.expire(1, 7);
  one.run_until_judged();
  one.expect(FaultKind::kSilent, 7);

  World single({0, 1, 2});
  single.run(200 * ms);
  single.ranks[2].stopped = true;
  single.run(1000 * ms);
  single.expire(1, 2);
  single.run_until_judged();
  single.expect(FaultKind::kSilent, 2);

  World half_left({0, 0, 1, 1});  // who has left the node says nothing, and is not cut off
  half_left.run(200 * ms);
  half_left.goodbye(2);
  half_left.ranks[3].stopped = true;
  half_left.run(1000 * ms);
  half_left.expire(1, 3);
  half_left.run_until_judged({2});
  half_left.expect(FaultKind::kSilent, 3, {2});
}

// Stopped for longer than its wait lasts: it waits again instead of accusing, and nobody accuses it.
TEST(Verdict, ReturnsFromAStop) {
  World world(kTwoNodes);
  for (uint32_t rank = 0; rank < 8; ++rank) world.ranks[rank].waits_for = (rank + 1) % 8;
  world.run(500 * ms);
  world.ranks[3].stopped = true;
  world.run(1500 * ms);
  world.ranks[3].stopped = false;
  EXPECT_FALSE(world.expire(3, 4, 1600 * ms));  // asked before its control thread has ticked
  world.run(100 * ms);
  EXPECT_FALSE(world.expire(3, 4, 1700 * ms));  // and after
  world.run(1000 * ms);
  EXPECT_FALSE(world.any_verdict());
  // It beats again: an accusation passes to the one that is really at fault.
  world.ranks[4].phase = 0;
  world.ranks[4].epoch = 0;
  world.ranks[4].waits_for = kNobody;
  world.run(200 * ms);
  world.expire(2, 3);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 4);
}

TEST(Verdict, AccusesAfterAStopThatItsWaitDidNotSee) {
  World world(kTwoNodes);
  world.ranks[3].stopped = true;
  world.run(1000 * ms);
  world.ranks[3].stopped = false;
  world.run(500 * ms);
  world.ranks[5].phase = 0;
  world.ranks[5].epoch = 0;
  EXPECT_TRUE(world.expire(3, 5, 300 * ms));
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 5);
}

TEST(Verdict, AccusesAfterAShortPauseInALongWait) {
  World world(kTwoNodes);
  world.run(2000 * ms);
  world.ranks[3].stopped = true;
  world.run(400 * ms);
  world.ranks[3].stopped = false;
  world.ranks[5].phase = 0;
  world.ranks[5].epoch = 0;
  world.run(600 * ms);
  EXPECT_TRUE(world.expire(3, 5, 3000 * ms));
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 5);
}

// Any rank, any kind of trouble, any moment of the beat: all survivors name it, within half a second of the suspicion.
TEST(Verdict, AgreementSweep) {
  for (uint32_t victim = 1; victim < 8; ++victim) {
    for (uint64_t offset = 0; offset < 100; offset += 30) {
      for (bool idle : {false, true}) {
        World world(kTwoNodes);
        for (uint32_t rank = 0; rank < 8; ++rank) world.ranks[rank].waits_for = victim;
        world.ranks[victim].waits_for = kNobody;
        if (idle) world.ranks[victim].phase = world.ranks[victim].epoch = 0;
        world.run(300 * ms + offset * ms);
        world.ranks[victim].stopped = !idle;
        world.run(100 * ms);
        for (uint32_t rank = 0; rank < 8; ++rank)
          if (rank != victim) world.expire(rank, victim);
        EXPECT_LE(world.run_until_judged(), 500 * ms);
        world.expect(idle ? FaultKind::kAbsent : FaultKind::kSilent, victim);
      }
    }
  }
}

// It was on the way to nobody any more when others found that they had waited for too long.
TEST(Verdict, ARankThatStoodStillIsNamedAfterItWentOn) {
  World world(kTwoNodes);
  world.ranks[2].waits_for = 3;
  world.run(500 * ms);
  world.ranks[3].stopped = true;
  world.run(900 * ms);
  world.ranks[3].stopped = false;
  world.ranks[2].waits_for = 5;  // which is busy, and owes nobody anything
  world.run(50 * ms);
  world.expire(2, 3);
  world.run_until_judged();
  world.expect(FaultKind::kSilent, 3);
}

TEST(Verdict, OfTwoThatStoodStillTheOneThatDidSoForLonger) {
  for (const uint32_t longer : {3u, 6u}) {
    World world(kTwoNodes);
    world.ranks[2].waits_for = 5;
    world.run(500 * ms);
    world.ranks[longer].stopped = true;
    world.run(300 * ms);
    world.ranks[longer ^ 5].stopped = true;
    world.run(600 * ms);
    world.ranks[3].stopped = world.ranks[6].stopped = false;
    world.run(50 * ms);
    world.expire(2, 5);
    world.run_until_judged();
    world.expect(FaultKind::kSilent, longer);
  }
}

// A rank that stood still for a moment only is not to blame for a long wait.
TEST(Verdict, AShortPauseIsNotTheCause) {
  World world(kTwoNodes);
  world.run(2000 * ms);
  world.ranks[3].stopped = true;
  world.run(400 * ms);
  world.ranks[3].stopped = false;
  world.ranks[5].phase = world.ranks[5].epoch = 0;
  world.run(600 * ms);
  world.expire(2, 5, 3000 * ms);
  world.run_until_judged();
  world.expect(FaultKind::kAbsent, 5);
}

// It has sent all that it owed: the way is broken.
TEST(Verdict, ARankThatHasReturnedFromTheCallIsNotAbsent) {
  World world(kTwoNodes);
  world.ranks[6].phase = 0;
  world.ranks[1].waits_for = 6;
  world.run(500 * ms);
  world.expire(1, 6);
  world.run_until_judged();
  world.expect(FaultKind::kUnreachable, 1);
}

// Late for this call because it still waits in the last one: whom it waits for is to blame.
TEST(Verdict, AWaitInAnEarlierCallIsFollowed) {
  World world(kTwoNodes);
  for (World::Rank& rank : world.ranks) rank.epoch = 2;
  world.ranks[1].epoch = 1;
  world.ranks[1].waits_for = 6;
  world.ranks[6].phase = world.ranks[6].epoch = 0;
  world.run(500 * ms);
  World busy = world;  // in that call, and not in this one
  busy.ranks[6].phase = kBusy;
  busy.ranks[6].epoch = 1;
  busy.run(100 * ms);
  busy.expire(0, 1);
  busy.run_until_judged();
  busy.expect(FaultKind::kSilent, 6);
  world.expire(0, 1);
  world.run_until_judged();
  world.expect(FaultKind::kAbsent, 6);
}

TEST(Verdict, WhatIsNoRankIsIgnored) {
  Arbiter arbiter({0, 0});
  arbiter.start(0);
  EXPECT_TRUE(arbiter.take(Heartbeat{9, 1, 1, true, 77}, 10 * ms).empty());
  EXPECT_TRUE(arbiter.take(Lost{9}, 10 * ms).empty());
  EXPECT_TRUE(arbiter.take(Goodbye{9}, 10 * ms).empty());
  EXPECT_TRUE(arbiter.take(Heartbeat{1, 1, 1, true, 77}, 100 * ms).empty());
  arbiter.take(Suspicion{0, 1, 1, 0, 1}, 100 * ms);
  const std::vector<Message> said = arbiter.take(Heartbeat{1, 1, 1, true, 77}, 200 * ms);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(std::get<Verdict>(said[0]).culprit, 1u);
}

TEST(Fault, IsASentence) {
  Fault fault;
  fault.kind = FaultKind::kSilent;
  fault.rank = 3;
  fault.culprit_rank = 5;
  fault.operation = "dispatch";
  fault.role = "forwarder";
  fault.channel = 1;
  fault.waiting_for = "tokens of rank 5";
  fault.seen = 3;
  fault.expected = 7;
  fault.after_ms = 1400.4;
  fault.detail = "no sign of life for 900 ms";
  EXPECT_EQ(
      fault.to_string(),
      "rank 5 is silent (no sign of life for 900 ms); rank 3 was in dispatch as forwarder of channel 1 and waited "
      "for tokens of rank 5, whose count is 3 and must be 7, after 1400 ms");
  EXPECT_EQ(Error(fault).what(), fault.to_string());
}

// Who does not come to a gather is absent only if it is alive: else it is silent, or a whole node is out of reach.
TEST(Arbiter, JudgesWhoMissedAGather) {
  const auto verdict_when = [](const std::set<uint32_t>& quiet) {
    Arbiter arbiter({0, 0, 1, 1});
    uint64_t now = 1000 * ms;
    arbiter.start(now);
    for (int beat = 0; beat < 10; ++beat) {
      now += kHeartbeatNs;
      for (uint32_t rank = 0; rank < 4; ++rank)
        if (quiet.count(rank) == 0) arbiter.take(Heartbeat{rank, 1, 0, false, kNobody}, now);
    }
    arbiter.take(Missing{quiet.count(3) ? 3u : 2u}, now);
    return arbiter.verdict();
  };
  EXPECT_EQ(verdict_when({}).kind, FaultKind::kAbsent);
  EXPECT_EQ(verdict_when({}).culprit, 2u);
  EXPECT_EQ(verdict_when({3}).kind, FaultKind::kSilent);
  EXPECT_EQ(verdict_when({3}).culprit, 3u);
  EXPECT_EQ(verdict_when({2, 3}).kind, FaultKind::kUnreachable);
  EXPECT_EQ(verdict_when({2, 3}).culprit, 2u);
}

TEST(Arbiter, WhoHasLeftMissesAGather) {
  Arbiter arbiter({0, 0, 1, 1});
  arbiter.start(1000 * ms);
  arbiter.take(Goodbye{3, 0}, 1010 * ms);
  arbiter.take(Missing{3}, 1020 * ms);
  EXPECT_EQ(arbiter.verdict().culprit, 3u);
  EXPECT_EQ(arbiter.verdict().detail, "it has left the group");
}

TEST(Arbiter, WhoNeverCameIsAbsent) {
  Arbiter arbiter({0, 0, 1, 1});
  const auto said = arbiter.take(Missing{3}, 5000 * ms);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(std::get<Verdict>(said[0]).kind, FaultKind::kAbsent);
}

TEST(MemberDeathTest, SitsInItsGroup) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const MemberSeat beyond{.rank = 2, .node_of_rank = {0, 0}, .arbiter_in_rank_0 = true};
  EXPECT_DEATH(Member(beyond, 0), "broken: seat_.rank");
}

}  // namespace
}  // namespace transload
