// The canary of a thread: see canary.h.
#include "sim/canary.h"

namespace transload {

namespace {
thread_local Canary planted_here = Canary::kNone;
}  // namespace

bool canary_is_planted(Canary canary) { return planted_here == canary; }

void plant(Canary canary) { planted_here = canary; }

Planting::Planting(Canary canary) : before_(planted_here) { plant(canary); }
Planting::~Planting() { plant(before_); }

}  // namespace transload
