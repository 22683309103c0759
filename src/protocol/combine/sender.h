// COMBINE SENDER (source push): my experts' rows back along the way each token came.
//
//   reads    my rows, in the order that dispatch gave them
//   writes   combine rings at the peers that sum them: the origin in my node, or the forwarder of the origin's node
//   runs as  any number of warps, which claim channels
//   ends     when every row of the channel is in the queue of moves
//
// It serves a stream for each source rank, so it only ever waits until any of them can move.
#pragma once
#include "base/situations.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/combine/trip.h"

namespace transload {

template <Warp W>
struct CombineSending {
  Outbox<W, PeerLink> rings;
  TableOf<W, Word> next, last, seen;  // [source ranks] its next row, where its rows end, its ring's credit as read
};

TRANSLOAD_HD constexpr uint64_t combine_sender_tables_bytes(const RankMap& map) {
  return outbox_bytes<PeerLink>(uint64_t(map.peers) * map.sources()) + 3 * table_bytes<Word>(map.ranks);
}

// The ring that takes the rows of a source rank: at the peer that brought its tokens, by the slot that it has there.
TRANSLOAD_HD int ring_of_source(const CombineTrip& t, uint32_t rank) {
  const RankMap& map = t.map();
  return t.ring(map.bringer(rank), map.slot_of(rank, map.node));
}

// Sends all rows of a source rank for which its ring has room.
template <Warp W>
TRANSLOAD_WARP void send_rows(W& w, const CombineTrip& t, CombineSending<W>& out, int source) {
  const int ring = ring_of_source(t, uint32_t(source));
  w.each(W::Members::only(source), [&](Lane s) { out.rings.credited_seen(ring) = out.seen[s]; });
  while (w.pick(out.next, source) < w.pick(out.last, source) && out.rings.credited(ring) && !w.failed()) {
    const Word row = w.pick(out.next, source);
    const TokenPieces pieces{t.rows + row * t.row_bytes(), t.row_bytes(), t.row_weights + row * t.weight_bytes(),
                             t.weight_bytes()};
    if (out.rings.wraps(ring)) reached<PlantsOf<W>>(Situation::kRingWrap);
    w.scatter(pieces, Set::only(0), [&](Lane) {
      return Destination{out.rings.next(ring), out.rings.next(ring) + t.row_bytes(), false};
    });
    w.each(W::Members::only(source), [&](Lane s) {
      out.rings.advance(ring);
      ++out.next[s];
    });
    w.publish(W::Members::only(ring), [&](Lane m) { return out.rings.mark(m); });
  }
}

template <Warp W>
TRANSLOAD_WARP void run_combine_sender(W& w, const CombineTrip& t) {
  w.enter(Role::kSender, -1);
  Claims<W> claims(w, t.call, Role::kSender);
  reached<PlantsOf<W>>(Situation::kSourcePush);
  const int ranks = int(t.map().ranks);
  CombineSending<W> out{{w, t.peers()}, zeros<Word>(w, ranks), zeros<Word>(w, ranks), zeros<Word>(w, ranks)};
  const MembersOf<W> rings = W::Members::first(int(t.peers().members()));
  each_share(w, claims, Role::kSender, t.call.channels(), [&](uint32_t channel) {
    out.rings.begin(w, channel, rings);
    w.each(W::Members::first(ranks), [&](Lane s) {
      out.next[s] = t.kept(t.rows_of.at(uint32_t(s.i), channel));
      out.last[s] = t.kept(t.rows_of.at(uint32_t(s.i), channel + 1));
      out.seen[s] = 0;
    });
    // Serves whichever ring has room, until all rows of the channel are out.
    for (;;) {
      const MembersOf<W> live = w.where(W::Members::first(ranks), [&](Lane s) { return out.next[s] < out.last[s]; });
      if (live.empty() || w.failed()) break;
      const MembersOf<W> ready = w.wait_any(
          live, [&](Lane s) { return out.rings.credit_need(ring_of_source(t, uint32_t(s.i))); }, out.seen);
      w.turns(ready, [&](int s) { send_rows(w, t, out, s); });
    }
    out.rings.keep(w, rings);
  });
  leave(w, t.call);
}

}  // namespace transload
