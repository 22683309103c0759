// How a run is shown: a table for people, one JSON object for programs.
#pragma once
#include <cstdio>
#include <optional>
#include <string>

#include "cli/show/summary.h"

namespace transload::cli {

struct RunReport {
  const Options& options;
  const Workload& workload;
  const RunOutcome& outcome;
  const Summary& summary;
  const std::optional<FloorTimes>& floor;
};

std::string json_of(const RunReport& report);
void print_table(std::FILE* out, const RunReport& report);
// Prints what went wrong, or that all outputs were verified.
void print_verdict(std::FILE* out, const RunReport& report);

}  // namespace transload::cli
