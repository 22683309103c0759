// Putting a verdict and what a rank saw together, and into words.
#include "control/fault.h"

#include "base/check.h"
#include "base/type_names.h"
#include "channel/card.h"

namespace transload {

namespace {

const char* name_of(Role role) { return kRoleNames[int(role)]; }
std::string text_of(Waiting what, uint32_t whom) {
  const std::string rank = "rank " + std::to_string(whom);
  switch (what) {
    case Waiting::kCard:
      return rank + " to enter the call";
    case Waiting::kGrant:
      return rank + " to say where its rows lie";
    case Waiting::kCounts:
      return "counts of " + rank;
    case Waiting::kTokens:
      return "tokens of " + rank;
    case Waiting::kCredit:
      return "a free slot at " + rank;
    case Waiting::kDrained:
      return "the network to read what goes to " + rank;
    case Waiting::kDone:
      return rank + " to be done with the call";
    case Waiting::kPath:
      return "a first word from " + rank;
    case Waiting::kRoom:
      return "the proxy of " + rank + " to take commands";
    case Waiting::kQueue:
      return "the NIC to bring " + rank + " what it was given";
  }
  return rank;
}

const char* name_of(Broken what) { return kBrokenNames[int(what)]; }

// The value may come from another rank, and so be none of the list.
const char* name_of(Operation operation) {
  return operation < Operation::kCount ? kOperationNames[uint32_t(operation)] : "something unknown";
}

// What a field of a card says.
std::string text_of(Broken what, Word value) {
  if (what == Broken::kOperation) return name_of(Operation(value));
  if (what == Broken::kDtype) return type_name(unpacked_type(value));
  if (what == Broken::kWire) return value == 0 ? "bf16" : "fp32";
  if (what == Broken::kWeights) return value == 0 ? "not given" : "given";
  return std::to_string(value);
}

}  // namespace

Fault fault_of(const Verdict& verdict, const Reporter& reporter) {
  TRANSLOAD_CHECK(verdict.kind != FaultKind::kNone);
  Fault fault;
  fault.kind = verdict.kind;
  fault.rank = reporter.rank;
  fault.culprit_rank = verdict.culprit;
  fault.operation = reporter.operation;
  fault.after_ms = double(reporter.after_ns) / double(kMillisecondNs);
  fault.detail = verdict.detail;
  fault.own_view = verdict.own_view;
  return fault;
}

Fault fault_of(const Verdict& verdict, const Reporter& reporter, const WaitRecord& wait) {
  Fault fault = fault_of(verdict, reporter);
  if (!wait.present || !reporter.in_call) return fault;
  fault.role = name_of(wait.role);
  fault.channel = wait.channel;
  fault.waiting_for = text_of(wait.what, wait.whom);
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
  if (broken.what == Broken::kCounts)
    return "counts: rank " + std::to_string(broken.rank) + " sent " + std::to_string(broken.seen) +
           " where there can be at most " + std::to_string(broken.expected);
  const std::string name = name_of(broken.what), theirs = "rank " + std::to_string(broken.rank),
                    mine = "rank " + std::to_string(rank);
  if (broken.what == Broken::kHandle)
    return name + ": " + theirs + " and " + mine + " use those of different dispatches";
  if (broken.what == Broken::kHeader)
    return name + ": " + theirs + " sent token " + std::to_string(broken.seen) + ", which " + mine + " did not expect";
  return name + ": " + text_of(broken.what, broken.seen) + " on " + theirs + ", " +
         text_of(broken.what, broken.expected) + " on " + mine;
}

}  // namespace transload
