// Worlds per second on one core, of the standard scenario and of the tiny one, of which 200 are the aim.
//   ./dev bench, or build/host/bin/bench_simulator [SECONDS of each]
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "sim/world/world.h"

using namespace transload;

namespace {

// False: a world failed, so that the number means nothing.
bool measure(const char* name, double seconds) {
  const Scenario scenario = read_scenario(name);
  World world;
  WorldOptions options;
  world.run(scenario, options);  // takes its memory
  const auto begin = std::chrono::steady_clock::now();
  uint64_t worlds = 0, events = 0;
  double passed = 0;
  for (; passed < seconds; ++worlds) {
    options.seed = worlds + 1;
    const WorldResult result = world.run(scenario, options);
    if (!result.passed()) {
      std::printf("%s, seed %llu: %s\n", name, (unsigned long long)options.seed, result.violation.what.c_str());
      return false;
    }
    events += result.events;
    passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  std::printf("%-12s %8.1f worlds/s %8.2f million events/s %8llu events a world\n", name, double(worlds) / passed,
              double(events) / passed * 1e-6, (unsigned long long)(events / worlds));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
  const bool standard = measure("hybrid_2x4", seconds), tiny = measure("tiny_2x2", seconds);
  return standard && tiny ? 0 : 1;
}
