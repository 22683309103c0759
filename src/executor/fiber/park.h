// How a fiber waits: what it parks on, what is said of its wait, and who wakes it.
#pragma once
#include <cstdint>

#include "channel/word.h"
#include "protocol/warp.h"

namespace transload {

// A wait that expired, was ended, or is the oldest: `whom`, `seen` and `expected` are those of its first unmet Need.
struct WaitRecord {
  bool present = false;  // false: nobody waits
  Role role = Role::kNotify;
  int32_t channel = -1;
  Waiting what = Waiting::kCard;
  uint32_t whom = 0;
  Word seen = 0;
  Word expected = 0;
  double waited_ms = 0;
};

struct BrokenRecord {
  Role role;
  int32_t channel;
  Broken what;
  uint32_t rank;  // who broke it
  Word seen;
  Word expected;
};

// What a fiber waits for: any or all of `needs`. Whoever polls may drop met needs where all are asked for.
struct Park {
  Need* needs;
  int count;
  bool all;
  Role role;
  int32_t channel;
};

class Parker {
 public:
  virtual ~Parker() = default;
  // Inside a fiber: returns once the needs are met, or false if the rank has failed.
  virtual bool park(Park& park) = 0;
  // Inside a fiber: lets the other fibers and the network have a turn.
  virtual void yield() = 0;
};

}  // namespace transload
