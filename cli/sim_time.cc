// Reading the options of `transload sim --time`, and printing the times that it found.
#include "cli/sim_time.h"

#include <type_traits>

#include <CLI/CLI.hpp>

#include "cli/number.h"
#include "cli/parser.h"
#include "cli/text.h"
#include "runtime/group_options.h"
#include "sim/time/timed_job.h"

namespace transload::cli {
namespace {

constexpr uint32_t kRanksOfTime = 256;
constexpr uint64_t kHiddenUnit = 16;

// Visits each number once: its option, what was typed for it, its bounds, the field that it sets, its help.
template <class Visit>
void for_each_number(SimTimeArguments& a, TimedMachine& m, TimedJob& j, Visit visit) {
  const auto of = [](const char* name, uint64_t least) { return Bounds{least, option_facts(name).most}; };
  visit("--nodes", a.nodes, Bounds{2, 64}, m.nodes, "number of nodes");
  visit("--gpus", a.gpus, Bounds{1, 64}, m.gpus, "number of GPUs of a node, one rank on each");
  visit("--sms", a.sms, of("sms", 1), m.sms, "SMs of a GPU that a call takes");
  visit("--message-ns", a.message_ns, Bounds{0, 1'000'000}, m.message_ns,
        "nanoseconds that a message keeps a port busy, besides its bytes");
  visit("--command-ns", a.command_ns, Bounds{0, 1'000'000}, m.command_ns,
        "nanoseconds that a proxy takes for a command");
  visit("--sm-gb-s", a.sm_gb_s, Bounds{1, 10'000}, m.sm_gb_s, "GB/s that an SM can store");
  visit("--scale-up-gb-s", a.scale_up_gb_s, Bounds{1, 100'000}, m.scale_up_gb_s,
        "GB/s of a rank within its node, each way");
  visit("--tokens", a.tokens, Bounds{1, 1 << 20}, j.tokens, "tokens of each rank");
  visit("--hidden", a.hidden, Bounds{kHiddenUnit, 65536}, j.hidden, "elements of a row, a multiple of 16");
  visit("--top-k", a.top_k, of("top_k_max", 1), j.top_k, "experts that a token chooses");
  visit("--experts", a.experts, of("experts", 1), j.experts, "number of experts, in equal blocks over the ranks");
  visit("--channels", a.channels, of("channels", 1), j.channels, "channels of a call [the library's choice]");
  visit("--slots", a.slots, of("slots", 1), j.slots, "slots of a ring [the library's choice]");
  visit("--batch", a.batch, of("rail_batch", 1), j.batch,
        "rows that are sent at once, at most half of the slots [the library's choice]");
}

RailMode rails_with_time(const std::string& text) {
  for (const RailMode mode : {RailMode::kProxy, RailMode::kQueues})
    if (text == kRailModeNames[size_t(mode)]) return mode;
  refuse("--rails: '{}': with --time it must be {} or {}", text, kRailModeNames[size_t(RailMode::kProxy)],
         kRailModeNames[size_t(RailMode::kQueues)]);
}

void check(const TimedMachine& m, const TimedJob& j) {
  if (m.nodes * m.gpus > kRanksOfTime)
    refuse("--nodes, --gpus: {} ranks: must be at most {}", m.nodes * m.gpus, kRanksOfTime);
  if (j.hidden % kHiddenUnit != 0) refuse("--hidden: '{}': must be a multiple of {}", j.hidden, kHiddenUnit);
  if (j.experts < j.top_k) refuse("--experts: '{}': must be at least --top-k, {}", j.experts, j.top_k);
  const uint32_t most = std::max(1u, with_choices(m, j).slots / 2);
  if (j.batch > most) refuse("--batch: '{}': must be at most half of the slots, {}", j.batch, most);
}

void print(const TimedMachine& m, const TimedJob& j, const std::vector<TimedCall>& calls) {
  text::print("virtual time: it checks the design, not the hardware\n\n");
  text::print("  {} nodes of {} GPUs; {} of {} Gb/s a GPU, {} us one way{}\n", m.nodes, m.gpus,
              kRailModeNames[size_t(m.rails)], m.wire_gb_s * 8, double(m.latency_ns) / 1000,
              m.rails == RailMode::kProxy ? text::format(", {} ns a command", m.command_ns) : "");
  text::print("  {} SMs, {} channels, {} slots, {} in a put\n", m.sms, j.channels, j.slots,
              j.batch == 1 ? "1 row" : text::format("{} rows", j.batch));
  text::print("  {} tokens a rank, {} {}, top {} of {} experts, uniform\n\n", j.tokens, j.hidden,
              j.fp8 ? "fp8" : "bf16", j.top_k, j.experts);
  text::print("{:<18}{:>9}{:>10}{:>9}   of the ports' time, %\n", "", "us", "rows", "of wire");
  text::print("{:<46}   {:>6}{:>7}{:>7}{:>7}{:>10}{:>7}{:>6}   bound by\n", "", "sends", "start", "stores", "slots",
              "commands", "ranks", "tail");
  for (const TimedCall& call : calls) {
    const PortTime& p = call.port;
    text::print("{:<18}{:>9.1f}{:>10}{:>8.1f}%   {:>6.1f}{:>7.1f}{:>7.1f}{:>7.1f}{:>10.1f}{:>7.1f}{:>6.1f}   {}\n",
                call.name, double(call.ns) / 1000, call.rail_rows, 100 * call.share, 100 * p.sends, 100 * p.start,
                100 * p.stores, 100 * p.slots, 100 * p.commands, 100 * p.peers, 100 * p.tail, bound_of(p));
  }
}

}  // namespace

void add_sim_time_options(CLI::App& app, SimTimeArguments& a) {
  add_flag(app, "--time", a.time, "compute, in virtual time, how much of the wire a call would reach");
  TimedMachine machine;
  TimedJob job;
  for_each_number(a, machine, job, [&](const char* name, std::string& text, Bounds, auto& field, const char* help) {
    const bool own = field > 0;
    add_text(
        app,
        {name, "N", own ? text::format("time: {} [{}]", help, field).c_str() : text::format("time: {}", help).c_str()},
        text);
  });
  add_text(app, {"--wire", "GBIT", "time: Gb/s of a GPU's NIC, each way [400]"}, a.wire);
  add_text(app, {"--latency-us", "US", "time: microseconds one way over the network [3]"}, a.latency_us);
  add_text(app, {"--dtype", "TYPE", "time: type of dispatched rows, bf16 or fp8 [bf16]"}, a.dtype);
}

void refuse_without_time(const SimTimeArguments& arguments) {
  SimTimeArguments a = arguments;
  TimedMachine machine;
  TimedJob job;
  const auto only = [](const char* name, const std::string& text) {
    if (!text.empty()) refuse("{}: '{}': is allowed only with --time", name, text);
  };
  for_each_number(a, machine, job,
                  [&](const char* name, const std::string& text, Bounds, auto&, const char*) { only(name, text); });
  only("--wire", a.wire);
  only("--latency-us", a.latency_us);
  only("--dtype", a.dtype);
}

int simulate_time(const SimTimeArguments& arguments, const std::string& rails, const std::string& seed) {
  SimTimeArguments a = arguments;
  TimedMachine machine;
  TimedJob job;
  for_each_number(a, machine, job,
                  [](const char* name, const std::string& text, Bounds bounds, auto& field, const char*) {
                    if (!text.empty()) field = std::decay_t<decltype(field)>(number(name, text, bounds));
                  });
  if (!a.wire.empty()) machine.wire_gb_s = double(number("--wire", a.wire, {1, 100'000})) / 8;
  if (!a.latency_us.empty()) machine.latency_ns = number("--latency-us", a.latency_us, {0, 100'000}) * 1000;
  if (!a.dtype.empty() && a.dtype != "bf16" && a.dtype != "fp8") refuse("--dtype: '{}': must be bf16 or fp8", a.dtype);
  job.fp8 = a.dtype == "fp8";
  if (!rails.empty()) machine.rails = rails_with_time(rails);
  if (!seed.empty()) job.seed = number("--seed", seed, {0, UINT64_MAX});
  check(machine, job);
  job = with_choices(machine, job);
  print(machine, job, run_timed(machine, job));
  return kVerified;
}

}  // namespace transload::cli
