// Counts of the rare situations: part of the library in builds that ask for them, else of the simulator alone.
#include "base/situations.h"

#include <atomic>

namespace transload {
namespace {
std::atomic<uint64_t> counts[size_t(Situation::kCount)];
}

void count_reached(Situation situation) { counts[size_t(situation)].fetch_add(1, std::memory_order_relaxed); }
uint64_t times_reached(Situation situation) { return counts[size_t(situation)].load(std::memory_order_relaxed); }

}  // namespace transload
