// Seeded chance: the same seed gives the same numbers on every machine.
#pragma once
#include <cstdint>

#include "base/mix.h"

namespace transload {

class Chance {
 public:
  explicit Chance(uint64_t seed = 0) : state_(seed) { next(); }

  uint64_t next() {
    const uint64_t before = state_;
    state_ += kSplitMixStep;
    return split_mix(before);
  }
  // Draws one of 0 to n - 1; n > 0.
  uint32_t below(uint32_t n) { return uint32_t((next() >> 32) * n >> 32); }
  // True in `parts` of 256 cases.
  bool in_256(uint32_t parts) { return (next() >> 56) < parts; }
  // Draws from `least` to `most`, every power of two between them as likely as any other.
  uint64_t magnitude(uint64_t least, uint64_t most) {
    uint32_t doublings = 0;
    while (least << (doublings + 1) <= most && doublings < 62) ++doublings;
    const uint64_t low = least << below(doublings + 1);
    const uint64_t high = low * 2 < most ? low * 2 : most + 1;
    return low + (high > low ? next() % (high - low) : 0);
  }
  // A generator whose numbers do not depend on what is drawn here later; `label` tells the forks of one state apart.
  Chance fork(uint64_t label) const { return Chance(state_ ^ (label + 1) * 0xD6E8FEB86659FD93u); }

 private:
  uint64_t state_;
};

}  // namespace transload
