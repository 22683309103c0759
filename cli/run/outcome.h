// What came of a run: the result of each rank, and what the launcher saw of ranks that gave none.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/run/result.h"

namespace transload::cli {

struct RunOutcome {
  std::vector<std::optional<WorkerResult>> results;  // [ranks] empty: it ended without a word, or is not ours to ask
  std::vector<std::string> endings;                  // [ranks] how it ended, if without a word
  uint64_t fault_ns = 0;                             // when the fault was done; 0: none was
  uint64_t victim_rows = 0, victim_rows_total = 0;   // moved when it halted, and all of that phase
  int signal = 0;                                    // that interrupted the launcher; 0: none
  bool partial = false;                              // under another launcher after a fault: only this rank's own word
};

}  // namespace transload::cli
