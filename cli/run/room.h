// Whether a workload fits this machine, before anything of it is made.
#pragma once
#include "cli/options.h"
#include "cli/run/workload.h"

namespace transload::cli {

// Both throw UsageError naming --tokens. The first asks before routes are made, the second knows what each rank will
// receive.
void check_room_for_routes(const Options& options);
void check_room_for_rows(const Options& options, const Workload& workload);

}  // namespace transload::cli
