// See fault.h.
#include "runtime/fault.h"

namespace transload {

namespace {

const char* name_of(Role role) {
  constexpr const char* names[] = {"notify", "sender", "forwarder", "receiver", "closer"};
  return names[int(role)];
}
const char* name_of(Waiting what) {
  constexpr const char* names[] = {"card",    "grant",     "counts", "tokens", "credit", "reading by the network",
                                   "leaving", "first word"};
  return names[int(what)];
}
const char* name_of(Broken what) {
  constexpr const char* names[] = {"operation",    "row bytes", "scales",       "top-k",  "dtype", "channels", "wire",
                                   "topk_weights", "handle",    "token header", "counts", "lanes", "bounds",   "grant"};
  return names[int(what)];
}

}  // namespace

Fault fault_of(const Verdict& verdict, const Reporter& reporter) {
  Fault fault;
  fault.kind = verdict.kind;
  fault.rank = reporter.rank;
  fault.culprit_rank = verdict.culprit;
  fault.operation = reporter.operation;
  fault.after_ms = double(reporter.after_ns) / double(kMillisecondNs);
  fault.detail = verdict.detail;
  return fault;
}

Fault fault_of(const Verdict& verdict, const Reporter& reporter, const WaitRecord& wait) {
  const bool judged = verdict.kind != FaultKind::kNone;
  const Verdict own{FaultKind::kUnreachable, wait.present ? wait.whom : reporter.rank, "no verdict came"};
  Fault fault = fault_of(judged ? verdict : own, reporter);
  if (!wait.present || !reporter.in_call) return fault;
  fault.role = name_of(wait.role);
  fault.channel = wait.channel;
  fault.waiting_for = std::string(name_of(wait.what)) + " of rank " + std::to_string(wait.whom);
  fault.seen = wait.seen;
  fault.expected = wait.expected;
  return fault;
}

std::string text_of(const BrokenRecord& broken, uint32_t rank) {
  const std::string whose = std::string(name_of(broken.what)) + ": rank " + std::to_string(rank) + " (" +
                            name_of(broken.role) + ", channel " + std::to_string(broken.channel) + ") ";
  if (broken.what == Broken::kLanes)
    return whose + "calls a verb with other arguments in lane " + std::to_string(broken.seen) + " of a warp than in 0";
  if (broken.what == Broken::kBounds)
    return whose + "stores " + std::to_string(broken.expected) + " bytes at " + std::to_string(broken.seen) +
           ", outside all memory that it may write";
  if (broken.what == Broken::kGrant)
    return "grant: rank " + std::to_string(broken.rank) + " grants room for " + std::to_string(broken.seen) +
           " rows, but its memory holds " + std::to_string(broken.expected) + " there";
  return std::string(name_of(broken.what)) + ": " + std::to_string(broken.seen) + " on rank " +
         std::to_string(broken.rank) + ", " + std::to_string(broken.expected) + " on rank " + std::to_string(rank);
}

}  // namespace transload
