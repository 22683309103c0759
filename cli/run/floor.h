// What this machine could do at best, on one node: each row written once to its place, each sum read in place.
#pragma once
#include <vector>

#include "cli/options.h"
#include "cli/run/workload.h"

namespace transload::cli {

struct Span {
  double min = 0, median = 0, max = 0;
};
Span span_of(std::vector<double> values);  // needs at least one value

struct FloorTimes {
  std::vector<double> dispatch_us, combine_us;
};

// There are as many threads as processors, no counts, and no waits between rows. It adds to `times`.
void measure_floor(const Options& options, const Workload& workload, FloorTimes& times);

}  // namespace transload::cli
