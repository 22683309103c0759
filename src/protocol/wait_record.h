// What is told of a warp's wait, and of a promise that the warp found broken.
#pragma once
#include <cstdint>

#include "channel/word.h"
#include "protocol/warp.h"

namespace transload {

// A wait that expired, was ended, or is the oldest: `whom`, `seen` and `expected` are those of its first unmet Need.
struct WaitRecord {
  bool present = false;  // false: nobody waits
  Role role = Role::kOpener;
  int32_t channel = -1;
  Waiting what = Waiting::kCard;
  uint32_t whom = 0;
  Word seen = 0;
  Word expected = 0;
  double waited_ms = 0;
  uint64_t overdue_ns = 0;  // time since the wait's deadline
};

struct BrokenRecord {
  Role role;
  int32_t channel;
  Broken what;
  uint32_t rank;  // the rank that broke the promise
  Word seen;
  Word expected;
};

}  // namespace transload
