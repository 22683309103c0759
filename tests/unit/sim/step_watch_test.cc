// A step that does not end is an error with a name.
#include "sim/world/step_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "sim/model/seeded.h"

namespace transload {
namespace {

TEST(StepWatch, NamesTheStepThatDoesNotEnd) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto stuck = [] {
    StepWatch watch(80, [] { return std::string("scenario s, seed 7: rank 3"); });
    watch.rest(false);
    Seeded seeded;
    const uint64_t now = 0;
    seeded.reset({1, 4096, 1}, &now);
    seeded.start({0, 0}, [](int, NearMemory) {
      for (;;) ::pause();
    });
    seeded.run(0);
  };
  EXPECT_EXIT(stuck(), testing::ExitedWithCode(1), "scenario s, seed 7: rank 3 never gives up its turn");
}

// The process ends as it will, and not by the watch, though no step comes for several limits.
TEST(StepWatch, RestsBetweenWorlds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto resting = [] {
    {
      StepWatch watch(8, [] { return std::string("a watch that rests"); });
      ::usleep(50'000);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(resting(), testing::ExitedWithCode(0), "");
}

// A scheduler with warps that poll: each gives up its turn, and takes it again.
class Polling : public testing::Test {
 protected:
  Polling() { seeded_.reset({2, 4096, 1}, &now_); }
  ~Polling() override {
    over_ = true;
    while (seeded_.ready() > 0) seeded_.run(0);
  }
  void start() {
    seeded_.start({0, 0}, [this](int, NearMemory) {
      while (!over_) seeded_.yield();
    });
  }
  // As a world: turns until one warp has had too many, or `most` of them.
  uint64_t turns(uint64_t most) {
    LoneTurns lone;
    for (uint64_t turn = 0; turn < most; ++turn) {
      if (seeded_.ready() != 1) lone.end();
      if (seeded_.ready() == 1 && !lone.take(seeded_.ready_fiber(0))) return turn;
      seeded_.run(0);
    }
    return most;
  }

  const uint64_t now_ = 0;
  Seeded seeded_;
  bool over_ = false;
};

TEST_F(Polling, ForEverAndAloneEnds) {
  start();
  EXPECT_EQ(turns(2 * uint64_t(LoneTurns::kMost)), LoneTurns::kMost);
}

TEST_F(Polling, BesideAnotherGoesOn) {
  start();
  start();
  EXPECT_EQ(turns(LoneTurns::kMost + 10), LoneTurns::kMost + 10);
}

}  // namespace
}  // namespace transload
