// How a run is shown: a table for people, one JSON object for programs.
#pragma once
#include <cstdio>
#include <optional>
#include <string>

#include "cli/show/summary.h"

namespace transload::cli {

struct Report {
  const Options& options;
  const Workload& workload;
  const Outcome& outcome;
  const Summary& summary;
  const std::optional<FloorTimes>& floor;
};

std::string json_of(const Report& report);
void print_table(std::FILE* out, const Report& report);
// What went wrong, if anything did.
void print_verdict(std::FILE* out, const Report& report);

}  // namespace transload::cli
