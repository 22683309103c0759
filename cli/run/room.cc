// Counting bytes ahead.
#include "cli/run/room.h"

#include <numeric>

#include "base/math.h"
#include "cli/show/usage.h"
#include "os/free_memory.h"

namespace transload::cli {
namespace {

void check(const Options& options, uint64_t bytes, const char* what) {
  const uint64_t available = available_bytes();
  if (bytes > available)
    refuse("--tokens: {} tokens of {} elements in all: {} need about {} MiB, at most {} MiB are available",
           std::accumulate(options.tokens.begin(), options.tokens.end(), int64_t(0)), options.hidden, what, bytes >> 20,
           available >> 20);
}

}  // namespace

// Each process knows the routes of all ranks: an id and a weight for each choice, twice while a file is read.
void check_room_for_routes(const Options& options) {
  const uint64_t tokens = uint64_t(std::accumulate(options.tokens.begin(), options.tokens.end(), int64_t(0)));
  const uint64_t processes = options.threads ? 1 : ceil_div(options.ranks(), options.ranks_per_process()) + 1;
  check(options, tokens * options.top_k * 8 * processes + tokens * options.row_bytes(), "routes and tokens");
}

// A rank holds tokens, gradients and biases, and at any time one output of dispatch, one of the expert and one of
// combine.
void check_room_for_rows(const Options& options, const Workload& workload) {
  const RunTraffic traffic = traffic_of(workload.problem());
  const uint64_t tokens = uint64_t(std::accumulate(options.tokens.begin(), options.tokens.end(), int64_t(0)));
  check(options, (tokens * (3 + options.biases) + uint64_t(traffic.rows) * 2) * options.row_bytes(),
        "rows of all ranks");
}

}  // namespace transload::cli
