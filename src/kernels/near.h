// How a kernel cuts an SM's near memory: stages as large as they may be, behind them the tables of the roles.
#pragma once
#include <algorithm>

#include "executor/cuda/rank.h"
#include "layout/rank_map.h"
#include "layout/regions.h"

namespace transload {

// Of a block. A combine of one node has nothing but sums to do: more warps hide the latency of each other.
constexpr uint32_t kWarpsOfBlock = 8, kWarpsOfSums = 8;
constexpr uint32_t kBlockBytesMax = 1024;  // what a block keeps beside its warps' near memory
constexpr uint32_t kNearTablesMax = 6144;  // of a warp: longer ones lie in device memory

// The most that the tables of any role take: one line for each role, in the order of its tables' types.
inline uint32_t table_bytes_of(const RankMap& map) {
  const uint64_t peers = map.peers, nodes = map.nodes, sources = map.sources(), ranks = map.ranks;
  const uint64_t streams = peers * sources, lanes = peers * kDispatchLanes, grants = (32 + 8) * peers + 8 * streams;
  const uint64_t of_role[] = {
      8 * std::max({peers, nodes, sources}),                             // notify, opener, closer
      grants + 3 * 8 * (lanes + nodes),                                  // dispatch sender
      grants + 2 * 8 * sources + 3 * 8 * lanes + (3 * 8 + 4) * sources,  // dispatch forwarder
      4 * 8 * lanes,                                                     // dispatch receiver
      3 * 8 * (streams + ranks),                                         // combine sender
      grants + (3 * 8 + 3 * 8 + 4) * sources + 2 * 8 * streams,          // combine forwarder
      grants + 2 * 8 * (nodes + streams),                                // combine receiver
  };
  constexpr uint64_t kPadding = 16 * 12;  // each table begins on 16 bytes
  return uint32_t(round_up(*std::max_element(std::begin(of_role), std::end(of_role)) + kPadding, kLineBytes));
}

}  // namespace transload
