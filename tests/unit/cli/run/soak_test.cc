// What a soak does in a round, and when it says that something has grown.
#include "cli/run/soak.h"

#include <gtest/gtest.h>

#include "base/mix.h"

namespace transload::cli {
namespace {

std::vector<ProcessUse> rounds_of(size_t count, ProcessUse each) {
  std::vector<ProcessUse> out;
  for (uint64_t i = 0; i < count; ++i)
    out.push_back({60'000 + i % 7 * 30 + i * each.memory_kib, 9 + i * each.descriptors, 2 + i * each.threads, 0});
  return out;
}

TEST(Soak, FindsWhatGrows) {
  EXPECT_EQ(growth_of(rounds_of(kRoundsLeast, {})), std::nullopt);
  EXPECT_EQ(growth_of(rounds_of(400, {})), std::nullopt);
  EXPECT_NE(growth_of(rounds_of(kRoundsLeast, {0, 1, 0, 0})).value_or("").find("descriptors"), std::string::npos);
  EXPECT_NE(growth_of(rounds_of(kRoundsLeast, {0, 0, 1, 0})).value_or("").find("threads"), std::string::npos);
  EXPECT_NE(growth_of(rounds_of(400, {100, 0, 0, 0})).value_or("").find("memory"), std::string::npos);
}

uint64_t noise_of(uint64_t& state) { return 60'000 + (state = split_mix(state + kSplitMixStep)) % 300; }

// A page a round, which noise hides for long and some hundred rounds show.
TEST(Soak, FindsALeakOfAPage) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t state = seed;
    std::vector<ProcessUse> rounds;
    for (uint64_t i = 0; i < 400; ++i) rounds.push_back({noise_of(state) + 4 * i, 9, 2, 700'000});
    EXPECT_NE(growth_of(rounds).value_or("").find("KiB of memory"), std::string::npos) << seed;
    for (ProcessUse& round : rounds) std::swap(round.memory_kib, round.device_kib);
    EXPECT_NE(growth_of(rounds).value_or("").find("KiB of GPU memory"), std::string::npos) << seed;
  }
}

// Nor is a step, which is made once, a leak.
TEST(Soak, ForgivesNoise) {
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (const uint64_t count : {8, 40, 100, 500}) {
      uint64_t state = seed;
      std::vector<ProcessUse> rounds;
      for (uint64_t i = 0; i < count; ++i)
        rounds.push_back({noise_of(state) + (i > seed * count / 100 ? 600 : 0), 9, 2, 700'000});
      EXPECT_EQ(growth_of(rounds), std::nullopt) << seed << ", " << count;
    }
}

// One round that held more than the others, early or late, is no growth.
TEST(Soak, ForgivesOneRound) {
  for (const size_t at : {0, 10, 20, 39}) {
    std::vector<ProcessUse> rounds = rounds_of(40, {});
    rounds[at] = {900'000, 90, 9, 0};
    EXPECT_EQ(growth_of(rounds), std::nullopt) << at;
  }
}

TEST(Soak, RoundsComeFromTheSeed) {
  size_t processes = 0, faults = 0;
  for (uint64_t number = 0; number < 200; ++number) {
    const auto words = arguments_of({7, number, 4, false});
    EXPECT_EQ(words, arguments_of({7, number, 4, false}));
    EXPECT_NE(words, arguments_of({8, number, 4, false}));
    processes += with_processes(words);
    faults += std::find(words.begin(), words.end(), "--fault") != words.end();
  }
  EXPECT_GT(processes, 0u);
  EXPECT_GT(faults, 0u);
  const auto on_gpus = arguments_of({7, 1, 4, true});
  EXPECT_FALSE(with_processes(on_gpus));
}

}  // namespace
}  // namespace transload::cli
