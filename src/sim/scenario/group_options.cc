// See group_options.h.
#include "sim/scenario/group_options.h"

#include <algorithm>

#include "base/math.h"
#include "runtime/rank_state.h"

namespace transload {
namespace {

constexpr uint64_t kLease = 128;

// Room for the leases of a call with so many rows of this scenario, and then some: rows, headers and columns.
uint64_t bytes_of_rows(const Scenario& s, uint64_t rows) {
  const uint64_t header = 16 + 16 * uint64_t(s.top_k) + 4 * uint64_t(s.scales_max);
  const uint64_t row = s.hidden_bytes + header + 8 * uint64_t(s.top_k) + 8 + 4 * uint64_t(s.scales_max);
  return rows * row + 16 * kLease;
}

// For the most rows that any rank may receive in a call, twice (what a call gives and what combine takes), and what is
// held.
uint64_t slab_for_all(const Scenario& s) {
  uint64_t rows = 0, held = 0;
  for (const ScenarioCall& call : s.calls) {
    uint64_t sum = 0, most = 0;
    for (const uint32_t tokens : call.tokens) sum += tokens, most = std::max<uint64_t>(most, tokens);
    rows = std::max(rows, sum + most);
    held = std::max<uint64_t>(held, call.keep_leases);
  }
  return bytes_of_rows(s, rows) * (2 + held);
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
  const uint32_t process = processes[rank];
  if (!s.slab_bytes.empty())
    o.slab_bytes = s.slab_bytes[process];
  else if (!s.slab_rows.empty())
    o.slab_bytes = bytes_of_rows(s, s.slab_rows[process]);
  else
    o.slab_bytes = slab_for_all(s);
  o.slab_bytes = round_up(o.slab_bytes, kPageBytes);
  return o;
}

}  // namespace transload
