// The message about a record of another process that cannot be read, or that no process of this version writes.
#pragma once
#include <string>

#include "transload/status.h"

namespace transload {

constexpr char kOtherVersion[] = ": is it of another version?";

// `what` begins with who reads it: "group: a rank's offer of memory".
inline Error malformed(const std::string& what) {
  return {Code::kInvalidArgument, what + " is malformed" + kOtherVersion};
}

}  // namespace transload
