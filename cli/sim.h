// `transload sim`: worlds from seeds, their failures explained, canaries hunted.
#pragma once
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace transload::cli {

// What was typed.
struct SimArguments {
  std::vector<std::string> scenarios;
  std::string seed, seeds, seconds, jobs, canary;
  bool explain = false, list = false, canaries = false, marks = false, go_on = false;
};

void add_sim_options(CLI::App& app, SimArguments& arguments);

// Throws UsageError. The exit status.
int simulate(const SimArguments& arguments);

}  // namespace transload::cli
