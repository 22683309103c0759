// Faults in words.
#include "transload/status.h"

#include <cmath>

namespace transload {

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone:
      return "none";
    case FaultKind::kLost:
      return "lost";
    case FaultKind::kSilent:
      return "silent";
    case FaultKind::kAbsent:
      return "absent";
    case FaultKind::kUnreachable:
      return "unreachable";
    case FaultKind::kMismatch:
      return "mismatch";
    case FaultKind::kFailed:
      return "failed";
    case FaultKind::kRendezvous:
      return "rendezvous";
  }
  return "none";
}

namespace {

const char* predicate(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone:
      return "is not to blame";
    case FaultKind::kLost:
      return "is lost";
    case FaultKind::kSilent:
      return "is silent";
    case FaultKind::kAbsent:
      return "is absent";
    case FaultKind::kUnreachable:
      return "is unreachable";
    case FaultKind::kMismatch:
      return "called something else";
    case FaultKind::kFailed:
      return "failed in the call";
    case FaultKind::kRendezvous:
      return "is not to blame";
  }
  return "";
}

}  // namespace

std::string Fault::to_string() const {
  if (kind == FaultKind::kNone) return "no fault";
  std::string text = kind == FaultKind::kRendezvous ? "the rendezvous failed"
                                                    : "rank " + std::to_string(culprit_rank) + " " + predicate(kind);
  if (!detail.empty()) text += " (" + detail + ")";
  if (own_view) text += ", says rank " + std::to_string(rank) + " alone";
  text += "; rank " + std::to_string(rank) + " was";
  text += operation.empty() ? " in the group" : " in " + operation;
  if (!role.empty()) text += " as " + role;
  if (channel >= 0) text += " of channel " + std::to_string(channel);
  if (!waiting_for.empty()) {
    text += " and waited for " + waiting_for;
    if (expected != 0) text += ", whose count is " + std::to_string(seen) + " and must be " + std::to_string(expected);
  }
  return text + ", after " + std::to_string(std::llround(after_ms)) + " ms";
}

}  // namespace transload
