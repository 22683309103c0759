// What a rank grants its peers, written on the device: the row bases are known only here.
#pragma once
#include "executor/cuda/members.cuh"
#include "executor/cuda/order.cuh"
#include "kernels/role_kernels.h"
#include "protocol/call/grants.h"

namespace transload {

// One warp calls it. It does what HostCalls::write_grants does on a host.
TRANSLOAD_DEVICE void write_grants(const Call& call, const DeviceGrants& grants) {
  const RankMap& map = call.board->map;
  const uint32_t sources = map.sources();
  auto to_peer = [&](uint32_t p) { return reinterpret_cast<Grant*>(grants.room + p * call.grant_bytes); };
  for (uint32_t i = uint32_t(lane_of_thread()); i < map.peers * sources; i += 32) {
    const uint32_t source = map.as_peer(i / sources).source_rank(i % sources);
    to_peer(i / sources)->row_base()[i % sources] = source == kNobody ? 0 : grants.row_base[source];
  }
  for (uint32_t p = uint32_t(lane_of_thread()); p < map.peers; p += 32)
    *to_peer(p) = grants.offer.grant(call.epoch(), call.card.digest());
  __syncwarp();
}

// GRANTER. A rank that has given up grants nothing: the kernels before this one may have left its handle half made, or
// have seen that its neighbours call something else, and once there are grants, rows would move all the same.
template <class W>
TRANSLOAD_DEVICE void give_grants(W& w, const Call& call, const DeviceGrants& grants, const Word* gave_up) {
  const Word failed = glanced_here(gave_up);  // the read is under way while the grants are written
  write_grants(call, grants);
  if (__all_sync(kAllLanes, failed == 0)) grant_call(w, call);
}

// Writes the card to the place from which it is copied to neighbours.
TRANSLOAD_DEVICE void write_card(const Call& call) {
  if (lane_of_thread() == 0) *const_cast<Card*>(call.card_bytes) = call.card;
  __syncwarp();
}

}  // namespace transload
