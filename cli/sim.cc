// Reading the options of `transload sim`, and doing what they ask.
#include "cli/sim.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <iterator>
#include <thread>

#include "base/mix.h"
#include "base/probes/planting.h"
#include "base/situations.h"
#include "cli/number.h"
#include "cli/parser.h"
#include "cli/text.h"
#include "sim/explain/explain.h"
#include "sim/run/canaries.h"
#include "sim/run/runner.h"
#include "sim/walks/exhaustive.h"

namespace transload::cli {
namespace {

constexpr uint32_t kRanksOfAll = 64;     // `all` leaves larger scenarios out
constexpr uint64_t kSeedsOfHunt = 2000;  // worlds that a hunt runs of each scenario of a canary, at most
constexpr size_t kFailuresShown = 10;

struct SimOptions {
  std::vector<std::string> names;  // names from the command line
  std::vector<Scenario> scenarios;
  RunnerOptions run;
  std::string rails;   // the kind of rails from the command line; empty: each scenario's own
  bool fresh = false;  // the clock gives the first seed
};

Scenario scenario_of(const std::string& text) {
  try {
    return read_scenario(text);
  } catch (const Error& error) {
    refuse("--scenario: {}", one_line(error.what()));
  }
}

RailMode rails_of(const std::string& text) {
  const auto* const found = std::find(std::begin(kRailModeNames), std::end(kRailModeNames), text);
  if (found == std::end(kRailModeNames)) refuse("--rails: '{}': must be {}", text, text::join(kRailModeNames, ", "));
  return RailMode(found - std::begin(kRailModeNames));
}

void check_scenarios(const SimArguments& a, SimOptions& out) {
  std::optional<RailMode> rails;
  if (!a.rails.empty()) rails = rails_of(a.rails);
  out.rails = a.rails;
  const auto bound = [&](const Scenario& s) { return rails ? bound_of_rails(s, *rails) : ""; };
  for (const std::string& text : a.scenarios.empty() ? std::vector<std::string>{"hybrid_2x4"} : a.scenarios) {
    if (text != "all") {
      out.names.push_back(text);
      out.scenarios.push_back(scenario_of(text));
      if (const std::string other = bound(out.scenarios.back()); !other.empty())
        refuse("--rails: '{}': for {} it must be {}", a.rails, text, other);
      continue;
    }
    for (const std::string& name : scenario_names()) {
      Scenario scenario = read_scenario(name);
      if (scenario.ranks > kRanksOfAll || !bound(scenario).empty()) continue;
      out.names.push_back(name);
      out.scenarios.push_back(std::move(scenario));
    }
  }
  for (Scenario& scenario : out.scenarios)
    if (rails) scenario.rails = *rails;
}

Canary canary_of(const std::string& text) {
  const Canary canary = canary_named(text);
  if (text.empty() || canary == Canary::kNone || canary == Canary::kCount)
    refuse("--canary: '{}': must be one of those that --list shows", text);
  return canary;
}

SimOptions checked(const SimArguments& a) {
  SimOptions out;
  check_scenarios(a, out);
  const uint64_t processors = std::max(1u, std::thread::hardware_concurrency());
  out.run.jobs = uint32_t(a.jobs.empty() ? processors : number("--jobs", a.jobs, {1, 1024}));
  if (!a.seeds.empty() && !a.seconds.empty()) refuse("--seconds: '{}': is not allowed with --seeds", a.seconds);
  if (!a.seeds.empty()) out.run.seeds = number("--seeds", a.seeds, {1, 1'000'000'000});
  if (!a.seconds.empty()) out.run.seconds = double(number("--seconds", a.seconds, {1, 86400}));
  out.fresh = !a.seconds.empty() && a.seed.empty();
  if (out.fresh) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    out.run.seed = uint64_t(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  } else if (!a.seed.empty()) {
    out.run.seed = number("--seed", a.seed, {0, UINT64_MAX});
  }
  if (!a.canary.empty()) out.run.canary = canary_of(a.canary);
  if (a.explain && (!a.seeds.empty() || !a.seconds.empty()))
    refuse("--explain: is not allowed with --{}, because it explains one seed", a.seeds.empty() ? "seconds" : "seeds");
  if (a.explain && out.scenarios.size() != 1) refuse("--explain: {} scenarios: must be one", out.scenarios.size());
  return out;
}

void print_list() {
  text::print("scenarios\n");
  for (const std::string& name : scenario_names()) text::print("  {:<22} {}\n", name, read_scenario(name).about);
  text::print("\ncanaries\n");
  for (const CanaryFacts& facts : canary_facts())
    text::print("  {:<22} {}\n", kCanaryNames[size_t(facts.canary)], facts.sentence);
  text::print("\nexhaustive worlds\n");
  for (const ExhaustiveWorld& world : exhaustive_worlds()) text::print("  {:<22} {}\n", world.name, world.about);
  text::print("\ncheckers\n");
  for (const CheckerFacts& facts : checker_facts())
    text::print("  {:<22} {}\n", kCheckerNames[size_t(facts.checker)], facts.sentence);
}

void print_situations() {
  text::print("\nsituations               reached\n");
  for (size_t i = 0; i < size_t(Situation::kCount); ++i) {
    if (needs_real_executor(Situation(i)))
      text::print("  {:<18} {:>11}  only real executors and networks have it\n", kSituationNames[i], "-");
    else
      text::print("  {:<18} {:>11}\n", kSituationNames[i], times_reached(Situation(i)));
  }
  text::print("\n");
}

std::string command_of(const SimOptions& options, const Failure& failure) {
  const Canary canary = options.run.canary;
  return text::format("transload sim --scenario {}{} --seed {}{} --explain", options.names[failure.scenario],
                      options.rails.empty() ? "" : " --rails " + options.rails, failure.seed,
                      canary == Canary::kNone ? "" : text::format(" --canary {}", kCanaryNames[size_t(canary)]));
}

int run(const SimOptions& options, bool situations) {
  if (options.fresh) text::print("fresh seeds, from --seed {}\n", options.run.seed);
  std::fflush(stdout);
  const RunnerResult result = run_worlds(options.scenarios, options.run);
  uint64_t digest = 0;
  for (size_t i = 0; i < result.scenarios.size(); ++i) {
    const ScenarioTotals& t = result.scenarios[i];
    if (t.worlds == 0) continue;
    text::print("{:<22} {:>8} worlds {:>12} events {:>8.1f} s  digest {:016x}\n", options.names[i], t.worlds, t.events,
                t.seconds, t.digest);
    digest = mixed(digest, t.digest);
  }
  const ScenarioTotals all = result.all();
  if (situations || all.worlds > result.scenarios.size()) print_situations();
  for (size_t i = 0; i < std::min(kFailuresShown, result.failures.size()); ++i) {
    const Failure& f = result.failures[i];
    text::print("FAILED {}, seed {}: {}: {}\n  {}\n", options.names[f.scenario], f.seed, f.checker, f.what,
                command_of(options, f));
  }
  if (result.failures.empty()) text::print("digest {:016x}\n", digest);
  const double seconds = std::max(result.seconds, 1e-9);
  text::print("{} worlds, {} failed ({} run twice, {:.1f} s, {:.0f} worlds/s, {:.2f} million events/s)\n", all.worlds,
              result.failures.size(), all.replays, result.seconds, double(all.worlds) / seconds,
              double(all.events) / seconds * 1e-6);
  return result.failures.empty() ? kVerified : kWrongResult;
}

int explain(const SimOptions& options) {
  const Story story = explain_world(options.scenarios[0], options.run.seed, options.run.canary);
  text::print("{}", story.text);
  return story.passed ? kVerified : kWrongResult;
}

int hunt(const SimOptions& options, uint64_t seeds) {
  text::print("{:<22} {:<13} {:<22} {:>6} {:>7} {:>8}  {:<5}  {}\n", "canary", "found by", "in scenario", "seed",
              "worlds", "seconds", "tests", "the bug");
  uint64_t missed = 0, count = 0;
  const auto print = [&](const Hunt& h) {
    constexpr const char* kTests[] = {"?", "yes", "tsan", "no"};
    static_assert(std::size(kTests) == size_t(FoundByTests::kCount));
    missed += !h.found;
    ++count;
    const char* const name = kCanaryNames[size_t(h.facts->canary)];
    const char* const tests = kTests[size_t(h.facts->tests)];
    const std::string how = h.found            ? h.checker
                            : h.broken_without ? "MISSED: the world is broken without it"
                                               : "MISSED";
    text::print("{:<22} {:<13} {:<22} {:>6} {:>7} {:>8.2f}  {:<5}  {}\n", name, how, h.scenario,
                h.found ? std::to_string(h.seed) : "", h.worlds, h.seconds, tests, h.facts->sentence);
    std::fflush(stdout);
  };
  hunt_canaries(options.run.jobs, seeds, print);
  text::print("{} canaries, {} found, {} missed\n", count, count - missed, missed);
  text::print(
      "tests: does `./dev test` find it without the simulator? yes; tsan: only under the thread sanitizer; no\n");
  return missed == 0 ? kVerified : kWrongResult;
}

// The walks of one world, or of all.
int walk_all(const SimArguments& a) {
  if (!a.scenarios.empty() || !a.seed.empty() || !a.seeds.empty() || !a.seconds.empty() || !a.jobs.empty() ||
      !a.rails.empty() || a.explain || a.canaries || a.situations || a.go_on)
    refuse("--exhaustive: takes only --canary: it chooses every schedule itself, and draws none from a seed");
  ExhaustiveLimits limits;
  if (!a.canary.empty()) limits.canary = canary_of(a.canary);
  std::vector<std::string> worlds;
  std::string names;
  for (const ExhaustiveWorld& world : exhaustive_worlds()) {
    names += text::format("{}{}", names.empty() ? "" : ", ", world.name);
    if (*a.exhaustive == "all" || *a.exhaustive == world.name) worlds.push_back(world.name);
  }
  if (worlds.empty()) refuse("--exhaustive: '{}': must be {} or all", *a.exhaustive, names);
  bool passed = true;
  for (const std::string& world : worlds) {
    const ExhaustiveReport report = walk_world(world, limits);
    text::print("{}", to_text(report));
    std::fflush(stdout);
    passed &= report.passed();
  }
  return passed ? kVerified : kWrongResult;
}

int world_with_time(const SimArguments& a) {
  if (!a.scenarios.empty() || !a.seeds.empty() || !a.seconds.empty() || !a.jobs.empty() || !a.canary.empty() ||
      a.exhaustive || a.explain || a.list || a.canaries || a.situations || a.go_on)
    refuse("--time: takes only --rails, --seed (of the routing) and the options that --help shows with \"time:\"");
  return simulate_time(a.time, a.rails, a.seed);
}

}  // namespace

void add_sim_options(CLI::App& app, SimArguments& a) {
  CLI::Option* const scenario = app.add_option(
      "--scenario", a.scenarios,
      "world to run: a scenario of ours, a file, or all of ours up to 64 ranks; may be repeated [hybrid_2x4]");
  with_value(scenario->expected(1)->take_all(), "NAME|FILE.toml|all");
  add_text(app, {"--seed", "N", "the first seed [1; with --seconds, from the clock]"}, a.seed);
  add_text(app, {"--seeds", "COUNT", "how many seeds of each scenario [1]"}, a.seeds);
  add_text(app, {"--seconds", "S", "run fresh seeds for so many seconds"}, a.seconds);
  add_text(
      app,
      {"--rails", "RAILS", "how ranks reach other nodes, instead of what each scenario says: network, proxy, queues"},
      a.rails);
  add_text(app, {"--jobs", "J", "number of threads [as many as processors]"}, a.jobs);
  add_text(app, {"--canary", "NAME", "plant this bug, which a checker must find"}, a.canary);
  add_flag(app, "--explain", a.explain, "say what happened in the world of one seed, and why it failed");
  add_flag(app, "--go-on", a.go_on, "do not stop at the first failure");
  add_flag(app, "--situations", a.situations,
           "print how often each rare situation was reached; with several seeds this is the default");
  add_flag(app, "--list", a.list, "list scenarios, canaries, exhaustive worlds and checkers");
  add_flag(app, "--canaries", a.canaries, "plant each canary in turn and count the worlds until it is found");
  CLI::Option* const exhaustive = app.add_option(
      "--exhaustive", a.exhaustive, "walk all schedules of a tiny world: one that --list shows, or all worlds");
  with_value(exhaustive->take_last(), "WORLD|all");
  add_sim_time_options(app, a.time);
}

int simulate(const SimArguments& a) {
  if (!a.time.time) refuse_without_time(a.time);
  if (a.time.time) return world_with_time(a);
  if (a.list) {
    print_list();
    return kVerified;
  }
  if (a.exhaustive) return walk_all(a);
  SimOptions options = checked(a);
  options.run.go_on = a.go_on;
  if (a.canaries) {
    if (!a.canary.empty() || !a.scenarios.empty() || !a.rails.empty() || !a.seed.empty() || !a.seconds.empty() ||
        a.explain)
      refuse("--canaries: takes only --seeds and --jobs: scenarios and seeds are those that suit each canary");
    return hunt(options, a.seeds.empty() ? kSeedsOfHunt : options.run.seeds);
  }
  return a.explain ? explain(options) : run(options, a.situations);
}

}  // namespace transload::cli
