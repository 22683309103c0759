// Sharing seeds among threads, and gathering the results.
#include "sim/run/runner.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/mix.h"
#include "os/clock.h"

namespace transload {
namespace {

constexpr uint64_t kTwiceEvery = 20;

// Worlds are numbered: all scenarios with the first seed, then all with the second, and so on. Threads take the next
// number, so when a world fails all lower ones are done or under way. So the first failure is the same whichever thread
// is faster.
class Runner {
 public:
  Runner(const std::vector<Scenario>& scenarios, const RunnerOptions& options)
      : scenarios_(scenarios), options_(options), digests_(scenarios.size()) {
    result_.scenarios.resize(scenarios.size());
  }

  RunnerResult run() {
    std::vector<std::thread> threads;
    try {
      for (uint32_t i = 1; i < options_.jobs; ++i) threads.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // No more threads can be had: this one and those that were started do the work.
    }
    work();
    for (std::thread& thread : threads) thread.join();
    if (thrown_) std::rethrow_exception(thrown_);
    std::sort(result_.failures.begin(), result_.failures.end(), [](const Failure& a, const Failure& b) {
      return a.seed != b.seed ? a.seed < b.seed : a.scenario < b.scenario;
    });
    if (!options_.go_on && !result_.failures.empty()) result_.failures.resize(1);
    for (size_t s = 0; s < scenarios_.size(); ++s) fold(s);
    result_.seconds = seconds_since(begin_);
    return std::move(result_);
  }

 private:
  struct Digest {
    uint64_t seed, digest;
  };

  bool begins(uint64_t number) const {
    if (number > last_.load()) return false;
    if (options_.seconds > 0) return seconds_since(begin_) < options_.seconds;
    return number < options_.seeds * scenarios_.size();
  }

  void work() {
    World world;
    try {
      for (uint64_t number = next_++; begins(number); number = next_++) one(world, number);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      thrown_ = std::current_exception();
      last_ = 0;
    }
  }

  void one(World& world, uint64_t number) {
    const uint32_t scenario = uint32_t(number % scenarios_.size());
    const uint64_t nth = number / scenarios_.size(), seed = options_.seed + nth;
    WorldOptions options;
    options.seed = seed;
    options.canary = options_.canary;
    const uint64_t begin = now_ns();
    const WorldResult first = world.run(scenarios_[scenario], options);
    std::optional<Failure> failure;
    if (!first.passed())
      failure = Failure{scenario, seed, kCheckerNames[int(first.violation.checker)], first.violation.what};
    const bool twice = (nth + scenario) % kTwiceEvery == kTwiceEvery - 1;
    if (twice && !failure) {
      const WorldResult second = world.run(scenarios_[scenario], options);
      if (second.digest != first.digest || second.events != first.events)
        failure = Failure{scenario, seed, "replay",
                          "a second run has another digest, after " + std::to_string(second.events) +
                              " events and not " + std::to_string(first.events)};
    }
    const double seconds = seconds_since(begin);
    const std::lock_guard lock(mutex_);
    ScenarioTotals& totals = result_.scenarios[scenario];
    ++totals.worlds;
    totals.replays += twice;
    totals.events += first.events;
    totals.steps += first.steps;
    totals.seconds += seconds;
    digests_[scenario].push_back({seed, first.digest});
    if (!failure) return;
    result_.failures.push_back(std::move(*failure));
    if (!options_.go_on) last_ = std::min(last_.load(), number);
  }

  void fold(size_t scenario) {
    std::vector<Digest>& all = digests_[scenario];
    std::sort(all.begin(), all.end(), [](const Digest& a, const Digest& b) { return a.seed < b.seed; });
    uint64_t digest = 0;
    for (const Digest& d : all) digest = mixed(digest, d.seed, d.digest);
    result_.scenarios[scenario].digest = digest;
  }

  const std::vector<Scenario>& scenarios_;
  const RunnerOptions options_;
  const uint64_t begin_ = now_ns();
  std::atomic<uint64_t> next_{0}, last_{~uint64_t(0)};
  std::mutex mutex_;
  RunnerResult result_;
  std::vector<std::vector<Digest>> digests_;
  std::exception_ptr thrown_;
};

}  // namespace

ScenarioTotals RunnerResult::all() const {
  ScenarioTotals sum;
  for (const ScenarioTotals& s : scenarios) {
    sum.worlds += s.worlds;
    sum.replays += s.replays;
    sum.events += s.events;
    sum.steps += s.steps;
    sum.seconds += s.seconds;
  }
  return sum;
}

RunnerResult run_worlds(const std::vector<Scenario>& scenarios, const RunnerOptions& options) {
  return Runner(scenarios, options).run();
}

}  // namespace transload
