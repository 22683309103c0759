// Which experts the tokens choose: from a file of a real router, or made from the seed.
#pragma once
#include <cstdint>

#include "cli/options.h"
#include "reference/reference.h"

namespace transload::cli {

// Routes of all ranks, and experts in contiguous blocks whose sizes differ by at most one. Completes options.top_k.
reference::Problem make_problem(Options& options);

// 24 random bits as a number from 2^-24 to 1.
inline float unit_float(uint64_t bits) { return float((bits >> 40) + 1) * 0x1p-24f; }

}  // namespace transload::cli
