// Figures as JSON shows them.
#pragma once
#include <cmath>

namespace transload::cli {

// Short numbers: three decimals say all that a clock knows.
inline double rounded(double value) { return std::round(value * 1000) / 1000; }

}  // namespace transload::cli
