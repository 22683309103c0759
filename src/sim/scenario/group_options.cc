// Translating a scenario into the options of a rank, its slabs included.
#include "sim/scenario/group_options.h"

#include <algorithm>

#include "base/math.h"
#include "runtime/rank_state.h"

namespace transload {
namespace {

uint64_t slab_for_rows(const GroupOptions& o, uint64_t rows) {
  return slab_bytes_needed(o, {.rows = int64_t(rows), .dispatches = 1, .expert_rows = 0, .combines = 0});
}

// Returns a slab for the most rows that any rank may receive in a call: for the outputs of a call, the rows that a
// combine takes, and the leases that are held.
uint64_t slab_for_all(const Scenario& s, const GroupOptions& o) {
  uint64_t rows = 0;
  uint32_t held = 0;
  for (const ScenarioCall& call : s.calls) {
    uint64_t sum = 0;
    for (const uint32_t tokens : call.tokens) sum += tokens;
    rows = std::max(rows, sum);
    held = std::max(held, call.keep_leases);
  }
  return slab_bytes_needed(
      o, {.rows = int64_t(rows), .dispatches = 2 + held, .expert_rows = 2 + held, .combines = 2 + held});
}

}  // namespace

GroupOptions options_of(const Scenario& s, const std::vector<uint32_t>& node_sizes,
                        const std::vector<uint32_t>& processes, uint32_t rank) {
  GroupOptions o;
  o.bootstrap.rank = rank;
  o.bootstrap.ranks = uint32_t(processes.size());
  o.topology.node_sizes = node_sizes;
  o.experts = s.experts;
  o.expert_owner = s.expert_owner;
  for (uint32_t& owner : o.expert_owner) owner %= o.bootstrap.ranks;
  o.tokens_max = std::max(1u, s.tokens_max);
  o.row_bytes_max = s.hidden_bytes;
  o.scales_max = s.scales_max;
  o.top_k_max = s.top_k;
  o.channels = s.channels;
  o.slots = s.slots;
  o.peer_slots = s.peer_slots;
  o.deadline_ms = s.deadline_ms;
  for (const ScenarioCall& call : s.calls)
    o.combine_wire = std::max(o.combine_wire, call.wire.value_or(CombineWire::kF32));
  const uint32_t process = processes[rank];
  if (!s.slab_bytes.empty())
    o.slab_bytes = s.slab_bytes[process];
  else if (!s.slab_rows.empty())
    o.slab_bytes = slab_for_rows(o, s.slab_rows[process]);
  else
    o.slab_bytes = slab_for_all(s, o);
  o.slab_bytes = round_up(o.slab_bytes, kPageBytes);
  return o;
}

}  // namespace transload
