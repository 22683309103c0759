// Starts the ranks of a run on this machine, does the fault that was asked for, and collects what they say.
#pragma once
#include "cli/options.h"
#include "cli/run/outcome.h"
#include "cli/run/workload.h"

namespace transload::cli {

// Starts one process a rank, or one a GPU with a thread for each of its ranks: this program again, with its own
// arguments. None of them outlives the call.
RunOutcome run_processes(const Options& options, char** arguments);

// Runs one thread a rank.
RunOutcome run_threads(const Options& options, const Workload& workload);

// True if run_processes has started this process, as a rank or as the ranks of a GPU; or if another launcher has, as a
// rank.
bool is_child();
int be_child(const Options& options, const Workload& workload);
RunOutcome join(const Options& options, const Workload& workload, const Bootstrap& bootstrap);

}  // namespace transload::cli
