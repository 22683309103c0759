// A step that does not end is an error with a name.
#include "sim/world/step_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

TEST(StepWatch, RestsBetweenWorlds) {
  StepWatch watch(8, [] { return std::string(); });
  ::usleep(50'000);
}

}  // namespace
}  // namespace transload
