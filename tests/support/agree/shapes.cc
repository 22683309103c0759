// The list of shapes.
#include "tests/support/agree/shapes.h"

#include <algorithm>

#include "tests/support/side.h"

namespace transload::test {
namespace {

constexpr uint32_t kRanksMax = 16;  // of the simulator's own scenarios

constexpr const char* kLinks = R"(
[link.scale_up]
delay = 0.02
stall = 0.01
split = 0.1
reorder = 0.1

[link.scale_out]
delay = 0.05
stall = 0.02
split = 0.3
reorder = 0.2
)";

// One way through a dispatch, a combine, and both again with the handle, as keys of TOML: those for the rows of both
// dispatches, those of the first dispatch alone, and those of both combines.
struct Way {
  std::string rows, first, combine;
};

std::string calls_of(const Way& way) {
  const std::string combine = "[[call]]\nop = \"combine\"\n" + way.combine;
  return "[[call]]\nop = \"dispatch\"\n" + way.first + way.rows + combine + "[[call]]\nop = \"cached\"\n" + way.rows +
         combine;
}

std::string fp8_of(uint64_t hidden_bytes) {
  return "dtype = \"fp8\"\nhidden_bytes = " + std::to_string(std::max<uint64_t>(16, hidden_bytes / 32 * 16)) + "\n";
}

// All ways: every landing and source, both wires, biases, weights, scales, ids of both widths, fp8, rows without room.
// Without slabs no way asks to store or read in place.
std::string all_ways(uint64_t hidden_bytes, bool slabs) {
  const std::string ring = "landing = \"ring\"\n", push = "source = \"push\"\n",
                    in_place = "biases = 1\nweights = true\n";
  const std::string fp8 = fp8_of(hidden_bytes);
  std::string text;
  for (const Way& way : std::vector<Way>{
           {},
           {ring, "", push},
           {slabs ? "landing = \"direct\"\n" : "", "", (slabs ? "source = \"pull\"\n" : "") + in_place},
           {"scales = 3\n", "", "wire = \"fp32\"\nbiases = 2\n"},
           {ring + "scales = 5\n", "id_dtype = \"int64\"\n", push + "weights = true\n"},
           {"channels = 1\n", "expert_alignment = 8\n", "channels = 1\n"},
           {fp8 + "scales = 3\n", "", "biases = 1\n"},
           {fp8 + ring + "scales = 1\nscale_dtype = \"ue8m0\"\n", "", push + "wire = \"fp32\"\n"},
           {"scales = 2\n", "rows_max = \"seeded\"\n", "weights = true\n"},
           {ring, "rows_max = \"seeded\"\nid_dtype = \"int64\"\n", push + "biases = 2\n"},
           {fp8 + "landing = \"either\"\nscales = 2\n", "rows_max = 1\n", "source = \"either\"\nwire = \"fp32\"\n"},
           {"landing = \"either\"\n", "", "source = \"either\"\n"}})
    text += calls_of(way);
  return text;
}

// Adds the keys that a shape leaves out.
std::string with_defaults(std::string text) {
  for (const char* key :
       {"experts = 16\n", "top_k = 4\n", "hidden_bytes = 256\n", "tokens = 16\n", "channels = 2\n", "slots = 4\n"}) {
    const std::string line = key, name = line.substr(0, line.find('='));
    if (text.rfind(name, 0) != 0 && text.find("\n" + name) == std::string::npos) text += line;
  }
  return text;
}

Shape shape(const std::string& name, const std::string& group, const char* not_on_gpus = nullptr) {
  const std::string keys = "name = \"" + name + "\"\nabout = \"A shape.\"\n" + with_defaults(group) + kLinks;
  const uint64_t hidden_bytes = std::stoull(keys.substr(keys.find("hidden_bytes = ") + 15));
  const bool slabs = group.find("slab_bytes = 0") == std::string::npos;
  return {name, parse_scenario(keys + all_ways(hidden_bytes, slabs), name), not_on_gpus};
}

}  // namespace

std::vector<Shape> payloads() {
  constexpr uint64_t kHiddenBytes = 4096;
  constexpr int kTimes = 8;
  const std::string fp8 = fp8_of(kHiddenBytes);
  const std::string head =
      "about = \"A payload.\"\n" +
      with_defaults("node_sizes = [1, 1]\ntokens = 120\nslots = 2\nhidden_bytes = " + std::to_string(kHiddenBytes) +
                    "\n") +
      kLinks;
  std::vector<Shape> all;
  for (const auto& [name, way] :
       std::vector<std::pair<std::string, Way>>{{"Bf16", {}},
                                                {"Bf16Scales", {"scales = 3\n", "", ""}},
                                                {"Fp8", {fp8 + "scales = 3\n", "", ""}},
                                                {"Fp8Ue8m0", {fp8 + "scales = 1\nscale_dtype = \"ue8m0\"\n", "", ""}},
                                                {"WireFp32", {"", "", "wire = \"fp32\"\n"}},
                                                {"Weights", {"", "id_dtype = \"int64\"\n", "weights = true\n"}}}) {
    std::string text = "name = \"" + name + "\"\n" + head;
    for (int time = 0; time < kTimes; ++time) text += calls_of(way);
    all.push_back({name, parse_scenario(text, name), nullptr});
  }
  return all;
}

std::vector<Shape> shapes() {
  std::vector<Shape> all{
      shape("OneRank", "node_sizes = [1]\n"),
      shape("OneByTwo", "node_sizes = [2]\n"),
      shape("OneByFour", "node_sizes = [4]\n"),
      shape("OneByEight", "node_sizes = [8]\n"),
      shape("TwoByOne", "node_sizes = [1, 1]\n"),
      shape("FourByOne", "node_sizes = [1, 1, 1, 1]\n"),
      shape("EightByOne", "node_sizes = [1, 1, 1, 1, 1, 1, 1, 1]\n"),
      shape("TwoByTwo", "node_sizes = [2, 2]\n"),
      shape("TwoByFour", "node_sizes = [4, 4]\n"),
      shape("FourByTwo", "node_sizes = [2, 2, 2, 2]\n"),
      shape("OneAndThree", "node_sizes = [1, 3]\n"),
      shape("ThreeAndOne", "node_sizes = [3, 1]\n"),
      shape("Unequal", "node_sizes = [3, 5]\n"),
      shape("VeryUnequal", "node_sizes = [1, 2, 5]\n"),
      shape("ZeroTokensHereAndThere", "node_sizes = [3, 1, 2]\ntokens = [0, 17, 0, 1, 64, 0]\n"),
      shape("ZeroTokensEverywhere", "node_sizes = [2, 2]\ntokens = 0\n"),
      shape("AllToOneRank", "node_sizes = [2, 3]\nrouting = \"all_to_one\"\n"),
      shape("OneExpert", "node_sizes = [2, 2]\nexperts = 1\ntop_k = 1\n"),
      shape("FewerExpertsThanRanks", "node_sizes = [3, 3]\nexperts = 4\n"),
      shape("DuplicateChoices", "node_sizes = [2, 2]\nrouting = \"duplicates\"\n"),
      shape("FewChoices", "node_sizes = [2, 2]\nrouting = \"sparse\"\n"),
      shape("NoChoiceAtAll", "node_sizes = [2, 2]\nrouting = \"none\"\n"),
      shape("ExpertsPlacedByATable", "node_sizes = [2, 1]\nexperts = 6\nexpert_owner = [2, 2, 0, 2, 0, 0]\n"),
      shape("TopKOne", "node_sizes = [2, 2]\ntop_k = 1\n"),
      shape("TopKThirtyTwo", "node_sizes = [5, 4, 3]\nexperts = 64\ntop_k = 32\ntokens = 6\n"),
      shape("RowOfSixteenBytes", "node_sizes = [2, 2]\nhidden_bytes = 16\ntokens = 60\n"),
      shape("RowOfAnOddMultiple", "node_sizes = [2, 2]\nhidden_bytes = 592\n"),
      shape("RowOfFortyKilobytes", "node_sizes = [2, 2]\nhidden_bytes = 40960\ntokens = 2\n"),
      shape("OneSlot", "node_sizes = [2, 2, 2]\nslots = 1\nchannels = 3\n"),
      shape("ThreeSlots", "node_sizes = [1, 3, 2, 1]\nslots = 3\nchannels = 3\n"),
      shape("OtherSlotsBetweenPeers", "node_sizes = [2, 2]\nslots = 3\npeer_slots = 1\n"),
      shape("OneChannel", "node_sizes = [2, 3]\nchannels = 1\nslots = 2\n"),
      shape("ManyChannels", "node_sizes = [2, 3]\nchannels = 24\nslots = 2\n"),
      shape("NoSlabs", "node_sizes = [2, 2]\nslab_bytes = 0\n", kHostHeap),
      shape("ThirtyThreePeers", "node_sizes = [33]\nexperts = 66\ntokens = 2\nslots = 2\n"),
  };
  for (const std::string& name : scenario_names()) {
    Scenario scenario = read_scenario(name);
    // A refused call has no outputs to compare, and on GPUs a rank refuses alone.
    std::erase_if(scenario.calls, [](const ScenarioCall& call) { return !call.refused_on.empty(); });
    if (scenario.ranks <= kRanksMax && scenario.faults.empty()) all.push_back({name, scenario, nullptr, true});
  }
  return all;
}

}  // namespace transload::test
