// DISPATCH SENDER: my tokens to their owners in my node, and one copy to each other node that has an owner.
//
//   reads    my rows, scales, headers and routes
//   writes   final rows and scales of peers whose landing is direct; dispatch rings of the other peers; the ring at my
//            rail on each node
//   runs as  any number of warps, which claim channels, or smaller shares where no ring is needed
//   ends     when every token of the share is in the queue of moves
//
// It may block on one ring: no forwarder or receiver ever waits for another stream of this sender.
#pragma once
#include "base/situations.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/dispatch/trip.h"

namespace transload {

// Waits until each target of the set can take one more token. `member(lane)` is its number in the outbox.
template <Warp W, class Box, class MemberOf>
TRANSLOAD_WARP void make_room(W& w, Set set, Box& box, MemberOf member) {
  if (set.empty()) return;
  const Set full = w.where(set, [&](Lane l) { return !box.credited(member(l)); });
  if (!full.empty()) {
    auto seen = per<Word>(w, full, [&](Lane l) { return box.credited_seen(member(l)); });
    auto need = [&](Lane l) { return box.credit_need(member(l)); };
    if (w.poll(full, need, seen) != full) {
      reached<PlantsOf<W>>(Situation::kRingFull);
      w.wait_all(full, need, seen);
    }
    w.each(full, [&](Lane l) { box.credited_seen(member(l)) = seen[l]; });
  }
  const Set unread = w.where(set, [&](Lane l) { return !box.drained(member(l)); });
  if (unread.empty()) return;
  auto seen = per<Word>(w, unread, [&](Lane l) { return box.drained_seen(member(l)); });
  auto need = [&](Lane l) { return box.drain_need(member(l)); };
  if (w.poll(unread, need, seen) != unread) {
    reached<PlantsOf<W>>(Situation::kDrainWait);
    w.wait_all(unread, need, seen);
  }
  w.each(unread, [&](Lane l) { box.drained_seen(member(l)) = seen[l]; });
}

template <Warp W>
struct DispatchSending {
  Outbox<W, PeerLink> rings;
  Outbox<W, RailLink> rails;
};

TRANSLOAD_HD constexpr uint64_t dispatch_sender_tables_bytes(const RankMap& map) {
  return outbox_bytes<PeerLink>(uint64_t(map.peers) * kDispatchStreams) + outbox_bytes<RailLink>(map.nodes) +
         grants_bytes(map);
}

TRANSLOAD_HD TokenPieces pieces_at(const DispatchTrip& t, uint64_t token) {
  return {.row = t.x + token * t.shape.row_bytes,
          .row_bytes = t.shape.row_bytes,
          .extra = t.headers + token * t.shape.header_bytes(),
          .extra_bytes = t.shape.header_bytes(),
          .scales = t.x_scales + int64_t(token) * t.x_scale_stride,
          .scale_bytes = t.shape.scale_bytes()};
}

template <Warp W>
TRANSLOAD_WARP void send_token(W& w, const DispatchTrip& t, const Grants<W>& grants, DispatchSending<W>& out,
                               const Routed<W>& routed) {
  const uint32_t peers = t.map().peers, own_slot = t.map().node * t.map().fold;
  const uint64_t token = routed.number;
  const auto& route = routed.route;

  // The token goes to owners in my node that have room for its row, and to other nodes.
  const Set chosen = w.where(Set::first(int(t.width)), [&](Lane l) { return route[l].target != kNoRoute; });
  const bool alone = t.map().nodes == 1;
  const Set near = alone ? chosen : w.where(chosen, [&](Lane l) { return route[l].target < peers; });
  const auto row =
      per<Word>(w, near, [&](Lane l) { return grants.row(int(route[l].target), own_slot, route[l].ordinal); });
  const Set kept = w.where(near, [&](Lane l) { return grants.keeps(int(route[l].target), row[l]); });
  const Set away = chosen - near, to = kept | away;
  const Set ringed =
      grants.all_reachable() ? Set{} : w.where(kept, [&](Lane l) { return !grants.reachable(int(route[l].target)); });
  auto ring = [&](Lane l) { return int(route[l].target * kDispatchStreams + kFromSender); };
  auto node = [&](Lane l) { return int(route[l].target - peers); };

  // Waits for a free slot at each target that takes the token through a ring.
  make_room(w, ringed, out.rings, ring);
  make_room(w, away, out.rails, node);
  if (w.failed() && !planted<PlantsOf<W>>(Canary::kWriteAfterAbort)) return;
  if constexpr (PlantsOf<W>::kLive) {
    const Set wrapping = w.where(away, [&](Lane l) { return out.rails.wraps(node(l)); });
    if (!wrapping.empty()) reached<PlantsOf<W>>(Situation::kRingWrap);
  }

  // Moves the token: one load, and a store to each target.
  w.scatter(pieces_at(t, token), to, [&](Lane l) -> Destination {
    if (!kept.has(l)) return slot_at(t, out.rails.next(node(l)), out.rails.staged(node(l)));
    if (ringed.has(l)) return slot_at(t, out.rings.next(ring(l)), false);
    return final_place(t, grants, route[l], row[l]);
  });

  // Hands the token to the network, and shows the new counts to all who read rings.
  if (!away.empty()) {
    w.put(away, [&](Lane l) { return out.rails.put(node(l), t.shape.bytes()); });
    w.each(away, [&](Lane l) { out.rails.advance(node(l)); });
    w.publish(away, [&](Lane l) { return out.rails.mark(node(l)); });
  }
  if (ringed.empty()) return;
  w.each(ringed, [&](Lane l) { out.rings.advance(ring(l)); });
  w.publish(ringed, [&](Lane l) { return out.rings.mark(ring(l)); });
}

template <Warp W>
TRANSLOAD_WARP void run_dispatch_sender(W& w, const DispatchTrip& t) {
  w.enter(Role::kSender, -1);
  // Slow loads, of claims and tables, start before the first wait, which is for the grants.
  Claims<W> claims(w, t.call, Role::kSender);
  DispatchSending<W> out{{w, t.peers()}, {w, t.toward_nodes()}};
  const MembersOf<W> nodes = rails_of(w, t.call);
  const Grants<W> grants(w, t.call);
  const MembersOf<W> my_rings = members_filled_by(w, t, grants, kFromSender);
  const Shares shares = shares_of(t.call, grants, t.tokens);
  each_share(w, claims, Role::kSender, shares.count(), [&](uint32_t share) {
    out.rings.begin(w, share, my_rings);
    out.rails.begin(w, share, nodes);
    const uint64_t begin = shares.begin(share), end = shares.end(share);
    if (begin == end) reached<PlantsOf<W>>(Situation::kChannelEmpty);
    // Asks for the routes of the next token, and at the last one for the next claim, before it sends one.
    auto routed = routed_from(w, t.handle.routes, t.width, begin, end);
    for (; routed.number < end && !w.failed();) {
      if (routed.number + 1 == end) claims.ahead();
      const auto next = routed_from(w, t.handle.routes, t.width, routed.number + 1, end);
      send_token(w, t, grants, out, routed);
      routed = next;
    }
    out.rings.keep(w, my_rings);
    out.rails.keep(w, nodes);
  });
  leave(w, t.call);
}

}  // namespace transload
