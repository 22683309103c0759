// The table of a run, and its verdict in words.

#include <algorithm>

#include "cli/show/report.h"
#include "cli/show/usage.h"
#include "cli/text.h"

namespace transload::cli {
namespace {

std::string thousands(int64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string size_text(uint64_t bytes) {
  if (bytes < 1 << 20) return text::format("{:.1f} KiB", double(bytes) / 1024);
  return text::format("{:.1f} MiB", double(bytes) / (1 << 20));
}

std::string tokens_text(const Options& o) {
  for (const int64_t t : o.tokens)
    if (t != o.tokens[0]) return text::format("{} tokens", text::join(o.tokens, ","));
  return text::format("{} tokens a rank", o.tokens[0]);
}

void print_head(std::FILE* out, const Options& o) {
  const size_t nodes = o.node_sizes().size();
  const GroupOptions rings = o.rings();
  const std::string type = o.payload.fp8 ? text::format("fp8 with {} scales", o.payload.scale_name()) : "bf16";
  text::print(out, "\n{} rank{} on {} node{} ({}), {} x {} {}\n", o.ranks(), o.ranks() == 1 ? "" : "s", nodes,
              nodes == 1 ? "" : "s", text::join(o.node_sizes(), ","), tokens_text(o), o.hidden, type);
  text::print(out,
              "{} experts, top-{}, routing {}{}, seed {}; {} iteration{} after {} warm-up, {} channel{}, {} slot{}\n\n",
              o.group.experts, o.top_k, o.routing, o.layer < 0 ? "" : text::format(" layer {}", o.layer), o.seed,
              o.iterations, o.iterations == 1 ? "" : "s", o.warmup, rings.channels, rings.channels == 1 ? "" : "s",
              rings.slots, rings.slots == 1 ? "" : "s");
  if (!o.cuda) return;
  text::print(out, "  on {} GPU{}, {} rank{} on each, at most {} SM{} a rank\n", o.gpus, o.gpus == 1 ? "" : "s",
              o.ranks_per_gpu, o.ranks_per_gpu == 1 ? "" : "s", o.group.sms, o.group.sms == 1 ? "" : "s");
  if (o.graph)
    text::print(
        out, "  dispatch and combine captured once, replayed with another routing each iteration (rows: the last)\n");
  text::print(out, "\n");
}

void print_rows(std::FILE* out, const RunReport& report) {
  const Options& o = report.options;
  const Summary& s = report.summary;
  int64_t largest = 0, needed = 0;
  for (const int64_t rows : s.traffic.received) largest = std::max(largest, rows);
  text::print(out, "  rows             {} received (own ones too), at most {} on a rank\n", thousands(s.traffic.rows),
              thousands(largest));
  for (uint32_t r = 0; r < o.ranks(); ++r) needed += report.workload.needed(r);
  if (o.rows_max > 0)
    text::print(out, "  room for         {} on a rank; {} dropped\n", thousands(o.rows_max),
                thousands(needed - s.traffic.rows));
  if (o.node_sizes().size() > 1)
    text::print(out, "  over the network {} each way; without one copy a node they would be {}\n",
                thousands(s.dispatch_scale_out_rows), thousands(s.traffic.scale_out_rows_by_rank));
}

void print_times(std::FILE* out, const RunReport& report) {
  const Summary& s = report.summary;
  if (!s.first_us) return;
  text::print(out, "\n  times            {}\n", method_text_of(report.options));
  text::print(out, "  ms, slowest rank           min   median      max   logical GB/s   wire GB/s\n");
  const auto line = [&](const char* name, const std::optional<Span>& span, std::string rates) {
    if (span)
      text::print(out, "  {:<20} {:>9.3f}{:>9.3f}{:>9.3f}{}\n", name, span->min / 1e3, span->median / 1e3,
                  span->max / 1e3, rates);
  };
  const auto rates = [](double logical, double wire) { return text::format("{:>15.2f}{:>12.2f}", logical, wire); };
  line("dispatch", s.first_us, "");
  line("dispatch, cached", s.cached_us, rates(s.dispatch_logical_gbps, s.dispatch_wire_gbps));
  line("combine", s.combine_us, rates(s.combine_logical_gbps, s.combine_wire_gbps));
  line("backward pair", s.backward_us, "");
}

void print_floor(std::FILE* out, const Summary& s, const FloorTimes& floor) {
  const Span dispatch = span_of(floor.dispatch_us), combine = span_of(floor.combine_us);
  const auto line = [&](const char* name, const Span& floor_span, const std::optional<Span>& ours) {
    text::print(out, "  {:<20} {:>9.3f}{:>9.3f}{:>9.3f}", name, floor_span.min / 1e3, floor_span.median / 1e3,
                floor_span.max / 1e3);
    if (ours)
      text::print(out, "   ours is {:.2f} times it at the minimum, {:.2f} at the median", ours->min / floor_span.min,
                  ours->median / floor_span.median);
    text::print(out, "\n");
  };
  line("floor of dispatch", dispatch, s.cached_us);
  line("floor of combine", combine, s.combine_us);
}

void print_choices(std::FILE* out, const RunReport& report) {
  const Summary& s = report.summary;
  text::print(out, "\n  memory of a rank     rings {}, counters {}, outputs {} at most\n", size_text(s.ring_bytes),
              size_text(s.counter_bytes), size_text(s.output_bytes));
  text::print(out, "                       rings are {}\n\n", s.ring_formula);
  if (!report.options.origin.empty()) text::print(out, "  {:<20} {}\n", "launcher", report.options.origin);
  for (const Decision& d : s.decisions) text::print(out, "  {:<20} {}: {}\n", d.what, d.choice, d.why);
  if (!s.complete) return;
  text::print(out, "\n  digest of dispatch   {}\n  digest of combine    {}\n", s.dispatch_digest, s.combine_digest);
}

void print_report(std::FILE* out, const RunReport& report, const WorkerResult& result) {
  const Fault& f = *result.fault;
  text::print(out, "  rank {}: {}\n", f.rank, f.to_string());
  const uint64_t fault_ns = report.outcome.fault_ns;
  if (fault_ns == 0) return;
  const bool later = result.entry_ns > fault_ns;
  const double after = (double(result.fault_ns) - double(std::max(fault_ns, result.entry_ns))) * 1e-6;
  text::print(out, "          told {:.0f} ms after {}{}\n", after, later ? "it entered the call" : "the fault",
              after > report.options.group.deadline_ms + 1000.0
                  ? text::format(": LATE, the bound is {} ms", report.options.group.deadline_ms + 1000)
                  : "");
}

void print_fault(std::FILE* out, const RunReport& report) {
  const RunOutcome& o = report.outcome;
  const Summary& s = report.summary;
  if (report.options.fault && o.fault_ns != 0) {
    const FaultSpec& f = *report.options.fault;
    const bool expert = f.phase == FaultPhase::kExpert;
    const uint64_t total = expert ? uint64_t(s.traffic.received[f.rank]) : o.victim_rows_total;
    text::print(out, "rank {} was {} in {} of iteration {}, {} of its {} rows moved\n", f.rank,
                f.verb == FaultVerb::kStop ? "stopped" : "killed", name_of(f.phase), f.iteration, o.victim_rows, total);
  }
  for (uint32_t r = 0; r < o.results.size(); ++r)
    if (!o.results[r] && !o.endings[r].empty() && !(report.options.fault && report.options.fault->rank == r))
      text::print(out, "rank {} ended without a word: {}\n", r, o.endings[r]);
  bool agreed = true;
  for (const WorkerResult* r : s.reports) {
    print_report(out, report, *r);
    agreed = agreed && r->fault->culprit_rank == *s.culprit;
  }
  const std::string what = s.fault_kind == name_of(FaultKind::kRendezvous)
                               ? "the rendezvous failed"
                               : text::format("rank {} is {}", *s.culprit, s.fault_kind);
  text::print(out, "fault: {}{}\n", what, agreed ? "" : " to the lowest rank; the reports disagree");
  if (!report.options.recover) return;
  for (uint32_t r = 0; r < o.results.size(); ++r)
    if (o.results[r] && !o.results[r]->recovery.empty() && o.results[r]->recovery != kRecovered)
      text::print(out, "rank {} did not recover: {}\n", r, o.results[r]->recovery);
}

}  // namespace

void print_table(std::FILE* out, const RunReport& report) {
  const Summary& s = report.summary;
  print_head(out, report.options);
  print_rows(out, report);
  print_times(out, report);
  if (report.floor) print_floor(out, s, *report.floor);
  print_choices(out, report);
  text::print(out, "\n");
}

void print_verdict(std::FILE* out, const RunReport& report) {
  const Summary& s = report.summary;
  const Options& o = report.options;
  if (s.culprit) print_fault(out, report);
  if (s.mismatch) text::print(out, "wrong: {}\n", s.mismatch->to_string());
  if (s.status != kVerified) return;
  if (s.recovered) {
    text::print(out,
                "recovered: the {} that are left made a group, and every output of an iteration in it equals the "
                "reference\n",
                o.ranks() - 1);
    return;
  }
  text::print(out, "verified: every output of {} rank{} in {} iterations equals the reference, bit for bit\n",
              o.ranks(), o.ranks() == 1 ? "" : "s", o.warmup + o.iterations);
}

}  // namespace transload::cli
