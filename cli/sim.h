// `transload sim`: worlds from seeds, their failures explained, canaries hunted, tiny worlds walked exhaustively.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/sim_time.h"

namespace CLI {
class App;
}

namespace transload::cli {

// What was typed.
struct SimArguments {
  std::vector<std::string> scenarios;
  std::string seed, seeds, seconds, jobs, rails, canary;
  std::optional<std::string> exhaustive;
  SimTimeArguments time;
  bool explain = false, list = false, canaries = false, situations = false, go_on = false;
};

void add_sim_options(CLI::App& app, SimArguments& arguments);

// Throws UsageError. Returns the exit status.
int simulate(const SimArguments& arguments);

}  // namespace transload::cli
