// Scenarios: what the files say, every one of ours, and what the reader refuses and how.
#include "sim/scenario/scenario.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/refusal.h"

namespace transload {
namespace {

const std::string kGroup = R"(name = "x"
about = "Shows."
node_sizes = [2, 1]
experts = 6
top_k = 2
hidden_bytes = 64
tokens = 5
channels = 2
slots = 3
)";
const std::string kCall = "[[call]]\nop = \"dispatch\"\n";
const std::string kSmall = kGroup + kCall;
const std::string kAFault = "[[fault]]\nkind = \"dead_rank\"\nexpect = {kind = \"lost\"}\n";

std::string with(std::string text, const std::string& old, const std::string& other) {
  const size_t at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  return text.replace(at, old.size(), other);
}

std::string refusal_of(const std::string& text) {
  return test::refusal([&] { parse_scenario(text, "some.toml"); });
}

TEST(Scenario, SaysWhatItIsAndTheRestIsDefault) {
  const Scenario s = parse_scenario(kSmall, "some.toml");
  EXPECT_EQ(s.name, "x");
  EXPECT_EQ(s.ranks, 3u);
  EXPECT_EQ(s.tokens, std::vector<uint32_t>({5, 5, 5}));
  EXPECT_EQ(s.tokens_max, 5u);
  EXPECT_TRUE(s.expert_owner.empty());
  EXPECT_FALSE(s.ordered.has_value());
  EXPECT_EQ(s.groups, 1u);
  EXPECT_EQ(s.deadline_ms, 1000u);
  EXPECT_EQ(s.scale_up.latency_ns, 500u);
  EXPECT_EQ(s.scale_out_link.latency_ns, 5000u);
  ASSERT_EQ(s.calls.size(), 1u);
  EXPECT_EQ(s.calls[0].tokens, s.tokens);
  EXPECT_EQ(s.calls[0].hidden_bytes, 64u);
  EXPECT_EQ(s.calls[0].channels, 2u);
  EXPECT_EQ(s.calls[0].landing, Landing::kAuto);
}

TEST(Scenario, ReadsEveryKeyOfTheGroup) {
  const std::string group = R"(expert_owner = [0, 0, 1, 2, 2, 2]
routing = "sparse"
slab_rows = [10, 20, 30]
slab_offset = 4294967296
counters_from = 4294967290
deadline_ms = 200
control_busy_ms = 30
groups = 2
scale_out = "mapped"
ordered = false
new_group_after = true
[link.scale_out]
latency_ns = 7
bandwidth_gb_s = 2.5
delay = 0.25
reorder = 1
split = 0.5
stall = 0
)";
  const Scenario s = parse_scenario(kGroup + group + kCall + kAFault, "some.toml");
  EXPECT_EQ(s.expert_owner, std::vector<uint32_t>({0, 0, 1, 2, 2, 2}));
  EXPECT_EQ(s.routing, ScenarioRouting::kSparse);
  EXPECT_EQ(s.slab_rows, std::vector<uint64_t>({10, 20, 30}));
  EXPECT_EQ(s.slab_offset, uint64_t(1) << 32);
  EXPECT_EQ(s.counters_from, 4294967290u);
  EXPECT_EQ(s.deadline_ms, 200u);
  EXPECT_EQ(s.control_busy_ms, 30u);
  EXPECT_EQ(s.groups, 2u);
  EXPECT_EQ(s.scale_out, ScenarioScaleOut::kMapped);
  EXPECT_EQ(s.ordered, std::optional<bool>(false));
  EXPECT_TRUE(s.new_group_after);
  EXPECT_EQ(s.scale_out_link.latency_ns, 7u);
  EXPECT_EQ(s.scale_out_link.bandwidth_gb_s, 2.5);
  EXPECT_EQ(s.scale_out_link.delay, 0.25);
  EXPECT_EQ(s.scale_out_link.reorder, 1.0);
  EXPECT_EQ(s.scale_out_link.split, 0.5);
}

TEST(Scenario, ReadsItsRails) {
  EXPECT_EQ(parse_scenario(kSmall, "some.toml").rails, RailMode::kNetwork);
  const Scenario s =
      parse_scenario(kGroup + "rails = \"proxy\"\ncommands = 3\nmade_again = true\n" + kCall, "some.toml");
  EXPECT_EQ(s.rails, RailMode::kProxy);
  EXPECT_EQ(s.commands, 3u);
  EXPECT_TRUE(s.made_again);
  EXPECT_EQ(parse_scenario(kGroup + "rails = \"queues\"\n" + kCall, "some.toml").rails, RailMode::kQueues);
  EXPECT_EQ(bound_of_rails(s, RailMode::kProxy), "");
  EXPECT_NE(bound_of_rails(s, RailMode::kQueues), "");
}

TEST(Scenario, RefusesRailsThatDoNotFit) {
  const auto refused = [](const std::string& group, const std::string& bound) {
    EXPECT_NE(refusal_of(kGroup + group + kCall).find(bound), std::string::npos) << refusal_of(kGroup + group + kCall);
  };
  refused("rails = \"smooth\"\n", "one of network, proxy, queues");
  refused("rails = \"proxy\"\nscale_out = \"mapped\"\n", "left out where rails are mapped");
  refused("commands = 3\n", "proxy: commands is given");
  refused("rails = \"proxy\"\ncommands = 0\n", "1 to 1024");
  refused("rails = \"proxy\"\ncounters_from = 4611686018427387904\n", "a command holds less of a count");
  EXPECT_NE(refusal_of(kSmall + with(kAFault, "dead_rank", "stopped_proxy")).find("proxy: one is to stand still"),
            std::string::npos);
  EXPECT_NE(refusal_of(kGroup + "made_again = true\n" + kCall + kAFault).find("false where there is a fault"),
            std::string::npos);
}

TEST(Scenario, ReadsEveryKeyOfCalls) {
  const std::string calls = R"([[call]]
op = "dispatch"
tokens = [9, 0, 1]
landing = "either"
dtype = "fp8"
scales = 3
scale_dtype = "ue8m0"
id_dtype = "int64"
expert_alignment = 16
channels = 1
rows_max = [4, 0, 1]
overflow = "fail"
hidden_bytes = 32
repeat = 4
[[call]]
op = "cached"
landing = "ring"
keep_leases = 2
hold_on_rank = 1
[[call]]
op = "combine"
source = "push"
wire = "fp32"
biases = 2
weights = true
)";
  const Scenario s = parse_scenario(kGroup + calls, "some.toml");
  ASSERT_EQ(s.calls.size(), 3u);
  EXPECT_FALSE(s.calls[0].landing.has_value());
  EXPECT_TRUE(same_type(s.calls[0].dtype, kF8E4m3) && same_type(s.calls[1].dtype, kBf16));
  EXPECT_EQ(s.calls[0].scales, 3u);
  EXPECT_TRUE(same_type(s.calls[0].scale_dtype, kI32) && same_type(s.calls[1].scale_dtype, kF32));
  EXPECT_TRUE(s.calls[0].wide_ids && !s.calls[1].wide_ids);
  EXPECT_EQ(s.calls[0].expert_alignment, 16u);
  EXPECT_EQ(s.calls[0].channels, 1u);
  EXPECT_EQ(s.calls[0].rows_max, std::vector<uint32_t>({4, 0, 1}));
  EXPECT_EQ(s.calls[0].overflow, Overflow::kFail);
  EXPECT_EQ(s.calls[1].rows_max, std::vector<uint32_t>{});
  EXPECT_EQ(s.calls[0].hidden_bytes, 32u);
  EXPECT_EQ(s.calls[0].repeat, 4u);
  EXPECT_EQ(s.calls[1].landing, Landing::kRing);
  EXPECT_EQ(s.calls[1].keep_leases, 2u);
  EXPECT_EQ(s.calls[1].hold_on_rank, 1u);
  EXPECT_EQ(s.calls[2].tokens, std::vector<uint32_t>({9, 0, 1}));  // of the dispatch that it returns
  EXPECT_EQ(s.calls[2].source, CombineSource::kPush);
  EXPECT_EQ(s.calls[2].wire, CombineWire::kF32);
  EXPECT_EQ(s.calls[2].biases, 2u);
  EXPECT_TRUE(s.calls[2].weights);
  EXPECT_EQ(s.tokens_max, 9u);
  EXPECT_EQ(s.scales_max, 3u);
}

TEST(Scenario, ReadsEveryKeyOfFaults) {
  const std::string faults = R"([[fault]]
kind = "stopped_rank"
rank = 2
when = {call = 5, progress = 0.5}
for_ms = 300
expect = {kind = "silent", culprit = 2}
[[fault]]
kind = "dead_rank"
notice = false
expect = {kind = "lost", culprit = "fault"}
[[fault]]
kind = "slow_rank"
rank = "seeded"
when = "seeded"
times_slower = 9
expect = {kind = "none"}
[[fault]]
kind = "cut_network"
ranks = [2]
expect = {kind = "unreachable"}
)";
  const Scenario s = parse_scenario(with(kSmall, kCall, kCall + "repeat = 6\n") + faults, "some.toml");
  ASSERT_EQ(s.faults.size(), 4u);
  EXPECT_EQ(s.faults[0].ranks, std::vector<uint32_t>({2}));
  ASSERT_TRUE(s.faults[0].when.has_value());
  EXPECT_EQ(s.faults[0].when->call, 5u);
  EXPECT_EQ(s.faults[0].when->progress, 0.5);
  EXPECT_EQ(s.faults[0].for_ms, 300u);
  EXPECT_EQ(s.faults[0].expect.culprit, std::optional<uint32_t>(2));
  EXPECT_FALSE(s.faults[1].notice);
  EXPECT_TRUE(s.faults[1].ranks.empty());
  EXPECT_FALSE(s.faults[1].when.has_value());
  EXPECT_FALSE(s.faults[1].expect.culprit.has_value());
  EXPECT_EQ(s.faults[2].times_slower, 9u);
  EXPECT_EQ(s.faults[2].expect.kind, FaultKind::kNone);
  EXPECT_EQ(s.faults[3].expect.kind, FaultKind::kUnreachable);
}

TEST(Scenario, SkewedOwnersLeaveTheLastRankNone) {
  const Scenario s = parse_scenario(with(kSmall, "experts = 6", "experts = 6\nexpert_owner = \"skewed\""), "some.toml");
  EXPECT_EQ(s.expert_owner, std::vector<uint32_t>({0, 0, 0, 1, 1, 1}));
}

TEST(Scenario, RefusesByFileKeyValueAndBound) {
  const struct {
    std::string text, refusal;
  } cases[] = {
      {with(kSmall, "experts = 6", "experts = 0"), "some.toml:4: experts: 0, but must be a whole number, 1 to 1048576"},
      {with(kSmall, "slots = 3", "slots = -1"), "some.toml:9: slots: -1, but must be a whole number, 1 to "},
      {with(kSmall, "slots = 3", "slots = 2.5"), "some.toml:9: slots: 2.5, but must be a whole number"},
      {with(kSmall, "top_k = 2", "top_k = 33"), "some.toml:5: top_k: 33, but must be a whole number, 1 to 32"},
      {with(kSmall, "= 64", "= 40"), "some.toml:6: hidden_bytes: 40, but must be a multiple of 16"},
      {with(kSmall, "name = \"x\"", "name = 7"), "some.toml:1: name: 7, but must be a text"},
      {with(kSmall, "[2, 1]", "[2, \"a\"]"), "some.toml:3: node_sizes: "},
      {with(kSmall, "[2, 1]", "[]"), "some.toml:3: node_sizes: a list of 0, but must be a list of 1 to 4096"},
      {with(kSmall, "[2, 1]", "[1024, 1024, 1024, 1024, 1]"), "4096 ranks at most"},
      {with(kSmall, "[2, 1]", "[64, 1, 1]"),
       "node_sizes: a list of 3, but must be what a group takes (topology.node_sizes: streams"},
      {with(kSmall, "tokens = 5", "tokens = [5, 5]"), "some.toml:7: tokens: a list of 2, but must be a list of 3"},
      {with(kSmall, "tokens = 5\n", ""), "tokens: not given, but must be given"},
      {with(kSmall, "tokens = 5", "toknes = 5"), "some.toml:7: toknes: 5, but must be among the keys of a scenario:"},
      {kGroup, "call: not given"},
      {kGroup + "ordered = 1\n" + kCall, "ordered: 1, but must be true or false"},
      {kGroup + "routing = \"odd\"\n" + kCall, "be one of uniform, skewed, all_to_one, sparse, duplicates, none"},
      {kGroup + "slab_bytes = 1\nslab_rows = 1\n" + kCall, "slab_rows: 1, but must be left out"},
      {kGroup + "new_group_after = true\n" + kCall, "new_group_after: true, but must be false"},
      {kGroup + "[link.scale_up]\ndelay = 1.5\n" + kCall, "link.scale_up.delay: 1.5, but must be a number from 0 to 1"},
      {kGroup + "[link.up]\ndelay = 1\n" + kCall, "link.up: a table, but must be among the keys of link:"},
      {kGroup + "[[call]]\nop = \"combine\"\n", "call[0].op: "},
      {kSmall + "source = \"pull\"\n", "call[0].source: "},
      {kSmall + "channels = 3\n", "call[0].channels: 3, but must be a whole number, 1 to 2"},
      {kSmall + "hold_on_rank = 1\n", "call[0].hold_on_rank: 1, but must be left out without keep_leases"},
      {kSmall + "[[call]]\nlanding = \"ring\"\n", "call[1].op: not given"},
      {kSmall + "[[fault]]\nkind = \"dead_rank\"\n", "fault[0].expect: not given"},
      {kSmall + "[[fault]]\nkind = \"dead_rank\"\nfor_ms = 3\nexpect = {kind = \"lost\"}\n", "fault[0].for_ms: 3"},
      {kSmall + "[[fault]]\nkind = \"dead_rank\"\nrank = 3\nexpect = {kind = \"lost\"}\n", "fault[0].rank: 3"},
      {kSmall + "[[fault]]\nkind = \"dead_link\"\nranks = [1, 1]\nexpect = {kind = \"lost\"}\n", "different ranks"},
      {kSmall + "[[fault]]\nkind = \"dead_rank\"\nwhen = {call = 1}\nexpect = {kind = \"lost\"}\n",
       "fault[0].when.call: 1, but must be a whole number, 0"},
      {kSmall + "[[fault]]\nkind = \"dead_rank\"\nexpect = {kind = \"gone\"}\n", "fault[0].expect.kind: "},
      {kSmall + "what is this\n", "some.toml:12: not TOML: "},
      {kSmall + "# \xC3\xA9\n", "some.toml:12: a character beyond ASCII"},
      {kSmall + "[[#call]]\n", "some.toml: not TOML: "},
      {kSmall + "[#link]\n", "some.toml: not TOML: "},
  };
  EXPECT_EQ(refusal_of(kSmall), "");
  for (const auto& [text, refusal] : cases) {
    EXPECT_NE(refusal_of(text).find(refusal), std::string::npos) << refusal_of(text) << "\n  wanted: " << refusal;
    EXPECT_EQ(refusal_of(text).rfind("some.toml:", 0), 0u);
  }
}

TEST(Scenario, EveryOneOfOursIsEmbeddedAndReadable) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("sim/scenarios")) {
    const std::string name = entry.path().stem().string();
    files.insert(name);
    const Scenario s = read_scenario(entry.path().string());
    EXPECT_EQ(s.name, name);
    EXPECT_EQ(s.about.back(), '.') << name;
    const Scenario embedded = read_scenario(name);
    EXPECT_EQ(embedded.about, s.about);
    EXPECT_EQ(embedded.calls.size(), s.calls.size());
  }
  const std::vector<std::string> names = scenario_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), files);
  EXPECT_GE(names.size(), 32u);
}

TEST(Scenario, ByPathOrByName) {
  const std::string path = testing::TempDir() + "scenario_of_mine.toml";
  std::ofstream(path) << kSmall;
  EXPECT_EQ(read_scenario(path).name, "x");
  std::remove(path.c_str());
  for (const std::string& nowhere : {std::string("nothing_like_it"), path}) {
    EXPECT_NE(test::refusal([&] { read_scenario(nowhere); }).find(nowhere), std::string::npos);
  }
}

}  // namespace
}  // namespace transload
