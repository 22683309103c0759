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
struct ProcessUse {
  uint64_t memory_kib = 0;  // private and shared memory of the process, without files
  uint64_t descriptors = 0;
  uint64_t threads = 0;
  uint64_t device_kib = 0;  // memory in use on all GPUs, whoever uses it
};

// A soak makes at least this many rounds, because fewer say nothing of growth.
constexpr size_t kRoundsLeast = 8;

// What grew, in words, from what was held after each round. The first quarter warms up. Something grew if the last
// quarter holds more than the second, by more than noise; or if, in a long run, memory grows a little in every part
// after the first quarter, as with a leak, but not with what is made once.
std::optional<std::string> growth_of(const std::vector<ProcessUse>& rounds);

// The command line of a round: the same for the same seed and number.
struct RoundOf {
  uint64_t seed, number;
  uint32_t ranks_max;
  bool cuda;
};
std::vector<std::string> arguments_of(const RoundOf& round);
// Whether ranks are processes; else they are threads of this one.
bool with_processes(const std::vector<std::string>& arguments);

// Returns the exit status.
int soak(const RunArguments& arguments);

}  // namespace transload::cli
