// A run in numbers: what both the table and the JSON object show.
#pragma once
#include <array>
#include <optional>

#include "cli/options.h"
#include "cli/run/floor.h"
#include "cli/run/outcome.h"
#include "cli/run/workload.h"

namespace transload::cli {

struct Summary {
  int status = 0;                      // exit status
  bool complete = false;               // every rank went to the end
  std::vector<std::string> errors;     // each error is listed once
  std::optional<WrongValue> mismatch;  // the first in time; of several, the lowest rank's
  // Times of the slowest rank over timed iterations; absent before the first is complete.
  std::optional<Span> first_us, cached_us, combine_us, backward_us;
  std::array<std::optional<Span>, kCalls> call_us;
  double dispatch_logical_gbps = 0, dispatch_wire_gbps = 0, combine_logical_gbps = 0, combine_wire_gbps = 0;
  RunTraffic traffic;
  // Ranks on CPUs count these. GPUs tell the host no such counts, so for GPUs these follow from the routing.
  int64_t dispatch_scale_out_rows = 0, combine_scale_out_rows = 0;
  uint64_t ring_bytes = 0, counter_bytes = 0, output_bytes = 0;  // the most of any rank
  std::string ring_formula, scale_up, scale_out, landing, source;
  std::vector<Decision> decisions;
  std::string dispatch_digest, combine_digest;
  std::optional<uint32_t> culprit;
  std::string fault_kind;
  std::vector<const WorkerResult*> reports;  // reports of the ranks that had a fault, by rank
  bool recovered = false;                    // all ranks named the victim of --fault, and the others went on without it
};

Summary summarise(const Options& options, const Workload& workload, const RunOutcome& outcome);

// How times were taken, in one word.
const char* method_of(const Options& options);
// How times were taken, in words for people.
const char* method_text_of(const Options& options);

// Received bytes are counted as rows of dispatch in both directions: one for each (token, owner).
double gbps(int64_t rows, uint64_t row_bytes, double us);

}  // namespace transload::cli
