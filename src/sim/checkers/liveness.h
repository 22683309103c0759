// LIVENESS: a world without faults ends; in one with a fault every survivor hears the right verdict, in time.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/time_units.h"
#include "control/verdict.h"
#include "protocol/wait_record.h"
#include "sim/scenario/scenario.h"

namespace transload {

// How the group ended for one rank.
struct Ending {
  uint32_t rank = 0;
  bool made_all_calls = false;
  bool survivor = true;  // the rank is not dead and does not stand still for ever
  std::optional<Fault> fault;
  uint64_t entered = 0;  // virtual time at which the last call began
  uint64_t ended = 0;
};

struct Ended {
  const std::vector<Ending>& endings;
  const ExpectedVerdict& expect;
  std::vector<uint32_t> culprits;  // [ranks] the culprit that the rank reports
  uint64_t fault_since;            // virtual time of the fault
  uint64_t deadline_ns;
};

constexpr uint64_t kVerdictNs = kSecondNs;  // the longest time from the deadline to the verdict

inline std::string check_verdicts(const Ended& e) {
  const auto faulted = [](const Ending& ending) { return ending.survivor && ending.fault; };
  if (e.expect.or_none && std::none_of(e.endings.begin(), e.endings.end(), faulted)) return "";
  for (const Ending& ending : e.endings) {
    if (!ending.survivor) continue;
    const std::string who = "rank " + std::to_string(ending.rank);
    if (e.expect.kind == FaultKind::kNone) {
      if (ending.fault) return who + " reports a fault where there must be none: " + ending.fault->to_string();
      continue;
    }
    if (!ending.fault && ending.made_all_calls) continue;  // its next call would throw the fault
    if (!ending.fault) return who + " never heard of the fault";
    if (ending.fault->kind != e.expect.kind || ending.fault->culprit_rank != e.culprits[ending.rank])
      return who + " hears the wrong verdict: " + ending.fault->to_string() + "; must be " + name_of(e.expect.kind) +
             ", rank " + std::to_string(e.culprits[ending.rank]);
    const uint64_t since = ending.entered > e.fault_since ? ending.entered : e.fault_since;
    const uint64_t within = e.expect.within_ms > 0 ? e.expect.within_ms * kMillisecondNs : e.deadline_ns + kVerdictNs;
    if (ending.ended > since + within)
      return who + " hears the verdict " + std::to_string((ending.ended - since) / kMillisecondNs) +
             " ms after the fault, must be within " + std::to_string(within / kMillisecondNs);
  }
  return "";
}

}  // namespace transload
