// The two ends of a bounded ring of slots, for all members that one warp serves on one channel.
//
// A stream has one producer and one consumer. Its tail counts what was published, its credit what was taken; both grow
// for ever, and slot i is at i mod slots. A slot may be filled when it is credited and, on a rail, when the network has
// read what was put from it before. Positions outlive calls: both ends count the same tokens, so they agree without a
// message.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "base/set.h"
#include "channel/board.h"

namespace transload {

TRANSLOAD_HD Block strided(Block slots, uint64_t stride) {
  if (stride != 0) slots.unit = stride;
  return slots;
}

// Rings to and from peers: one hop over memory. Member m = peer * lanes + lane; the far end knows me as far(m).
struct PeerLink {
  const Board* board;
  const PeerRings* rings;  // of the board
  const Positions* positions;
  uint64_t stride = 0;  // of slots; 0: as the group's geometry has it
  uint32_t channel = 0;

  TRANSLOAD_HD uint32_t slots() const { return board->geometry.slots_between_peers(); }
  TRANSLOAD_HD uint32_t members() const { return board->map.peers * rings->lanes; }
  TRANSLOAD_HD uint32_t peer(uint32_t m) const { return m / rings->lanes; }
  TRANSLOAD_HD uint32_t whom(uint32_t m) const { return board->map.mate(peer(m)); }
  TRANSLOAD_HD uint32_t far(uint32_t m) const { return board->map.peer * rings->lanes + m % rings->lanes; }
  TRANSLOAD_HD const Word* tail(uint32_t m) const { return board->my_word(rings->tail.at(channel, m)); }
  TRANSLOAD_HD const Word* credit(uint32_t m) const { return board->my_word(rings->credit.at(channel, m)); }
  TRANSLOAD_HD PeerWord far_tail(uint32_t m) const {
    return board->peer_word(peer(m), rings->tail.at(channel, far(m)));
  }
  TRANSLOAD_HD PeerWord far_credit(uint32_t m) const {
    return board->peer_word(peer(m), rings->credit.at(channel, far(m)));
  }
  TRANSLOAD_HD char* fill(uint32_t m, uint32_t slot) const {
    return board->peer[peer(m)] + strided(rings->slots, stride).at(channel, far(m), slot);
  }
  TRANSLOAD_HD const char* taken(uint32_t m, uint32_t slot) const {
    return board->mine() + strided(rings->slots, stride).at(channel, m, slot);
  }
  TRANSLOAD_HD const Word* drained(uint32_t) const { return board->always; }
  TRANSLOAD_HD bool staged(uint32_t) const { return false; }
};

// Rings along rails: one hop over the network, staged unless the rail is mapped. Members are nodes or source slots.
struct RailLink {
  const Board* board;
  const RailRings* rings;
  const Positions* positions;
  const Counterpart* others;
  uint32_t count;
  uint64_t stride = 0;
  uint32_t channel = 0;

  TRANSLOAD_HD uint32_t slots() const { return board->geometry.slots; }
  TRANSLOAD_HD uint32_t members() const { return count; }
  TRANSLOAD_HD uint32_t whom(uint32_t m) const { return others[m].rank; }
  TRANSLOAD_HD const Word* tail(uint32_t m) const { return board->my_net_word(rings->tail.at(channel, m)); }
  TRANSLOAD_HD const Word* credit(uint32_t m) const { return board->my_net_word(rings->credit.at(channel, m)); }
  TRANSLOAD_HD RailWord far_tail(uint32_t m) const { return {rings->tail.at(channel, others[m].index), whom(m)}; }
  TRANSLOAD_HD RailWord far_credit(uint32_t m) const { return {rings->credit.at(channel, others[m].index), whom(m)}; }
  TRANSLOAD_HD uint64_t recv_offset(uint32_t m, uint32_t slot) const {
    return strided(rings->recv, stride).at(channel, others[m].index, slot);
  }
  TRANSLOAD_HD char* fill(uint32_t m, uint32_t slot) const {
    return board->toward(whom(m), strided(rings->send, stride).at(channel, m, slot), recv_offset(m, slot));
  }
  TRANSLOAD_HD const char* taken(uint32_t m, uint32_t slot) const {
    return board->network + strided(rings->recv, stride).at(channel, m, slot);
  }
  TRANSLOAD_HD Word* drained_word(uint32_t m) const { return positions->drained + uint64_t(channel) * count + m; }
  TRANSLOAD_HD const Word* drained(uint32_t m) const { return staged(m) ? drained_word(m) : board->always; }
  TRANSLOAD_HD bool staged(uint32_t m) const { return whom(m) != kNobody && board->staged(whom(m)); }
  // The put that carries what was staged in a slot.
  TRANSLOAD_HD Put put(uint32_t m, uint32_t slot, Word tail_after, uint64_t bytes) const {
    return {fill(m, slot),
            recv_offset(m, slot),
            bytes,
            whom(m),
            drained_word(m),
            tail_after,
            strided(rings->send, stride).unit - bytes};
  }
};

// The producer's end. One object serves channel after channel: begin(), moves, keep(). `mine` are the members that this
// role fills; another role may fill the rest at the same time.
template <class W, class Link>
class Outbox {
 public:
  TRANSLOAD_ROLE Outbox(W& w, const Link& link)
      : link_(link),
        tail_(w.template table<Word>(int(link.members()), [](Lane) { return Word(0); })),
        credited_(w.template table<Word>(int(link.members()), [](Lane) { return Word(0); })),
        drained_(w.template table<Word>(int(link.members()), [](Lane) { return Word(0); })) {}

  TRANSLOAD_ROLE void begin(W& w, uint32_t channel, typename W::Members mine) {
    link_.channel = channel;
    w.each(mine, [&](Lane m) {
      tail_[m] = link_.positions->sent[at(m)];
      credited_[m] = 0;
      drained_[m] = link_.staged(m) ? Word(0) : ~Word(0);
    });
  }

  TRANSLOAD_ROLE char* next(int m) const { return link_.fill(m, slot(m)); }
  TRANSLOAD_ROLE bool staged(int m) const { return link_.staged(m); }
  // What must be so before the next slot may be filled: the consumer has taken it, and the network has read it.
  TRANSLOAD_ROLE Need credit_need(int m) const {
    return {link_.credit(m), least_credit(m), link_.whom(m), Waiting::kCredit};
  }
  TRANSLOAD_ROLE Need drain_need(int m) const { return {link_.drained(m), least(m), link_.whom(m), Waiting::kDrained}; }
  TRANSLOAD_ROLE bool credited(int m) const { return credited_[m] >= least_credit(m); }
  TRANSLOAD_ROLE bool drained(int m) const { return drained_[m] >= least(m) || planted<Plants>(Canary::kSourceReused); }
  TRANSLOAD_ROLE Word& credited_seen(int m) { return credited_[m]; }
  TRANSLOAD_ROLE Word& drained_seen(int m) { return drained_[m]; }
  TRANSLOAD_ROLE Put put(int m, uint64_t bytes) const { return link_.put(m, slot(m), tail_[m] + 1, bytes); }
  TRANSLOAD_ROLE bool wraps(int m) const { return tail_[m] >= slots() && slot(m) == 0; }
  TRANSLOAD_ROLE void advance(int m) { ++tail_[m]; }
  TRANSLOAD_ROLE auto mark(int m) const {
    const auto word = link_.far_tail(planted<Plants>(Canary::kCountToWrongReader) ? beside(m) : m);
    return Mark<decltype(link_.far_tail(0))>{word, tail_[m]};
  }
  // At the end of a channel: what the next call starts from.
  TRANSLOAD_ROLE void keep(W& w, typename W::Members mine) {
    if (planted<Plants>(Canary::kPositionLost)) return;
    w.each(mine, [&](Lane m) { link_.positions->sent[at(m)] = tail_[m]; });
  }

 private:
  TRANSLOAD_ROLE uint64_t at(int m) const { return uint64_t(link_.channel) * link_.members() + uint64_t(m); }
  TRANSLOAD_ROLE uint32_t slots() const { return link_.slots(); }
  TRANSLOAD_ROLE uint32_t slot(int m) const {
    const uint32_t i = uint32_t(tail_[m] % slots());
    return i == 0 && tail_[m] > 0 && planted<Plants>(Canary::kRingWrap) ? slots() - 1 : i;
  }
  TRANSLOAD_ROLE Word least(int m) const { return tail_[m] < slots() ? 0 : tail_[m] + 1 - slots(); }
  TRANSLOAD_ROLE Word least_credit(int m) const {
    return least(m) - Word(least(m) > 0 && planted<Plants>(Canary::kCreditOffByOne));
  }
  // For kCountToWrongReader: the next member with somebody behind it.
  TRANSLOAD_ROLE uint32_t beside(uint32_t m) const {
    do m = (m + 1) % link_.members();
    while (link_.whom(m) == kNobody);
    return m;
  }

  using Plants = typename W::Plants;
  Link link_;
  typename W::template Table<Word> tail_, credited_, drained_;
};

// The consumer's end, likewise.
template <class W, class Link>
class Inbox {
 public:
  TRANSLOAD_ROLE Inbox(W& w, const Link& link)
      : link_(link),
        head_(w.template table<Word>(int(link.members()), [](Lane) { return Word(0); })),
        seen_(w.template table<Word>(int(link.members()), [](Lane) { return Word(0); })) {}

  TRANSLOAD_ROLE void begin(W& w, uint32_t channel, typename W::Members mine) {
    link_.channel = channel;
    w.each(mine, [&](Lane m) { head_[m] = seen_[m] = link_.positions->taken[at(m)]; });
  }

  TRANSLOAD_ROLE bool arrived(int m) const { return seen_[m] > head_[m]; }
  TRANSLOAD_ROLE Need need(int m) const { return {link_.tail(m), head_[m] + 1, link_.whom(m)}; }
  TRANSLOAD_ROLE Word& seen(int m) { return seen_[m]; }
  // How many have arrived and are not taken; where the first of them lies, and the second.
  TRANSLOAD_ROLE uint64_t waiting(int m) const { return seen_[m] - head_[m]; }
  TRANSLOAD_ROLE const char* first(int m) const { return at_position(m, head_[m]); }
  TRANSLOAD_ROLE const char* second(int m) const { return at_position(m, head_[m] + 1); }
  TRANSLOAD_ROLE void advance(int m) { ++head_[m]; }
  TRANSLOAD_ROLE auto mark(int m) const {
    Word count = head_[m];
    if (planted<Plants>(Canary::kCreditTwice)) ++count;
    if (planted<Plants>(Canary::kCreditNever)) count = link_.positions->taken[at(m)] + 1;  // the call's first alone
    return Mark<decltype(link_.far_credit(0))>{link_.far_credit(m), count};
  }
  TRANSLOAD_ROLE void keep(W& w, typename W::Members mine) {
    w.each(mine, [&](Lane m) { link_.positions->taken[at(m)] = head_[m]; });
  }

 private:
  TRANSLOAD_ROLE uint64_t at(int m) const { return uint64_t(link_.channel) * link_.members() + uint64_t(m); }
  TRANSLOAD_ROLE const char* at_position(int m, Word position) const {
    return link_.taken(m, uint32_t(position % link_.slots()));
  }

  using Plants = typename W::Plants;
  Link link_;
  typename W::template Table<Word> head_, seen_;
};

}  // namespace transload
