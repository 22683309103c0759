// How a kernel cuts an SM's near memory: stages as large as they may be, behind them the tables of the roles.
#pragma once
#include <algorithm>

#include "executor/cuda/rank.h"
#include "layout/rank_map.h"
#include "layout/regions.h"

namespace transload {

constexpr uint32_t kWarpsOfBlock = 8;
constexpr uint32_t kBlockBytesMax = 1024;  // what a block keeps beside its warps' near memory
constexpr uint32_t kNearTablesMax = 6144;  // of a warp: longer ones lie in device memory

// The most that the tables of any role take: one line for each role, in the order of its tables' types.
inline uint32_t table_bytes_of(const RankMap& map) {
  const uint64_t peers = map.peers, nodes = map.nodes, sources = map.sources(), ranks = map.ranks;
  const uint64_t streams = peers * sources, lanes = peers * kDispatchLanes, grants = (40 + 8) * peers + 8 * streams;
  constexpr uint64_t kRail = 16 + 4, kPeer = 16 + 4;  // the far end of a ring, and a slot of it
  const uint64_t of_role[] = {
      8 * std::max({peers, nodes, sources}),                                          // notify, opener, closer
      grants + (3 * 8 + kPeer) * lanes + (3 * 8 + kRail) * nodes,                     // dispatch sender
      grants + (2 * 8 + kRail + 3 * 8 + 4 + 24) * sources + (3 * 8 + kPeer) * lanes,  // dispatch forwarder
      (4 * 8 + kPeer) * lanes,                                                        // dispatch receiver
      (3 * 8 + kPeer) * streams + 3 * 8 * ranks,                                      // combine sender
      grants + (3 * 8 + kRail + 3 * 8 + 4) * sources + (2 * 8 + kPeer) * streams,     // combine forwarder
      grants + (2 * 8 + kRail) * nodes + (2 * 8 + kPeer) * streams,                   // combine receiver
  };
  constexpr uint64_t kPadding = 16 * 20;  // each table begins on 16 bytes
  return uint32_t(round_up(*std::max_element(std::begin(of_role), std::end(of_role)) + kPadding, kLineBytes));
}

}  // namespace transload
