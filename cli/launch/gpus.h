// Which GPUs there are for a run, and which rank takes which.
#pragma once
#include <cstdint>
#include <string>

#include "cli/options.h"

namespace transload::cli {

struct Gpus {
  std::string reason;  // why no GPU can be used; "" if one can
  uint32_t count = 0;
  uint32_t sms = 0;  // SMs of the GPU that has the fewest
};

// Starts CUDA in this process, so only one that runs ranks itself may call it.
Gpus find_gpus();
// Asks a process that ends with the answer, so that this one never starts CUDA and may start ranks.
Gpus ask_for_gpus();

// Completes what --device cuda left open. `joined`: this process is one rank under another launcher, and takes its
// GPU by options.local_rank. Throws UsageError.
void assign_gpus(Options& options, const Gpus& gpus, bool joined);

// Sets what CUDA reads when it starts, here and in processes that are started from here: ranks of one GPU wait for each
// other's kernels, so each stream needs a hardware queue of its own.
void prepare_environment();

// Prints for `transload limits` what holds for the GPUs that there are, or why there are none.
void print_gpus();

}  // namespace transload::cli
