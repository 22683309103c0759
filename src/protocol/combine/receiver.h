// COMBINE RECEIVER: the last sum, at the token's origin.
//
//   reads    rows of the owners in my node, in place (pull) or from combine rings (push);
//            one partial sum of each other node, from the rings that COMBINE FORWARDERs fill; biases
//   writes   the caller's result, one row a token, rounded once
//   runs as  any number of warps, which claim channels, or smaller shares where no ring is needed
//   ends     when every token of the share is summed
//
// It takes tokens in order and waits for all rows and partial sums of one: each stream carries tokens in the same
// order, so the parts of the smallest unfinished token are always at the heads of their rings.
#pragma once
#include "base/situations.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/combine/trip.h"

namespace transload {

template <Warp W>
struct Collecting {
  Inbox<W, RailLink> in;
  Inbox<W, PeerLink> rings;
};

TRANSLOAD_HD constexpr uint64_t combine_receiver_tables_bytes(const RankMap& map) {
  return inbox_bytes<RailLink>(map.nodes) + inbox_bytes<PeerLink>(uint64_t(map.peers) * map.sources()) +
         grants_bytes(map);
}

// Waits until each member of the set has a token. `member(lane)` is its number in the inbox.
template <Warp W, class Box, class MemberOf>
TRANSLOAD_WARP void await_tokens(W& w, Set set, Box& box, MemberOf member) {
  if (set.empty()) return;
  const Set missing = w.where(set, [&](Lane l) { return !box.arrived(member(l)); });
  if (missing.empty()) return;
  auto seen = per<Word>(w, missing, [&](Lane l) { return box.seen(member(l)); });
  w.wait_all(
      missing, [&](Lane l) { return box.need(member(l)); }, seen);
  w.each(missing, [&](Lane l) { box.seen(member(l)) = seen[l]; });
}

template <Warp W>
TRANSLOAD_WARP void collect_token(W& w, const CombineTrip& t, const Grants<W>& grants, Collecting<W>& c,
                                  const Routed<W>& routed) {
  const uint32_t peers = t.map().peers, here_node = peers + t.map().node;
  const uint64_t token = routed.number;
  const auto& route = routed.route;
  auto node = [&](Lane l) { return int(route[l].target - peers); };
  auto ring = [&](Lane l) { return t.ring(route[l].target, t.own_slot()); };

  // What is summed: rows that owners in my node kept, and one partial sum of each other node with an owner.
  const Set from = w.where(Set::first(int(t.width)), [&](Lane l) { return route[l].target != kNoRoute; });
  const bool alone = t.map().nodes == 1;
  const Set near = alone ? from : w.where(from, [&](Lane l) { return route[l].target < peers; });
  const Set away = from - near;
  const Set before = alone ? Set{} : w.where(away, [&](Lane l) { return route[l].target < here_node; });
  const OwnerRows<W> rows{grants, c.rings, t.own_slot()};
  const auto number = per<Word>(w, near, [&](Lane l) { return rows.number(route[l]); });
  const Set here = w.where(near, [&](Lane l) { return rows.kept(route[l], number[l]); });
  const Set pushed = grants.all_reachable() ? Set{} : w.where(here, [&](Lane l) { return rows.pushed(route[l]); });

  // Waits until all these rows and partial sums have come.
  await_tokens(w, away, c.in, node);
  await_tokens(w, pushed, c.rings, ring);
  if (w.failed()) return;

  // Sums the parts, and their weights, in the order of nodes: lower ones, mine, higher ones.
  const Sum sum{before, here, away - before};
  char* const out = t.out + t.place_of(token) * t.row_bytes();
  auto bias = [&](int i) { return t.bias[i] ? t.bias[i] + token * t.row_bytes() : nullptr; };
  auto row = [&](Lane l) { return here.has(l) ? rows.row(t, route[l], number[l]) : c.in.first(node(l)); };
  const SumShape shape{.elements = t.elements,
                       .row = Scalar::kBf16,
                       .partial = t.wire,
                       .out = Scalar::kBf16,
                       .bias = {bias(0), bias(1)},
                       .staged = false};
  w.reduce(out, shape, sum, row);
  if (t.weights > 0)
    w.reduce(t.out_weights + t.place_of(token) * t.weight_bytes(),
             SumShape{.elements = t.weights,
                      .row = Scalar::kF32,
                      .partial = Scalar::kF32,
                      .out = Scalar::kF32,
                      .bias = {nullptr, nullptr},
                      .staged = false},
             sum, [&](Lane l) {
               return here.has(l) ? rows.weights(t, route[l], number[l]) : c.in.first(node(l)) + t.partial_bytes();
             });

  // Gives the slots back to the ranks that filled them.
  if (!away.empty()) {
    w.each(away, [&](Lane l) { c.in.advance(node(l)); });
    w.credit(away, [&](Lane l) { return c.in.mark(node(l)); });
  }
  if (pushed.empty()) return;
  w.each(pushed, [&](Lane l) { c.rings.advance(ring(l)); });
  w.credit(pushed, [&](Lane l) { return c.rings.mark(ring(l)); });
}

template <Warp W>
TRANSLOAD_WARP void run_combine_receiver(W& w, const CombineTrip& t) {
  w.enter(Role::kReceiver, -1);
  Claims<W> claims(w, t.call, Role::kReceiver);
  Collecting<W> c{{w, t.from_nodes()}, {w, t.peers()}};
  const MembersOf<W> nodes = rails_of(w, t.call);
  const Grants<W> grants(w, t.call);
  const uint32_t streams = t.call.board->up.combine.streams;
  const MembersOf<W> own = w.where(W::Members::first(int(t.peers().members())), [&](Lane m) {
    return uint32_t(m.i) % streams == t.own_slot() && !grants.reachable(int(uint32_t(m.i) / streams));
  });
  const Shares shares = shares_of(t.call, grants, t.tokens);
  each_share(w, claims, Role::kReceiver, shares.count(), [&](uint32_t share) {
    c.in.begin(w, share, nodes);
    c.rings.begin(w, share, own);
    const uint64_t end = shares.end(share);
    auto routed = routed_from(w, t.handle.routes, t.width, shares.begin(share), end);
    for (; routed.number < end && !w.failed();) {
      if (routed.number + 1 == end) claims.ahead();
      const auto next = routed_from(w, t.handle.routes, t.width, routed.number + 1, end);
      collect_token(w, t, grants, c, routed);
      routed = next;
    }
    c.in.keep(w, nodes);
    c.rings.keep(w, own);
  });
  leave(w, t.call);
}

}  // namespace transload
