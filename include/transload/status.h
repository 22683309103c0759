// How a call ends: a Status, and a Fault that names the culprit.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace transload {

// How a call ended.
enum class Code : uint8_t {
  kOk,
  kInvalidArgument,  // refused before anything moved; the group is as it was. Message: argument, value, bound
  kNotSupported,     // refused likewise, because this build cannot do it yet
  kOutOfMemory,      // refused likewise, for want of room on this machine
  kFault,            // the group is lost; Error::fault says who caused it
  kBadExpertId,      // the call completed; an expert id out of range counted as -1
  kTooManyRows,      // the call completed; rows past rows_max were dropped (in a Status), or it fails for them (thrown)
  kDevice,           // a call to the GPU's driver failed. Message: the call, the driver's text, the device
};

// What the culprit of a fault did.
enum class FaultKind : uint8_t {
  kNone,
  kLost,         // its process is gone
  kSilent,       // its process gives no sign of life
  kAbsent,       // alive, but not in this call within the deadline
  kUnreachable,  // no network path to it
  kMismatch,     // it called something else, or with other arguments
  kFailed,       // it left a call that it had entered: its own error, which the detail tells
  kRendezvous,   // no rank: the process that held the rendezvous is gone, or could not serve all ranks
};
// The word for it, such as "silent".
const char* name_of(FaultKind kind);

// What one rank knows of the fault that ended its group. Every rank's Fault names the same culprit.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  uint32_t rank = 0;          // who reports
  uint32_t culprit_rank = 0;  // who caused it; ~0 for kRendezvous
  std::string operation;      // "create", "dispatch", "combine", "idle": what the reporter was doing
  std::string role;           // "opener", "sender", "forwarder", "receiver", "closer"; "" outside a call
  int32_t channel = -1;       // of that role; -1: none
  std::string waiting_for;    // "tokens of rank 5", "rank 5 to enter the call", ...; "" if it waited for nobody
  uint64_t seen = 0;          // the counter it waited on, and what it had to reach
  uint64_t expected = 0;
  double after_ms = 0;    // from the reporter's entry into the call to the end of its wait
  std::string detail;     // one sentence for people
  bool own_view = false;  // nobody judged: this rank's own opinion, and others may have another

  std::string to_string() const;
};

// Whether a call that completed did all that was asked of it.
struct Status {
  Code code = Code::kOk;
  std::string message;

  bool ok() const { return code == Code::kOk; }
};

// Thrown by every call that does not complete.
class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  explicit Error(const Fault& fault) : std::runtime_error(fault.to_string()), code_(Code::kFault), fault_(fault) {}
  Code code() const { return code_; }
  const Fault& fault() const { return fault_; }  // meaningful if code() is kFault

 private:
  Code code_;
  Fault fault_;
};

}  // namespace transload
