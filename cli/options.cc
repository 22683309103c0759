// Parsing and checking of `transload run`'s options.
#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <type_traits>

#include "cli/number.h"
#include "cli/parser.h"
#include "cli/text.h"
#include "control/launchers.h"
#include "runtime/call/check_inputs.h"
#include "runtime/choices.h"
#include "runtime/group_options.h"

namespace transload::cli {
namespace {

template <class Value>
struct OptionWord {
  const char* name;
  Value value;
};

template <class All, class NameOf>
std::string joined(const All& all, const char* between, NameOf name_of) {
  std::string words;
  for (const auto& one : all) words += (words.empty() ? "" : between) + std::string(name_of(one));
  return words;
}

template <class Value, size_t N>
Value choice(const char* name, const std::string& text, const OptionWord<Value> (&choices)[N]) {
  for (const auto& c : choices)
    if (text == c.name) return c.value;
  refuse("{}: '{}': must be one of {}", name, text, joined(choices, ", ", [](const auto& c) { return c.name; }));
}

// Reads the word for a value that a group's options or calls choose from.
template <class Enum>
Enum choice(const char* name, const std::string& text) {
  if (const std::optional<Enum> value = choice_of<Enum>(text)) return *value;
  refuse("{}: '{}': must be {}", name, text, all_choices<Enum>());
}

// "auto|direct|ring", for a flag's help.
template <class Enum>
std::string words_of() {
  return joined(ChoiceWords<Enum>::words, "|", [](const char* word) { return word; });
}
template <class Value, size_t N>
std::string words_of(const OptionWord<Value> (&choices)[N]) {
  return joined(choices, "|", [](const auto& choice) { return choice.name; });
}

std::string flag_of(std::string option) {
  std::replace(option.begin(), option.end(), '_', '-');
  return "--" + option;
}

Bounds bounds_of(const char* option) {
  const OptionFacts facts = option_facts(option);
  return {facts.least, facts.most};
}

// The text given on the command line for this numeric option of GroupOptions; "" if none was.
std::string typed(const RunArguments& a, const char* option) {
  const auto at = a.passed_on.find(option);
  return at == a.passed_on.end() ? "" : at->second;
}

constexpr OptionWord<bool> kTypes[] = {{"bf16", false}, {"fp8", true}};
constexpr OptionWord<ScaleType> kScales[] = {{"fp32", ScaleType::kF32}, {"ue8m0", ScaleType::kUe8m0}};
constexpr OptionWord<bool> kDevices[] = {{"cpu", false}, {"cuda", true}};
constexpr OptionWord<FaultVerb> kVerbs[] = {{"kill", FaultVerb::kKill},
                                            {"stop", FaultVerb::kStop},
                                            {"absent", FaultVerb::kAbsent},
                                            {"leave", FaultVerb::kLeave}};
constexpr OptionWord<FaultPhase> kPhases[] = {{"notify", FaultPhase::kNotify},
                                              {"dispatch", FaultPhase::kDispatch},
                                              {"expert", FaultPhase::kExpert},
                                              {"combine", FaultPhase::kCombine}};

template <class T, size_t n>
const char* word_of(const OptionWord<T> (&words)[n], T value) {
  const auto* const found = std::find_if(words, words + n, [&](const OptionWord<T>& w) { return w.value == value; });
  return found == words + n ? "" : found->name;
}

void check_topology(const RunArguments& a, const Limits& limits, Options& out) {
  for (uint64_t size : numbers("--node-sizes", a.node_sizes, {1, limits.node_size_max}))
    out.group.topology.node_sizes.push_back(uint32_t(size));
  try {
    check_node_sizes("--node-sizes", out.node_sizes());
  } catch (const Error& error) {
    refuse("{}", error.what());
  }
  const uint32_t ranks = out.group.topology.ranks();
  const auto tokens = numbers("--tokens", a.tokens, {0, limits.tokens_max});
  if (tokens.size() != 1 && tokens.size() != ranks)
    refuse("--tokens: {} numbers: must be one, or one for each of the {} ranks", tokens.size(), ranks);
  for (uint64_t r = 0; r < ranks; ++r) out.tokens.push_back(int64_t(tokens[tokens.size() == 1 ? 0 : r]));
}

void check_routing(const RunArguments& a, Options& out) {
  out.routing = a.routing;
  out.top_k_given = !a.top_k.empty();
  out.top_k = out.top_k_given ? uint32_t(number("--top-k", a.top_k, bounds_of("top_k_max"))) : 8;
  out.group.experts = uint32_t(number("--experts", a.experts, bounds_of("experts")));
  if (a.routing == "uniform")
    out.routing_kind = RoutingKind::kUniform;
  else if (a.routing == "one-rank")
    out.routing_kind = RoutingKind::kOneRank;
  else if (a.routing == "none")
    out.routing_kind = RoutingKind::kNone;
  else if (a.routing.rfind("zipf:", 0) == 0) {
    out.routing_kind = RoutingKind::kZipf;
    const std::string text = a.routing.substr(5);
    char* end = nullptr;
    out.zipf_exponent = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != 0 || !(out.zipf_exponent >= 0 && out.zipf_exponent <= 10))
      refuse("--routing: '{}': the exponent must be a number from 0 to 10", a.routing);
  } else {
    out.routing_kind = RoutingKind::kFile;
  }
  if (a.layer.empty()) return;
  if (out.routing_kind != RoutingKind::kFile) refuse("--layer: '{}': is allowed only with a routing file", a.layer);
  out.layer = int64_t(number("--layer", a.layer, {0, 1u << 20}));
}

void check_payload(const RunArguments& a, const Limits& limits, Options& out) {
  out.payload.fp8 = choice("--dtype", a.dtype, kTypes);
  const uint64_t unit = limits.token_bytes_unit / (out.payload.fp8 ? 1 : 2);
  out.hidden = out.payload.hidden = number("--hidden", a.hidden, {unit, limits.token_bytes_max / 2});
  if (out.hidden % unit != 0)
    refuse("--hidden: {}: must be a multiple of {} ({} bytes)", out.hidden, unit, limits.token_bytes_unit);
  if (!a.scales.empty()) {
    out.payload.scales = choice("--scales", a.scales, kScales);
    if (!out.payload.fp8) refuse("--scales: '{}': is allowed only with --dtype fp8", a.scales);
  }
  if (out.payload.scale_words() > option_facts("scales_max").most)
    refuse("--hidden: {}: a row has {} words of scales, must be at most {}", out.hidden, out.payload.scale_words(),
           option_facts("scales_max").most);
}

void check_rows_max(const RunArguments& a, Options& out) {
  const uint64_t most = uint64_t(std::max<int64_t>(1, out.tokens_max())) * out.ranks();
  if (!a.rows_max.empty()) out.rows_max = int64_t(number("--rows-max", a.rows_max, {1, most}));
  if (a.overflow.empty()) return;
  out.overflow = choice<Overflow>("--overflow", a.overflow);
  if (out.rows_max == 0) refuse("--overflow: '{}': is allowed only with --rows-max", a.overflow);
}

void check_fault(const RunArguments& a, Options& out) {
  out.recover = a.recover;
  if (a.recover && a.fault.empty()) refuse("--recover: is allowed only with --fault");
  if (a.fault.empty()) return;
  const std::string& text = a.fault;
  const auto bad = [&] {
    refuse(
        "--fault: '{}': must be kill:RANK@ITERATION[/PHASE], stop:RANK@ITERATION[/PHASE], absent:RANK@ITERATION or "
        "leave:RANK@ITERATION",
        text);
  };
  const size_t colon = text.find(':'), at = text.find('@'), slash = std::min(text.find('/'), text.size());
  if (colon == std::string::npos || at == std::string::npos || colon > at || at > slash) bad();
  FaultSpec fault;
  fault.verb = choice("--fault: VERB", text.substr(0, colon), kVerbs);
  fault.rank = uint32_t(number("--fault: RANK", text.substr(colon + 1, at - colon - 1), {0, out.ranks() - 1u}));
  fault.iteration = number("--fault: ITERATION", text.substr(at + 1, slash - at - 1), {1, out.iterations});
  if (slash < text.size()) fault.phase = choice("--fault: PHASE", text.substr(slash + 1), kPhases);
  if (out.ranks() < 2) refuse("--fault: '{}': needs at least 2 ranks, so that one survives", text);
  if (!by_signal(fault) && slash < text.size())
    refuse("--fault: '{}': a PHASE is allowed only with kill and stop", text);
  if (by_signal(fault) && out.threads)
    refuse("--fault: '{}': needs ranks that are processes, so --threads is not allowed", text);
  if (by_signal(fault) && a.device == "cuda" && fault.phase != FaultPhase::kExpert)
    refuse("--fault: '{}': a rank on a GPU halts between its calls only: PHASE must be expert", text);
  out.fault = fault;
}

// Checks what can be checked of a device's options before the GPUs are known. gpus.h checks the rest.
void check_device(const RunArguments& a, Options& out) {
  out.cuda = choice("--device", a.device, kDevices);
  out.graph = a.graph;
  out.group.network_memory = choice<NetworkMemoryChoice>("--network-memory", a.network_memory);
  if (!out.cuda) {
    if (out.group.network_memory == NetworkMemoryChoice::kGpu)
      refuse("--network-memory: '{}': is allowed only with --device cuda", a.network_memory);
    for (const auto& [name, text] :
         {std::pair{"--sms", typed(a, "sms")}, {"--gpus", a.gpus}, {"--ranks-per-gpu", a.ranks_per_gpu}})
      if (!text.empty()) refuse("{}: '{}': is allowed only with --device cuda", name, text);
    if (a.graph) refuse("--graph: is allowed only with --device cuda");
    return;
  }
  constexpr uint64_t kGpusMost = 1024;
  if (!a.gpus.empty()) out.gpus = uint32_t(number("--gpus", a.gpus, {1, kGpusMost}));
  if (!a.ranks_per_gpu.empty())
    out.ranks_per_gpu = uint32_t(number("--ranks-per-gpu", a.ranks_per_gpu, {1, out.ranks()}));
  if (a.floor) refuse("--floor: is allowed only with --device cpu");
  if (a.graph && out.rows_max == 0)
    refuse("--graph: is allowed only with --rows-max, because a recorded call cannot tell the host a count");
}

void check_network(const RunArguments& a, GroupOptions& out) {
  out.scale_out = choice<ScaleOutChoice>("--scale-out", a.scale_out);
  out.provider = a.provider;
  out.nic = a.nic;
  if (!a.provider.empty() && out.scale_out != ScaleOutChoice::kAuto && out.scale_out != ScaleOutChoice::kLibfabric)
    refuse("--provider: '{}': is allowed only with --scale-out auto or libfabric", a.provider);
}

// The word "auto" asks all launchers that the library knows, as an empty name does in Bootstrap.
std::string launcher_words(const char* between) {
  return std::string("auto") + between +
         joined(launcher_names(), between, [](const std::string& name) { return name; });
}

void check_launcher(const RunArguments& a, Options& out) {
  if (a.launcher == "auto") return;
  const std::vector<std::string> names = launcher_names();
  if (std::find(names.begin(), names.end(), a.launcher) == names.end())
    refuse("--launcher: '{}': must be one of {}", a.launcher, launcher_words(", "));
  out.launcher = a.launcher;
}

// Sets the numeric options of the group that were typed. The others keep the library's defaults.
void pass_on(const RunArguments& a, GroupOptions& out) {
  for_each_option(out, [&](const OptionFacts& facts, auto& field) {
    const std::string text = typed(a, facts.name);
    if (facts.flag == nullptr || text.empty()) return;
    field = std::remove_reference_t<decltype(field)>(number(flag_of(facts.name).c_str(), text, bounds_of(facts.name)));
  });
}

}  // namespace

DLDevice Options::device_of(uint32_t rank) const {
  if (!cuda) return {kDLCPU, 0};
  return {kDLCUDA, int32_t((local_rank >= 0 ? uint32_t(local_rank) : rank / ranks_per_gpu) % gpus)};
}

const char* name_of(FaultVerb verb) { return word_of(kVerbs, verb); }

GroupOptions Options::rings() const {
  GroupOptions completed = group;
  completed.device.device_type = cuda ? kDLCUDA : kDLCPU;
  complete(completed);
  return completed;
}

std::string dump_path(const Options& options, uint32_t rank) {
  return text::format("{}/rank{}.safetensors", options.dump, rank);
}

const char* name_of(FaultPhase phase) { return word_of(kPhases, phase); }

int64_t Options::tokens_max() const { return tokens.empty() ? 0 : *std::max_element(tokens.begin(), tokens.end()); }

RunArguments::RunArguments() {
  node_sizes = "4,4";
  tokens = "512";
  hidden = "7168";
  experts = "256";
  routing = "uniform";
  seed = "1";
  iterations = "5";
  warmup = "1";
  device = "cpu";
  landing = combine_source = scale_out = network_memory = launcher = "auto";
  dtype = "bf16";
  combine_wire = "bf16";
  biases = "0";
}

namespace {

// What is moved, and how: the options that `transload run --help` lists first.
void add_workload_options(CLI::App& app, RunArguments& a) {
  add_text(app, {"--node-sizes", "N,N,..", "number of ranks of each node"}, a.node_sizes);
  add_text(app, {"--tokens", "N|N,N,..", "number of tokens of every rank, or a number for each rank"}, a.tokens);
  add_text(app, {"--hidden", "N", "elements of a token; a multiple of 8, of 16 with fp8"}, a.hidden);
  add_text(app, {"--experts", "N", "experts, in contiguous blocks over the ranks"}, a.experts);
  add_text(app, {"--top-k", "N", "experts that a token chooses [8, or what the routing file has]"}, a.top_k);
  add_text(
      app,
      {"--routing", "FILE|uniform|zipf:S|one-rank|none",
       "which experts tokens choose: a safetensors file with topk_idx and topk_weights, from which each rank takes the "
       "next rows, or a way to draw them"},
      a.routing);
  add_text(app, {"--layer", "N", "read layer<N>.topk_idx and layer<N>.topk_weights of the file [without a prefix]"},
           a.layer);
  add_text(app, {"--seed", "N", "seed of the tokens and of routings that are drawn"}, a.seed);
  add_text(app, {"--iterations", "N", "timed iterations"}, a.iterations);
  add_text(app, {"--warmup", "N", "iterations before the timed ones, checked too"}, a.warmup);
  add_text(app, {"--dtype", words_of(kTypes), "type of dispatched rows; the experts return bf16"}, a.dtype);
  add_text(app,
           {"--scales", words_of(kScales),
            "fp8: type of the scale of each 128 elements; four ue8m0 are packed into an int32 [fp32]"},
           a.scales);
  add_text(app, {"--rows-max", "N", "number of rows that the outputs of a rank have room for [as many as come]"},
           a.rows_max);
  add_text(app, {"--overflow", words_of<Overflow>(), "what happens if more rows than --rows-max come [fail]"},
           a.overflow);
  add_text(app,
           {"--landing", words_of<Landing>(), "whether dispatched rows land directly in the output, or pass a ring"},
           a.landing);
  add_text(app,
           {"--combine-source", words_of<CombineSource>(),
            "whether peers pull the experts' rows from where they lie, or ranks push them through rings"},
           a.combine_source);
  add_text(app, {"--combine-wire", words_of<CombineWire>(), "type of partial sums between nodes"}, a.combine_wire);
  add_text(app, {"--biases", "0|1|2", "number of biases that combine adds"}, a.biases);
}

}  // namespace

void add_run_options(CLI::App& app, RunArguments& a) {
  add_workload_options(app, a);
  add_text(app, {"--scale-out", words_of<ScaleOutChoice>(), "network between nodes"}, a.scale_out);
  add_text(app, {"--provider", "NAME", "libfabric's provider [the best that opens]"}, a.provider);
  add_text(app,
           {"--nic", "NAME", "network card of this rank [cuda: the nearest to its GPU; `transload limits` shows them]"},
           a.nic);
  add_text(app,
           {"--network-memory", words_of<NetworkMemoryChoice>(), "cuda, over a network: where the network's rings lie"},
           a.network_memory);
  add_text(app,
           {"--device", words_of(kDevices),
            "where the tensors are: in memory of the CPU or of GPUs, which then also move them"},
           a.device);
  add_text(app, {"--gpus", "N", "cuda: number of GPUs [all that this process sees]"}, a.gpus);
  add_text(app, {"--ranks-per-gpu", "N", "cuda: consecutive ranks on each GPU [ranks / GPUs, rounded up]"},
           a.ranks_per_gpu);
  const GroupOptions defaults;
  for_each_option(defaults, [&](const OptionFacts& facts, uint64_t value) {
    if (facts.flag == nullptr) return;
    const std::string shown = value == 0 ? "" : text::format(" [{}]", value);
    add_text(app, {flag_of(facts.name), "N", facts.flag + shown}, a.passed_on[facts.name]);
  });
  add_text(app,
           {"--launcher", launcher_words("|"),
            "launcher whose environment variables say which rank this is; none: all ranks are started here"},
           a.launcher);
  add_text(
      app,
      {"--fault", words_of(kVerbs) + ":RANK@ITERATION[/PHASE]",
       "kill or stop a rank in the middle of a phase (notify, dispatch, expert, combine) [dispatch]; absent: it does "
       "not make that dispatch; leave: it frees its group"},
      a.fault);
  add_flag(app, "--recover", a.recover,
           "after the fault the other ranks make a new group and verify an iteration in it");
  add_text(app,
           {"--soak", "SECONDS",
            "make random runs and faults for so many seconds; memory, descriptors and threads must not grow"},
           a.soak);
  add_text(app, {"--json", "FILE|-", "write the result there as one JSON object; - is standard output"}, a.json);
  add_text(app, {"--dump", "DIR", "write the last iteration's inputs and outputs as DIR/rank<r>.safetensors"}, a.dump);
  add_flag(app, "--quiet", a.quiet, "print no table and no progress");
  add_flag(app, "--threads", a.threads, "run the ranks as threads of one process instead of processes");
  add_flag(app, "--graph", a.graph,
           "cuda: capture the first dispatch and combine once, and replay them with another routing in each iteration");
  add_flag(app, "--floor", a.floor,
           "also measure how long one copy of each row takes on this machine; for one node only");
}

Options checked(const RunArguments& a) {
  const Limits limits = transload::limits();
  Options out;
  check_topology(a, limits, out);
  check_payload(a, limits, out);
  check_rows_max(a, out);
  check_routing(a, out);
  out.seed = number("--seed", a.seed, {0, UINT64_MAX});
  out.iterations = number("--iterations", a.iterations, {1, 1000000});
  out.warmup = number("--warmup", a.warmup, {0, 1000000});
  out.landing = choice<Landing>("--landing", a.landing);
  out.source = choice<CombineSource>("--combine-source", a.combine_source);
  out.group.combine_wire = choice<CombineWire>("--combine-wire", a.combine_wire);
  out.biases = uint32_t(number("--biases", a.biases, {0, 2}));
  check_network(a, out.group);
  pass_on(a, out.group);
  check_launcher(a, out);
  out.json = a.json;
  out.dump = a.dump;
  out.quiet = a.quiet;
  out.threads = a.threads;
  out.floor = a.floor;
  if (out.floor && out.node_sizes().size() != 1)
    refuse("--floor: is allowed only with one node, not with --node-sizes {}", a.node_sizes);
  if (out.floor && (out.payload.fp8 || out.rows_max > 0))
    refuse("--floor: is allowed only with --dtype bf16 and without --rows-max");
  check_fault(a, out);
  check_device(a, out);
  return out;
}

}  // namespace transload::cli
