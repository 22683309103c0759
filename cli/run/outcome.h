// What came of a run: the result of each rank, and what the launcher saw of ranks that gave none.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/run/result.h"

namespace transload::cli {

struct RunOutcome {
  std::vector<std::optional<WorkerResult>> results;  // [ranks] empty: no report came, or another launcher runs the rank
  std::vector<std::string> endings;                  // [ranks] how a rank ended that gave no report
  uint64_t fault_ns = 0;                             // when the fault was caused; 0: never
  uint64_t victim_rows = 0, victim_rows_total = 0;   // rows that the victim had moved when it halted, and in all
  int signal = 0;                                    // the signal that interrupted the launcher; 0: none
  bool partial = false;                              // after a fault under another launcher: only this rank reports
};

}  // namespace transload::cli
