// How a call opens and closes: grants to peers, cards to every neighbour, and "done with your memory" at the end. And
// how its warps share out what they move.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "base/check.h"
#include "channel/board.h"
#include "channel/card.h"
#include "layout/channels.h"
#include "layout/token.h"
#include "protocol/warp.h"

namespace transload {

// What every role of a call knows. Rank-local memory; counters are set to 0 before the call's warps start.
struct Call {
  const Board* board;
  Card card;               // mine
  const Card* card_bytes;  // the same, where a copy can read it
  const char* grants;      // [peers][grant_bytes] what I grant each peer, row bases included
  uint64_t grant_bytes;
  Word* arrivals;  // of the warps that touch other ranks' memory
  Word* claims;    // [Role] the next share
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

// My rails, one to each other node; and the ranks whose rail I am.
template <Warp W>
TRANSLOAD_WARP MembersOf<W> rails_of(W& w, const Call& call) {
  return present(w, call.board->rails, call.map().nodes);
}
template <Warp W>
TRANSLOAD_WARP MembersOf<W> sources_of(W& w, const Call& call) {
  return present(w, call.board->sources, call.map().sources());
}

// Neighbours over the network, and where in their network regions my card and its word lie.
struct CardTargets {
  const Counterpart* others;
  uint32_t count;
  const Block* words;
  const Block* cards;
};

template <Warp W>
TRANSLOAD_WARP void show_card_to(W& w, const Call& call, const CardTargets& to) {
  const Board& b = *call.board;
  const MembersOf<W> who = present(w, to.others, to.count);
  const MembersOf<W> mapped = w.where(who, [&](Lane m) { return !b.staged(to.others[m].rank); });
  auto place = [&](Lane m) { return to.cards->at(call.parity(), to.others[m].index); };
  w.copy(mapped, [&](Lane m) {
    return Piece{b.mapped[to.others[m].rank] + place(m), reinterpret_cast<const char*>(call.card_bytes), sizeof(Card)};
  });
  w.put(who, [&](Lane m) {
    return Put{.from = call.staged_card(),
               .offset = place(m),
               .bytes = sizeof(Card),
               .rank = to.others[m].rank,
               .drained = nullptr,
               .drained_count = 0};
  });
  w.publish(who, [&](Lane m) {
    return Mark<RailWord>{b.rail_word(to.others[m].rank, to.words->at(to.others[m].index)), call.epoch()};
  });
}

// Writes my card where the network reads it. This is done once, before the first put of it, because the network may
// read it from then on. Nobody waits for it to be read: two halves are enough, as contract.md says of rails.
template <Warp W>
TRANSLOAD_WARP void stage_card(W& w, const Call& call) {
  const Board& b = *call.board;
  if (b.map.nodes == 1) return;
  auto staged = [&](const Counterpart* others, const MembersOf<W>& who) {
    return !w.where(who, [&](Lane m) { return b.staged(others[m].rank); }).empty();
  };
  if (!staged(b.rails, rails_of(w, call)) && !staged(b.sources, sources_of(w, call))) return;
  w.copy(W::Members::only(0), [&](Lane) {
    return Piece{call.staged_card(), reinterpret_cast<const char*>(call.card_bytes), sizeof(Card)};
  });
}

// Sends my card to peers, rails and the ranks whose rail I am.
template <Warp W>
TRANSLOAD_WARP void show_cards(W& w, const Call& call) {
  const Board& b = *call.board;
  const MembersOf<W> peers = W::Members::first(int(b.map.peers));
  stage_card(w, call);
  w.copy(peers, [&](Lane p) {
    return Piece{b.peer[p] + b.up.card.at(call.parity(), b.map.peer), reinterpret_cast<const char*>(call.card_bytes),
                 sizeof(Card)};
  });
  w.publish(peers, [&](Lane p) { return Mark<PeerWord>{b.peer_word(p, b.up.card_word.at(b.map.peer)), call.epoch()}; });
  if (b.map.nodes == 1) return;
  show_card_to(w, call, CardTargets{b.rails, b.map.nodes, &b.net.source_card_word, &b.net.source_card});
  show_card_to(w, call, CardTargets{b.sources, b.map.sources(), &b.net.rail_card_word, &b.net.rail_card});
}

// A field that cards must have in common: its name, my value, and another rank's.
struct Alike {
  Broken what;
  Word expected, seen;
};
constexpr int kAlike = 9;
TRANSLOAD_HD Alike alike(const Card& mine, const Card& other, int i) {
  switch (i) {
    case 0:
      return {Broken::kOperation, Word(mine.operation), Word(other.operation)};
    case 1:
      return {Broken::kHandle, mine.handle, other.handle};
    case 2:
      return {Broken::kRowBytes, mine.row_bytes, other.row_bytes};
    case 3:
      return {Broken::kScaleBytes, mine.scales, other.scales};
    case 4:
      return {Broken::kTopK, mine.top_k, other.top_k};
    case 5:
      return {Broken::kDtype, mine.dtype, other.dtype};
    case 6:
      return {Broken::kChannels, mine.channels, other.channels};
    case 7:
      return {Broken::kWire, mine.wire, other.wire};
    default:
      return {Broken::kWeights, mine.weights, other.weights};
  }
}

template <Warp W>
TRANSLOAD_WARP void compare(W& w, const Card& mine, const Card* other, uint32_t rank) {
  const Card seen = w.peek(other);
  const int count = mine.refused + seen.refused == 0 ? kAlike : 1;  // else the call at least must be the same
  TRANSLOAD_ROLLED
  for (int i = 0; i < count && !w.failed(); ++i) {
    const Alike a = alike(mine, seen, i);
    if (a.seen != a.expected) w.broken(a.what, rank, a.seen, a.expected);
  }
}

// Where the cards of one kind of neighbour lie, and their words: in my scale-up region, or in my network region.
struct CardPlace {
  const char* base;
  const Block* words;
  const Block* cards;
  const Counterpart* others;  // null: my peers
  uint32_t count;
};
TRANSLOAD_HD CardPlace cards_of(const Board& b, int kind) {
  if (kind == 0)
    return {.base = b.mine(), .words = &b.up.card_word, .cards = &b.up.card, .others = nullptr, .count = b.map.peers};
  if (kind == 1)
    return {.base = b.network,
            .words = &b.net.source_card_word,
            .cards = &b.net.source_card,
            .others = b.sources,
            .count = b.map.sources()};
  return {.base = b.network,
          .words = &b.net.rail_card_word,
          .cards = &b.net.rail_card,
          .others = b.rails,
          .count = b.map.nodes};
}

// Waits for the cards of all neighbours of one kind, as they come, and compares each with mine.
template <Warp W>
TRANSLOAD_WARP void check_cards_of(W& w, const Call& call, const CardPlace& at) {
  auto whom = [&](int m) { return at.others == nullptr ? call.map().mate(uint32_t(m)) : at.others[m].rank; };
  auto card = [&](int m) { return reinterpret_cast<const Card*>(at.base + at.cards->at(call.parity(), uint32_t(m))); };
  MembersOf<W> open = w.where(W::Members::first(int(at.count)), [&](Lane m) { return whom(m) != kNobody; });
  auto seen = zeros<Word>(w, open.span);
  while (!open.empty() && !w.failed()) {
    const MembersOf<W> ready = w.wait_any(
        open,
        [&](Lane m) {
          return Need{reinterpret_cast<const Word*>(at.base + at.words->at(uint32_t(m.i))), call.epoch(), whom(m),
                      Waiting::kCard};
        },
        seen);
    w.turns(ready, [&](int m) {
      compare(w, call.card, card(m), whom(m));
      open.remove(m);
    });
  }
}

// Checks the card of one source slot, by any warp: it takes no table.
template <Warp W>
TRANSLOAD_WARP void check_card_of_source(W& w, const Call& call, int slot) {
  const Board& b = *call.board;
  const uint32_t rank = b.sources[slot].rank;
  auto seen = per<Word>(w, Set::only(0), [](Lane) { return Word(0); });
  w.wait_all(
      Set::only(0),
      [&](Lane) {
        return Need{b.my_net_word(b.net.source_card_word.at(uint32_t(slot))), call.epoch(), rank, Waiting::kCard};
      },
      seen);
  if (w.failed()) return;
  const char* const card = b.network + b.net.source_card.at(call.parity(), uint32_t(slot));
  compare(w, call.card, reinterpret_cast<const Card*>(card), rank);
}

template <Warp W>
TRANSLOAD_WARP void check_cards(W& w, const Call& call) {
  const int kinds = call.map().nodes == 1 ? 1 : 3;
  TRANSLOAD_ROLLED
  for (int kind = 0; kind < kinds; ++kind) check_cards_of(w, call, cards_of(*call.board, kind));
}

// Sends my grants: where each peer stores or reads in this call, and where the rows of its tokens begin.
template <Warp W>
TRANSLOAD_WARP void show_grants(W& w, const Call& call) {
  const Board& b = *call.board;
  const MembersOf<W> peers = W::Members::first(int(b.map.peers));
  w.copy(peers, [&](Lane p) {
    return Piece{b.peer[p] + b.up.grant.at(call.parity(), b.map.peer), call.grants + p * call.grant_bytes,
                 call.grant_bytes};
  });
  w.publish(peers, [&](Lane p) {
    return Mark<PeerWord>{b.peer_word(p, b.up.grant_word.at(b.map.peer)), call.epoch()};
  });
}

// GRANTER: one warp a rank. Every warp that touches other ranks' memory waits for it, so nothing comes before it.
template <Warp W>
TRANSLOAD_WARP void grant_call(W& w, const Call& call) {
  w.enter(Role::kOpener, -1);
  show_grants(w, call);
  w.settle();
}

// OPENER of a call whose cards have not been shown yet: one warp a rank, the granter or another.
template <Warp W>
TRANSLOAD_WARP void open_call(W& w, const Call& call) {
  w.enter(Role::kOpener, -1);
  show_cards(w, call);
  w.settle();  // mine is seen even if the first card that I look at is wrong
  check_cards(w, call);
}

// What a peer's grant says, as addresses here.
struct Granted {
  char* rows;  // null: not reachable
  char* scales;
  char* headers_or_weights;
  Word rows_max;
  Word card;  // digest of the granter's
};

// Bytes of the tables of Grants, with the words that it waits for.
TRANSLOAD_HD constexpr uint64_t grants_bytes(const RankMap& map) {
  const uint64_t peers = map.peers;
  return table_bytes<Granted>(peers) + table_bytes<Word>(peers * map.sources()) + table_bytes<Word>(peers);
}
// Bytes of the table of a warp that only waits, for one kind of neighbour at a time (notify, opener, closer).
TRANSLOAD_HD constexpr uint64_t wait_tables_bytes(const RankMap& map) {
  uint32_t most = map.peers > map.nodes ? map.peers : map.nodes;
  if (map.sources() > most) most = map.sources();
  return table_bytes<Word>(most);
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
    auto need = [&](Lane p) { return Need{b.my_word(b.up.grant_word.at(p)), least, b.map.mate(p), Waiting::kGrant}; };
    if (!planted<Plants>(Canary::kNoGrantWait)) w.wait_all(peers, need, seen);
    if (w.failed()) return;
    // All of it is asked for before any of it is used, because these loads are remote.
    w.each(W::Members::first(int(b.map.peers * sources_)), [&](Lane m) {
      const uint32_t p = uint32_t(m.i) / sources_;
      const Grant* const g = call.grant_of(p);
      const Word base = w.peek(g->row_base() + uint32_t(m.i) % sources_);
      if (uint32_t(m.i) % sources_ == 0) granted_[int(p)] = granted(w, *g, b.peer[p]);
      row_base_[m] = base;
    });
    // The granter's card says in what it differs, and the opener reports that. Here such a grant must only stay unused.
    const Word mine = call.card.digest();
    const MembersOf<W> others = w.where(peers, [&](Lane p) { return granted_[p].card != mine; });
    auto never = [&](Lane p) { return Need{b.my_word(b.up.card_word.at(p)), ~Word(0), b.map.mate(p), Waiting::kCard}; };
    if (!others.empty()) w.wait_all(others, never, seen);
    if constexpr (W::kChecksGrants) w.turns(peers, [&](int p) { check_bounds(w, call, p); });
    all_reachable_ = w.where(peers, [&](Lane p) { return granted_[p].rows == nullptr; }).empty();
  }

  TRANSLOAD_WARP bool reachable(int p) const { return granted_[p].rows != nullptr; }
  TRANSLOAD_WARP bool all_reachable() const { return all_reachable_; }
  // The final row, at peer p, of the token with this ordinal from the rank behind one of my source slots.
  TRANSLOAD_WARP Word row(int p, uint32_t slot, uint32_t ordinal) const {
    TRANSLOAD_CHECK(slot < sources_);
    return row_base_[p * int(sources_) + int(slot)] + ordinal;
  }
  // False: the peer has no room for this row of its output, and nobody touches it.
  TRANSLOAD_WARP bool keeps(int p, Word row) const {
    return planted<Plants>(Canary::kDropOffByOne) ? row <= granted_[p].rows_max : row < granted_[p].rows_max;
  }
  TRANSLOAD_WARP char* rows(int p) const { return granted_[p].rows; }
  TRANSLOAD_WARP char* scales(int p) const { return granted_[p].scales; }
  TRANSLOAD_WARP char* headers_or_weights(int p) const { return granted_[p].headers_or_weights; }

 private:
  using Plants = PlantsOf<W>;
  // No grant may lead beyond its peer's own memory, behind which mine may lie.
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
    if (room < g.rows_max) w.broken(Broken::kGrant, b.map.mate(uint32_t(p)), g.rows_max, room);
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

// The routes of a token, or of an entry of a log. They are read one token ahead, because loading them takes long.
template <Warp W>
struct Routed {
  uint64_t number;
  PerOf<W, Route> route;
};
template <Warp W>
TRANSLOAD_WARP Routed<W> routed_from(W& w, const Route* routes, uint32_t width, uint64_t number, uint64_t end) {
  const Set all = number < end ? Set::first(int(width)) : Set{};
  return {number, per<Route>(w, all, [&](Lane l) { return routes[number * width + l]; })};
}

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
    return Need{b.my_word(b.up.done_word.at(p)), call.epoch(), b.map.mate(p), Waiting::kDone};
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

// Warps claim shares, lowest first. If shares are channels, both ends of a ring claim in the same order, so the lowest
// unfinished channel always gets a warp at each end.
//
// A claim takes long to load. So the first is asked for at once, before anything that a role waits for, and a body may
// ask for the next one, ahead(), when it begins its last token; not earlier, as another warp might get to it sooner.
template <Warp W>
class Claims {
 public:
  TRANSLOAD_WARP Claims(W& w, const Call& call, Role role)
      : w_(w), claim_(call.claims + int(role)), claimed_(w.claim(claim_)) {}

  TRANSLOAD_WARP void ahead() {
    if (!asked_) claimed_ = w_.claim(claim_);
    asked_ = true;
  }
  TRANSLOAD_WARP Word next() {
    ahead();
    asked_ = false;
    return w_.pick(claimed_, 0);
  }

 private:
  W& w_;
  Word* const claim_;
  PerOf<W, Word> claimed_;
  bool asked_ = true;
};

// Calls body(share) for each of the `shares` shares that this warp gets: a channel, or less where no ring is needed.
template <Warp W, class Body>
TRANSLOAD_WARP void each_share(W& w, Claims<W>& claims, Role role, uint32_t shares, Body body) {
  const Word end =
      shares - Word(role == Role::kSender && shares > 1 && planted<PlantsOf<W>>(Canary::kLastChannelEmpty));
  for (Word c = claims.next(); c < end && !w.failed(); c = claims.next()) {
    const uint32_t share = uint32_t(c);
    w.enter(role, int(share));
    body(share);
  }
}

// How my tokens are shared out to the warps that send them, or sum what comes back: by channels, or by less where no
// ring is needed, because links do not serve warps evenly and a call ends with its last warp.
template <Warp W>
TRANSLOAD_WARP Shares shares_of(const Call& call, const Grants<W>& grants, uint64_t tokens) {
  if (call.map().nodes > 1 || !grants.all_reachable()) return Shares::of_channels(tokens, call.channels());
  return Shares::of_warps(tokens, call.arrivals_expected);
}

}  // namespace transload
