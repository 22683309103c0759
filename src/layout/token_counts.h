// How many of a rank's tokens go where, without a call.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "layout/placement.h"
#include "layout/plan.h"
#include "layout/rank_map.h"

namespace transload {

// Arrays of the caller that count_tokens() fills.
struct TokenCounts {
  int32_t* of_rank;    // [ranks] tokens that chose an expert of the rank
  int32_t* of_node;    // [nodes] tokens that chose an expert of the node
  int32_t* of_expert;  // [experts] choices
  bool* in_rank;       // [tokens][ranks] whether the token chose an expert of the rank
};

// Returns the first id that is out of range; every such id counts as -1.
inline BadExpert count_tokens(const Routing& routing, const RankMap& map, const Placement& experts,
                              const TokenCounts& out) {
  std::fill_n(out.of_rank, map.ranks, 0);
  std::fill_n(out.of_node, map.nodes, 0);
  std::fill_n(out.of_expert, experts.experts, 0);
  std::fill_n(out.in_rank, routing.tokens * map.ranks, false);
  BadExpert bad;
  std::vector<uint64_t> counted(map.nodes);  // 1 + the last token that was counted for each node; 0: none
  for (uint64_t token = 0; token < routing.tokens; ++token)
    for (uint32_t k = 0; k < routing.top_k; ++k) {
      const int64_t expert = within_experts({true, token, k, routing.expert(token, k)}, experts.experts, bad);
      if (expert < 0) continue;
      ++out.of_expert[expert];
      const uint32_t rank = experts.owner[expert], node = map.node_of[rank];
      bool& goes = out.in_rank[token * map.ranks + rank];
      out.of_rank[rank] += !goes;
      goes = true;
      out.of_node[node] += counted[node] <= token;
      counted[node] = token + 1;
    }
  return bad;
}

}  // namespace transload
