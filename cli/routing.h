// Which experts the tokens choose: from a file of a real router, or made from the seed.
#pragma once
#include <cstdint>

#include "cli/options.h"
#include "reference/reference.h"

namespace transload::cli {

// Routes of all ranks, and experts in contiguous blocks whose sizes differ by at most one. Completes options.top_k.
reference::Problem make_problem(Options& options);

// Scatters a counter over 64 bits.
inline uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

// 24 random bits as a number from 2^-24 to 1.
inline float unit_float(uint64_t bits) { return float((bits >> 40) + 1) * 0x1p-24f; }

}  // namespace transload::cli
