// What every role of a call knows, and its neighbours over the network.
#pragma once
#include <cstdint>

#include "channel/board.h"
#include "channel/card.h"
#include "protocol/warp.h"

namespace transload {

// What every role of a call knows. Rank-local memory; counters are set to 0 before the call's warps start.
struct Call {
  const Board* board;
  Card card;
  const Card* card_bytes;  // the card in memory from which a move can read it
  const char* grants;      // [peers][grant_bytes] what I grant each peer, row bases included
  uint64_t grant_bytes;
  Word* arrivals;  // how many of the warps that touch other ranks' memory have ended; each adds one by arrive()
  Word* claims;    // [Role] the next share; any warp of the role adds to it by claim()
  uint32_t arrivals_expected;

  TRANSLOAD_HD const RankMap& map() const { return board->map; }
  TRANSLOAD_HD Word epoch() const { return card.epoch; }
  TRANSLOAD_HD uint32_t parity() const { return uint32_t(card.epoch % 2); }
  TRANSLOAD_HD uint32_t channels() const { return card.channels; }
  TRANSLOAD_HD char* staged_card() const { return board->network + board->net.card_send.at(parity()); }
  TRANSLOAD_HD const Grant* grant_of(uint32_t p) const {
    return reinterpret_cast<const Grant*>(board->mine() + board->up.grant.at(parity(), p));
  }
};

// The members of an array of counterparts that exist.
template <Warp W>
TRANSLOAD_WARP MembersOf<W> present(W& w, const Counterpart* others, uint32_t count) {
  return w.where(W::Members::first(int(count)), [&](Lane m) { return others[m].rank != kNobody; });
}

// My rails, one to each other node.
template <Warp W>
TRANSLOAD_WARP MembersOf<W> rails_of(W& w, const Call& call) {
  return present(w, call.board->rails, call.map().nodes);
}
// The source slots of the ranks whose rail I am.
template <Warp W>
TRANSLOAD_WARP MembersOf<W> sources_of(W& w, const Call& call) {
  return present(w, call.board->sources, call.map().sources());
}

// The end of a ring learns what a wait has read of its word. It may know more by now, because another wait of this warp
// has read that word too.
TRANSLOAD_HD void learn(Word& known, const Word& read) { known = read > known ? read : known; }

// Bytes of the table of a warp that only waits, for one kind of neighbour at a time (notify, opener, closer).
TRANSLOAD_HD constexpr uint64_t wait_tables_bytes(const RankMap& map) {
  uint32_t most = map.peers > map.nodes ? map.peers : map.nodes;
  if (map.sources() > most) most = map.sources();
  return table_bytes<Word>(most);
}

}  // namespace transload
