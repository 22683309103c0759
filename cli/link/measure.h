// A link's rows and counts, checked and then timed.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/link/ends.h"

namespace transload::cli {

struct LinkJob {
  std::string provider;             // provider of libfabric; "": the best that opens
  uint64_t rows;                    // rows that each rank sends
  std::vector<uint64_t> row_bytes;  // multiples of 16
  bool spoil;
};

// Collective. Prints what it finds, on rank 0. Returns the exit status.
int measure(LinkEnds& ends, const LinkJob& job);

}  // namespace transload::cli
