// How a call opens and closes: cards to every neighbour, grants to peers, and "done with your memory" at the end.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "channel/board.h"
#include "channel/card.h"
#include "layout/token.h"
#include "protocol/warp.h"

namespace transload {

// What every role of a call knows. Rank-local memory of the host; counters are set to 0 before the call's warps start.
struct Call {
  const Board* board;
  Card card;               // mine
  const Card* card_bytes;  // the same, where a copy can read it
  const char* grants;      // [peers][grant_bytes] what I grant each peer, row bases included
  uint64_t grant_bytes;
  Word* arrivals;  // of the warps that touch other ranks' memory
  Word* tickets;   // [Role] the next channel
  uint32_t arrivals_expected;

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
TRANSLOAD_ROLE typename W::Members present(W& w, const Counterpart* others, uint32_t count) {
  return w.where(W::Members::first(int(count)), [&](Lane m) { return others[m].rank != kNobody; });
}

// Neighbours over the network, and where in their network regions my card and its word lie.
struct CardTargets {
  const Counterpart* others;
  uint32_t count;
  const Block* words;
  const Block* cards;
};

template <Warp W>
TRANSLOAD_ROLE void show_card_to(W& w, const Call& call, const CardTargets& to) {
  const Board& b = *call.board;
  const typename W::Members who = present(w, to.others, to.count);
  const typename W::Members mapped = w.where(who, [&](Lane m) { return !b.staged(to.others[m].rank); });
  auto place = [&](Lane m) { return to.cards->at(call.parity(), to.others[m].index); };
  w.copy(mapped, [&](Lane m) {
    return Piece{b.mapped[to.others[m].rank] + place(m), reinterpret_cast<const char*>(call.card_bytes), sizeof(Card)};
  });
  w.put(who, [&](Lane m) { return Put{call.staged_card(), place(m), sizeof(Card), to.others[m].rank, nullptr, 0}; });
  w.publish(who, [&](Lane m) {
    return Mark<RailWord>{{to.words->at(to.others[m].index), to.others[m].rank}, call.epoch()};
  });
}

// My card, where the network reads it: once, before the first put of it, for one may be in flight as soon as it is
// given.
template <Warp W>
TRANSLOAD_ROLE void stage_card(W& w, const Call& call) {
  const Board& b = *call.board;
  auto staged = [&](const Counterpart* others, uint32_t count) {
    return !w.where(present(w, others, count), [&](Lane m) { return b.staged(others[m].rank); }).empty();
  };
  if (!staged(b.rails, b.map.nodes) && !staged(b.sources, b.map.sources())) return;
  w.copy(W::Members::only(0), [&](Lane) {
    return Piece{call.staged_card(), reinterpret_cast<const char*>(call.card_bytes), sizeof(Card)};
  });
}

// My card to peers, rails and the ranks whose rail I am.
template <Warp W>
TRANSLOAD_ROLE void show_cards(W& w, const Call& call) {
  const Board& b = *call.board;
  const typename W::Members peers = W::Members::first(int(b.map.peers));
  stage_card(w, call);
  w.copy(peers, [&](Lane p) {
    return Piece{b.peer[p] + b.up.card.at(call.parity(), b.map.peer), reinterpret_cast<const char*>(call.card_bytes),
                 sizeof(Card)};
  });
  w.publish(peers, [&](Lane p) { return Mark<PeerWord>{b.peer_word(p, b.up.card_word.at(b.map.peer)), call.epoch()}; });
  show_card_to(w, call, CardTargets{b.rails, b.map.nodes, &b.net.source_card_word, &b.net.source_card});
  show_card_to(w, call, CardTargets{b.sources, b.map.sources(), &b.net.rail_card_word, &b.net.rail_card});
}

template <Warp W>
TRANSLOAD_ROLE void compare(W& w, const Card& mine, const Card& other, uint32_t rank) {
  auto same = [&](Broken what, Word expected, Word seen) {
    if (seen != expected && !w.failed()) w.broken(what, rank, seen, expected);
  };
  same(Broken::kOperation, Word(mine.operation), Word(other.operation));
  same(Broken::kHandle, mine.handle, other.handle);
  same(Broken::kRowBytes, mine.row_bytes, other.row_bytes);
  same(Broken::kScaleBytes, mine.scales, other.scales);
  same(Broken::kTopK, mine.top_k, other.top_k);
  same(Broken::kDtype, mine.dtype, other.dtype);
  same(Broken::kChannels, mine.channels, other.channels);
  same(Broken::kWire, mine.wire, other.wire);
  same(Broken::kWeights, mine.weights, other.weights);
}

// Where the cards of one kind of neighbour lie, and their words: in my scale-up region, or in my network region.
struct CardPlace {
  const char* base;
  const Block* words;
  const Block* cards;
};

// Waits for the cards of all neighbours of one kind, as they come, and compares each with mine.
template <Warp W, class Whom>
TRANSLOAD_ROLE void check_cards_of(W& w, const Call& call, typename W::Members open, const CardPlace& at, Whom whom) {
  auto seen = w.template table<Word>(open.span, [](Lane) { return Word(0); });
  while (!open.empty() && !w.failed()) {
    const typename W::Members ready = w.wait_any(
        open,
        [&](Lane m) {
          return Need{reinterpret_cast<const Word*>(at.base + at.words->at(m)), call.epoch(), whom(m), Waiting::kCard};
        },
        seen);
    w.turns(ready, [&](int m) {
      const char* const card = at.base + at.cards->at(call.parity(), m);
      compare(w, call.card, w.peek(reinterpret_cast<const Card*>(card)), whom(m));
      open.remove(m);
    });
  }
}

template <Warp W>
TRANSLOAD_ROLE void check_cards(W& w, const Call& call) {
  const Board& b = *call.board;
  check_cards_of(w, call, W::Members::first(int(b.map.peers)), CardPlace{b.mine(), &b.up.card_word, &b.up.card},
                 [&](int p) { return b.map.mate(p); });
  check_cards_of(w, call, present(w, b.sources, b.map.sources()),
                 CardPlace{b.network, &b.net.source_card_word, &b.net.source_card},
                 [&](int m) { return b.sources[m].rank; });
  check_cards_of(w, call, present(w, b.rails, b.map.nodes),
                 CardPlace{b.network, &b.net.rail_card_word, &b.net.rail_card}, [&](int n) { return b.rails[n].rank; });
}

// What I grant my peers in this call: where to store or read, and where their tokens' rows begin.
template <Warp W>
TRANSLOAD_ROLE void show_grants(W& w, const Call& call) {
  const Board& b = *call.board;
  const typename W::Members peers = W::Members::first(int(b.map.peers));
  w.copy(peers, [&](Lane p) {
    return Piece{b.peer[p] + b.up.grant.at(call.parity(), b.map.peer), call.grants + p * call.grant_bytes,
                 call.grant_bytes};
  });
  w.publish(peers, [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.grant_word.at(b.map.peer)), call.epoch()};
  });
}

// OPENER of a call whose cards have not been shown yet: one warp a rank.
template <Warp W>
TRANSLOAD_ROLE void open_call(W& w, const Call& call) {
  w.enter(Role::kNotify, -1);
  show_cards(w, call);
  show_grants(w, call);
  check_cards(w, call);
  w.settle();
}

// What a peer's grant says, as addresses here.
struct Granted {
  char* rows;  // null: not direct
  char* scales;
  char* tails;
  Word rows_max;
};

// The grants of my peers. A store into a peer, or a load from it, needs its grant of this epoch.
template <Warp W>
class Grants {
 public:
  TRANSLOAD_ROLE Grants(W& w, const Call& call)
      : sources_(call.board->map.sources()),
        granted_(w.template table<Granted>(call.board->map.peers, [](Lane) { return Granted{}; })),
        row_base_(w.template table<Word>(call.board->map.peers * sources_, [](Lane) { return Word(0); })) {
    const Board& b = *call.board;
    const typename W::Members peers = W::Members::first(int(b.map.peers));
    auto seen = w.template table<Word>(call.board->map.peers, [](Lane) { return Word(0); });
    const Word least = call.epoch() - Word(planted<Plants>(Canary::kStaleGrant));
    auto need = [&](Lane p) { return Need{b.my_word(b.up.grant_word.at(p)), least, b.map.mate(p), Waiting::kGrant}; };
    if (waits(call)) w.wait_all(peers, need, seen);
    if (w.failed()) return;
    auto handle = [&](int p) { return w.peek(&call.grant_of(uint32_t(p))->handle); };
    w.turns(w.where(peers, [&](Lane p) { return handle(p) != call.card.handle; }), [&](int p) {
      if (!w.failed()) w.broken(Broken::kHandle, b.map.mate(p), handle(p), call.card.handle);
    });
    if (w.failed()) return;
    w.each(peers, [&](Lane p) {
      const Grant* g = call.grant_of(uint32_t(p.i));
      const Word kept = planted<Plants>(Canary::kOffset32) ? 0xffffffff : ~Word(0);
      char* const base = b.peer[p];
      granted_[p] = {w.peek(&g->direct) != 0 ? base + (w.peek(&g->rows) & kept) : nullptr, base + w.peek(&g->scales),
                     base + w.peek(&g->tails), w.peek(&g->rows_max)};
    });
    all_direct_ = w.where(peers, [&](Lane p) { return granted_[p].rows == nullptr; }).empty();
    w.each(W::Members::first(int(b.map.peers * sources_)), [&](Lane m) {
      row_base_[m] = w.peek(call.grant_of(uint32_t(m.i) / sources_)->row_base() + uint32_t(m.i) % sources_);
    });
  }

  TRANSLOAD_ROLE bool direct(int p) const { return granted_[p].rows != nullptr; }
  TRANSLOAD_ROLE bool all_direct() const { return all_direct_; }
  // The final row, at peer p, of the token with this ordinal from the rank behind one of my source slots.
  TRANSLOAD_ROLE Word row(int p, uint32_t slot, uint32_t ordinal) const {
    return row_base_[p * int(sources_) + int(slot)] + ordinal;
  }
  // False: the peer has no room for this row of its, and nobody touches it.
  TRANSLOAD_ROLE bool keeps(int p, Word row) const {
    return planted<Plants>(Canary::kDropOffByOne) ? row <= granted_[p].rows_max : row < granted_[p].rows_max;
  }
  TRANSLOAD_ROLE char* rows(int p) const { return granted_[p].rows; }
  TRANSLOAD_ROLE char* scales(int p) const { return granted_[p].scales; }
  TRANSLOAD_ROLE char* tails(int p) const { return granted_[p].tails; }

 private:
  using Plants = typename W::Plants;
  TRANSLOAD_ROLE static bool waits(const Call& call) {
    if (planted<Plants>(Canary::kNoGrantWait)) return false;
    return call.card.operation != Operation::kCachedDispatch || !planted<Plants>(Canary::kCachedUnframed);
  }
  uint32_t sources_;
  bool all_direct_ = false;
  typename W::template Table<Granted> granted_;
  typename W::template Table<Word> row_base_;  // [peer][source slot of mine]
};

// The routes of a token, or of an entry of a log. Read one ahead of its use: they come from far.
template <Warp W>
struct Routed {
  uint64_t number;
  typename W::template Per<Route> route;
};
template <Warp W>
TRANSLOAD_ROLE Routed<W> routed_from(W& w, const Route* routes, uint32_t width, uint64_t number, uint64_t end) {
  const Set all = number < end ? Set::first(int(width)) : Set{};
  return {number, w.template per<Route>(all, [&](Lane l) { return routes[number * width + l]; })};
}

// Each warp that touched other ranks' memory ends with this; the last one tells every peer that we are done with it.
template <Warp W>
TRANSLOAD_ROLE void leave(W& w, const Call& call) {
  const Board& b = *call.board;
  if (!w.arrive(call.arrivals, call.arrivals_expected) || w.failed()) return;
  w.publish(W::Members::first(int(b.map.peers)), [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.done_word.at(b.map.peer)), call.epoch()};
  });
  if (planted<typename W::Plants>(Canary::kClearing))
    w.publish(W::Members::first(int(b.map.peers)), [&](Lane p) {
      return Mark<PeerWord>{b.peer_word(p, b.up.grant_word.at(b.map.peer)), 0};
    });
  w.settle();
}

// All peers are done with my memory: what they stored has landed, what they read has been read. First my own warps,
// however long they take: only then may it be said of a peer that it is late.
template <Warp W>
TRANSLOAD_ROLE void wait_for_peers(W& w, const Call& call) {
  const Board& b = *call.board;
  auto seen = w.template table<Word>(b.map.peers, [](Lane) { return Word(0); });
  auto need = [&](Lane p) {
    return Need{b.my_word(b.up.done_word.at(p)), call.epoch(), b.map.mate(p), Waiting::kDone};
  };
  w.wait_all(W::Members::only(int(b.map.peer)), need, seen);
  w.wait_all(W::Members::first(int(b.map.peers)), need, seen);
}

// CLOSER: one warp a rank; the call returns only after it.
template <Warp W>
TRANSLOAD_ROLE void close_call(W& w, const Call& call) {
  w.enter(Role::kCloser, -1);
  if (call.card.operation == Operation::kCombine && planted<typename W::Plants>(Canary::kPullNoExit)) return;
  wait_for_peers(w, call);
}

// Channels are claimed by warps, lowest first, at both ends of a ring: the lowest unfinished one always has a warp at
// each end or soon gets it.
//
// A claim comes from far: a body may ask for the next one, ahead(), when it begins its last token. Not earlier: another
// warp might get to that channel sooner.
template <Warp W>
class Claims {
 public:
  TRANSLOAD_ROLE Claims(W& w, Word* ticket) : w_(w), ticket_(ticket), claimed_(w.claim(ticket)) {}

  TRANSLOAD_ROLE void ahead() {
    if (!asked_) claimed_ = w_.claim(ticket_);
    asked_ = true;
  }
  TRANSLOAD_ROLE Word next() {
    ahead();
    asked_ = false;
    return w_.pick(claimed_, 0);
  }

 private:
  W& w_;
  Word* const ticket_;
  typename W::template Per<Word> claimed_;
  bool asked_ = true;
};

// body(part, claims) for each part that the warp gets: a channel, or where no ring is needed any share of the tokens.
template <Warp W, class Body>
TRANSLOAD_ROLE void each_part(W& w, const Call& call, Role role, uint32_t parts, Body body) {
  Word end = parts;
  if (role == Role::kSender && end > 1 && planted<typename W::Plants>(Canary::kLastChannelEmpty)) --end;
  Claims<W> claims(w, call.tickets + int(role));
  for (Word c = claims.next(); c < end && !w.failed(); c = claims.next()) {
    const bool backwards = role == Role::kSender && planted<typename W::Plants>(Canary::kClaimBackwards);
    const uint32_t part = backwards ? parts - 1 - uint32_t(c) : uint32_t(c);
    w.enter(role, int(part));
    body(part, claims);
  }
}
template <Warp W, class Body>
TRANSLOAD_ROLE void each_channel(W& w, const Call& call, Role role, Body body) {
  each_part(w, call, role, call.channels(), body);
}

// Parts of my tokens for warps that need no ring: smaller than channels, because links are not shared out fairly and
// the last part to end is waited for.
template <Warp W>
TRANSLOAD_ROLE uint32_t parts_of(const Call& call, const Grants<W>& grants, uint64_t tokens) {
  constexpr uint64_t kTokensOfPart = 4;
  const uint64_t shares = call.board->map.nodes == 1 && grants.all_direct() ? tokens / kTokensOfPart : 0;
  return shares > call.channels() ? uint32_t(shares) : call.channels();
}

}  // namespace transload
