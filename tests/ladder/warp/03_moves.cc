// Rung 3: scatter and copy bring exactly their bytes, of any size, to all their places. The pause is of a host alone: a
// world stops a rank by a fault of its scenario, and not by a page that another thread writes.
#include <cstring>

#include "stage.h"
#include "tests/ladder/rungs/moves.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung03Moves : public ::testing::Test {};
TYPED_TEST_SUITE(Rung03Moves, EveryWarp, NameOfRanks);

TYPED_TEST(Rung03Moves, ScatterToManyPlaces) {
  Stage<TypeParam> stage;
  rungs::scatter_rung(stage);
}

TYPED_TEST(Rung03Moves, ScatterOfScales) {
  Stage<TypeParam> stage;
  rungs::scales_rung(stage);
}

TYPED_TEST(Rung03Moves, ScattersInARow) {
  Stage<TypeParam> stage;
  rungs::scatters_rung(stage);
}

TYPED_TEST(Rung03Moves, CopyAPieceForEachMember) {
  Stage<TypeParam> stage;
  rungs::copy_rung(stage);
}

TYPED_TEST(Rung03Moves, AFailedRankMovesAndMarksNothing) {
  TypeParam ranks(1);
  char from[64], to[64];
  std::memset(from, 1, 64);
  std::memset(to, 2, 64);
  ranks.abort_word() = 1;
  run_one(ranks, [&](typename TypeParam::Warp& w) {
    EXPECT_TRUE(w.failed());
    w.scatter({from, 64, nullptr, 0}, Set::only(0), [&](Lane) { return Destination{to, nullptr, false}; });
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(0), 0}, 5}; });
    w.settle();
    auto seen = w.template per<Word>(Set::only(0), [](Lane) { return Word(0); });
    EXPECT_TRUE(w.wait_any(
                     Set::only(0),
                     [&](Lane) {
                       return Need{ranks.word(0), 1, 0};
                     },
                     seen)
                    .empty());
    EXPECT_FALSE(w.arrive(ranks.word(1), 1));
  });
  EXPECT_EQ(to[0], 2);
  EXPECT_EQ(*ranks.word(0), 0u);
}

TEST(Rung03Pause, RowsAreCountedAndAPauseIsHonoured) {
  Ranks ranks(1);
  Progress progress{};
  progress.epoch = 4;
  progress.phase = uint32_t(Phase::kDispatch);
  progress.pause_epoch = 4;
  progress.pause_phase = uint32_t(Phase::kDispatch);
  progress.pause_rows = 6;
  char from[64] = {}, to[4][64];
  std::thread watcher([&] {
    while (progress.paused.load() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(progress.rows.load(), 6u);
    progress.pause_epoch = 0;
  });
  ranks.run(
      [&](int) {
        return std::vector<Scheduler::Task>{[&](HostWarp& w) {
          for (int k = 0; k < 5; ++k) {
            w.scatter({from, 64, nullptr, 0}, Set::first(3), [&](Lane l) {
              return Destination{to[l.i], nullptr, false};
            });
          }
          w.reduce(to[0], {16, Scalar::kF32, Scalar::kF32, Scalar::kF32, {nullptr, nullptr}, false},
                   {{}, Set::first(1), {}}, [&](Lane) { return from; });
        }};
      },
      [&](HostMemoryOptions& o, SchedulerOptions&) { o.progress = &progress; });
  watcher.join();
  EXPECT_EQ(progress.rows.load(), 16u);
  EXPECT_EQ(progress.paused.load(), 0u);
}

}  // namespace
}  // namespace transload::ladder
