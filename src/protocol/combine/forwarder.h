// COMBINE FORWARDER: one sum for each (token, my node), back to the token's origin on another node.
//
//   reads    the log that its dispatch FORWARDER wrote; rows of my peers, in place (pull) or from combine rings (push)
//   writes   the ring at the rank whose rail I am, which that rank's COMBINE RECEIVER reads
//   runs as  any number of warps, which claim channels
//   ends     when every token of the log is summed and in the queue of moves
//
// It serves several origins, so it only ever waits until any of them can move: each origin's gate is a row that has not
// come, a free slot, or a slot that the network has still to read.
#pragma once
#include "base/situations.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/combine/trip.h"

namespace transload {

template <Warp W>
struct Returning {
  Outbox<W, RailLink> out;
  Inbox<W, PeerLink> rings;
  // For each origin: the next entry of the log, where its entries of the channel end, the word of its gate as read.
  TableOf<W, Word> entry, last, seen;
  TableOf<W, int> gate;    // the ring of rows that the origin waits for, or kGateCredit or kGateDrain
  TableOf<W, Word> begin;  // [1] the origin that is served first, in near memory because registers are few
};
constexpr int kGateCredit = -1, kGateDrain = -2;

TRANSLOAD_HD constexpr uint64_t combine_forwarder_tables_bytes(const RankMap& map) {
  const uint64_t sources = map.sources();
  return outbox_bytes<RailLink>(sources) + inbox_bytes<PeerLink>(map.peers * sources) + 3 * table_bytes<Word>(sources) +
         table_bytes<int>(sources) + table_bytes<Word>(1) + grants_bytes(map);
}

template <Warp W>
TRANSLOAD_WARP Need gate_need(const Returning<W>& r, int origin, int gate) {
  if (gate == kGateCredit) return r.out.credit_need(origin);
  if (gate == kGateDrain) return r.out.drain_need(origin);
  return r.rings.need(gate);
}
template <Warp W>
TRANSLOAD_WARP Word& gate_seen(Returning<W>& r, int origin, int gate) {
  if (gate == kGateCredit) return r.out.credited_seen(origin);
  if (gate == kGateDrain) return r.out.drained_seen(origin);
  return r.rings.seen(gate);
}
template <Warp W>
TRANSLOAD_WARP void set_gate(W& w, Returning<W>& r, int origin, int gate) {
  w.each(W::Members::only(origin), [&](Lane o) {
    r.gate[o] = gate;
    r.seen[o] = gate_seen(r, o, gate);
  });
}

// The first ring whose row has not come, or -1. `pushed`: the owners whose rows come through rings.
template <Warp W>
TRANSLOAD_WARP int missing_row(W& w, const CombineTrip& t, const OwnerRows<W>& rows, Set pushed,
                               const PerOf<W, Route>& route) {
  if (pushed.empty()) return -1;
  Inbox<W, PeerLink>& rings = rows.rings;
  auto ring = [&](Lane l) { return t.ring(route[l].target, rows.slot); };
  const Set unsure = w.where(pushed, [&](Lane l) { return !rings.arrived(ring(l)); });
  if (unsure.empty()) return -1;
  auto seen = per<Word>(w, unsure, [&](Lane l) { return rings.seen(ring(l)); });
  const Set here = w.poll(
      unsure, [&](Lane l) { return rings.need(ring(l)); }, seen);
  w.each(unsure, [&](Lane l) { rings.seen(ring(l)) = seen[l]; });
  int missing = -1;
  w.turns(unsure - here, [&](int l) {
    if (missing < 0) missing = t.ring(w.pick(route, l).target, rows.slot);
  });
  return missing;
}

// The token whose sum is due: its owners, from the log, and where it came from. Lives as long as what it refers to.
template <Warp W>
struct Due {
  const PerOf<W, Route>& route;
  int origin;
};

// Sums the next token of an origin into its slot. False if something is missing, which then is the origin's gate.
template <Warp W>
TRANSLOAD_WARP bool return_token(W& w, const CombineTrip& t, const Grants<W>& grants, Returning<W>& r, Due<W> due) {
  const auto& route = due.route;
  const int origin = due.origin;
  auto shut = [&](int gate) {
    set_gate(w, r, origin, gate);
    return false;
  };

  // The sum needs a slot of the origin's ring that the origin has taken before and the network has read.
  if (!r.out.credited(origin)) return shut(kGateCredit);
  if (!r.out.drained(origin)) return shut(kGateDrain);

  // The sum needs the rows that the token's owners here kept, once all of them have come.
  const uint32_t slot = uint32_t(origin);
  const Set all = Set::first(int(t.log_width));
  const Set owners = w.where(all, [&](Lane l) { return route[l].target != kNoRoute; });
  const OwnerRows<W> rows{grants, r.rings, slot};
  const auto number = per<Word>(w, owners, [&](Lane l) { return rows.number(route[l]); });
  const Set kept = w.where(owners, [&](Lane l) { return rows.kept(route[l], number[l]); });
  const Set pushed = grants.all_reachable() ? Set{} : w.where(kept, [&](Lane l) { return rows.pushed(route[l]); });
  const int missing = missing_row(w, t, rows, pushed, route);
  if (missing >= 0) return shut(missing);
  if (kept.empty()) reached<PlantsOf<W>>(Situation::kAllDropped);
  if (r.out.wraps(origin)) reached<PlantsOf<W>>(Situation::kRingWrap);

  // Sums the rows, and their weights to the place after the rows' sum.
  char* const into = r.out.next(origin);
  const bool staged = r.out.staged(origin);
  w.reduce(into,
           SumShape{.elements = t.elements,
                    .row = Scalar::kBf16,
                    .partial = t.wire,
                    .out = t.wire,
                    .bias = {nullptr, nullptr},
                    .staged = staged},
           Sum{{}, kept, {}}, [&](Lane l) { return rows.row(t, route[l], number[l]); });
  if (t.weights > 0)
    w.reduce(into + t.partial_bytes(),
             SumShape{.elements = t.weights,
                      .row = Scalar::kF32,
                      .partial = Scalar::kF32,
                      .out = Scalar::kF32,
                      .bias = {nullptr, nullptr},
                      .staged = staged},
             Sum{{}, kept, {}}, [&](Lane l) { return rows.weights(t, route[l], number[l]); });

  // Sends the sum to the origin, and gives the rows' slots back to their owners.
  w.put(W::Members::only(origin), [&](Lane o) { return r.out.put(o, t.put_bytes()); });
  w.each(W::Members::only(origin), [&](Lane o) {
    r.out.advance(o);
    ++r.entry[o];
  });
  w.publish(W::Members::only(origin), [&](Lane o) { return r.out.mark(o); });
  if (pushed.empty()) return true;
  w.each(pushed, [&](Lane l) { r.rings.advance(t.ring(route[l].target, slot)); });
  w.credit(pushed, [&](Lane l) { return r.rings.mark(t.ring(route[l].target, slot)); });
  return true;
}

template <Warp W>
TRANSLOAD_WARP void return_channel(W& w, const CombineTrip& t, const Grants<W>& grants, Returning<W>& r,
                                   uint32_t channel) {
  const MembersOf<W> origins = sources_of(w, t.call);
  // Each channel begins with another origin: if all began with the same one, all would send along the same way at
  // first.
  w.each(W::Members::only(0), [&](Lane l) { r.begin[l] = (t.own_slot() + 1 + channel) % t.map().sources(); });
  w.each(origins, [&](Lane o) {
    r.entry[o] = t.forward.at(uint32_t(o.i), channel);
    r.last[o] = t.forward.at(uint32_t(o.i), channel + 1);
    r.gate[o] = kGateCredit;
    r.seen[o] = 0;
  });
  for (;;) {
    const MembersOf<W> live = w.where(origins, [&](Lane o) { return r.entry[o] < r.last[o]; });
    if (live.empty() || w.failed()) return;
    const MembersOf<W> ready = w.wait_any(
        live, [&](Lane o) { return gate_need(r, o, r.gate[o]); }, r.seen);
    auto serve = [&](int o) {
      w.each(W::Members::only(o), [&](Lane l) { learn(gate_seen(r, l, r.gate[l]), r.seen[l]); });
      // Sums tokens until something is missing. The owners of the next token are asked for before each sum.
      const uint64_t end = w.pick(r.last, o);
      auto routed = routed_from(w, t.handle.log, t.log_width, w.pick(r.entry, o), end);
      while (routed.number < end && !w.failed()) {
        const auto next = routed_from(w, t.handle.log, t.log_width, routed.number + 1, end);
        if (!return_token(w, t, grants, r, Due<W>{routed.route, o})) return;
        routed = next;
      }
    };
    for (int pass = 0; pass < 2; ++pass) {
      const Word begin = w.pick(r.begin, 0);
      w.turns(w.where(ready, [&](Lane o) { return (Word(o.i) >= begin) == (pass == 0); }), serve);
    }
  }
}

template <Warp W>
TRANSLOAD_WARP void run_combine_forwarder(W& w, const CombineTrip& t) {
  w.enter(Role::kForwarder, -1);
  Claims<W> claims(w, t.call, Role::kForwarder);
  const int origins = int(t.map().sources());
  Returning<W> r{.out = {w, t.toward_origins()},
                 .rings = {w, t.peers()},
                 .entry = zeros<Word>(w, origins),
                 .last = zeros<Word>(w, origins),
                 .seen = zeros<Word>(w, origins),
                 .gate = table<int>(w, origins, [](Lane) { return kGateCredit; }),
                 .begin = zeros<Word>(w, 1)};
  const MembersOf<W> served = sources_of(w, t.call);
  const Grants<W> grants(w, t.call);
  // Rings of rows for tokens of other nodes: all slots but my own, which the receiver takes.
  const uint32_t streams = t.call.board->up.combine.streams;
  const MembersOf<W> forwarded = w.where(W::Members::first(int(t.peers().members())), [&](Lane m) {
    return uint32_t(m.i) % streams != t.own_slot() && !grants.reachable(int(uint32_t(m.i) / streams));
  });
  each_share(w, claims, Role::kForwarder, t.call.channels(), [&](uint32_t channel) {
    r.out.begin(w, channel, served);
    r.rings.begin(w, channel, forwarded);
    return_channel(w, t, grants, r, channel);
    r.out.keep(w, served);
    r.rings.keep(w, forwarded);
  });
  leave(w, t.call);
}

}  // namespace transload
