// Planting each canary, and counting the worlds until one fails.
#include "sim/run/canaries.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "os/clock.h"
#include "sim/world/world.h"

namespace transload {
namespace {

Hunt hunt(World& world, const std::map<std::string, Scenario>& scenarios, const CanaryFacts& facts, uint64_t seeds) {
  const uint64_t begin = now_ns();
  Hunt h;
  h.facts = &facts;
  for (const char* name : facts.scenarios) {
    const Scenario& scenario = scenarios.at(name);
    WorldOptions options;
    options.canary = facts.canary;
    for (options.seed = 1; options.seed <= seeds && !h.found; ++options.seed) {
      ++h.worlds;
      const WorldResult planted = world.run(scenario, options);
      if (planted.passed()) continue;
      WorldOptions without = options;
      without.canary = Canary::kNone;
      h.broken_without = !world.run(scenario, without).passed();
      if (h.broken_without) break;  // a scenario that fails without the canary, too, shows nothing
      h.found = true;
      h.scenario = name;
      h.seed = options.seed;
      h.checker = kCheckerNames[int(planted.violation.checker)];
      h.what = planted.violation.what;
    }
    if (h.found) break;
  }
  h.seconds = seconds_since(begin);
  return h;
}

}  // namespace

std::vector<Hunt> hunt_canaries(uint32_t jobs, uint64_t seeds, const std::function<void(const Hunt&)>& done) {
  const std::vector<CanaryFacts>& all = canary_facts();
  std::map<std::string, Scenario> scenarios;
  for (const CanaryFacts& facts : all)
    for (const char* name : facts.scenarios)
      if (!scenarios.contains(name)) scenarios.emplace(name, read_scenario(name));
  std::vector<std::optional<Hunt>> hunts(all.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::condition_variable ready;
  std::exception_ptr thrown;
  const auto work = [&] {
    World world;
    for (size_t i = next++; i < all.size(); i = next++) {
      std::optional<Hunt> hunted;
      std::exception_ptr wrong;
      try {
        hunted = hunt(world, scenarios, all[i], seeds);
      } catch (...) {
        wrong = std::current_exception();
        next = all.size();
      }
      const std::lock_guard lock(mutex);
      hunts[i] = std::move(hunted);
      if (wrong) thrown = wrong;
      ready.notify_one();
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < std::max(1u, jobs); ++i) threads.emplace_back(work);
  std::vector<Hunt> out;
  for (size_t i = 0; i < all.size() && !thrown; ++i) {
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return hunts[i].has_value() || thrown; });
    if (thrown) break;
    out.push_back(std::move(*hunts[i]));
    lock.unlock();
    done(out.back());
  }
  for (std::thread& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
  return out;
}

}  // namespace transload
