// How a call opens: cards to every neighbour, and theirs, compared with mine.
#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "protocol/call.h"

namespace transload {

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
TRANSLOAD_HD constexpr Alike alike(const Card& mine, const Card& other, int i) {
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

// Whether every four bytes of a card show in its digest and are compared once. The epoch and what is reserved are
// neither; `refused` is compared apart, by compare().
constexpr bool each_field_counts() {
  constexpr size_t kUnit = sizeof(uint32_t);
  uint32_t compared = 0;
  for (size_t unit = offsetof(Card, handle) / kUnit; unit < offsetof(Card, reserved) / kUnit; ++unit) {
    std::array<uint32_t, sizeof(Card) / kUnit> units{};
    units[unit] = 1;
    const Card other = std::bit_cast<Card>(units);
    if (other.digest() == Card{}.digest()) return false;
    int apart = 0;
    for (int i = 0; i < kAlike; ++i) {
      const Alike a = alike(Card{}, other, i);
      if (a.seen == a.expected) continue;
      ++apart;
      compared |= 1u << i;
    }
    if (apart != (unit == offsetof(Card, refused) / kUnit ? 0 : 1)) return false;
  }
  return compared == (1u << kAlike) - 1;
}
static_assert(each_field_counts(), "a field of a Card is missing in Card::digest() or in alike()");

template <Warp W>
TRANSLOAD_WARP void compare(W& w, const Card& mine, const Card* other, uint32_t rank) {
  const Card seen = w.peek(other);
  // If one of the two ranks refuses the call, only the operations are compared.
  const int count = mine.refused + seen.refused == 0 ? kAlike : 1;
  TRANSLOAD_ROLLED
  for (int i = 0; i < count && !w.failed(); ++i) {
    const Alike a = alike(mine, seen, i);
    if (a.seen != a.expected) w.broken(a.what, rank, a.seen, a.expected);
  }
}

// The kinds of neighbours whose cards I get: peers, the ranks whose rail I am, and my rails. One node has peers alone.
enum class CardsOf : int { kPeers, kSources, kRails, kCount };

// Where the cards of one kind of neighbour lie, and their words: in my scale-up region, or in my network region.
struct CardPlace {
  const char* base;
  const Block* words;
  const Block* cards;
  const Counterpart* others;  // null: my peers
  uint32_t count;
};
TRANSLOAD_HD CardPlace cards_of(const Board& b, CardsOf kind) {
  if (kind == CardsOf::kPeers)
    return {.base = b.mine(), .words = &b.up.card_word, .cards = &b.up.card, .others = nullptr, .count = b.map.peers};
  if (kind == CardsOf::kSources)
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
  auto whom = [&](int m) { return at.others == nullptr ? call.map().peer_rank(uint32_t(m)) : at.others[m].rank; };
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

// Checks the card of one source slot. Any warp may call this: it takes no table.
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
  const int kinds = call.map().nodes == 1 ? 1 : int(CardsOf::kCount);
  TRANSLOAD_ROLLED
  for (int kind = 0; kind < kinds; ++kind) check_cards_of(w, call, cards_of(*call.board, CardsOf(kind)));
}

// OPENER of a call whose cards have not been shown yet: one warp a rank, the granter or another.
template <Warp W>
TRANSLOAD_WARP void open_call(W& w, const Call& call) {
  w.enter(Role::kOpener, -1);
  show_cards(w, call);
  w.settle();  // others get my card even if the first card that I look at is wrong
  check_cards(w, call);
}

}  // namespace transload
