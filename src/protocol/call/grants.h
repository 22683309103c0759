// Grants: what peers may touch of my memory, and what I may touch of theirs.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "base/check.h"
#include "layout/token.h"
#include "protocol/call.h"

namespace transload {

// Sends my grants: where each peer stores or reads in this call, and where the rows of its tokens begin.
template <Warp W>
TRANSLOAD_WARP void show_grants(W& w, const Call& call) {
  const Board& b = *call.board;
  const MembersOf<W> peers = W::Members::first(int(b.map.peers));
  TRANSLOAD_CHECK(call.grants != nullptr && call.grant_bytes == sizeof(Grant) + 8 * uint64_t(b.map.sources()));
  w.copy(peers, [&](Lane p) {
    return Piece{b.peer[p] + b.up.grant.at(call.parity(), b.map.peer), call.grants + p * call.grant_bytes,
                 call.grant_bytes};
  });
  w.publish(peers, [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.grant_word.at(b.map.peer)), call.epoch()};
  });
}

// GRANTER: one warp a rank. Every warp that touches other ranks' memory waits for grants, so a rank gives its own
// before it does anything else.
template <Warp W>
TRANSLOAD_WARP void grant_call(W& w, const Call& call) {
  w.enter(Role::kOpener, -1);
  show_grants(w, call);
  w.settle();
}

// What a peer's grant says, as addresses here.
struct Granted {
  char* rows;  // null: not reachable
  char* scales;
  char* headers_or_weights;
  Word rows_max;
  Word card;  // digest of the granter's card
};

// Bytes of the tables of Grants, with the words that it waits for.
TRANSLOAD_HD constexpr uint64_t grants_bytes(const RankMap& map) {
  const uint64_t peers = map.peers;
  return table_bytes<Granted>(peers) + table_bytes<Word>(peers * map.sources()) + table_bytes<Word>(peers);
}

// The grants of my peers. A store into a peer, or a load from it, needs its grant of this epoch.
template <Warp W>
class Grants {
 public:
  TRANSLOAD_WARP Grants(W& w, const Call& call)
      : sources_(call.map().sources()),
        granted_(table<Granted>(w, call.map().peers, [](Lane) { return Granted{}; })),
        row_base_(zeros<Word>(w, call.map().peers * sources_)) {
    const Board& b = *call.board;
    const MembersOf<W> peers = W::Members::first(int(b.map.peers));
    auto seen = zeros<Word>(w, call.map().peers);
    const Word least = call.epoch() - Word(planted<Plants>(Canary::kStaleGrant));
    auto need = [&](Lane p) {
      return Need{b.my_word(b.up.grant_word.at(p)), least, b.map.peer_rank(p), Waiting::kGrant};
    };
    if (!planted<Plants>(Canary::kNoGrantWait)) w.wait_all(peers, need, seen);
    if (w.failed()) return;
    // All grants are asked for before any of them is used, because these loads are remote.
    w.each(W::Members::first(int(b.map.peers * sources_)), [&](Lane m) {
      const uint32_t p = uint32_t(m.i) / sources_;
      const Grant* const g = call.grant_of(p);
      const Word base = w.peek(g->row_base() + uint32_t(m.i) % sources_);
      if (uint32_t(m.i) % sources_ == 0) granted_[int(p)] = granted(w, *g, b.peer[p]);
      row_base_[m] = base;
    });
    // A grant with another digest belongs to another call and must stay unused. The warp waits until the opener, which
    // compares cards, has reported in what the calls differ.
    const Word mine = call.card.digest();
    const MembersOf<W> others = w.where(peers, [&](Lane p) { return granted_[p].card != mine; });
    auto never = [&](Lane p) {
      return Need{b.my_word(b.up.card_word.at(p)), ~Word(0), b.map.peer_rank(p), Waiting::kCard};
    };
    if (!others.empty()) w.wait_all(others, never, seen);
    if constexpr (W::kChecksGrants) w.turns(peers, [&](int p) { check_bounds(w, call, p); });
    all_reachable_ = w.where(peers, [&](Lane p) { return granted_[p].rows == nullptr; }).empty();
  }

  TRANSLOAD_WARP bool reachable(int p) const { return granted_[p].rows != nullptr; }
  TRANSLOAD_WARP bool all_reachable() const { return all_reachable_; }
  // The final row, at peer p, of the token with this ordinal from the rank of one of my source slots.
  TRANSLOAD_WARP Word row(int p, uint32_t slot, uint32_t ordinal) const {
    TRANSLOAD_CHECK(slot < sources_);
    return row_base_[p * int(sources_) + int(slot)] + ordinal;
  }
  // False if the peer has no room for this row of its output, and then nobody touches it.
  TRANSLOAD_WARP bool keeps(int p, Word row) const {
    return planted<Plants>(Canary::kDropOffByOne) ? row <= granted_[p].rows_max : row < granted_[p].rows_max;
  }
  // Where the rows of a peer that is reachable lie, their scales, and their headers or weights.
  TRANSLOAD_WARP char* rows(int p) const { return granted_[p].rows; }
  TRANSLOAD_WARP char* scales(int p) const { return granted_[p].scales; }
  TRANSLOAD_WARP char* headers_or_weights(int p) const { return granted_[p].headers_or_weights; }

 private:
  using Plants = PlantsOf<W>;
  // No grant may lead beyond the memory of its peer, because memory of this process may lie right after it.
  TRANSLOAD_WARP void check_bounds(W& w, const Call& call, int p) {
    const Board& b = *call.board;
    const Granted& g = granted_[p];
    if (b.peer_bytes == nullptr || g.rows == nullptr || w.failed()) return;
    const Card& card = call.card;
    const bool combine = card.operation == Operation::kCombine, listed = card.operation == Operation::kDispatch;
    const TokenShape shape{card.row_bytes, card.scales, card.top_k, listed};
    Word room = g.rows_max;
    auto limit = [&](const char* at, uint64_t row_bytes) {
      const uint64_t offset = uint64_t(at - b.peer[p]), bytes = b.peer_bytes[p];
      const uint64_t rows = offset > bytes ? 0 : row_bytes == 0 ? room : (bytes - offset) / row_bytes;
      room = rows < room ? rows : room;
    };
    limit(g.rows, card.row_bytes);
    if (combine) {
      limit(g.headers_or_weights, uint64_t(card.weights) * 4);
    } else {
      limit(g.scales, shape.scale_bytes());
      limit(g.headers_or_weights, listed ? shape.header_bytes() : 0);
    }
    if (room < g.rows_max) w.broken(Broken::kGrant, b.map.peer_rank(uint32_t(p)), g.rows_max, room);
  }
  TRANSLOAD_WARP static Granted granted(W& w, const Grant& g, char* base) {
    const Word reachable = w.peek(&g.reachable), rows = w.peek(&g.rows), scales = w.peek(&g.scales),
               headers = w.peek(&g.headers_or_weights), rows_max = w.peek(&g.rows_max), card = w.peek(&g.card);
    // Nobody has looked at these words yet: a wrong one must not be added to a pointer.
    const auto at = [&](Word offset) { return reinterpret_cast<char*>(uintptr_t(base) + offset); };
    return {.rows = reachable != 0 ? at(rows) : nullptr,
            .scales = at(scales),
            .headers_or_weights = at(headers),
            .rows_max = rows_max,
            .card = card};
  }
  uint32_t sources_;
  bool all_reachable_ = false;
  TableOf<W, Granted> granted_;
  TableOf<W, Word> row_base_;  // [peer][source slot of mine]
};

}  // namespace transload
