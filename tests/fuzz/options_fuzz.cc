// Command lines of `transload run`: taken, or refused with an error of the parser or of ours; what was taken is within
// its bounds.
//
// Input: the arguments, a line each.
#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/show/usage.h"
#include "tests/fuzz/target.h"

namespace transload::cli {
namespace {

void check(const Options& o) {
  const Limits most = limits();
  TRANSLOAD_CHECK(o.ranks() >= 1 && o.ranks() <= most.ranks_max && o.node_sizes().size() <= most.nodes_max);
  for (const int64_t tokens : o.tokens) TRANSLOAD_CHECK(tokens >= 0 && tokens <= int64_t(most.tokens_max));
  TRANSLOAD_CHECK(o.row_bytes() % most.token_bytes_unit == 0 && o.row_bytes() <= most.token_bytes_max);
  TRANSLOAD_CHECK(o.payload.row_bytes() % most.token_bytes_unit == 0 && o.payload.row_bytes() > 0);
  TRANSLOAD_CHECK(o.top_k >= 1 && o.top_k <= most.top_k_max && o.group.experts >= 1);
  const GroupOptions rings = o.rings();
  TRANSLOAD_CHECK(rings.channels >= 1 && rings.channels <= most.channels_max && rings.slots >= 1 &&
                  rings.slots <= most.slots_max);
  TRANSLOAD_CHECK(o.iterations >= 1 && o.biases <= 2 && o.group.deadline_ms >= 1);
  TRANSLOAD_CHECK(o.zipf_exponent >= 0 && o.zipf_exponent <= 10);
  if (o.fault) TRANSLOAD_CHECK(o.fault->rank < o.ranks() && o.fault->iteration <= o.iterations && o.ranks() > 1);
}

void parse(std::vector<std::string> arguments) {
  CLI::App app;
  RunArguments typed;
  add_run_options(app, typed);
  std::reverse(arguments.begin(), arguments.end());  // as the parser wants them
  app.parse(arguments);
  check(checked(typed));
}

}  // namespace
}  // namespace transload::cli

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload::cli;
  try {
    parse(transload::lines_of(transload::text_of(data, bytes)));
  } catch (const CLI::ParseError&) {
    return 0;
  } catch (const UsageError& error) {
    TRANSLOAD_CHECK(*error.what() != 0);
  }
  return 0;
}
