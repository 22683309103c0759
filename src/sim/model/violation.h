// A violation: the rule that a checker found broken. The first one ends its world.
#pragma once
#include <cstdint>
#include <string>

namespace transload {

enum class Checker : uint8_t {
  kNone,
  kConservation,  // every (token, owner) arrives once
  kPlacement,     // every row is where the contract wants it
  kContent,       // every byte of a row, its scales and its header is what its source sent
  kSum,           // combine, to the bit
  kLanding,       // nothing is read before it has landed and what covers it was observed
  kOrder,         // rows come by source and token
  kCredit,        // no full slot is filled, and no more is credited than was published
  kGrowth,        // words only grow
  kLiveness,      // a world without faults ends; with one, every survivor hears the right verdict in time
  kReuse,         // nothing is touched after its owner may have used it again
  kCount
};

constexpr const char* kCheckerNames[] = {"none",  "conservation", "placement", "content",  "sum",  "landing",
                                         "order", "credit",       "growth",    "liveness", "reuse"};
static_assert(sizeof(kCheckerNames) / sizeof(*kCheckerNames) == size_t(Checker::kCount));

struct Violation {
  Checker checker = Checker::kNone;
  std::string what;
  uint64_t word = 0;  // offset, in the world's space, of the bytes in question; 0: the rule is about no bytes
  uint32_t rank = 0;  // who broke the rule, or found it broken
  int32_t warp = -1;
  uint64_t event = 0;             // number of the violation in the journal
  uint64_t other = ~uint64_t(0);  // number of the event that began the other flight of a collision; ~0: none
};

}  // namespace transload
