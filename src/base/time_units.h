// Units of time: all times of the library are nanoseconds in uint64_t, whichever clock they are of.
#pragma once
#include <cstdint>

namespace transload {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr uint64_t kSecondNs = 1'000 * kMillisecondNs;

}  // namespace transload
