// Faults as a rank reports them, from the verdict and from what its own warps waited for or found broken.
#pragma once
#include <transload/status.h>

#include <cstdint>
#include <string>

#include "control/verdict.h"
#include "protocol/wait_record.h"

namespace transload {

struct Reporter {
  uint32_t rank = 0;
  std::string operation;
  uint64_t after_ns = 0;  // time since the rank entered the call
  bool in_call = false;   // false: the group is idle, or being made
};

// Makes the Fault that a verdict calls for. The verdict must not be kNone.
Fault fault_of(const Verdict& verdict, const Reporter& reporter);
// The Fault after warps have run: in a call it also says what they waited for.
Fault fault_of(const Verdict& verdict, const Reporter& reporter, const WaitRecord& wait);

// Whether the record shows that the rank it names broke a promise; of others it is only known that two ranks differ. A
// forwarder accuses for a header only once it has seen that both are in the same call.
constexpr bool of_one_rank(const BrokenRecord& broken) {
  const bool of_source = broken.what == Broken::kHeader && broken.role == Role::kForwarder;
  return of_source || broken.what == Broken::kGrant || broken.what == Broken::kCounts;
}

// What `rank` says of a promise that another broke.
std::string text_of(const BrokenRecord& broken, uint32_t rank);

}  // namespace transload
