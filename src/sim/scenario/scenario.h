// A scenario: a group, its calls and its faults, in a small TOML file that is read strictly. Ours lie in sim/scenarios;
// sim/README.md has the terms.
#pragma once
#include <transload/combine.h>
#include <transload/dispatch.h>
#include <transload/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/model/link_model.h"
#include "sim/model/rail_mode.h"

namespace transload {

// An optional that is empty says "either": the seed decides.

enum class ScenarioRouting : uint8_t {
  kUniform,     // top_k different experts, each as likely
  kSkewed,      // few experts take most tokens
  kAllToOne,    // all tokens to rank 0's experts
  kSparse,      // most entries are -1
  kDuplicates,  // experts repeat within a token
  kNone,        // all entries are -1
};

struct ScenarioCall {
  enum class CallKind : uint8_t { kDispatch, kCached, kCombine };

  CallKind op = CallKind::kDispatch;
  std::vector<uint32_t> tokens;  // [ranks] a call that is no dispatch has those of the latest dispatch
  uint64_t hidden_bytes = 0;     // bytes of a row
  uint32_t channels = 0;
  DLDataType dtype = kBf16;  // type of a row's elements
  uint32_t scales = 0;       // scales of a row
  DLDataType scale_dtype = kF32;
  bool wide_ids = false;  // ids have type int64
  uint32_t expert_alignment = 1;
  std::optional<std::vector<uint32_t>> rows_max = std::vector<uint32_t>{};  // [ranks] 0: no bound; empty list: none
  Overflow overflow = Overflow::kDrop;
  bool weights = false;                                        // combine: sum weights too
  uint32_t biases = 0;                                         // combine: 0 to 2
  std::optional<Landing> landing = Landing::kAuto;             // empty: the seed decides for each rank
  std::optional<CombineSource> source = CombineSource::kAuto;  // empty: the seed decides for each rank
  std::optional<CombineWire> wire = CombineWire::kBf16;        // empty: the seed decides for all ranks alike
  uint32_t keep_leases = 0;  // leases of this many latest calls, this one included, are held by hold_on_rank
  uint32_t hold_on_rank = 0;
  std::vector<uint32_t> refused_on;  // dispatch: ranks whose arguments are refused
  uint32_t repeat = 1;
};

enum class ScenarioFaultKind : uint8_t {
  kDeadRank,
  kStoppedRank,
  kSlowRank,
  kDeadLink,
  kCutNetwork,
  kLateRank,     // the rank computes for longer than the deadline before a call
  kLeavingRank,  // the rank says goodbye instead of making a call
  kOtherCall,    // the rank makes a call with other channels than the rest
  kDeadArbiter,  // the launcher's process ends
  kStoppedArbiter,
  kStoppedProxy,  // the rank's proxy takes no commands any more, though the rank goes on
  kFailingRank,   // the rank leaves the call for a reason of its own, and says so
  kCount
};

// The fault comes at this fraction of the rows that its rank moves in that call.
struct FaultMoment {
  uint32_t call = 0;  // index of the call, repeats counted
  double progress = 0;
  uint64_t within_ms = 0;  // the fault comes up to this much later, as the seed decides
};

struct ExpectedVerdict {
  FaultKind kind = FaultKind::kNone;  // kNone: no rank reports a fault
  std::optional<uint32_t> culprit;    // not set: the rank of the fault, or the lowest rank beyond a cut
  bool or_none = false;               // or all ranks end without a fault
  uint64_t within_ms = 0;             // time after the fault, or after the call's begin if later; 0: deadline and 1 s
};

struct ScenarioFault {
  ScenarioFaultKind kind = ScenarioFaultKind::kDeadRank;
  std::vector<uint32_t> ranks;      // the rank that is hurt, or whose calls time an arbiter's fault; the two ends of a
                                    // link; one side of a cut. Empty: the seed decides
  std::optional<FaultMoment> when;  // none: the seed decides
  uint64_t for_ms = 0;              // stopped_rank: 0 for ever; late_rank: for up to so long after the deadline
  uint32_t times_slower = 1;        // slow_rank
  bool notice = true;               // dead_rank: others hear that its connections ended
  ExpectedVerdict expect;
};

enum class ScenarioScaleOut : uint8_t { kNetwork, kMapped };

// Lists by rank have an entry for each rank. What a call does not say it has from the scenario.
struct Scenario {
  std::string name;
  std::string about;  // why the scenario exists
  std::vector<uint32_t> node_sizes;
  uint32_t ranks = 0;
  uint32_t experts = 0;
  std::vector<uint32_t> expert_owner;  // empty: contiguous blocks
  uint32_t top_k = 1;
  uint64_t hidden_bytes = 0;     // bytes of the largest row of either direction
  std::vector<uint32_t> tokens;  // [ranks] unless a dispatch says otherwise
  uint32_t tokens_max = 1;       // the most tokens of any rank in any call
  uint32_t scales_max = 0;
  ScenarioRouting routing = ScenarioRouting::kUniform;
  uint32_t channels = 1;
  uint32_t slots = 1;
  uint32_t peer_slots = 0;           // 0: equal to `slots`
  std::vector<uint64_t> slab_bytes;  // [ranks] empty: see slab_rows
  std::vector<uint64_t> slab_rows;   // [ranks] room for this many rows of a call; if this is empty too: for all leases
  uint64_t slab_offset = 0;          // unused bytes before the slabs
  uint64_t counters_from = 0;        // the first position of every ring
  uint32_t deadline_ms = 1000;       // milliseconds of virtual time
  uint64_t compute_ms = 0;           // each rank computes for up to this long before each call
  uint64_t control_busy_ms = 0;      // one message of four to the arbiter comes up to this much later
  uint32_t groups = 1;               // groups that exist at once, all alike
  ScenarioScaleOut scale_out = ScenarioScaleOut::kNetwork;
  RailMode rails = RailMode::kNetwork;  // the kind of rails where they are not mapped
  uint32_t commands = 0;                // slots of the queue to a proxy; 0: the seed decides
  std::optional<bool> ordered;          // the network keeps the order between two ranks
  LinkModel scale_up{.latency_ns = 500};
  LinkModel scale_out_link{.latency_ns = 5000};
  std::vector<ScenarioCall> calls;
  std::vector<ScenarioFault> faults;
  bool launcher = false;         // the arbiter is in a launcher's process, not in rank 0's
  bool leave_after = false;      // each rank says goodbye after its last call
  bool made_again = false;       // after their last call all ranks make the group again, and repeat all calls
  bool new_group_after = false;  // the survivors of the faults make a new group, and repeat all calls
};

// Reads one of our scenarios by its name, or a file by its path (it has a / or ends in .toml). Throws
// Error{kInvalidArgument} that names the file, the key, the value and the bound.
Scenario read_scenario(const std::string& name_or_path);
// `file` is for messages.
Scenario parse_scenario(std::string_view text, const std::string& file);
std::vector<std::string> scenario_names();
// Returns what `rails` of this scenario must be instead, and why; empty: these will do. Mapped rails have no such mode.
std::string bound_of_rails(const Scenario& scenario, RailMode rails);

}  // namespace transload
