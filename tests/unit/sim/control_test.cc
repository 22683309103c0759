// The control channel in virtual time: who is told what by when.
#include "sim/world/control.h"

#include <gtest/gtest.h>
#include <transload/group.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/probes/planting.h"
#include "tests/support/milliseconds.h"

namespace transload {
namespace {

constexpr uint64_t kDeadlineNs = 1000 * ms;
constexpr uint64_t kOwnViewNs = kAnswerNs + 20 * ms;  // when the last member speaks for itself

// A group of which every rank is in its first call. Expired waits are the test's.
class ControlWorld {
 public:
  explicit ControlWorld(uint64_t seed, bool arbiter_in_rank_0 = true,
                        std::vector<uint32_t> nodes = {0, 0, 0, 0, 1, 1, 1, 1})
      : ranks(uint32_t(nodes.size())), control(time, {nodes, arbiter_in_rank_0, 50'000, seed}) {
    for (uint32_t rank = 0; rank < ranks; ++rank) waits(rank, kNobody);
    control.on_verdict([this](uint32_t rank) {
      ++told[rank];
      told_at[rank] = time.now();
    });
  }
  void waits(uint32_t rank, uint32_t whom, uint64_t epoch = 1, Phase phase = Phase::kDispatch) {
    control.note(rank, {rank, epoch, uint32_t(phase), whom != kNobody, whom});
  }
  void run(uint64_t duration) {
    const uint64_t end = time.now() + duration;
    for (; time.next() <= end; time.run_due()) time.advance_to(time.next());
    time.advance_to(end);
  }
  bool expire(uint32_t rank, uint32_t whom) {
    return control.suspect(rank, {rank, 1, whom, 3, 7}, time.now() - kDeadlineNs);
  }
  // All of these, and nobody else, know `kind` and `culprit`, each told once, by `within` after `since`.
  void expect(const std::set<uint32_t>& who, Verdict verdict, uint64_t within) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      if (!who.count(rank)) continue;
      EXPECT_STREQ(name_of(control.verdict(rank).kind), name_of(verdict.kind)) << "rank " << rank;
      EXPECT_EQ(control.verdict(rank).culprit, verdict.culprit) << "rank " << rank;
      EXPECT_EQ(told[rank], 1u) << "rank " << rank;
      EXPECT_LE(told_at[rank], since + within) << "rank " << rank;
    }
  }
  bool nobody_told() const { return told.empty(); }
  std::set<uint32_t> all_but(const std::set<uint32_t>& these) const {
    std::set<uint32_t> rest;
    for (uint32_t rank = 0; rank < ranks; ++rank)
      if (!these.count(rank)) rest.insert(rank);
    return rest;
  }

  const uint32_t ranks;
  Timeline time;
  uint64_t since = time.now();
  SimControl control;
  std::map<uint32_t, uint32_t> told;
  std::map<uint32_t, uint64_t> told_at;
};

// With rank 0's arbiter and with a launcher's, for a few seeds.
template <class Body>
void for_each_world(Body body) {
  for (const bool in_rank_0 : {true, false}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      ControlWorld world(seed, in_rank_0);
      body(world, in_rank_0);
      if (testing::Test::HasFailure()) FAIL() << "seed " << seed << (in_rank_0 ? ", arbiter in rank 0" : ", launcher");
    }
  }
}

TEST(Timeline, RunsByTimeThenByOrder) {
  Timeline time;
  const uint64_t start = time.now();
  EXPECT_EQ(time.next(), Timeline::kNever);
  std::string said;
  time.at(start + 5, [&] { said += 'c'; });
  time.at(start + 3, [&] {
    said += 'a';
    time.in(2, [&] { said += 'e'; });
    time.in(0, [&] { said += 'b'; });
  });
  time.at(start + 5, [&] { said += 'd'; });
  time.at(start + 6, [&] { said += 'f'; });
  for (const uint64_t when : {start + 3, start + 5}) {
    EXPECT_EQ(time.next(), when);
    time.advance_to(when);
    time.run_due();
  }
  EXPECT_EQ(said, "abcde");
  EXPECT_EQ(time.next(), start + 6);
}

TEST(SimControl, NobodyIsToldWhenNothingHappens) {
  for_each_world([](ControlWorld& world, bool) {
    world.run(5000 * ms);
    EXPECT_TRUE(world.nobody_told());
  });
}

TEST(SimControl, DeathWithNoticeIsKnownAtOnce) {
  for (const uint32_t rank : {5u, 0u}) {
    for_each_world([rank](ControlWorld& world, bool) {
      world.run(300 * ms);
      world.since = world.time.now();
      world.control.die(rank, true);
      world.run(1 * ms);
      world.expect(world.all_but({rank}), {FaultKind::kLost, rank, ""}, 200'000);
    });
  }
}

TEST(SimControl, DeathWithoutNoticeIsFoundByASuspicion) {
  for_each_world([](ControlWorld& world, bool) {
    for (uint32_t rank = 0; rank < 8; ++rank) world.waits(rank, rank == 5 ? kNobody : 5);
    world.run(300 * ms);
    world.control.die(5, false);
    world.run(700 * ms);
    EXPECT_TRUE(world.nobody_told());
    world.since = world.time.now();
    world.expire(2, 5);
    world.run(2000 * ms);
    world.expect(world.all_but({5}), {FaultKind::kSilent, 5, ""}, 500 * ms);
  });
}

// Nobody is left to judge: each names rank 0 by itself.
TEST(SimControl, DeathOfTheArbiterWithoutNotice) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ControlWorld world(seed);
    world.run(300 * ms);
    world.control.die(0, false);
    world.run(kDeadlineNs);
    world.since = world.time.now();
    for (uint32_t rank = 1; rank < 8; ++rank) world.expire(rank, rank % 7 + 1);
    world.run(2000 * ms);
    world.expect({1, 2, 3}, {FaultKind::kSilent, 0, ""}, kOwnViewNs);
    world.expect({4, 5, 6, 7}, {FaultKind::kUnreachable, 0, ""}, kOwnViewNs);
  }
}

TEST(SimControl, StoppedForLongIsSilent) {
  for_each_world([](ControlWorld& world, bool) {
    for (uint32_t rank = 0; rank < 8; ++rank) world.waits(rank, rank == 6 ? kNobody : 6);
    world.run(300 * ms);
    world.control.stop(6);
    world.run(kDeadlineNs);
    world.since = world.time.now();
    world.expire(1, 6);
    world.run(1000 * ms);
    world.expect(world.all_but({6}), {FaultKind::kSilent, 6, ""}, 500 * ms);
    EXPECT_EQ(world.told.count(6), 0u);
    world.since = world.time.now();
    world.control.go_on(6);
    world.run(1 * ms);
    world.expect({6}, {FaultKind::kSilent, 6, ""}, 0);  // it was in the mail
  });
}

TEST(SimControl, StoppedAndContinuedAccusesNobody) {
  for_each_world([](ControlWorld& world, bool) {
    for (uint32_t rank = 0; rank < 8; ++rank) world.waits(rank, (rank + 1) % 8);
    world.run(300 * ms);
    for (const uint32_t rank : {3u, 0u}) {
      world.control.stop(rank);
      world.run(900 * ms);
      world.control.go_on(rank);
      EXPECT_FALSE(world.expire(rank, rank + 1));
      world.run(2000 * ms);
    }
    EXPECT_TRUE(world.nobody_told());
  });
}

TEST(SimControl, CutTellsBothSides) {
  for_each_world([](ControlWorld& world, bool in_rank_0) {
    for (uint32_t rank = 0; rank < 8; ++rank) world.waits(rank, (rank + 4) % 8);
    world.run(300 * ms);
    world.control.cut({4, 5, 6, 7});
    world.run(kDeadlineNs);
    world.since = world.time.now();
    for (uint32_t rank = 0; rank < 8; ++rank) world.expire(rank, (rank + 4) % 8);
    world.run(2000 * ms);
    world.expect({0, 1, 2, 3}, {FaultKind::kUnreachable, 4, ""}, 500 * ms);
    // With a launcher's arbiter on the far side nobody can judge, and nothing tells a cut from its death.
    const Verdict far{in_rank_0 ? FaultKind::kUnreachable : FaultKind::kRendezvous, in_rank_0 ? 0 : kNobody, ""};
    world.expect({4, 5, 6, 7}, far, kOwnViewNs);
  });
}

TEST(SimControl, CutAroundTheArbiterIsTheSameCut) {
  ControlWorld world(7);
  world.control.cut({0, 1, 2, 3});
  world.run(kDeadlineNs);
  world.since = world.time.now();
  for (uint32_t rank = 0; rank < 8; ++rank) world.expire(rank, (rank + 4) % 8);
  world.run(2000 * ms);
  world.expect({0, 1, 2, 3}, {FaultKind::kUnreachable, 4, ""}, 500 * ms);
  world.expect({4, 5, 6, 7}, {FaultKind::kUnreachable, 0, ""}, kOwnViewNs);
}

TEST(SimControl, CycleNamesItsLowest) {
  for_each_world([](ControlWorld& world, bool) {
    world.waits(3, 6);
    world.waits(6, 2);
    world.waits(2, 6);
    world.run(500 * ms);
    world.since = world.time.now();
    world.expire(3, 6);
    world.run(1000 * ms);
    world.expect(world.all_but({}), {FaultKind::kUnreachable, 2, ""}, 500 * ms);
  });
}

TEST(SimControl, WhoDidNotEnterTheCallIsAbsent) {
  for_each_world([](ControlWorld& world, bool) {
    world.waits(1, 4);
    world.waits(4, kNobody, 0, Phase::kIdle);
    world.run(500 * ms);
    world.since = world.time.now();
    world.expire(1, 4);
    world.run(1000 * ms);
    world.expect(world.all_but({}), {FaultKind::kAbsent, 4, ""}, 500 * ms);
  });
}

TEST(SimControl, GoodbyeIsNoLoss) {
  for_each_world([](ControlWorld& world, bool in_rank_0) {
    world.run(300 * ms);
    world.control.goodbye(0);
    world.run(1 * ms);
    world.control.die(0, true);
    world.run(1000 * ms);
    EXPECT_TRUE(world.nobody_told());
    EXPECT_TRUE(world.control.said_goodbye(5, 0));
    world.since = world.time.now();
    world.waits(5, 0, 2);  // in a call that it has not made
    world.run(1000 * ms);
    // If it took the arbiter along there is nobody to tell the others.
    world.expect(in_rank_0 ? std::set<uint32_t>{5} : world.all_but({0}), {FaultKind::kAbsent, 0, ""}, 110 * ms);
    EXPECT_EQ(world.told.size(), in_rank_0 ? 1u : 7u);
  });
}

TEST(SimControl, TheMinorityIsNamed) {
  for_each_world([](ControlWorld& world, bool) {
    world.control.mismatch(6, 2, "hidden");
    world.control.mismatch(1, 6, "hidden");
    world.run(500 * ms);
    world.expect(world.all_but({}), {FaultKind::kMismatch, 6, ""}, 480 * ms);
    EXPECT_EQ(world.control.verdict(0).detail, "hidden");
  });
}

TEST(SimControl, AWithdrawalIsAnswered) {
  for_each_world([](ControlWorld& world, bool) {
    uint32_t answers = 0;
    world.control.on_answer([&](uint32_t rank) { answers += rank == 3; });
    world.run(1000 * ms);
    world.expire(3, 4);
    world.control.withdraw(3);
    EXPECT_TRUE(world.control.suspecting(3));
    world.run(1 * ms);
    EXPECT_FALSE(world.control.suspecting(3));
    EXPECT_EQ(answers, 1u);
    world.run(2000 * ms);
    EXPECT_TRUE(world.nobody_told());
  });
}

// Killed or stopped, with a suspicion open or not: the same on all.
TEST(SimControl, TheLaunchersEndIsItsOwnKind) {
  for (const bool open : {false, true}) {
    for (const bool stopped : {false, true}) {
      ControlWorld world(11, false);
      world.run(300 * ms);
      if (stopped) world.control.stop_launcher();
      world.run(kDeadlineNs);
      world.since = world.time.now();
      if (open || stopped)
        for (const uint32_t rank : {0u, 3u, 5u}) world.expire(rank, (rank + 3) % 8);
      if (!stopped) world.control.end_launcher();
      world.run(1000 * ms);
      const std::set<uint32_t> who = stopped ? std::set<uint32_t>{0, 3, 5} : world.all_but({});
      world.expect(who, {FaultKind::kRendezvous, kNobody, ""}, stopped ? kOwnViewNs : 1 * ms);
    }
  }
}

TEST(SimControl, ClosedDoesNothing) {
  Timeline time;
  bool told = false;
  {
    SimControl control(time, {{0, 0, 1}, true, 1000, 1});
    control.on_verdict([&](uint32_t) { told = true; });
    control.die(1, true);
  }
  for (; time.next() != Timeline::kNever; time.run_due()) time.advance_to(time.next());
  EXPECT_FALSE(told);
}

TEST(SimControl, SameSeedSameTimes) {
  const auto times = [](uint64_t seed) {
    ControlWorld world(seed);
    world.run(300 * ms);
    world.control.die(5, true);
    world.run(10 * ms);
    return world.told_at;
  };
  EXPECT_EQ(times(1), times(1));
  EXPECT_NE(times(1), times(2));
}

TEST(Canary, PlantedForAsLongAsPlantingLives) {
  EXPECT_FALSE(canary_is_planted(Canary::kRingWrap));
  {
    const Planting planting(Canary::kRingWrap);
    EXPECT_TRUE(canary_is_planted(Canary::kRingWrap));
    EXPECT_FALSE(canary_is_planted(Canary::kNoStoreFence));
  }
  EXPECT_FALSE(canary_is_planted(Canary::kRingWrap));
}

}  // namespace
}  // namespace transload
