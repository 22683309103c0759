// How a call closes: each rank tells its peers that it is done with their memory, and waits until they are done with
// its own.
#pragma once
#include "base/canary.h"
#include "protocol/call.h"

namespace transload {

// Each warp that touched other ranks' memory ends with this. The last one tells every peer that this rank is done.
template <Warp W>
TRANSLOAD_WARP void leave(W& w, const Call& call) {
  const Board& b = *call.board;
  if (!w.arrive(call.arrivals, call.arrivals_expected) || w.failed()) return;
  w.publish(W::Members::first(int(b.map.peers)), [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.done_word.at(b.map.peer)), call.epoch()};
  });
  w.settle();
}

// Returns when all peers are done with my memory: what they stored has landed, what they read has been read. It waits
// for my own warps first, however long they take, because only then may a peer be called late.
template <Warp W>
TRANSLOAD_WARP void wait_for_peers(W& w, const Call& call) {
  const Board& b = *call.board;
  auto seen = zeros<Word>(w, b.map.peers);
  auto need = [&](Lane p) {
    return Need{b.my_word(b.up.done_word.at(p)), call.epoch(), b.map.peer_rank(p), Waiting::kDone};
  };
  w.wait_all(W::Members::only(int(b.map.peer)), need, seen);
  w.wait_all(W::Members::first(int(b.map.peers)), need, seen);
}

// CLOSER: one warp a rank; the call returns only after it.
template <Warp W>
TRANSLOAD_WARP void close_call(W& w, const Call& call) {
  w.enter(Role::kCloser, -1);
  if (call.card.operation == Operation::kCombine && planted<PlantsOf<W>>(Canary::kPullNoExit)) return;
  wait_for_peers(w, call);
}

}  // namespace transload
