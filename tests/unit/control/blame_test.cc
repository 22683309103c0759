// Who is not to blame: waits that ended by themselves, ranks that left, minorities, and an arbiter that is gone.
#include <gtest/gtest.h>

#include "tests/unit/control/verdict_world.h"

namespace transload {
namespace {

using namespace test;
using World = VerdictWorld;

TEST(Verdict, GoodbyeThenEndIsNotLost) {
  World world(kTwoNodes);
  world.run(200 * ms);
  world.goodbye(5);
  world.end_of_file(5);
  world.run(2000 * ms);
  EXPECT_FALSE(world.any_verdict());
  EXPECT_TRUE(world.member(2).said_goodbye(5));
  // Who needs it in a later call is told that it is not there, without waiting for its deadline.
  world.enter(2, 2);
  world.ranks[2].waits_for = 3;
  EXPECT_LE(world.run_until_judged(), 110 * ms);
  world.expect(FaultKind::kAbsent, 5);
}

// It owes the call that it has made nothing any more. If that call still cannot end, a way is broken.
TEST(Verdict, GoodbyeWhileOthersFinish) {
  World world(kTwoNodes);
  for (World::Rank& rank : world.ranks) rank.waits_for = 5;
  world.run(200 * ms);
  world.goodbye(5);
  world.end_of_file(5);
  world.run(3000 * ms);
  EXPECT_FALSE(world.any_verdict());
  world.expire(1, 5);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kUnreachable, 1);
}

TEST(Verdict, OfThoseThatLeftTheLowestIsNamed) {
  World world(kTwoNodes);
  world.run(200 * ms);
  world.goodbye(6);
  world.goodbye(3);
  world.enter(1, 2);
  world.ranks[1].waits_for = 6;
  EXPECT_LE(world.run_until_judged({3, 6}), 110 * ms);
  world.expect(FaultKind::kAbsent, 3, {3, 6});
}

TEST(Verdict, GoodbyeOfTheArbiter) {
  World world(kTwoNodes);
  world.goodbye(0);
  world.end_of_file(0);
  world.run(1000 * ms);
  EXPECT_FALSE(world.any_verdict());
  world.expire(3, 4);
  ASSERT_EQ(world.ranks[3].verdicts.size(), 1u);  // nobody can be asked
  EXPECT_EQ(world.ranks[3].verdicts[0].kind, FaultKind::kRendezvous);
  EXPECT_TRUE(world.ranks[3].verdicts[0].own_view);
  // Who enters a later call than it made sees that by itself.
  world.enter(5, 2);
  world.ranks[5].waits_for = 6;
  world.run(20 * ms);
  ASSERT_EQ(world.ranks[5].verdicts.size(), 1u);
  EXPECT_EQ(world.ranks[5].verdicts[0].kind, FaultKind::kAbsent);
  EXPECT_EQ(world.ranks[5].verdicts[0].culprit, 0u);
}

// The accuser knows when its wait has ended: then nobody is to blame, whatever the beats say by then.
TEST(Verdict, AWithdrawnSuspicionIsForgotten) {
  for (uint64_t after = 0; after <= 40; after += 10) {
    World world({0, 1});
    world.enter(0, 2);
    world.ranks[0].waits_for = 1;
    world.ranks[1].phase = 0;
    world.run(1000 * ms);
    world.expire(0, 1);
    world.run(after * ms);
    world.enter(1, 2);
    world.withdraw(0);
    world.ranks[0].waits_for = kNobody;
    world.ranks[0].phase = world.ranks[1].phase = 0;
    EXPECT_FALSE(world.member(0).suspecting());
    world.run(2000 * ms);
    EXPECT_FALSE(world.any_verdict()) << after;
  }
}

// Two waits of one rank: the second suspicion is open though the first was withdrawn.
TEST(Verdict, ASuspicionAfterAWithdrawal) {
  World world(kTwoNodes);
  world.ranks[2].phase = world.ranks[2].epoch = 0;
  world.run(1000 * ms);
  world.expire(0, 1);
  world.run(20 * ms);
  world.withdraw(0);
  world.expire(0, 2);
  EXPECT_TRUE(world.member(0).suspecting());
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 2);
}

// By the time of the verdict it is in the call, and all wait for each other: it was absent at the deadline.
TEST(Verdict, ARankThatCameAfterTheDeadlineIsNamed) {
  for (uint64_t after = 10; after <= 440; after += 30) {
    World world(kTwoNodes);
    for (uint32_t rank = 0; rank < 8; ++rank) {
      world.enter(rank, 2);
      world.ranks[rank].waits_for = rank ^ 4;
    }
    world.ranks[5].epoch = 1;
    world.ranks[5].phase = 0;
    world.ranks[5].waits_for = kNobody;
    world.run(1000 * ms);
    for (uint32_t rank : {1u, 2u, 6u}) world.expire(rank, rank ^ 4);
    world.run(after * ms);
    world.enter(5, 2);
    world.ranks[5].waits_for = 1;
    EXPECT_LE(world.run_until_judged(), 500 * ms);
    world.expect(FaultKind::kAbsent, 5);
    if (HasFailure()) FAIL() << after;
  }
}

// A rank that came in time, however shortly before, is not late.
TEST(Verdict, ARankThatCameBeforeTheDeadlineIsNotLate) {
  World world(kTwoNodes);
  for (uint32_t rank : {2u, 6u}) {
    world.enter(rank, 2);
    world.ranks[rank].waits_for = rank ^ 4;
  }
  world.run(900 * ms);
  for (uint32_t rank : {0u, 1u, 3u, 4u, 5u, 7u}) world.enter(rank, 2);
  world.run(100 * ms);
  world.expire(6, 2);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kUnreachable, 2);
}

// Beats that a network holds back and then brings at once say when they were sent.
TEST(Verdict, LateBeatsAreNoStandingStill) {
  Arbiter arbiter({0, 0, 0});
  uint64_t now = 1000 * ms;
  arbiter.start(now);
  const auto beat = [&](uint32_t rank, uint64_t sent) {
    return arbiter.take(Heartbeat{rank, rank == 2 ? 0u : 1u, rank == 2 ? 0u : kBusy, false, kNobody, sent}, now);
  };
  for (uint32_t rank = 0; rank < 3; ++rank) beat(rank, now);
  for (int i = 1; i <= 12; ++i) {
    now += 100 * ms;
    beat(0, now);
    beat(2, now);
    for (int late = 1; i == 12 && late <= 12; ++late) beat(1, 1000 * ms + uint64_t(late) * 100 * ms);
  }
  arbiter.take(Suspicion{0, 1, 2, 0, 1, 1000 * ms}, now);
  now += 100 * ms;
  for (uint32_t rank = 0; rank < 3; ++rank) beat(rank, now);
  arbiter.tick(now + kTickPendingNs);
  EXPECT_EQ(arbiter.verdict().kind, FaultKind::kAbsent);
  EXPECT_EQ(arbiter.verdict().culprit, 2u);
}

// Threads look at the clock before they take turns: an older time after a newer one is not a long one.
TEST(Verdict, TimesThatCrossAreNoTimeOut) {
  Member member({0, {0, 0}, true}, 1000 * ms);
  EXPECT_EQ(member.expired({0, 1, 1, 0, 1}, 1000 * ms, 1200 * ms).to_arbiter.size(), 1u);
  EXPECT_FALSE(member.tick({}, 1199 * ms).verdict);
}

TEST(Verdict, CutOffFromALauncher) {
  World world(kTwoNodes, false);
  world.run(500 * ms);
  for (uint32_t rank = 4; rank < 8; ++rank) world.ranks[rank].cut = true;
  world.run(1000 * ms);
  world.expire(5, 1);
  world.expire(6, kNobody);
  world.run(820 * ms);
  for (const uint32_t rank : {5u, 6u}) {  // whomever they wait for
    ASSERT_EQ(world.ranks[rank].verdicts.size(), 1u);
    EXPECT_EQ(world.ranks[rank].verdicts[0].kind, FaultKind::kRendezvous);
    EXPECT_EQ(world.ranks[rank].verdicts[0].culprit, kNobody);
    EXPECT_TRUE(world.ranks[rank].verdicts[0].own_view);
  }
}

// The one that differs from all others is wrong, whoever says so first and whomever it says it of.
TEST(Verdict, TheMinorityIsWrong) {
  for (uint32_t wrong = 0; wrong < 8; ++wrong) {
    World world(kTwoNodes);
    world.run(100 * ms);
    world.mismatch(wrong, wrong == 0 ? 3 : 0);  // the first that it met
    world.run(30 * ms);
    for (const uint32_t rank : {1u, 5u, 7u, 2u})
      if (rank != wrong) world.mismatch(rank, wrong);
    EXPECT_LE(world.run_until_judged(), 450 * ms);
    world.expect(FaultKind::kMismatch, wrong);
    EXPECT_EQ(world.ranks[wrong].verdicts[0].detail, "tokens_max");
  }
}

TEST(Verdict, AMismatchThatMostHaveSeenIsJudgedAtOnce) {
  World world({0, 0, 0, 0});
  world.run(100 * ms);
  world.mismatch(2, 0);
  for (const uint32_t rank : {3u, 0u, 1u}) world.mismatch(rank, 2);
  EXPECT_EQ(world.run_until_judged(), 0u);
  world.expect(FaultKind::kMismatch, 2);
}

TEST(Verdict, OfTwoThatDifferNobodyKnows) {
  for (const bool first : {false, true}) {
    World two({0, 0});
    two.run(100 * ms);
    two.mismatch(first, !first);
    EXPECT_EQ(two.run_until_judged(), 0u);
    two.expect(FaultKind::kMismatch, 0);
    EXPECT_EQ(two.ranks[0].verdicts[0].detail, "tokens_max; which of them is wrong is not known");
  }
  World alone(kTwoNodes);  // the others are not in the call yet
  alone.run(100 * ms);
  alone.mismatch(6, 2);
  EXPECT_LE(alone.run_until_judged(), 480 * ms);
  alone.expect(FaultKind::kMismatch, 2);
}

// One rank of four makes another call than the others, which wait for it and see nothing of that.
TEST(Verdict, OfTwoThatDifferTheOneIsWrongThatIsAlone) {
  for (uint32_t wrong = 0; wrong < 4; ++wrong) {
    World world({0, 0, 1, 1});
    for (uint32_t rank = 0; rank < 4; ++rank) world.ranks[rank].phase = rank == wrong ? kBusy : kBusy - 1;
    world.run(200 * ms);
    world.mismatch(wrong, wrong ^ 1);
    EXPECT_LE(world.run_until_judged(), 470 * ms);
    world.expect(FaultKind::kMismatch, wrong);
    EXPECT_EQ(world.ranks[0].verdicts[0].detail, "tokens_max");
  }
}

// What a rank says of itself needs no other.
TEST(Verdict, ARankThatAccusesItself) {
  World world(kTwoNodes);
  world.mismatch(6, 6);
  EXPECT_EQ(world.run_until_judged(), 0u);
  world.expect(FaultKind::kMismatch, 6);
}

// Nobody can judge any more: all say so at once and alike, also those that have accused somebody.
TEST(Verdict, LauncherGone) {
  for (const bool open : {false, true}) {
    World world({0, 0, 1, 1, 2, 2}, false);
    world.run(1500 * ms);
    world.ranks[3].stopped = open;
    world.run(100 * ms);
    for (const uint32_t rank : {0u, 1u, 4u})
      if (open) world.expire(rank, rank == 4 ? 2 : 3);
    world.end_launcher();
    world.ranks[3].stopped = false;
    EXPECT_EQ(world.run_until_judged(), 0u);
    world.expect(FaultKind::kRendezvous, kNobody);
    for (const World::Rank& rank : world.ranks) EXPECT_FALSE(rank.verdicts[0].own_view);
  }
}

// It stands still: whoever has waited in vain says so, whomever it waited for.
TEST(Verdict, LauncherStopped) {
  World world({0, 0, 1, 1, 2, 2}, false);
  world.run(500 * ms);
  world.launcher_stopped = true;
  world.ranks[5].stopped = true;
  world.run(1000 * ms);
  for (uint32_t rank = 0; rank < 5; ++rank) {
    world.expire(rank, rank == 0 ? 5 : rank - 1);
    world.run(30 * ms);
  }
  EXPECT_LE(world.run_until_judged(), 820 * ms);
  world.expect(FaultKind::kRendezvous, kNobody);
  EXPECT_TRUE(world.ranks[0].verdicts[0].own_view);
  // When it runs again it finds their word, and gives it to all.
  world.launcher_stopped = false;
  world.ranks[5].stopped = false;
  world.run(200 * ms);
  world.expect(FaultKind::kRendezvous, kNobody);
}

// It stood still for a moment in which somebody suspected: it judges, and nobody speaks for itself meanwhile.
TEST(Verdict, LauncherStoppedForAMoment) {
  for (const auto& [before, after] : {std::pair{300, 450}, {50, 750}}) {
    World world(kTwoNodes, false);
    world.ranks[5].phase = world.ranks[5].epoch = 0;
    world.run(500 * ms);
    world.launcher_stopped = true;
    world.run(uint64_t(before) * ms);
    world.expire(1, 5);
    world.run(uint64_t(after) * ms);
    world.launcher_stopped = false;
    world.run(1000 * ms);
    world.expect(FaultKind::kAbsent, 5);
  }
}

// A rank whose withdrawal gets no answer continues: silence is no fault.
TEST(Verdict, AWithdrawalNeedsNoArbiter) {
  World world(kTwoNodes, false);
  world.run(500 * ms);
  world.launcher_stopped = true;
  world.run(500 * ms);
  world.expire(1, 5);
  world.run(100 * ms);
  world.withdraw(1);
  EXPECT_TRUE(world.member(1).suspecting());
  world.run(900 * ms);
  EXPECT_FALSE(world.member(1).suspecting());
  EXPECT_FALSE(world.any_verdict());
}

TEST(Verdict, MembersAlone) {
  const std::vector<uint32_t> nodes{0, 0, 1, 1};
  Member member({1, nodes, false}, 0);
  ASSERT_TRUE(member.arbiter_gone(50 * ms).verdict);
  EXPECT_FALSE(member.expired({1, 4, 3, 0, 1}, 5000 * ms, 6000 * ms).verdict);  // once
  EXPECT_EQ(member.verdict().kind, FaultKind::kRendezvous);
  // It left with rank 0: who is waited for is not known to be at fault.
  Member other({1, nodes, true}, 0);
  other.take(Goodbye{0, 4}, 10 * ms);
  EXPECT_FALSE(other.arbiter_gone(50 * ms).verdict);
  EXPECT_EQ(other.gave_up({1, 4, 3, 0, 1}, 5000 * ms, 6000 * ms).verdict->kind, FaultKind::kRendezvous);
}

TEST(Verdict, ArbiterThatWasStoppedHoldsNothingAgainstOthers) {
  Arbiter arbiter({0, 0, 0});
  arbiter.start(0);
  arbiter.tick(100 * ms);
  EXPECT_TRUE(arbiter.take(Suspicion{1, 1, 2, 0, 1}, 5000 * ms).empty());
  EXPECT_TRUE(arbiter.tick(5010 * ms).empty());
  const std::vector<Message> said = arbiter.take(Heartbeat{2, 0, 0, false, kNobody}, 5100 * ms);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(std::get<Verdict>(said[0]).kind, FaultKind::kAbsent);
}

// What was open when it stopped waits for news as well.
TEST(Verdict, ArbiterThatWasStoppedIsInNoHaste) {
  const Message opened[] = {Suspicion{0, 1, 2, 0, 1}, Mismatch{0, 2, "tokens_max"}};
  for (const Message& open : opened) {
    Arbiter arbiter({0, 0, 0});
    arbiter.start(1000 * ms);
    for (uint32_t rank = 0; rank < 3; ++rank) arbiter.take(Heartbeat{rank, 1, kBusy, false, kNobody}, 1000 * ms);
    EXPECT_TRUE(arbiter.take(open, 1000 * ms).empty());
    EXPECT_TRUE(arbiter.tick(9000 * ms).empty());
    EXPECT_TRUE(arbiter.tick(9300 * ms).empty());
    EXPECT_FALSE(arbiter.tick(9450 * ms).empty());
  }
}

TEST(Verdict, ARankThatReportsTwiceIsOne) {
  Arbiter arbiter({0, 0, 0, 0});
  arbiter.start(1000 * ms);
  for (int again = 0; again < 4; ++again) EXPECT_TRUE(arbiter.take(Mismatch{1, 2, "hidden"}, 1000 * ms).empty());
}

// It may be the wrong half.
TEST(Verdict, HalfOfAllIsNotMost) {
  Arbiter arbiter({0, 0, 0, 0});
  arbiter.start(1000 * ms);
  EXPECT_TRUE(arbiter.take(Mismatch{1, 0, "hidden"}, 1000 * ms).empty());
  EXPECT_TRUE(arbiter.take(Mismatch{2, 0, "hidden"}, 1000 * ms).empty());
  ASSERT_FALSE(arbiter.take(Mismatch{3, 0, "hidden"}, 1000 * ms).empty());
  EXPECT_EQ(arbiter.verdict().culprit, 0u);
}

// Of several reports, by the lowest rank that is not itself to blame.
TEST(Verdict, SaysWhatTheLowestOfTheOthersFound) {
  Arbiter arbiter({0, 0, 0});
  arbiter.start(1000 * ms);
  arbiter.take(Mismatch{1, 2, "found by 1"}, 1000 * ms);
  arbiter.take(Mismatch{2, 1, "found by 2"}, 1000 * ms);
  arbiter.take(Mismatch{0, 1, "found by 0"}, 1000 * ms);
  EXPECT_EQ(arbiter.verdict().culprit, 1u);
  EXPECT_EQ(arbiter.verdict().detail, "found by 0");
}

// It came after the deadline, and all ends well: the accuser has time to say so.
TEST(Verdict, ALateRankIsForgivenIfTheWaitEnds) {
  World world(kTwoNodes);
  for (uint32_t rank = 0; rank < 8; ++rank) world.enter(rank, 2);
  world.ranks[5].epoch = 1;
  world.ranks[5].phase = 0;
  world.run(1000 * ms);
  world.expire(1, 5);
  world.run(30 * ms);
  world.enter(5, 2);
  world.run(270 * ms);
  world.withdraw(1);
  world.run(1000 * ms);
  EXPECT_FALSE(world.any_verdict());
}

// It entered in time, and its last heartbeat is older than that.
TEST(Verdict, ARankIsNotAwayByOldNews) {
  World world(kTwoNodes);
  for (uint32_t rank = 0; rank < 8; ++rank) world.enter(rank, 2);
  world.ranks[2].epoch = 1;
  world.ranks[2].phase = 0;
  world.run(990 * ms);
  world.enter(2, 2);
  world.run(10 * ms);
  world.expire(1, 5);
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kSilent, 5);
}

TEST(Verdict, OfTwoLateRanksTheLastIsNamed) {
  World world(kTwoNodes);
  for (uint32_t rank = 0; rank < 8; ++rank) {
    world.enter(rank, 2);
    world.ranks[rank].waits_for = rank ^ 4;
  }
  for (const uint32_t late : {5u, 6u}) {
    world.ranks[late].epoch = 1;
    world.ranks[late].phase = 0;
    world.ranks[late].waits_for = kNobody;
  }
  world.run(1000 * ms);
  world.expire(1, 5);
  for (const uint32_t late : {5u, 6u}) {
    world.run(30 * ms);
    world.enter(late, 2);
    world.ranks[late].waits_for = late ^ 4;
  }
  EXPECT_LE(world.run_until_judged(), 500 * ms);
  world.expect(FaultKind::kAbsent, 6);
}

// Its first suspicion is open until it is answered, and its time is not that of what follows.
TEST(Verdict, ARankThatSuspectsWaitsForOneAnswer) {
  for (const bool differs : {false, true}) {
    Member member({1, {0, 0, 0}, true}, 1000 * ms);
    EXPECT_EQ(member.expired({1, 1, 0, 0, 1}, 1000 * ms, 1100 * ms).to_arbiter.size(), 1u);
    for (uint64_t now = 1200 * ms; now < 1900 * ms; now += 100 * ms) {
      member.take(Heartbeat{}, now);
      const Reaction more =
          differs ? member.mismatch({1, 2, "hidden"}, now) : member.expired({1, 1, 2, 0, 1}, 1000 * ms, now);
      EXPECT_EQ(more.to_arbiter.size(), differs && now == 1200 * ms ? 1u : 0u);
      EXPECT_FALSE(member.tick({}, now).verdict);
    }
    EXPECT_TRUE(member.tick({}, 1900 * ms).verdict);
  }
}

TEST(Verdict, TheAnswerToAWithdrawalIsItsOwn) {
  Member member({1, {0, 0, 0}, true}, 1000 * ms);
  member.expired({1, 1, 0, 0, 1}, 1000 * ms, 1100 * ms);
  EXPECT_EQ(member.withdraw(1110 * ms).to_arbiter.size(), 1u);
  member.take(Withdrawn{2}, 1120 * ms);
  EXPECT_TRUE(member.suspecting());
  member.take(Withdrawn{1}, 1130 * ms);
  EXPECT_FALSE(member.suspecting());
}

// Rank 0 has left, and the arbiter with it.
TEST(Verdict, WithoutAnArbiterMembersSayWhatTheyKnow) {
  const std::vector<uint32_t> nodes{0, 0, 1, 1};
  const auto member_of = [&](uint32_t rank) {
    Member member({rank, nodes, true}, 1000 * ms);
    member.take(Goodbye{0, 4}, 1010 * ms);
    return member;
  };
  for (const uint32_t rank : {1u, 3u}) {  // two that differ name the same
    Member member = member_of(rank);
    EXPECT_FALSE(member.arbiter_gone(1020 * ms).verdict);
    const Reaction said = member.mismatch({rank, 4 - rank, "hidden"}, 1030 * ms);
    ASSERT_TRUE(said.verdict);
    EXPECT_EQ(said.verdict->culprit, 1u);
  }
  Member in_its_last_call = member_of(1);
  in_its_last_call.arbiter_gone(1020 * ms);
  EXPECT_FALSE(in_its_last_call.tick({1, 4, kBusy, true, 2}, 1030 * ms).verdict);
  EXPECT_TRUE(in_its_last_call.tick({1, 5, kBusy, true, 2}, 1040 * ms).verdict);
  Member in_no_call = member_of(1);
  in_no_call.take(Goodbye{3, 0}, 1020 * ms);
  in_no_call.arbiter_gone(1030 * ms);
  const Reaction said = in_no_call.gave_up({1, 0, 3, 0, 1}, 1000 * ms, 1040 * ms);
  ASSERT_TRUE(said.verdict);
  EXPECT_EQ(said.verdict->kind, FaultKind::kAbsent);
  EXPECT_EQ(said.verdict->culprit, 3u);
  Member asks = member_of(1);
  EXPECT_EQ(asks.expired({1, 4, 3, 0, 1}, 1000 * ms, 1100 * ms).to_arbiter.size(), 1u);
  EXPECT_TRUE(asks.arbiter_gone(1110 * ms).verdict) << "nobody answers";
}

}  // namespace
}  // namespace transload
