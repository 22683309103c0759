// Computes the summary of a run from the results of its ranks.
#include "cli/show/summary.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <initializer_list>

#include "cli/show/usage.h"
#include "cli/text.h"

namespace transload::cli {
namespace {

using Results = std::vector<const WorkerResult*>;

// For each timed iteration that all ranks completed: the time of its slowest rank for these calls, one after another.
std::vector<double> slowest(const Results& results, std::initializer_list<IterationCall> calls) {
  size_t iterations = results.empty() ? 0 : SIZE_MAX;
  for (const WorkerResult* r : results)
    for (const IterationCall call : calls) iterations = std::min(iterations, r->call_us[call].size());
  std::vector<double> out(iterations, 0.0);
  for (size_t i = 0; i < iterations; ++i)
    for (const IterationCall call : calls) {
      double most = 0;
      for (const WorkerResult* r : results) most = std::max(most, r->call_us[call][i]);
      out[i] += most;
    }
  return out;
}

std::optional<Span> span_if_any(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  return span_of(values);
}

void sum_up_times(const Results& results, const Options& options, Summary& out) {
  for (uint32_t call = 0; call < kCalls; ++call)
    out.call_us[call] = span_if_any(slowest(results, {IterationCall(call)}));
  out.first_us = out.call_us[kFirstDispatch];
  out.cached_us = out.call_us[kCachedDispatch];
  out.backward_us = span_if_any(slowest(results, {kBackwardDispatch, kBackwardCombine}));
  std::vector<double> combines = slowest(results, {kCombine});
  for (const double us : slowest(results, {kCachedCombine})) combines.push_back(us);
  out.combine_us = span_if_any(combines);
  int64_t received = 0, received_wire = 0, returned = 0, returned_wire = 0;
  for (uint32_t r = 0; r < options.ranks(); ++r) {
    received = std::max(received, out.traffic.received[r]);
    received_wire = std::max(received_wire, out.traffic.received[r] - out.traffic.own[r]);
    returned = std::max(returned, out.traffic.returned[r]);
    returned_wire = std::max(returned_wire, out.traffic.returned[r] - out.traffic.own[r]);
  }
  if (out.cached_us) {
    out.dispatch_logical_gbps = gbps(received, options.payload.token_bytes(), out.cached_us->median);
    out.dispatch_wire_gbps = gbps(received_wire, options.payload.token_bytes(), out.cached_us->median);
  }
  if (out.combine_us) {
    out.combine_logical_gbps = gbps(returned, options.row_bytes(), out.combine_us->median);
    out.combine_wire_gbps = gbps(returned_wire, options.row_bytes(), out.combine_us->median);
  }
}

// A rank alone on its node has no link there: "none" says nothing of the others.
void same_or_mixed(std::string& all, const std::string& one) {
  if (all.empty() || all == "none")
    all = one.empty() ? all : one;
  else if (!one.empty() && one != "none" && all != one)
    all = "mixed";
}

std::string digest_of(const Results& results, std::string WorkerResult::*member) {
  std::string all;
  for (const WorkerResult* r : results) all += r->*member;
  const XXH128_hash_t hash = XXH3_128bits(all.data(), all.size());
  return text::format("{:016x}{:016x}", hash.high64, hash.low64);
}

void name_culprit(const Options& options, const RunOutcome& outcome, Summary& out) {
  for (const WorkerResult* r : out.reports) {
    if (out.culprit) break;
    out.culprit = r->fault->culprit_rank;
    out.fault_kind = name_of(r->fault->kind);
  }
  if (out.culprit || outcome.partial) return;
  for (uint32_t r = 0; r < options.ranks() && !out.culprit; ++r)
    if (!outcome.results[r]) {
      out.culprit = r;
      out.fault_kind = name_of(FaultKind::kLost);
    }
}

bool all_recovered(const Options& options, const RunOutcome& outcome, const Summary& summary) {
  if (!options.recover || summary.mismatch || summary.culprit != options.fault->rank) return false;
  for (uint32_t r = 0; r < options.ranks(); ++r) {
    const auto& result = outcome.results[r];
    if (r == *summary.culprit) continue;
    if (!result || !result->fault || result->fault->culprit_rank != *summary.culprit) return false;
    if (result->recovery != kRecovered) return false;
  }
  return true;
}

}  // namespace

const char* method_of(const Options& options) { return options.cuda ? "events" : "clock"; }
const char* method_text_of(const Options& options) {
  return options.cuda ? "device time between events around the call" : "the host's clock around the call";
}

double gbps(int64_t rows, uint64_t row_bytes, double us) {
  return us <= 0 ? 0 : double(rows) * double(row_bytes) * 1e-3 / us;
}

Summary summarise(const Options& options, const Workload& workload, const RunOutcome& outcome) {
  Summary out;
  out.traffic = traffic_of(workload.problem());
  Results results;
  for (const auto& result : outcome.results)
    if (result) results.push_back(&*result);
  const bool missing = !outcome.partial && results.size() < options.ranks();
  for (const WorkerResult* r : results) {
    if (!r->error.empty() && std::find(out.errors.begin(), out.errors.end(), r->error) == out.errors.end())
      out.errors.push_back(r->error);
    if (r->fault) out.reports.push_back(r);
    if (r->mismatch && (!out.mismatch || r->mismatch->before(*out.mismatch))) out.mismatch = r->mismatch;
    out.dispatch_scale_out_rows += r->dispatch_scale_out_rows;
    out.combine_scale_out_rows += r->combine_scale_out_rows;
    out.ring_bytes = std::max(out.ring_bytes, r->ring_bytes);
    out.counter_bytes = std::max(out.counter_bytes, r->counter_bytes);
    out.output_bytes = std::max(out.output_bytes, r->output_bytes);
    if (out.ring_formula.empty()) out.ring_formula = r->ring_formula;
    same_or_mixed(out.scale_up, r->scale_up);
    same_or_mixed(out.scale_out, r->scale_out);
    same_or_mixed(out.landing, r->landing);
    same_or_mixed(out.source, r->source);
    if (out.decisions.empty()) out.decisions = r->decisions;
  }
  sum_up_times(results, options, out);
  const bool faulted = missing || !out.reports.empty();
  out.complete = !faulted && out.errors.empty();
  if (out.complete) {
    out.dispatch_digest = digest_of(results, &WorkerResult::dispatch_digest);
    out.combine_digest = digest_of(results, &WorkerResult::combine_digest);
  }
  if (faulted) name_culprit(options, outcome, out);
  out.recovered = faulted && all_recovered(options, outcome, out);
  const bool wrong = out.mismatch && !faulted;  // even if a call failed on other ranks because room was short
  out.status = wrong                       ? kWrongResult
               : !out.errors.empty()       ? kBadUsage
               : faulted && !out.recovered ? kFaulted
                                           : kVerified;
  return out;
}

}  // namespace transload::cli
