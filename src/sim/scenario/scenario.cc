// Reading scenarios strictly from TOML. No other file uses toml++.
#include "sim/scenario/scenario.h"

#include <transload/group.h>
#include <transload/limits.h>

#include <stdexcept>

// Some files break an assertion of the parser ("[#" does). That ends the reading, not the process.
[[noreturn]] static void unmet(const char* condition) { throw std::logic_error(condition); }
#define TOML_ASSERT(condition) ((condition) ? void() : unmet(#condition))
#include <toml++/toml.h>
#include <algorithm>
#include <initializer_list>
#include <set>
#include <sstream>
#include <utility>

#include "os/file.h"
#include "runtime/call/check_inputs.h"
#include "runtime/choices.h"
#include "runtime/group_options.h"
#include "sim/scenario/embedded_scenarios.h"

namespace transload {

namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr uint64_t kCallsMax = 1000;
constexpr uint64_t kCounterMax = uint64_t(1) << 62;
constexpr uint64_t kCommandCounterMax = uint64_t(1) << 55;
constexpr uint64_t kBytesMax = uint64_t(1) << 46;

struct KeyBounds {
  uint64_t least;
  uint64_t most;
};

std::string text_of(const toml::node& node) {
  std::ostringstream text;
  if (node.is_table())
    text << "a table";
  else if (node.is_array())
    text << "a list of " << node.as_array()->size();
  else
    node.visit([&](const auto& value) { text << value; });
  return text.str();
}

// One table of the file. Reading a key makes it known; `finish` refuses keys that nobody read.
class Keys {
 public:
  Keys(const toml::table& table, std::string file, std::string path, std::string what)
      : table_(table), file_(std::move(file)), path_(std::move(path)), what_(std::move(what)) {}

  bool has(const std::string& key) { return find(key) != nullptr; }
  bool says(const std::string& key, const std::string& word) {
    const toml::node* node = find(key);
    return node != nullptr && node->is_string() && **node->as_string() == word;
  }
  // Without a fallback the key must be there.
  uint64_t number(const std::string& key, KeyBounds range, std::optional<uint64_t> fallback = std::nullopt) {
    const toml::node* node = find(key);
    if (node != nullptr) return number_of(key, *node, range);
    if (!fallback) miss(key);
    return fallback.value_or(range.least);
  }
  double chance(const std::string& key) { return real(key, 1, 0); }
  double real(const std::string& key, double most, double fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    const std::optional<double> value = node->value<double>();
    if (!node->is_number() || !value || !(*value >= 0 && *value <= most)) {
      std::ostringstream bound;
      bound << "a number from 0 to " << most;
      refuse(key, *node, bound.str());
    }
    return *value;
  }
  bool flag(const std::string& key, bool fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    if (!node->is_boolean()) refuse(key, *node, "true or false");
    return **node->as_boolean();
  }
  std::string text(const std::string& key) {
    const toml::node* node = find(key);
    if (node == nullptr) {
      miss(key);
      return "";
    }
    if (!node->is_string() || (*node->as_string())->empty()) refuse(key, *node, "a text");
    return **node->as_string();
  }
  // One of a few words. Without a fallback the key must be there.
  template <class T>
  T word(const std::string& key, const std::vector<std::pair<std::string, T>>& words,
         std::optional<std::string> fallback) {
    const toml::node* node = find(key);
    if (node == nullptr && !fallback) {
      miss(key);
      return words.front().second;
    }
    std::string bound = "one of";
    for (const auto& [name, value] : words) {
      if (node == nullptr ? name == *fallback : node->is_string() && **node->as_string() == name) return value;
      bound += (&name == &words.front().first ? " " : ", ") + name;
    }
    refuse(key, *node, bound);
  }
  std::vector<uint64_t> numbers(const std::string& key, KeyBounds range, KeyBounds count) {
    const toml::node* node = find(key);
    if (node == nullptr) return miss(key), std::vector<uint64_t>{};
    const toml::array* list = node->as_array();
    if (list == nullptr || list->size() < count.least || list->size() > count.most)
      refuse(key, *node, "a list of " + between(count));
    std::vector<uint64_t> all;
    for (const toml::node& entry : *list) all.push_back(number_of(key, entry, range));
    return all;
  }
  // One number for all, or a list by rank.
  std::vector<uint64_t> by_rank(const std::string& key, KeyBounds range, uint32_t ranks) {
    const toml::node* node = find(key);
    if (node != nullptr && node->is_integer()) return std::vector<uint64_t>(ranks, number_of(key, *node, range));
    if (node != nullptr && !node->is_array())
      refuse(key, *node, "a number or a list of " + std::to_string(ranks) + ", one for each rank");
    return numbers(key, range, {ranks, ranks});
  }
  std::optional<Keys> table(const std::string& key, const std::string& what) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_table()) refuse(key, *node, "a table");
    return Keys(*node->as_table(), file_, path_ + key + ".", what);
  }
  std::vector<Keys> tables(const std::string& key, KeyBounds count) {
    const toml::node* node = find(key);
    std::vector<Keys> all;
    if (node == nullptr) {
      if (count.least > 0) miss(key);
      return all;
    }
    const toml::array* list = node->as_array();
    if (list == nullptr || list->size() < count.least || list->size() > count.most ||
        !list->is_homogeneous<toml::table>())
      refuse(key, *node, between(count) + " tables, each [[" + key + "]]");
    for (size_t i = 0; i < list->size(); ++i)
      all.emplace_back(*list->get(i)->as_table(), file_, path_ + key + "[" + std::to_string(i) + "].", "a " + key);
    return all;
  }
  void call_it(std::string what) { what_ = std::move(what); }
  // Unknown keys are refused before missing ones, since a misspelt key is both.
  void finish() const {
    std::string bound = "among the keys of " + what_ + ":";
    for (const std::string& key : known_) bound += " " + key;
    for (const auto& [key, node] : table_)
      if (!known_.count(std::string(key.str()))) refuse(std::string(key.str()), node, bound);
    if (!missing_.empty()) fail(table_.source(), missing_, "not given", "given");
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& bound) {
    const toml::node* node = find(key);
    if (node != nullptr) refuse(key, *node, bound);
    fail(table_.source(), key, "not given", bound);
  }

 private:
  const toml::node* find(const std::string& key) {
    known_.insert(key);
    return table_.get(key);
  }
  void miss(const std::string& key) {
    if (missing_.empty()) missing_ = key;
  }
  static std::string between(KeyBounds range) {
    return range.least == range.most ? std::to_string(range.least)
                                     : std::to_string(range.least) + " to " + std::to_string(range.most);
  }
  uint64_t number_of(const std::string& key, const toml::node& node, KeyBounds range) const {
    const int64_t value = node.is_integer() ? **node.as_integer() : -1;
    if (value < 0 || uint64_t(value) < range.least || uint64_t(value) > range.most)
      refuse(key, node, "a whole number, " + between(range));
    return uint64_t(value);
  }
  [[noreturn]] void refuse(const std::string& key, const toml::node& node, const std::string& bound) const {
    fail(node.source(), key, text_of(node), bound);
  }
  [[noreturn]] void fail(const toml::source_region& where, const std::string& key, const std::string& value,
                         const std::string& bound) const {
    throw Error(Code::kInvalidArgument, file_ + ":" + std::to_string(where.begin.line) + ": " + path_ + key + ": " +
                                            value + ", but must be " + bound);
  }

  const toml::table& table_;
  std::string file_, path_, what_;
  std::set<std::string> known_;
  std::string missing_;
};

template <class T>
std::vector<T> narrow(const std::vector<uint64_t>& numbers) {
  return std::vector<T>(numbers.begin(), numbers.end());
}

KeyBounds bounds_of(const char* option) {
  const OptionFacts facts = option_facts(option);
  return {facts.least, facts.most};
}

// Rank 0 owns half of the experts, the last rank none, those between share the rest.
std::vector<uint32_t> skewed_owners(uint32_t experts, uint32_t ranks) {
  std::vector<uint32_t> owners(experts);
  for (uint32_t expert = 0; expert < experts; ++expert)
    owners[expert] = expert < experts / 2 || ranks < 3 ? 0 : 1 + expert % (ranks - 2);
  return owners;
}

uint64_t hidden_bytes(Keys& keys, uint64_t most, std::optional<uint64_t> fallback) {
  const uint64_t unit = limits().token_bytes_unit;
  const uint64_t bytes = keys.number("hidden_bytes", {unit, most}, fallback);
  if (bytes % unit != 0) keys.refuse("hidden_bytes", "a multiple of " + std::to_string(unit));
  return bytes;
}

void read_link(Keys& links, const char* name, LinkModel& link) {
  std::optional<Keys> keys = links.table(name, "a link");
  if (!keys) return;
  link.latency_ns = keys->number("latency_ns", {0, 1'000'000'000}, link.latency_ns);
  link.bandwidth_gb_s = keys->real("bandwidth_gb_s", 1e6, 0);
  link.message_ns = keys->number("message_ns", {0, 1'000'000}, link.message_ns);
  link.delay = keys->chance("delay");
  link.reorder = keys->chance("reorder");
  link.split = keys->chance("split");
  link.stall = keys->chance("stall");
  keys->finish();
}

std::vector<std::pair<std::string, RailMode>> choices_of_rails() {
  std::vector<std::pair<std::string, RailMode>> all;
  for (size_t i = 0; i < std::size(kRailModeNames); ++i) all.emplace_back(kRailModeNames[i], RailMode(i));
  return all;
}

void read_topology(Keys& keys, Scenario& s) {
  const Limits most = limits();
  s.node_sizes = narrow<uint32_t>(keys.numbers("node_sizes", {1, most.node_size_max}, {1, most.nodes_max}));
  if (s.node_sizes.empty()) keys.refuse("node_sizes", "given");
  for (const uint32_t size : s.node_sizes) s.ranks += size;
  if (s.ranks > most.ranks_max) keys.refuse("node_sizes", std::to_string(most.ranks_max) + " ranks at most");
  s.experts = uint32_t(keys.number("experts", bounds_of("experts")));
  if (keys.says("expert_owner", "skewed")) {
    s.expert_owner = skewed_owners(s.experts, s.ranks);
  } else if (keys.has("expert_owner")) {
    s.expert_owner = narrow<uint32_t>(keys.numbers("expert_owner", {0, s.ranks - 1}, {s.experts, s.experts}));
  }
  s.top_k = uint32_t(keys.number("top_k", bounds_of("top_k_max")));
}

void read_group(Keys& keys, Scenario& s) {
  const Limits most = limits();
  s.hidden_bytes = hidden_bytes(keys, most.token_bytes_max, std::nullopt);
  s.tokens = narrow<uint32_t>(keys.by_rank("tokens", {0, most.tokens_max}, s.ranks));
  s.routing = keys.word<ScenarioRouting>("routing",
                                         {{"uniform", ScenarioRouting::kUniform},
                                          {"skewed", ScenarioRouting::kSkewed},
                                          {"all_to_one", ScenarioRouting::kAllToOne},
                                          {"sparse", ScenarioRouting::kSparse},
                                          {"duplicates", ScenarioRouting::kDuplicates},
                                          {"none", ScenarioRouting::kNone}},
                                         "uniform");
  s.channels = uint32_t(keys.number("channels", bounds_of("channels")));
  s.slots = uint32_t(keys.number("slots", bounds_of("slots")));
  if (keys.has("peer_slots")) s.peer_slots = uint32_t(keys.number("peer_slots", bounds_of("peer_slots")));
  if (keys.has("slab_bytes")) s.slab_bytes = keys.by_rank("slab_bytes", {0, kBytesMax}, s.ranks);
  if (keys.has("slab_rows")) s.slab_rows = keys.by_rank("slab_rows", {0, 1 << 30}, s.ranks);
  if (!s.slab_bytes.empty() && !s.slab_rows.empty()) keys.refuse("slab_rows", "left out where slab_bytes is given");
  s.slab_offset = keys.number("slab_offset", {0, kBytesMax}, 0);
  s.counters_from = keys.number("counters_from", {0, kCounterMax}, 0);
  s.deadline_ms = uint32_t(keys.number("deadline_ms", bounds_of("deadline_ms"), 1000));
  s.compute_ms = keys.number("compute_ms", {0, s.deadline_ms - 1}, 0);
  s.control_busy_ms = keys.number("control_busy_ms", {0, 250}, 0);  // beyond 250 the arbiter calls the rank silent
  s.groups = uint32_t(keys.number("groups", {1, 4}, 1));
  s.scale_out = keys.word<ScenarioScaleOut>(
      "scale_out", {{"network", ScenarioScaleOut::kNetwork}, {"mapped", ScenarioScaleOut::kMapped}}, "network");
  s.rails = keys.word<RailMode>("rails", choices_of_rails(), "network");
  if (keys.has("commands")) s.commands = uint32_t(keys.number("commands", {1, 1024}));
  if (!keys.says("ordered", "either") && keys.has("ordered")) s.ordered = keys.flag("ordered", true);
  s.launcher = keys.word<bool>("arbiter", {{"rank_0", false}, {"launcher", true}}, "rank_0");
  s.leave_after = keys.flag("leave_after", false);
  s.made_again = keys.flag("made_again", false);
  s.new_group_after = keys.flag("new_group_after", false);
  if (std::optional<Keys> links = keys.table("link", "link")) {
    read_link(*links, "scale_up", s.scale_up);
    read_link(*links, "scale_out", s.scale_out_link);
    links->finish();
  }
}

template <class Enum>
std::vector<std::pair<std::string, Enum>> choices() {
  std::vector<std::pair<std::string, Enum>> all;
  for (size_t i = 0; i < choices_count<Enum>(); ++i) all.emplace_back(word_of(Enum(i)), Enum(i));
  return all;
}

template <class Enum>
std::vector<std::pair<std::string, std::optional<Enum>>> choices_or_either() {
  std::vector<std::pair<std::string, std::optional<Enum>>> all;
  for (const auto& [word, value] : choices<Enum>()) all.emplace_back(word, value);
  all.emplace_back("either", std::nullopt);
  return all;
}

void read_dispatch(Keys& keys, ScenarioCall& call) {
  call.dtype = keys.word<DLDataType>("dtype", {{"bf16", kBf16}, {"fp8", kF8E4m3}}, "bf16");
  call.scales = uint32_t(keys.number("scales", bounds_of("scales_max"), 0));
  call.scale_dtype = keys.word<DLDataType>("scale_dtype", {{"fp32", kF32}, {"ue8m0", kI32}}, "fp32");
  call.landing = keys.word("landing", choices_or_either<Landing>(), "auto");
}

void read_rows_max(Keys& keys, const Scenario& s, ScenarioCall& call) {
  call.overflow = keys.word("overflow", choices<Overflow>(), "drop");
  if (keys.says("rows_max", "seeded"))
    call.rows_max = std::nullopt;
  else if (keys.has("rows_max"))
    call.rows_max = narrow<uint32_t>(keys.by_rank("rows_max", {0, 1 << 30}, s.ranks));
  else if (keys.has("overflow"))
    keys.refuse("overflow", "left out without rows_max");
}

// A dispatch that is refused gives no handle, so the calls after it use that of the dispatch before it.
void read_refused(Keys& keys, const Scenario& s, ScenarioCall& call) {
  if (!keys.has("refused_on")) return;
  if (s.calls.empty()) keys.refuse("refused_on", "left out in the first call: nothing has a handle yet");
  call.refused_on = narrow<uint32_t>(keys.numbers("refused_on", {0, s.ranks - 1}, {1, s.ranks}));
  call.tokens = s.calls.back().tokens;
}

void read_combine(Keys& keys, ScenarioCall& call) {
  call.weights = keys.flag("weights", false);
  call.biases = uint32_t(keys.number("biases", {0, 2}, 0));
  call.source = keys.word("source", choices_or_either<CombineSource>(), "auto");
  call.wire = keys.word("wire", choices_or_either<CombineWire>(), "bf16");
}

ScenarioCall read_call(Keys& keys, const Scenario& s) {
  using CallKind = ScenarioCall::CallKind;
  ScenarioCall call;
  call.op = keys.word<CallKind>(
      "op", {{"dispatch", CallKind::kDispatch}, {"cached", CallKind::kCached}, {"combine", CallKind::kCombine}},
      std::nullopt);
  const bool first = s.calls.empty();
  call.tokens = first ? s.tokens : s.calls.back().tokens;
  switch (call.op) {
    case CallKind::kDispatch:
      keys.call_it("a dispatch");
      call.tokens =
          keys.has("tokens") ? narrow<uint32_t>(keys.by_rank("tokens", {0, limits().tokens_max}, s.ranks)) : s.tokens;
      call.wide_ids = keys.word<bool>("id_dtype", {{"int32", false}, {"int64", true}}, "int32");
      call.expert_alignment = uint32_t(keys.number("expert_alignment", {1, 1 << 20}, 1));
      read_dispatch(keys, call);
      read_rows_max(keys, s, call);
      read_refused(keys, s, call);
      break;
    case CallKind::kCached:
      keys.call_it("a cached dispatch");
      read_dispatch(keys, call);
      break;
    case CallKind::kCombine:
      keys.call_it("a combine");
      read_combine(keys, call);
      break;
  }
  call.hidden_bytes = hidden_bytes(keys, s.hidden_bytes, s.hidden_bytes);
  call.channels = uint32_t(keys.number("channels", {1, s.channels}, s.channels));
  call.keep_leases = uint32_t(keys.number("keep_leases", {0, 1000}, 0));
  call.hold_on_rank = uint32_t(keys.number("hold_on_rank", {0, s.ranks - 1}, 0));
  if (call.keep_leases == 0 && keys.has("hold_on_rank")) keys.refuse("hold_on_rank", "left out without keep_leases");
  call.repeat = uint32_t(keys.number("repeat", {1, kCallsMax}, 1));
  keys.finish();
  if (first && call.op != CallKind::kDispatch)
    keys.refuse("op", "dispatch in the first call: nothing has a handle yet");
  return call;
}

std::vector<uint32_t> read_fault_ranks(Keys& keys, const Scenario& s, ScenarioFaultKind kind) {
  const bool one = kind != ScenarioFaultKind::kDeadLink && kind != ScenarioFaultKind::kCutNetwork;
  const char* key = one ? "rank" : "ranks";
  if (keys.says(key, "seeded") || !keys.has(key)) return {};
  if (one) return {uint32_t(keys.number(key, {0, s.ranks - 1}))};
  if (s.ranks < 2) keys.refuse(key, "left out: a group of one rank has no links");
  const KeyBounds count = kind == ScenarioFaultKind::kDeadLink ? KeyBounds{2, 2} : KeyBounds{1, s.ranks - 1};
  const std::vector<uint64_t> ranks = keys.numbers(key, {0, s.ranks - 1}, count);
  if (std::set<uint64_t>(ranks.begin(), ranks.end()).size() != ranks.size()) keys.refuse(key, "different ranks");
  return narrow<uint32_t>(ranks);
}

ExpectedVerdict read_expected(Keys& keys, const Scenario& s) {
  ExpectedVerdict expected;
  std::optional<Keys> expect = keys.table("expect", "expect");
  if (!expect) {
    keys.finish();
    keys.refuse("expect", "a table {kind, culprit}");
  }
  std::vector<std::pair<std::string, FaultKind>> kinds;
  for (const FaultKind kind :
       {FaultKind::kNone, FaultKind::kLost, FaultKind::kSilent, FaultKind::kAbsent, FaultKind::kUnreachable,
        FaultKind::kMismatch, FaultKind::kRendezvous, FaultKind::kFailed})
    kinds.emplace_back(name_of(kind), kind);
  expected.kind = expect->word<FaultKind>("kind", kinds, std::nullopt);
  if (expect->has("culprit") && expected.kind == FaultKind::kNone) expect->refuse("culprit", "left out with none");
  if (!expect->says("culprit", "fault") && expect->has("culprit"))
    expected.culprit = uint32_t(expect->number("culprit", {0, s.ranks - 1}));
  expected.or_none = expect->flag("or_none", false);
  expected.within_ms = expect->number("within_ms", {0, 24 * 3600 * 1000}, 0);
  expect->finish();
  return expected;
}

ScenarioFault read_fault(Keys& keys, const Scenario& s) {
  using Kind = ScenarioFaultKind;
  ScenarioFault fault;
  fault.kind = keys.word<Kind>("kind",
                               {{"dead_rank", Kind::kDeadRank},
                                {"stopped_rank", Kind::kStoppedRank},
                                {"slow_rank", Kind::kSlowRank},
                                {"dead_link", Kind::kDeadLink},
                                {"cut_network", Kind::kCutNetwork},
                                {"late_rank", Kind::kLateRank},
                                {"leaving_rank", Kind::kLeavingRank},
                                {"other_call", Kind::kOtherCall},
                                {"dead_arbiter", Kind::kDeadArbiter},
                                {"stopped_arbiter", Kind::kStoppedArbiter},
                                {"stopped_proxy", Kind::kStoppedProxy},
                                {"failing_rank", Kind::kFailingRank}},
                               std::nullopt);
  fault.ranks = read_fault_ranks(keys, s, fault.kind);
  if (!keys.says("when", "seeded")) {
    if (std::optional<Keys> when = keys.table("when", "when")) {
      uint64_t calls = 0;
      for (const ScenarioCall& call : s.calls) calls += call.repeat;
      fault.when = FaultMoment{uint32_t(when->number("call", {0, calls - 1})), when->real("progress", 1, 0),
                               when->number("within_ms", {0, 24 * 3600 * 1000}, 0)};
      when->finish();
    }
  }
  if (fault.kind == Kind::kStoppedRank || fault.kind == Kind::kLateRank)
    fault.for_ms = keys.number("for_ms", {0, 24 * 3600 * 1000}, 0);
  if (fault.kind == Kind::kOtherCall && s.channels < 2) keys.refuse("kind", "left out where there is one channel");
  if ((fault.kind == Kind::kDeadArbiter || fault.kind == Kind::kStoppedArbiter) && !s.launcher)
    keys.refuse("kind", "left out where rank 0 has the arbiter");
  if (fault.kind == Kind::kSlowRank) fault.times_slower = uint32_t(keys.number("times_slower", {2, 1000}));
  if (fault.kind == Kind::kDeadRank) fault.notice = keys.flag("notice", true);
  fault.expect = read_expected(keys, s);
  keys.finish();
  return fault;
}

// Checks what several keys say together, by the rules of a group.
void check_together(Keys& keys, Scenario& s) {
  for (const ScenarioCall& call : s.calls) {
    for (const uint32_t tokens : call.tokens) s.tokens_max = std::max(s.tokens_max, tokens);
    s.scales_max = std::max(s.scales_max, call.scales);
  }
  for (const ScenarioCall& call : s.calls)
    for (const uint32_t rows : call.rows_max.value_or(std::vector<uint32_t>{}))
      if (rows > uint64_t(s.tokens_max) * s.ranks)
        keys.refuse("call", "a rows_max of at most " + std::to_string(uint64_t(s.tokens_max) * s.ranks) +
                                ", the most rows that can come");
  if (s.scale_out == ScenarioScaleOut::kMapped && keys.has("rails"))
    keys.refuse("rails", "left out where rails are mapped");
  if (const std::string bound = bound_of_rails(s, s.rails); !bound.empty()) keys.refuse("rails", bound);
  if (s.made_again && !s.faults.empty()) keys.refuse("made_again", "false where there is a fault");
  if (s.new_group_after && s.faults.empty()) keys.refuse("new_group_after", "false where there is no fault");
  GroupOptions options;
  options.bootstrap.ranks = s.ranks;
  options.topology.node_sizes = s.node_sizes;
  options.experts = s.experts;
  options.expert_owner = s.expert_owner;
  options.tokens_max = s.tokens_max;
  options.row_bytes_max = s.hidden_bytes;
  options.scales_max = s.scales_max;
  options.top_k_max = s.top_k;
  try {
    check_options(options);
  } catch (const Error& error) {
    keys.refuse("node_sizes", std::string("what a group takes (") + error.what() + ")");
  }
}

std::string text_of_file(const std::string& path) {
  std::string text, why;
  const Descriptor file = open_regular(path, O_RDONLY, why);
  if (!file) throw Error(Code::kInvalidArgument, path + ": " + why);
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(file.get(), buffer, sizeof buffer)) > 0 && text.size() <= kFileBytesMax)
    text.append(buffer, size_t(n));
  if (n < 0) throw Error(Code::kInvalidArgument, path + ": cannot be read: " + std::strerror(errno));
  if (text.size() > kFileBytesMax)
    throw Error(Code::kInvalidArgument,
                path + ": over " + std::to_string(kFileBytesMax) + " bytes, the most of a file");
  return text;
}

// Beyond ASCII this version of the parser reaches code that it takes to be unreachable.
void check_ascii(std::string_view text, const std::string& file) {
  const auto other = std::find_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 127; });
  if (other == text.end()) return;
  throw Error(Code::kInvalidArgument, file + ":" + std::to_string(1 + std::count(text.begin(), other, '\n')) +
                                          ": a character beyond ASCII, must be ASCII");
}

}  // namespace

Scenario parse_scenario(std::string_view text, const std::string& file) {
  check_ascii(text, file);
  toml::table table;
  try {
    table = toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    throw Error(Code::kInvalidArgument, file + ":" + std::to_string(error.source().begin.line) +
                                            ": not TOML: " + std::string(error.description()));
  } catch (const std::logic_error& error) {
    throw Error(Code::kInvalidArgument, file + ": not TOML: the parser expects " + error.what());
  }
  Keys keys(table, file, "", "a scenario");
  Scenario s;
  s.name = keys.text("name");
  s.about = keys.text("about");
  read_topology(keys, s);
  read_group(keys, s);
  std::vector<Keys> calls = keys.tables("call", {1, kCallsMax});
  std::vector<Keys> faults = keys.tables("fault", {0, 4});
  keys.finish();  // throws if a key is missing, so that all of `s` may be used below
  for (Keys& call : calls) s.calls.push_back(read_call(call, s));
  for (Keys& fault : faults) s.faults.push_back(read_fault(fault, s));
  check_together(keys, s);
  return s;
}

std::string bound_of_rails(const Scenario& s, RailMode rails) {
  if (rails == RailMode::kProxy)
    return s.counters_from < kCommandCounterMax ? "" : "network or queues: a command holds less of a count";
  if (s.commands > 0) return "proxy: commands is given";
  for (const ScenarioFault& fault : s.faults)
    if (fault.kind == ScenarioFaultKind::kStoppedProxy) return "proxy: one is to stand still";
  return "";
}

std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const EmbeddedScenario& scenario : embedded_scenarios()) names.emplace_back(scenario.name);
  std::sort(names.begin(), names.end());
  return names;
}

Scenario read_scenario(const std::string& name_or_path) {
  const bool path = name_or_path.find('/') != std::string::npos ||
                    (name_or_path.size() > 5 && name_or_path.compare(name_or_path.size() - 5, 5, ".toml") == 0);
  if (path) return parse_scenario(text_of_file(name_or_path), name_or_path);
  for (const EmbeddedScenario& scenario : embedded_scenarios())
    if (scenario.name == name_or_path) return parse_scenario(scenario.text, name_or_path + ".toml");
  std::string bound;
  for (const std::string& name : scenario_names()) bound += ", " + name;
  throw Error(Code::kInvalidArgument, name_or_path + ": must be the path of a .toml file, or one of ours" + bound);
}

}  // namespace transload
