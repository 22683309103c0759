// NOTIFY: counts to everyone, before any row moves. It is one warp a rank, or one for counts and one for cards, which
// do not need each other.
//
//   reads    my counts, as the layout wrote them; NodeCounts of the ranks whose rail I am
//   writes   cards; Counts at each peer of my node, NodeCounts at my rail on each other node;
//            and onward, for each source whose rail I am, its Counts at each peer
//   ends     when the counts of every rank for me lie in my mailbox, and every neighbour's card matches mine
//
// Mailboxes are double, by the parity of `use`: nobody begins notify n + 1 without counts of all ranks for n, and each
// of those was sent after its sender had finished n - 1.
#pragma once
#include "protocol/call/cards.h"

namespace transload {

struct NotifyTrip {
  Call call;
  Word use;              // which notify this is, from 1
  const char* to_peers;  // [peers][counts_bytes]
  const char* to_nodes;  // [nodes][node_counts_bytes]
  uint32_t channels_max;

  TRANSLOAD_HD uint32_t parity() const { return uint32_t(use % 2); }
};

template <Warp W>
TRANSLOAD_WARP void send_counts_to_peers(W& w, const NotifyTrip& t) {
  const Board& b = *t.call.board;
  const Geometry& g = b.geometry;
  w.copy(W::Members::first(int(b.map.peers)), [&](Lane p) {
    return Piece{b.peer[p] + b.up.counts.at(t.parity(), b.map.me), t.to_peers + p * g.counts_bytes(), g.counts_bytes()};
  });
}

template <Warp W>
TRANSLOAD_WARP void send_counts_along_rails(W& w, const NotifyTrip& t) {
  const Board& b = *t.call.board;
  const Geometry& g = b.geometry;
  const MembersOf<W> rails = rails_of(w, t.call);
  auto place = [&](Lane n) { return b.net.counts.at(t.parity(), b.rails[n].index); };
  auto staged = [&](Lane n) { return b.net.counts_send.at(t.parity(), n); };
  w.copy(rails, [&](Lane n) {
    return Piece{b.toward(b.rails[n].rank, staged(n), place(n)), t.to_nodes + n * g.node_counts_bytes(),
                 g.node_counts_bytes()};
  });
  w.put(rails, [&](Lane n) {
    return Put{.from = b.network + staged(n),
               .offset = place(n),
               .bytes = g.node_counts_bytes(),
               .rank = b.rails[n].rank,
               .drained = nullptr,
               .drained_count = 0};
  });
  w.publish(rails, [&](Lane n) {
    return Mark<RailWord>{b.rail_word(b.rails[n].rank, b.net.counts_word.at(b.rails[n].index)), t.use};
  });
}

// Hands each peer its part of what the ranks whose rail I am counted, as it comes in.
template <Warp W>
TRANSLOAD_WARP void forward_counts(W& w, const NotifyTrip& t) {
  const Board& b = *t.call.board;
  const Geometry& g = b.geometry;
  auto open = sources_of(w, t.call);
  auto seen = zeros<Word>(w, open.span);
  while (!open.empty() && !w.failed()) {
    const MembersOf<W> ready = w.wait_any(
        open,
        [&](Lane m) {
          return Need{b.my_net_word(b.net.counts_word.at(m)), t.use, b.sources[m].rank, Waiting::kCounts};
        },
        seen);
    w.turns(ready, [&](int m) {
      const char* from = b.network + b.net.counts.at(t.parity(), m);
      w.copy(W::Members::first(int(b.map.peers)), [&](Lane p) {
        return Piece{b.peer[p] + b.up.counts.at(t.parity(), b.sources[m].rank),
                     from + g.counts().of_peer(uint32_t(p.i)), g.counts_bytes()};
      });
      open.remove(m);
    });
  }
}

// Ends when the counts of every rank for me lie in my mailbox.
template <Warp W>
TRANSLOAD_WARP void exchange_counts(W& w, const NotifyTrip& t) {
  const Board& b = *t.call.board;
  send_counts_to_peers(w, t);
  if (b.map.nodes > 1) {
    send_counts_along_rails(w, t);
    forward_counts(w, t);
  }
  w.publish(W::Members::first(int(b.map.peers)), [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.counts_word.at(b.map.peer)), t.use};
  });
  auto seen = zeros<Word>(w, b.map.peers);
  w.wait_all(
      W::Members::first(int(b.map.peers)),
      [&](Lane p) {
        return Need{b.my_word(b.up.counts_word.at(p)), t.use, b.map.peer_rank(p), Waiting::kCounts};
      },
      seen);
}

template <Warp W>
TRANSLOAD_WARP void run_notify(W& w, const NotifyTrip& t) {
  w.enter(Role::kOpener, -1);
  show_cards(w, t.call);
  exchange_counts(w, t);
  check_cards(w, t.call);
  w.settle();
}

}  // namespace transload
