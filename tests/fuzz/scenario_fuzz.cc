// Scenario files: read, or refused with an Error; what was read holds what the simulator relies on.
//
// Input: the file.
#include "sim/scenario/scenario.h"

#include "tests/fuzz/target.h"
#include "transload/limits.h"

namespace transload {
namespace {

void check(const Scenario& s) {
  const Limits most = limits();
  uint64_t ranks = 0, calls = 0;
  for (const uint32_t size : s.node_sizes) ranks += size;
  TRANSLOAD_CHECK(s.ranks == ranks && ranks >= 1 && ranks <= most.ranks_max);
  TRANSLOAD_CHECK(s.tokens.size() == ranks && s.top_k >= 1 && s.top_k <= most.top_k_max);
  TRANSLOAD_CHECK(s.expert_owner.empty() || s.expert_owner.size() == s.experts);
  TRANSLOAD_CHECK(s.slab_rows.empty() || s.slab_rows.size() == ranks);
  TRANSLOAD_CHECK(s.slab_bytes.empty() || s.slab_bytes.size() == ranks);
  for (const ScenarioCall& call : s.calls) {
    calls += call.repeat;
    TRANSLOAD_CHECK(call.tokens.size() == ranks && call.channels >= 1 && call.channels <= s.channels);
    TRANSLOAD_CHECK(call.hidden_bytes <= s.hidden_bytes && call.hidden_bytes % most.token_bytes_unit == 0);
    TRANSLOAD_CHECK(!call.rows_max || call.rows_max->empty() || call.rows_max->size() == ranks);
    TRANSLOAD_CHECK(call.hold_on_rank < ranks);
  }
  for (const ScenarioFault& fault : s.faults) {
    for (const uint32_t rank : fault.ranks) TRANSLOAD_CHECK(rank < ranks);
    TRANSLOAD_CHECK(!fault.when || fault.when->call < calls);
    TRANSLOAD_CHECK(!fault.expect.culprit || *fault.expect.culprit < ranks);
  }
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  try {
    check(parse_scenario(text_of(data, bytes), "input.toml"));
  } catch (const Error& error) {
    TRANSLOAD_CHECK(error.code() == Code::kInvalidArgument && *error.what() != 0);
  }
  return 0;
}
