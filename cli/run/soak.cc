// Rounds from a seed, and what the process holds after each.
#include "cli/run/soak.h"

#include <dirent.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <thread>
#include <utility>

#include "base/mix.h"
#include "cli/launch/gpus.h"
#include "cli/launch/launcher.h"
#include "cli/number.h"
#include "cli/run/fault_injection.h"
#include "cli/run/tensor_home.h"
#include "cli/show/report.h"
#include "cli/text.h"

namespace transload::cli {
namespace {

constexpr uint64_t kMemoryNoiseKib = 1 << 10;  // about as much as one round leaves behind
constexpr uint64_t kDeviceNoiseKib = 8 << 10;  // four pieces of 2 MiB, the unit in which a driver takes memory
constexpr size_t kRoundsOfSlope = 96;          // fewer rounds do not show a slope of a few KiB a round
constexpr size_t kParts = 4;                   // parts of the rounds after the first quarter; a leak grows in each
constexpr double kLeakKib = 1;                 // a round may add this much, on average
constexpr int kMappedBytesLeast = 64 << 10;    // the allocator returns this much to the system at once
constexpr uint64_t kSecondsMost = 7 * 24 * 3600;
constexpr const char* kDeadlineMs = "20000";      // long, because no round without a fault may come near it
constexpr const char* kFaultDeadlineMs = "3000";  // short, because a round with a fault waits for its deadline

class Dice {
 public:
  explicit Dice(uint64_t state) : state_(state) {}
  uint64_t below(uint64_t count) { return split_mix(state_ += kSplitMixStep) % count; }
  bool one_in(uint64_t count) { return below(count) == 0; }
  std::string of(std::initializer_list<const char*> words) { return words.begin()[below(words.size())]; }
  std::string number(uint64_t least, uint64_t most) { return std::to_string(least + below(most - least + 1)); }

 private:
  uint64_t state_;
};

class CommandLine {
 public:
  void add(const std::string& name, const std::string& value) { words_.insert(words_.end(), {name, value}); }
  void add(const std::string& name) { words_.push_back(name); }
  std::vector<std::string> take() { return std::move(words_); }

 private:
  std::vector<std::string> words_;
};

struct Shape {
  uint32_t ranks;
  uint64_t tokens_max;
};

Shape add_topology(Dice& dice, uint32_t ranks_max, CommandLine& out) {
  const uint32_t ranks = uint32_t(2 + dice.below(ranks_max - 1));
  uint64_t tokens_max = 1;
  std::string sizes, tokens;
  for (uint32_t left = ranks; left > 0;) {
    const uint32_t size = uint32_t(1 + dice.below(left));
    sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    left -= size;
  }
  for (uint32_t r = 0; r < ranks; ++r) {
    const uint64_t mine = dice.one_in(6) ? 0 : 1 + dice.below(96);
    tokens_max = std::max(tokens_max, mine);
    tokens += (r == 0 ? "" : ",") + std::to_string(mine);
  }
  out.add("--node-sizes", sizes);
  out.add("--tokens", tokens);
  return {ranks, tokens_max};
}

void add_payload(Dice& dice, const Shape& shape, CommandLine& out) {
  out.add("--hidden", std::to_string(16 * (1 + dice.below(64))));
  if (dice.one_in(3)) {
    out.add("--dtype", "fp8");
    out.add("--scales", dice.of({"fp32", "ue8m0"}));
  }
  if (!dice.one_in(4)) return;
  out.add("--rows-max", dice.number(1, shape.tokens_max * shape.ranks));
  out.add("--overflow", "drop");
}

void add_ways(Dice& dice, bool cuda, CommandLine& out) {
  out.add("--experts", dice.number(1, 48));
  out.add("--top-k", dice.number(1, 8));
  out.add("--routing", dice.of({"uniform", "uniform", "uniform", "zipf:1.2", "one-rank", "none"}));
  out.add("--channels", dice.number(1, 6));
  out.add("--slots", dice.number(1, 8));
  out.add("--peer-slots", dice.number(1, 8));
  out.add("--landing", dice.of({"auto", "direct", "ring"}));
  out.add("--combine-source", dice.of({"auto", "pull", "push"}));
  out.add("--combine-wire", dice.of({"bf16", "fp32"}));
  out.add("--biases", dice.number(0, 2));
  out.add("--scale-out", cuda ? "loopback" : dice.of({"auto", "loopback"}));
}

std::string fault_of(Dice& dice, uint32_t ranks, uint64_t iterations, bool processes) {
  const std::string verb = processes ? dice.of({"kill", "stop", "absent", "leave"}) : dice.of({"absent", "leave"});
  std::string out = verb + ":" + dice.number(0, ranks - 1) + "@" + dice.number(1, iterations);
  if (verb == "kill" || verb == "stop") out += "/notify";  // in notify every rank has rows to halt between
  return out;
}

Options parsed(std::vector<std::string> words, RunArguments& typed) {
  CLI::App app;
  add_run_options(app, typed);
  std::reverse(words.begin(), words.end());  // the parser takes words from the back
  app.parse(words);
  return checked(typed);
}

// The name of the program, `run`, and the words, as main() gets them.
class Argv {
 public:
  explicit Argv(const std::vector<std::string>& words) : words_(words) {
    words_.insert(words_.begin(), {"transload", "run"});
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }
  char** get() { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

uint64_t entries_of(const char* folder) {
  uint64_t count = 0;
  DIR* const open = opendir(folder);
  if (open == nullptr) return 0;
  while (readdir(open) != nullptr) ++count;
  closedir(open);
  return count - 3;  // the folder, its parent and the descriptor of this look do not count
}

ProcessUse look([[maybe_unused]] uint32_t gpus) {
  malloc_trim(0);
  ProcessUse out;
  std::ifstream status("/proc/self/status");
  std::string name, rest;
  for (uint64_t value = 0; status >> name; std::getline(status, rest)) {
    if (name != "RssAnon:" && name != "RssShmem:" && name != "Threads:") continue;
    status >> value;
    (name == "Threads:" ? out.threads : out.memory_kib) += value;
  }
  out.descriptors = entries_of("/proc/self/fd");
#ifdef TRANSLOAD_CUDA
  out.device_kib = device_bytes_in_use(gpus) >> 10;
#endif
  return out;
}

// A thread that was joined may still be listed for a moment.
ProcessUse settled(const ProcessUse& before, uint32_t gpus) {
  ProcessUse now = look(gpus);
  for (int naps = 0; naps < 50 && (now.threads > before.threads || now.descriptors > before.descriptors); ++naps) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    now = look(gpus);
  }
  return now;
}

std::string text_of(const ProcessUse& f) {
  const std::string on_gpus = f.device_kib == 0 ? "" : text::format(", {} KiB on GPUs", f.device_kib);
  return text::format("{} KiB, {} descriptors, {} threads{}", f.memory_kib, f.descriptors, f.threads, on_gpus);
}

using Measure = uint64_t ProcessUse::*;

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_of(const std::vector<ProcessUse>& rounds, Measure what, size_t from, size_t to) {
  std::vector<double> values;
  for (size_t i = from; i < to; ++i) values.push_back(double(rounds[i].*what));
  return median_of(std::move(values));
}

// KiB a round, if every part holds more than the one before by more than chance. The distance of two rounds in a row is
// noise, whatever the slope, and a median of more rounds has less of it.
std::optional<double> slope_of(const std::vector<ProcessUse>& rounds, Measure what) {
  if (rounds.size() < kRoundsOfSlope) return std::nullopt;
  const size_t first = rounds.size() / 4, part = (rounds.size() - first) / kParts;
  std::vector<double> steps;
  for (size_t i = first; i + 1 < rounds.size(); ++i)
    steps.push_back(std::abs(double(rounds[i + 1].*what) - double(rounds[i].*what)));
  const double allowed = kLeakKib * double(part) + 4 * median_of(std::move(steps)) / std::sqrt(double(part));
  double before = median_of(rounds, what, first, first + part), begin = before;
  for (size_t i = 1; i < kParts; ++i) {
    const double now = median_of(rounds, what, first + i * part, first + (i + 1) * part);
    if (now < before + allowed) return std::nullopt;
    before = now;
  }
  return (before - begin) / double((kParts - 1) * part);
}

// Returns the exit status of a round, above 128 if it was interrupted.
int run_round(const std::vector<std::string>& words) {
  RunArguments typed;
  Options options = parsed(words, typed);
  if (options.cuda) assign_gpus(options, find_gpus(), false);
  const Workload workload(options);
  const bool processes = with_processes(words);
  const RunOutcome outcome = processes ? run_processes(options, Argv(words).get()) : run_threads(options, workload);
  if (outcome.signal != 0) return 128 + outcome.signal;
  const Summary summary = summarise(options, workload, outcome);
  for (const std::string& error : summary.errors) text::print(stderr, "transload: {}\n", error);
  const std::optional<FloorTimes> no_floor;
  if (summary.status != kVerified)
    print_verdict(
        stderr, {.options = options, .workload = workload, .outcome = outcome, .summary = summary, .floor = no_floor});
  return summary.status;
}

}  // namespace

bool with_processes(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), "--threads") == arguments.end();
}

std::vector<std::string> arguments_of(const RoundOf& round) {
  Dice dice(mixed(round.seed, round.number));
  const bool processes = !round.cuda && round.number % 4 == 1;
  CommandLine out;
  const Shape shape = add_topology(dice, round.ranks_max, out);
  add_payload(dice, shape, out);
  add_ways(dice, round.cuda, out);
  const uint64_t iterations = 1 + dice.below(3);
  const bool fault = round.number % 3 == 1;
  out.add("--seed", std::to_string(dice.below(1u << 30)));
  out.add("--iterations", std::to_string(iterations));
  out.add("--warmup", "0");
  out.add("--deadline-ms", fault ? kFaultDeadlineMs : kDeadlineMs);
  if (fault) out.add("--fault", fault_of(dice, shape.ranks, iterations, processes));
  if (fault) out.add("--recover");
  if (!processes) out.add("--threads");
  if (round.cuda) out.add("--device", "cuda");
  if (round.cuda) out.add("--sms", "4");
  return out.take();
}

std::optional<std::string> growth_of(const std::vector<ProcessUse>& rounds) {
  const auto least = [&](Measure what, size_t from, size_t to) {
    uint64_t value = UINT64_MAX;
    for (size_t i = from; i < to; ++i) value = std::min(value, rounds[i].*what);
    return value;
  };
  const auto most = [&](Measure what, size_t from, size_t to) {
    uint64_t value = 0;
    for (size_t i = from; i < to; ++i) value = std::max(value, rounds[i].*what);
    return value;
  };
  struct HeldBound {
    Measure what;
    const char* name;
    uint64_t noise;
  };
  const size_t n = rounds.size();
  for (const HeldBound& m : {HeldBound{&ProcessUse::memory_kib, "KiB of memory", kMemoryNoiseKib},
                             {&ProcessUse::device_kib, "KiB of GPU memory", kDeviceNoiseKib},
                             {&ProcessUse::descriptors, "descriptors", 0},
                             {&ProcessUse::threads, "threads", 0}}) {
    const uint64_t before = most(m.what, n / 4, n / 2), after = least(m.what, n * 3 / 4, n);
    if (after > before + m.noise)
      return text::format("{} {} at most in rounds {} to {}, {} at least in rounds {} to {}", before, m.name, n / 4 + 1,
                          n / 2, after, n * 3 / 4 + 1, n);
    if (const std::optional<double> slope = m.noise == 0 ? std::nullopt : slope_of(rounds, m.what))
      return text::format("{:.1f} {} more in each round from {} to {}", *slope, m.name, n / 4 + 1, n);
  }
  return std::nullopt;
}

int soak(const RunArguments& arguments) {
  // Makes the allocator give back what is freed, because what it would keep for the next round could hide a leak.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kMappedBytesLeast);
  const uint64_t seconds = number("--soak", arguments.soak, {1, kSecondsMost});
  const Options options = checked(arguments);
  if (options.ranks() < 2) refuse("--node-sizes: {} rank: must be at least 2 with --soak", options.ranks());
  if (options.cuda) prepare_environment();
  const uint32_t gpus = options.cuda ? find_gpus().count : 0;
  text::print("soak: {} s, up to {} ranks, seed {}\n", seconds, options.ranks(), options.seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::vector<ProcessUse> rounds;
  uint64_t faults = 0;
  ProcessUse last{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
  while (std::chrono::steady_clock::now() < end || rounds.size() < kRoundsLeast) {
    const auto words = arguments_of({options.seed, rounds.size(), options.ranks(), options.cuda});
    const std::string line = text::format("transload run {}", text::join(words, " "));
    const int status = run_round(words);
    if (status > 128) return status;
    if (status != kVerified) {
      text::print("soak: round {} ended with exit status {}: {}\n", rounds.size() + 1, status, line);
      return status;
    }
    rounds.push_back(last = settled(last, gpus));
    faults += line.find("--fault") != std::string::npos;
    if (!options.quiet) text::print("round {}: {}: {}\n", rounds.size(), text_of(last), line);
    std::fflush(stdout);
  }
  const std::optional<std::string> growth = growth_of(rounds);
  text::print(
      "soak: {} rounds verified, {} of them with a fault that the rest recovered from; {} after round {}, {} at "
      "the end\n",
      rounds.size(), faults, text_of(rounds[rounds.size() / 4]), rounds.size() / 4 + 1, text_of(rounds.back()));
  if (growth) text::print("soak: grown: {}\n", *growth);
  return growth ? kWrongResult : kVerified;
}

}  // namespace transload::cli
