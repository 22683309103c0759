// --soak: random runs in one process, one after another, some with a fault and survivors that continue. What the
// process holds must not grow.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"

namespace transload::cli {

// What a process holds between two runs.
struct Footprint {
  uint64_t memory_kib = 0;  // its own, and shared memory; no files
  uint64_t descriptors = 0;
  uint64_t threads = 0;
};

// Fewer rounds say nothing.
constexpr size_t kRoundsLeast = 8;

// After each round. What grew, in words, if the last quarter holds more than the second did; the first warms up.
std::optional<std::string> growth_of(const std::vector<Footprint>& rounds);

// The command line of a round: the same for the same seed and number.
struct RoundOf {
  uint64_t seed, number;
  uint32_t ranks_max;
  bool cuda;
};
std::vector<std::string> arguments_of(const RoundOf& round);
// With ranks that are processes; else threads of this one.
bool with_processes(const std::vector<std::string>& arguments);

// The exit status.
int soak(const RunArguments& arguments);

}  // namespace transload::cli
