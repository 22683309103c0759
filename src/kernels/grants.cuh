// What a rank grants its peers, written on the device: the row bases are known only here.
#pragma once
#include "executor/cuda/members.cuh"
#include "kernels/move.h"

namespace transload {

// By one warp. As GroupCore::write_grants.
TRANSLOAD_DEVICE void write_grants(const Call& call, const DeviceGrant& grant) {
  const RankMap& map = call.board->map;
  for (uint32_t p = 0; p < map.peers; ++p) {
    auto* const to = reinterpret_cast<Grant*>(grant.room + p * call.grant_bytes);
    if (lane_of_thread() == 0)
      *to = {call.epoch(), call.card.handle, grant.direct, grant.rows, grant.scales, grant.tails, grant.rows_max};
    const RankMap theirs = map.as_peer(p);
    for (uint32_t s = uint32_t(lane_of_thread()); s < map.sources(); s += 32) {
      const uint32_t source = theirs.source_rank(s);
      to->row_base()[s] = source == kNobody ? 0 : grant.row_base[source];
    }
  }
  __syncwarp();
}

// Where the card is copied from.
TRANSLOAD_DEVICE void write_card(const Call& call) {
  if (lane_of_thread() == 0) *const_cast<Card*>(call.card_bytes) = call.card;
  __syncwarp();
}

}  // namespace transload
