// How a call ends: a Status, and a Fault that names the culprit.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace transload {

// How a call ended.
enum class Code : uint8_t {
  kOk,
  kInvalidArgument,  // refused before anything moved; the group is as it was. The message has argument, value, bound
  kNotSupported,     // refused like kInvalidArgument: this build or machine cannot do it
  kOutOfMemory,      // refused like kInvalidArgument: this machine lacks memory
  kFault,            // the group is lost; Error::fault says who caused it
  kBadExpertId,      // the call completed; an expert id out of range counted as -1
  kTooManyRows,      // more rows than rows_max came. In a Status: the last were dropped; in an Error: the call failed
  kDevice,           // a call to the GPU's driver failed. The message has the call, the driver's text, the device
};

// What the culprit of a fault did.
enum class FaultKind : uint8_t {
  kNone,
  kLost,         // the culprit's process is gone
  kSilent,       // the culprit's process gives no sign of life
  kAbsent,       // the culprit is alive, but did not enter this call within the deadline
  kUnreachable,  // no network path leads to the culprit
  kMismatch,     // the culprit called something else, or with other arguments
  kFailed,       // the culprit left a call that it had entered, because of an error of its own, which `detail` tells
  kRendezvous,   // no rank is the culprit: the process that held the rendezvous is gone, or could not serve all ranks
};
// Returns the word for a kind, such as "silent".
const char* name_of(FaultKind kind);

// What one rank knows of the fault that ended its group. All ranks that heard an arbiter's verdict name the same
// culprit; a rank that heard none has own_view set.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  uint32_t rank = 0;          // the rank that reports
  uint32_t culprit_rank = 0;  // the rank that caused it; ~0 for kRendezvous
  std::string operation;      // what the reporter was doing: "create", "dispatch", "combine", "gather", "idle"
  std::string role;           // "opener", "sender", "forwarder", "receiver", "closer"; "" outside a call
  int32_t channel = -1;       // the channel of that role; -1: none
  std::string waiting_for;  // "tokens of rank 5", "rank 5 to enter the call", ...; "" if the reporter waited for nobody
  uint64_t seen = 0;        // the counter that the reporter waited on, as last read
  uint64_t expected = 0;    // what that counter had to reach
  double after_ms = 0;      // time from the reporter's entry into the call to the end of its wait
  std::string detail;       // one sentence for people
  bool own_view = false;    // this rank heard no arbiter: the fault is its own opinion, and others may differ

  std::string to_string() const;
};

// Says whether a completed call did everything that it was asked to do.
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
