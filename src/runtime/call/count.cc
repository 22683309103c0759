// Counting where tokens would go.
#include "runtime/call/count.h"

#include "layout/cursor.h"
#include "layout/token_counts.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/dispatch_form.h"

namespace transload {

CountOutputs count(const RankState& rank, const Tensor& topk_idx) {
  if (rank.options.device.device_type != kDLCPU)
    throw Error(Code::kNotSupported, "count: on a GPU, where this version cannot count");
  check_count(rank, topk_idx);
  const auto tokens = uint64_t(topk_idx.rows());
  const RankMap& map = rank.map;
  const uint32_t experts = rank.experts.experts;
  Cursor at{.unit = kSlotAlign};
  const uint64_t ranks_at = at.take(map.ranks, sizeof(int32_t)), nodes_at = at.take(map.nodes, sizeof(int32_t)),
                 experts_at = at.take(experts, sizeof(int32_t)),
                 goes_at = at.take(times(tokens, map.ranks), sizeof(bool));
  const auto block = private_block(at.bytes);
  const auto counts_at = [&](uint64_t offset) { return reinterpret_cast<int32_t*>(block->data + offset); };
  const TokenCounts counts{.of_rank = counts_at(ranks_at),
                           .of_node = counts_at(nodes_at),
                           .of_expert = counts_at(experts_at),
                           .in_rank = reinterpret_cast<bool*>(block->data + goes_at)};
  const BadExpert bad = count_tokens(routing_of(topk_idx, {}), map, rank.experts, counts);
  CountOutputs out;
  out.rank_counts = list(counts.of_rank, map.ranks, kI32);
  out.node_counts = list(counts.of_node, map.nodes, kI32);
  out.expert_counts = list(counts.of_expert, experts, kI32);
  out.token_in_rank = matrix(counts.in_rank, topk_idx.rows(), map.ranks, kBool);
  if (bad.found) out.status = bad_expert(bad, experts);
  out.lease = Lease(block);
  return out;
}

}  // namespace transload
