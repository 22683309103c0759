// Choosing between the two ways of a call, with the reason in words.
#include "runtime/call/decisions.h"

namespace transload {

CallChoice landing_of(Landing asked, const LandingRoom& room) {
  if (asked == Landing::kRing) return {false, "ring", "asked for"};
  if (!room.leased)
    return {false, "ring",
            "no room in the slabs for " + std::to_string(room.bytes) + " bytes: the longest free stretch has " +
                std::to_string(room.gap_bytes)};
  if (room.outside != nullptr) return {false, "ring", std::string(room.outside) + " is not in a lease"};
  return {true, "direct", "a lease of " + std::to_string(room.bytes) + " bytes was had"};
}

CallChoice source_of(CombineSource asked, bool readable) {
  const bool pull = asked != CombineSource::kPush && readable;
  const char* const name = pull ? "pull" : "push";
  if (asked != CombineSource::kAuto) return {pull, name, "asked for"};
  return {pull, name, pull ? "x lies in a lease" : "x lies outside the leases"};
}

}  // namespace transload
