// The JSON object of a run.
#include <nlohmann/json.hpp>

#include "cli/show/report.h"
#include "cli/show/rounded.h"
#include "cli/show/usage.h"

namespace transload::cli {
namespace {

using Json = nlohmann::ordered_json;

Json span(const std::optional<Span>& s) {
  if (!s) return nullptr;
  return {{"min", rounded(s->min)}, {"median", rounded(s->median)}, {"max", rounded(s->max)}};
}

Json mismatch(const std::optional<WrongValue>& m) {
  if (!m) return nullptr;
  return {{"output", m->output}, {"iteration", m->iteration}, {"rank", m->rank}, {"row", m->row},
          {"byte", m->byte},     {"expected", m->expected},   {"seen", m->seen}};
}

Json fault(const Summary& summary) {
  if (!summary.culprit) return nullptr;
  Json reports = Json::array();
  for (const WorkerResult* r : summary.reports) {
    const Fault& f = *r->fault;
    reports.push_back({{"rank", f.rank},
                       {"culprit_rank", f.culprit_rank},
                       {"own_view", f.own_view},
                       {"operation", f.operation},
                       {"role", f.role},
                       {"channel", f.channel},
                       {"waiting_for", f.waiting_for},
                       {"seen", f.seen},
                       {"expected", f.expected},
                       {"after_ms", rounded(f.after_ms)}});
  }
  return {{"culprit_rank", *summary.culprit},
          {"kind", summary.fault_kind},
          {"reports", reports},
          {"recovered", summary.recovered}};
}

Json workload(const Options& o) {
  Json layer = nullptr;
  if (o.layer >= 0) layer = o.layer;
  Json out = {{"tokens", o.tokens},
              {"hidden", o.hidden},
              {"experts", o.group.experts},
              {"top_k", o.top_k},
              {"dtype", o.payload.name()},
              {"routing", o.routing},
              {"layer", layer},
              {"seed", o.seed}};
  if (o.payload.fp8) out["scales"] = o.payload.scale_name();
  if (o.rows_max > 0) {
    out["rows_max"] = o.rows_max;
    out["overflow"] = o.overflow == Overflow::kDrop ? "drop" : "fail";
  }
  return out;
}

Json dispatch(const Summary& s) {
  return {{"first_us", span(s.first_us)},
          {"cached_us", span(s.cached_us)},
          {"rows", s.traffic.rows},
          {"scale_out_rows", s.complete ? s.dispatch_scale_out_rows : s.traffic.scale_out_rows},
          {"logical_gbps", rounded(s.dispatch_logical_gbps)},
          {"wire_gbps", rounded(s.dispatch_wire_gbps)}};
}

Json combine(const Summary& s) {
  return {{"us", span(s.combine_us)},
          {"scale_out_rows", s.complete ? s.combine_scale_out_rows : s.traffic.scale_out_rows},
          {"logical_gbps", rounded(s.combine_logical_gbps)},
          {"wire_gbps", rounded(s.combine_wire_gbps)}};
}

Json decisions(const Summary& s) {
  Json all = Json::object();
  for (const Decision& d : s.decisions) all[d.what] = {{"choice", d.choice}, {"why", d.why}};
  return all;
}

}  // namespace

std::string json_of(const RunReport& report) {
  const Options& o = report.options;
  const Summary& s = report.summary;
  Json digest = nullptr;
  if (s.complete) digest = {{"dispatch", s.dispatch_digest}, {"combine", s.combine_digest}};
  Json out = {{"verified", s.status == kVerified},
              {"mismatch", mismatch(s.mismatch)},
              {"topology", {{"node_sizes", o.node_sizes()}}},
              {"workload", workload(o)},
              {"device", o.cuda ? "cuda" : "cpu"},
              {"method", method_of(o)},
              {"transports", {{"scale_up", s.scale_up}, {"scale_out", s.scale_out}}},
              {"decisions", decisions(s)},
              {"channels", o.rings().channels},
              {"landing", s.landing},
              {"combine_source", s.source},
              {"dispatch", dispatch(s)},
              {"combine", combine(s)},
              {"backward", {{"us", span(s.backward_us)}}},
              {"memory", {{"ring_bytes_per_rank", s.ring_bytes}, {"output_bytes_per_rank", s.output_bytes}}},
              {"digest", digest},
              {"fault", fault(s)}};
  if (o.cuda)
    out["cuda"] = {{"gpus", o.gpus}, {"ranks_per_gpu", o.ranks_per_gpu}, {"sms", o.group.sms}, {"graph", o.graph}};
  if (report.floor)
    out["floor"] = {{"dispatch_us", span(span_of(report.floor->dispatch_us))},
                    {"combine_us", span(span_of(report.floor->combine_us))}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace transload::cli
