// The model is the weakest reading of channel/contract.md: over many seeds every promise holds, and every freedom that
// the contract leaves is taken by some.
#include "sim/model/flight.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model_world.h"

namespace transload::test {
namespace {

using World = ModelWorld;

// True if `test(world)` is true of some seed; of how many does not matter.
template <class F>
bool some_seed(F test, bool ordered = false) {
  for (uint64_t seed = 1; seed <= kModelSeeds; ++seed) {
    World world(seed, ordered);
    if (test(world)) return true;
  }
  return false;
}
template <class F>
bool every_seed(F test, bool ordered = false) {
  return !some_seed([&](World& w) { return !test(w); }, ordered);
}

// Promises.

TEST(ModelPromises, ACountLandsAfterTheStoresThatItCovers) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.store(w.warp(0), w.at(1, 256), 'b', true);
    w.flights.store_fence(w.warp(0));
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    return w.holds(w.at(1, 0), 'a') && w.holds(w.at(1, 256), 'b');
  }));
}

TEST(ModelPromises, ACountLandsAfterThePutsThatItCovers) {
  for (const bool ordered : {false, true})
    EXPECT_TRUE(every_seed(
        [](World& w) {
          for (int i = 0; i < 4; ++i) w.put(w.warp(0), 1, size_t(i) * 256, w.filled(char('a' + i)));
          w.publish_far(w.warp(0), 1, w.word(1), 4);
          w.land_until(w.word(1), 4);
          for (int i = 0; i < 4; ++i)
            if (!w.holds(w.at(1, size_t(i) * 256), char('a' + i))) return false;
          return true;
        },
        ordered));
}

TEST(ModelPromises, WhatACountCoversMayBeReadAndMoved) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.observe(w.warp(1), w.word(1));
    w.flights.engine_fence(w.warp(1));
    w.read(w.warp(1), w.at(1, 0));
    w.copy(w.warp(1), w.at(1, 0));
    w.land_all();
    return w.fine();
  }));
}

TEST(ModelPromises, AWholeWordNeverFallsAndTheLastCountStays) {
  EXPECT_TRUE(every_seed([](World& w) {
    const Word counts[] = {1, 255, 256, 70000, 70001, Word(1) << 33};
    for (const Word count : counts) w.publish_far(w.warp(0), 1, w.word(1), count);
    w.land_all();
    return std::is_sorted(w.landed.begin(), w.landed.end()) && *w.word(1) == Word(1) << 33 && w.fine();
  }));
}

TEST(ModelPromises, ADrainedWordComesAfterTheSourcesWereRead) {
  EXPECT_TRUE(every_seed([](World& w) {
    Word drained = 0;
    std::vector<char> a(World::kBytes, 'a'), b(World::kBytes, 'b');
    w.put(w.warp(0), 1, 0, a.data(), &drained, 1);
    w.put(w.warp(0), 2, 0, b.data(), &drained, 2);
    w.land_until(&drained, 2);
    std::fill(a.begin(), a.end(), 'x');
    std::fill(b.begin(), b.end(), 'x');
    w.land_all();
    return drained == 2 && w.holds(w.at(1, 0), 'a') && w.holds(w.at(2, 0), 'b') && w.fine();
  }));
}

TEST(ModelPromises, DrainReadsTheSourcesOfMoves) {
  EXPECT_TRUE(every_seed([](World& w) {
    std::vector<char> a(World::kBytes, 'a');
    w.flights.move(w.warp(0), {w.at(1, 0), a.data(), a.size()}, true);
    w.flights.drain(w.warp(0));
    std::fill(a.begin(), a.end(), 'x');
    w.land_all();
    return w.holds(w.at(1, 0), 'a');
  }));
}

TEST(ModelPromises, SettleLandsMovesAndMarks) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a', true);
    w.store(w.warp(0), w.at(2, 0), 'b');
    w.publish(w.warp(0), 1, w.word(1), 0x12345678);
    w.flights.settle(w.warp(0));
    return w.holds(w.at(1, 0), 'a') && w.holds(w.at(2, 0), 'b') && *w.word(1) == 0x12345678;
  }));
}

TEST(ModelPromises, WhatSettledMayBeReadByWhoeverIsTold) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(0, 0), 'a');
    w.flights.settle(w.warp(0));
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.observe(w.warp(1), w.word(1));
    w.read(w.warp(1), w.at(0, 0));
    return w.fine();
  }));
}

TEST(ModelPromises, TheLastToArriveSpeaksForAll) {
  EXPECT_TRUE(every_seed([](World& w) {
    for (const uint32_t number : {0u, 1u}) {
      w.store(w.warp(0, number), w.at(1, 256 * number), 'a', true);
      w.flights.settle(w.warp(0, number));
      w.flights.arrive(w.warp(0, number));
    }
    w.publish(w.warp(0, 1), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.observe(w.warp(1), w.word(1));
    w.read(w.warp(1), w.at(1, 0));
    w.read(w.warp(1), w.at(1, 256));
    return w.fine();
  }));
}

TEST(ModelPromises, ACountCoversWhatItsRankPutInEarlierRuns) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0, 0), 1, 0, w.filled('a'));
    w.flights.begin_run(0);
    w.publish_far(w.warp(0, 1), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.observe(w.warp(1), w.word(1));
    w.read(w.warp(1), w.at(1, 0));
    return w.holds(w.at(1, 0), 'a') && w.fine();
  }));
}

TEST(ModelPromises, ARunKnowsWhatItsRankWasToldBefore) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.observe(w.warp(1, 0), w.word(1));
    w.flights.host_load(w.at(1, 0), World::kBytes);
    w.flights.begin_run(1);
    w.read(w.warp(1, 1), w.at(1, 0));
    w.copy(w.warp(1, 1), w.at(1, 0));
    return w.fine();
  }));
}

// Freedoms.

TEST(ModelFreedoms, APutLandsInPiecesInAnyOrder) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    while (!w.holds(w.at(1, World::kBytes - 8), 'a', 8) && w.land()) {
    }
    return w.holds(w.at(1, 0), 0, 8);
  }));
}

TEST(ModelFreedoms, BytesLandLongBeforeTheirCount) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    while (!w.holds(w.at(1, 0), 'a') && w.land()) {
    }
    return *w.word(1) == 0;
  }));
}

TEST(ModelFreedoms, BytesLandOnlyAsTheirCountDoes) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    bool before = false;
    while (*w.word(1) == 0) {
      before = w.holds(w.at(1, 0), 0);
      if (!w.land()) break;
    }
    return before && *w.word(1) == 1;
  }));
}

TEST(ModelFreedoms, APutLandsAgain) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    while (!w.holds(w.at(1, 0), 'a') && w.land()) {
    }
    std::memset(w.at(1, 0), 'x', World::kBytes);  // as its receiver must not, before a count covers it
    w.land_all();
    return !w.holds(w.at(1, 0), 'x');
  }));
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    std::memset(w.at(1, 0), 'x', World::kBytes);
    w.land_all();
    return w.holds(w.at(1, 0), 'x');
  }));
}

TEST(ModelFreedoms, ACountLandsTornLowBytesFirst) {
  EXPECT_TRUE(some_seed([](World& w) {
    *w.word(1) = 0x01FF;
    w.publish_far(w.warp(0), 1, w.word(1), 0x0203);
    while (*w.word(1) == 0x01FF) w.land();
    return *w.word(1) == 0x0103;
  }));
}

TEST(ModelFreedoms, CountsAreMerged) {
  EXPECT_TRUE(some_seed([](World& w) {
    for (const Word count : {1, 2, 3}) w.publish(w.warp(0), 1, w.word(1), count);
    w.land_all();
    return w.landed == std::vector<Word>{3};
  }));
}

TEST(ModelFreedoms, UnrelatedPutsLandInEitherOrder) {
  const auto second_first = [](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.put(w.warp(0), 1, 256, w.filled('b'));
    while (w.holds(w.at(1, 0), 0) && w.holds(w.at(1, 256), 0)) w.land();
    return !w.holds(w.at(1, 256), 0);
  };
  EXPECT_TRUE(some_seed(second_first));
  EXPECT_FALSE(every_seed(second_first));
  EXPECT_FALSE(some_seed(second_first, true)) << "an ordered network keeps it";
}

TEST(ModelFreedoms, NobodySeesAStoreToOneRankThroughAStoreToAnother) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.publish(w.warp(0), 2, w.word(2), 1);
    return w.land_until(w.word(2), 1) && w.holds(w.at(1, 0), 0);
  }));
}

TEST(ModelFreedoms, CountsToTwoWordsLandInEitherOrder) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.publish(w.warp(0), 1, w.word(1, 0), 1);
    w.publish(w.warp(0), 1, w.word(1, 1), 1);
    return w.land_until(w.word(1, 1), 1) && *w.word(1, 0) == 0;
  }));
}

TEST(ModelFreedoms, ASourceIsReadLate) {
  EXPECT_TRUE(some_seed([](World& w) {
    std::vector<char> a(World::kBytes, 'a');
    w.flights.move(w.warp(0), {w.at(1, 0), a.data(), a.size()}, false);
    std::fill(a.begin(), a.end(), 'x');
    w.land_all();
    return w.holds(w.at(1, 0), 'x');
  }));
}

TEST(ModelFreedoms, ADrainedWordIsLaterThanItsBytes) {
  EXPECT_TRUE(some_seed([](World& w) {
    Word drained = 0;
    w.put(w.warp(0), 1, 0, w.filled('a'), &drained, 1);
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    return w.land_until(w.word(1), 1) && drained == 0;
  }));
}

TEST(ModelFreedoms, AStreamedStoreIsCoveredByNoCountWithoutAFence) {
  const auto late = [](bool fenced) {
    return [fenced](World& w) {
      w.store(w.warp(0), w.at(1, 0), 'a', true);
      if (fenced) w.flights.store_fence(w.warp(0));
      w.publish(w.warp(0), 1, w.word(1), 1);
      return w.land_until(w.word(1), 1) && !w.holds(w.at(1, 0), 'a');
    };
  };
  EXPECT_TRUE(some_seed(late(false)));
  EXPECT_FALSE(some_seed(late(true)));
}

TEST(ModelFreedoms, ACountOfAnotherWarpOfThisRunCoversNothing) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.put(w.warp(0, 0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0, 1), 1, w.word(1), 1);
    return w.land_until(w.word(1), 1) && !w.holds(w.at(1, 0), 'a');
  }));
}

TEST(ModelFreedoms, ACountWithoutReleaseCoversNothing) {
  EXPECT_TRUE(some_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.flights.mark(w.warp(0), {w.word(1), 1, 1, false, false});
    return w.land_until(w.word(1), 1) && !w.holds(w.at(1, 0), 'a');
  }));
}

// Who relies on more than a promise is told so: by every seed.

TEST(ModelReports, ReadingWhatHasNotLanded) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.read(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "reads what a put of rank 0");
  }));
}

TEST(ModelReports, ReadingWhatHasLandedByLuck) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.land_all();
    w.read(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, ReadingWhatAnotherWordCovers) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.publish_far(w.warp(0), 1, w.word(1, 0), 1);
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1, 1), 1);
    w.land_all();
    w.observe(w.warp(1), w.word(1, 0));
    w.read(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, ReadingWhatAnotherWarpWasTold) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    w.land_all();
    w.observe(w.warp(1, 0), w.word(1));
    w.read(w.warp(1, 1), w.at(1, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, ReadingThroughAThirdRank) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 2, 0, w.filled('a'));
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_all();
    w.observe(w.warp(1), w.word(1));
    w.publish(w.warp(1), 2, w.word(2), 1);
    w.land_all();
    w.observe(w.warp(2), w.word(2));
    w.read(w.warp(2), w.at(2, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, ReadingAStreamedStoreThatNoFenceOrders) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a', true);
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_all();
    w.observe(w.warp(1), w.word(1));
    w.read(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, LookingWithoutAcquire) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_all();
    w.flights.observe(w.warp(1), w.word(1), false);
    w.read(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "no count which it observed covers");
  }));
}

TEST(ModelReports, MovingWhatWasObservedWithoutTheFenceOfTheEngine) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.publish(w.warp(0), 1, w.word(1), 1);
    w.land_until(w.word(1), 1);
    w.flights.engine_fence(w.warp(1));
    w.observe(w.warp(1), w.word(1));
    w.read(w.warp(1), w.at(1, 0));
    if (!w.fine()) return false;
    w.copy(w.warp(1), w.at(1, 0));
    return w.broke(Checker::kLanding, "the copy engine");
  }));
}

TEST(ModelReports, ReadingWhatNobodyWrote) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.read(w.warp(1), w.at(1, kFree));
    return w.broke(Checker::kLanding, "nobody has written");
  }));
  EXPECT_TRUE(every_seed([](World& w) {
    w.copy(w.warp(1), w.at(1, kFree));
    return w.broke(Checker::kLanding, "nobody has written");
  }));
}

TEST(ModelReports, AHostThatReadsWhatItsRankWasNotTold) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    w.flights.settle(w.warp(0));
    w.flights.host_load(w.at(1, 0), World::kBytes);
    return w.broke(Checker::kLanding, "its host reads");
  }));
}

TEST(ModelReports, OverwritingASourceBeforeItWasRead) {
  for (const bool far : {false, true})
    EXPECT_TRUE(every_seed([far](World& w) {
      w.flights.host_store(w.at(0, 0), World::kBytes);
      w.flights.begin_run(0);
      Word drained = 0;
      if (far)
        w.put(w.warp(0), 1, 0, w.at(0, 0), &drained, 1);
      else
        w.flights.move(w.warp(0), {w.at(1, 0), w.at(0, 0), World::kBytes}, false);
      w.store(w.warp(0), w.at(0, 0), 'x');
      return w.broke(Checker::kReuse, "has still to read");
    }));
}

TEST(ModelReports, OverwritingWhatIsOnItsWay) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.store(w.warp(1), w.at(1, 64), 'x');
    return w.broke(Checker::kReuse, "is still on its way");
  }));
}

TEST(ModelReports, AWordThatFalls) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.publish(w.warp(0), 1, w.word(1), 5);
    w.flights.settle(w.warp(0));
    w.publish(w.warp(0), 1, w.word(1), 4);
    w.flights.settle(w.warp(0));
    return w.broke(Checker::kGrowth, "falls from 5 to 4");
  }));
}

TEST(ModelReports, ACallThatReturnsBeforeItsBytesAreAtRest) {
  EXPECT_TRUE(every_seed([](World& w) {
    w.store(w.warp(0), w.at(1, 0), 'a');
    const bool moving = !w.flights.at_rest(w.at(1, 0), World::kBytes);
    w.land_all();
    return moving && w.flights.at_rest(w.at(1, 0), World::kBytes);
  }));
}

// What the death of a rank leaves.

TEST(ModelDeath, NoCountOfADeadRankLandsWithoutWhatItCovers) {
  bool landed = false, lost = false;
  EXPECT_TRUE(every_seed([&](World& w) {
    w.put(w.warp(0), 1, 0, w.filled('a'));
    w.publish_far(w.warp(0), 1, w.word(1), 1);
    w.flights.lose(0, w.chance);
    w.land_all();
    landed |= *w.word(1) == 1;
    lost |= *w.word(1) == 0;
    return *w.word(1) == 0 || w.holds(w.at(1, 0), 'a');
  }));
  EXPECT_TRUE(landed && lost);
}

}  // namespace
}  // namespace transload::test
