// Keeps the canary that is planted, one for each thread.
#include "base/probes/planting.h"

#ifdef TRANSLOAD_HOST_PLANTS
#include <cstdlib>

#include "base/check.h"
#endif

namespace transload {

namespace {

#ifdef TRANSLOAD_HOST_PLANTS
// The canary that the environment plants in every thread of a process, for tests that plant none themselves.
Canary planted_at_start() {
  static const Canary canary = [] {
    const char* const name = std::getenv("TRANSLOAD_CANARY");
    const Canary named = name == nullptr ? Canary::kNone : canary_named(name);
    TRANSLOAD_CHECK(named != Canary::kCount);
    return named;
  }();
  return canary;
}
#else
constexpr Canary planted_at_start() { return Canary::kNone; }
#endif

thread_local Canary planted_here = planted_at_start();

}  // namespace

Canary canary_named(const std::string& name) {
  for (size_t i = 0; i < size_t(Canary::kCount); ++i)
    if (name == kCanaryNames[i]) return Canary(i);
  return Canary::kCount;
}

bool canary_is_planted(Canary canary) { return planted_here == canary; }

void plant(Canary canary) { planted_here = canary; }

Planting::Planting(Canary canary) : before_(planted_here) { plant(canary); }
Planting::~Planting() { plant(before_); }

}  // namespace transload
