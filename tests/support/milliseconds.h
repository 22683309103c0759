// The unit in which tests of control give nanoseconds.
#pragma once
#include "base/time_units.h"

namespace transload {

constexpr uint64_t ms = kMillisecondNs;

}  // namespace transload
