// A rank's result as JSON text and back.
#include "cli/run/result.h"
#include "cli/text.h"

#include <iterator>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/malformed.h"
#include "cli/show/usage.h"

namespace transload {

static void to_json(nlohmann::json& out, const Fault& f) {
  out = {{"kind", int(f.kind)},          {"rank", f.rank},    {"culprit", f.culprit_rank},
         {"operation", f.operation},     {"role", f.role},    {"channel", f.channel},
         {"waiting_for", f.waiting_for}, {"seen", f.seen},    {"expected", f.expected},
         {"after_ms", f.after_ms},       {"detail", f.detail}};
}

static void from_json(const nlohmann::json& in, Fault& f) {
  const uint64_t kind = in.at("kind").get<uint64_t>();
  if (kind < uint64_t(FaultKind::kLost) || kind > uint64_t(FaultKind::kRendezvous))
    cli::refuse("run: a rank tells of a fault of kind {}, must be {} to {}", kind, int(FaultKind::kLost),
                int(FaultKind::kRendezvous));
  f.kind = FaultKind(kind);
  in.at("rank").get_to(f.rank);
  in.at("culprit").get_to(f.culprit_rank);
  in.at("operation").get_to(f.operation);
  in.at("role").get_to(f.role);
  in.at("channel").get_to(f.channel);
  in.at("waiting_for").get_to(f.waiting_for);
  in.at("seen").get_to(f.seen);
  in.at("expected").get_to(f.expected);
  in.at("after_ms").get_to(f.after_ms);
  in.at("detail").get_to(f.detail);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Decision, what, choice, why)

namespace cli {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WrongValue, output, iteration, call, rank, row, byte, expected, seen)

namespace {

// Visits the members that go to JSON and back as they are.
template <class Visit>
void each_member(Visit visit) {
  visit("rank", &WorkerResult::rank);
  visit("call_us", &WorkerResult::call_us);
  visit("dispatch_scale_out_rows", &WorkerResult::dispatch_scale_out_rows);
  visit("combine_scale_out_rows", &WorkerResult::combine_scale_out_rows);
  visit("ring_bytes", &WorkerResult::ring_bytes);
  visit("counter_bytes", &WorkerResult::counter_bytes);
  visit("output_bytes", &WorkerResult::output_bytes);
  visit("ring_formula", &WorkerResult::ring_formula);
  visit("scale_up", &WorkerResult::scale_up);
  visit("scale_out", &WorkerResult::scale_out);
  visit("landing", &WorkerResult::landing);
  visit("source", &WorkerResult::source);
  visit("decisions", &WorkerResult::decisions);
  visit("dispatch_digest", &WorkerResult::dispatch_digest);
  visit("combine_digest", &WorkerResult::combine_digest);
  visit("fault_ns", &WorkerResult::fault_ns);
  visit("entry_ns", &WorkerResult::entry_ns);
  visit("error", &WorkerResult::error);
  visit("recovery", &WorkerResult::recovery);
}

}  // namespace

const char* name_of(IterationCall call) {
  static const char* const kNames[] = {"dispatch",       "combine",           "cached dispatch",
                                       "cached combine", "backward dispatch", "backward combine"};
  static_assert(std::size(kNames) == kCalls);
  return call < kCalls ? kNames[call] : "";
}

bool WrongValue::before(const WrongValue& other) const {
  return std::tie(iteration, call, rank) < std::tie(other.iteration, other.call, other.rank);
}

std::string WrongValue::to_string() const {
  return text::format("iteration {}: {} of rank {}, row {}, byte {}: expected {}, seen {}", iteration, output, rank,
                      row, byte, expected, seen);
}

std::string WorkerResult::to_text() const {
  nlohmann::json out;
  each_member([&](const char* name, auto member) { out[name] = this->*member; });
  if (mismatch) out["mismatch"] = *mismatch;
  if (fault) out["fault"] = *fault;
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

WorkerResult WorkerResult::from_text(const std::string& text) {
  WorkerResult out;
  try {
    const nlohmann::json in = nlohmann::json::parse(text);
    each_member([&](const char* name, auto member) { in.at(name).get_to(out.*member); });
    if (in.contains("mismatch")) out.mismatch = in.at("mismatch").get<WrongValue>();
    if (in.contains("fault")) out.fault = in.at("fault").get<Fault>();
  } catch (const nlohmann::json::exception& error) {
    refuse("run: the result of a rank is malformed: {}{}", error.what(), kOtherVersion);
  }
  if (out.mismatch && out.mismatch->call >= kCalls)
    refuse("run: a rank found a mismatch in call {}, must be 0 to {}", out.mismatch->call, kCalls - 1);
  return out;
}

}  // namespace cli
}  // namespace transload
