// The two ends of a bounded ring of slots, for all members that one warp serves on one channel.
//
// A stream has one producer and one consumer. Its tail counts what was published, its credit what was taken; both grow
// for ever, and slot i is at i mod slots. A slot may be filled when it is credited and, on a rail, when the network has
// read what was put from it before. Positions outlive calls: both ends count the same tokens, so they agree without a
// message.
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/canary.h"
#include "base/check.h"
#include "base/math.h"
#include "base/set.h"
#include "channel/board.h"
#include "channel/values.h"

namespace transload {

// Rings to and from peers: one hop over memory. Member m = peer * streams + stream; the far end knows me as far(m).
struct PeerLink {
  // How the far end of a member is reached. A role reads it once, from tables of the board.
  struct Far {
    char* region;
    uint32_t rank;
  };
  const Board* board;
  const PeerRings* rings;  // part of the board
  const Positions* positions;
  uint32_t channel = 0;

  TRANSLOAD_HD uint32_t slots() const { return board->geometry.slots_between_peers(); }
  TRANSLOAD_HD uint32_t members() const { return board->map.peers * rings->streams; }
  TRANSLOAD_HD uint32_t peer(uint32_t m) const { return m / rings->streams; }
  TRANSLOAD_HD uint32_t whom(uint32_t m) const { return board->map.peer_rank(peer(m)); }
  TRANSLOAD_HD uint32_t far(uint32_t m) const { return board->map.peer * rings->streams + m % rings->streams; }
  TRANSLOAD_HD const Word* tail(uint32_t m) const { return board->my_word(rings->tail.at(channel, m)); }
  TRANSLOAD_HD const Word* credit(uint32_t m) const { return board->my_word(rings->credit.at(channel, m)); }
  TRANSLOAD_HD Far far_end(uint32_t m) const { return {board->peer[peer(m)], whom(m)}; }
  TRANSLOAD_HD PeerWord far_tail(const Far& f, uint32_t m) const {
    return {reinterpret_cast<Word*>(f.region + rings->tail.at(channel, far(m))), f.rank};
  }
  TRANSLOAD_HD PeerWord far_credit(const Far& f, uint32_t m) const {
    return {reinterpret_cast<Word*>(f.region + rings->credit.at(channel, far(m))), f.rank};
  }
  TRANSLOAD_HD char* fill(const Far& f, uint32_t m, uint32_t slot) const {
    return f.region + rings->slots.at(channel, far(m), slot);
  }
  TRANSLOAD_HD const char* taken(uint32_t m, uint32_t slot) const {
    return board->mine() + rings->slots.at(channel, m, slot);
  }
  TRANSLOAD_HD const Word* drained(const Far&, uint32_t) const { return board->always; }
  TRANSLOAD_HD bool staged(const Far&) const { return false; }
};

// Rings along rails: one hop over the network, staged unless the rail is mapped. Members are nodes or source slots.
struct RailLink {
  struct Far {
    char* mapped;  // where the far rank's network region is mapped; null: slots are staged
    uint32_t rank, index;
  };
  // A slot that was filled, to be put.
  struct Filled {
    uint32_t member, number;
    Word tail_after;
    uint64_t bytes;
  };

  const Board* board;
  const RailRings* rings;
  const Positions* positions;
  const Counterpart* others;
  uint32_t count;
  uint32_t channel = 0;

  TRANSLOAD_HD uint32_t slots() const { return board->geometry.slots; }
  TRANSLOAD_HD uint32_t members() const { return count; }
  TRANSLOAD_HD uint32_t whom(uint32_t m) const { return others[m].rank; }
  TRANSLOAD_HD const Word* tail(uint32_t m) const { return board->my_net_word(rings->tail.at(channel, m)); }
  TRANSLOAD_HD const Word* credit(uint32_t m) const { return board->my_net_word(rings->credit.at(channel, m)); }
  TRANSLOAD_HD Far far_end(uint32_t m) const {
    const Counterpart& other = others[m];
    return {other.rank == kNobody ? nullptr : board->mapped[other.rank], other.rank, other.index};
  }
  TRANSLOAD_HD RailWord far_tail(const Far& f, uint32_t) const {
    return {rings->tail.at(channel, f.index), f.rank, queue(), f.mapped};
  }
  TRANSLOAD_HD RailWord far_credit(const Far& f, uint32_t) const {
    return {rings->credit.at(channel, f.index), f.rank, queue(), f.mapped};
  }
  TRANSLOAD_HD uint64_t recv_offset(const Far& f, uint32_t slot) const {
    return rings->recv.at(channel, f.index, slot);
  }
  TRANSLOAD_HD char* fill(const Far& f, uint32_t m, uint32_t slot) const {
    return staged(f) ? board->network + rings->send.at(channel, m, slot) : f.mapped + recv_offset(f, slot);
  }
  TRANSLOAD_HD const char* taken(uint32_t m, uint32_t slot) const {
    return board->network + rings->recv.at(channel, m, slot);
  }
  TRANSLOAD_HD Word* drained_word(uint32_t m) const {
    TRANSLOAD_CHECK(m < count);
    return positions->drained + uint64_t(channel) * count + m;
  }
  TRANSLOAD_HD const Word* drained(const Far& f, uint32_t m) const {
    return staged(f) ? drained_word(m) : board->always;
  }
  TRANSLOAD_HD bool staged(const Far& f) const { return f.mapped == nullptr && f.rank != kNobody; }
  // All that one ring's two ends say to each other goes through one queue of the rail, whichever warp serves it.
  TRANSLOAD_HD uint32_t queue() const { return 1 + channel; }
  // The put that carries what was staged in a slot.
  TRANSLOAD_HD Put put(const Far& f, const Filled& slot) const {
    const uint64_t slot_bytes = rings->send.unit;
    TRANSLOAD_CHECK(slot.bytes <= slot_bytes);
    return {.from = fill(f, slot.member, slot.number),
            .offset = recv_offset(f, slot.number),
            .bytes = slot.bytes,
            .rank = f.rank,
            .drained = drained_word(slot.member),
            .drained_count = slot.tail_after,
            .padding = slot_bytes - slot.bytes,
            .queue = queue()};
  }
};

// Bytes of near memory that the tables of an Outbox of this many members take.
template <class Link>
TRANSLOAD_HD constexpr uint64_t outbox_bytes(uint64_t members) {
  return table_bytes<typename Link::Far>(members) + table_bytes<uint32_t>(members) + 3 * table_bytes<Word>(members);
}
// Bytes of near memory that the tables of an Inbox of this many members take.
template <class Link>
TRANSLOAD_HD constexpr uint64_t inbox_bytes(uint64_t members) {
  return table_bytes<typename Link::Far>(members) + table_bytes<uint32_t>(members) + 2 * table_bytes<Word>(members);
}

// The producer's end. One object serves channel after channel: begin(), moves, keep(). `mine` are the members that this
// role fills; another role may fill the rest at the same time.
template <class W, class Link>
class Outbox {
 public:
  TRANSLOAD_WARP Outbox(W& w, const Link& link)
      : link_(link),
        far_(table<typename Link::Far>(w, int(link.members()), [&](Lane m) { return link.far_end(uint32_t(m.i)); })),
        slot_(zeros<uint32_t>(w, int(link.members()))),
        tail_(zeros<Word>(w, int(link.members()))),
        credited_(zeros<Word>(w, int(link.members()))),
        drained_(zeros<Word>(w, int(link.members()))) {}

  TRANSLOAD_WARP void begin(W& w, uint32_t channel, MembersOf<W> mine) {
    link_.channel = channel;
    w.each(mine, [&](Lane m) {
      tail_[m] = link_.positions->sent[at(m)];
      slot_[m] = uint32_t(tail_[m] % slots());
      credited_[m] = 0;
      drained_[m] = link_.staged(far_[m]) ? Word(0) : ~Word(0);
    });
  }

  TRANSLOAD_WARP char* next(int m) const { return link_.fill(far_[m], m, slot(m)); }
  TRANSLOAD_WARP bool staged(int m) const { return link_.staged(far_[m]); }
  // Met once the consumer has taken what the next slot held.
  TRANSLOAD_WARP Need credit_need(int m) const {
    return {link_.credit(m), least_credit(m), far_[m].rank, Waiting::kCredit};
  }
  // Met once the network has read what was put from the next slot.
  TRANSLOAD_WARP Need drain_need(int m) const {
    return {link_.drained(far_[m], m), least(m), far_[m].rank, Waiting::kDrained};
  }
  TRANSLOAD_WARP bool credited(int m) const {
    return credited_[m] >= least_credit(m) || (staged(m) && planted<Plants>(Canary::kCreditNotRead));
  }
  TRANSLOAD_WARP bool drained(int m) const { return drained_[m] >= least(m) || planted<Plants>(Canary::kSourceReused); }
  TRANSLOAD_WARP Word& credited_seen(int m) { return credited_[m]; }
  TRANSLOAD_WARP Word& drained_seen(int m) { return drained_[m]; }
  TRANSLOAD_WARP Put put(int m, uint64_t bytes) const {
    return link_.put(far_[m], {uint32_t(m), slot(m), tail_[m] + 1, bytes});
  }
  TRANSLOAD_WARP bool wraps(int m) const { return tail_[m] >= slots() && slot_[m] == 0; }
  TRANSLOAD_WARP void advance(int m) {
    TRANSLOAD_CHECK((credited(m) && drained(m)) || planted<Plants>(Canary::kWriteAfterAbort));
    ++tail_[m];
    slot_[m] = slot_[m] + 1 == slots() ? 0 : slot_[m] + 1;
  }
  TRANSLOAD_WARP auto mark(int m) const {
    const auto word = link_.far_tail(far_[m], m);
    return Mark<std::remove_const_t<decltype(word)>>{word, tail_[m]};
  }
  // Keeps, at the end of a channel, what the next call starts from.
  TRANSLOAD_WARP void keep(W& w, MembersOf<W> mine) {
    if (planted<Plants>(Canary::kPositionLost)) return;
    w.each(mine, [&](Lane m) { link_.positions->sent[at(m)] = tail_[m]; });
  }

 private:
  TRANSLOAD_WARP uint64_t at(int m) const { return uint64_t(link_.channel) * link_.members() + uint64_t(m); }
  TRANSLOAD_WARP uint32_t slots() const { return link_.slots(); }
  TRANSLOAD_WARP uint32_t slot(int m) const {
    return slot_[m] == 0 && tail_[m] > 0 && planted<Plants>(Canary::kRingWrap) ? slots() - 1 : slot_[m];
  }
  TRANSLOAD_WARP Word least(int m) const { return tail_[m] < slots() ? 0 : tail_[m] + 1 - slots(); }
  TRANSLOAD_WARP Word least_credit(int m) const {
    return least(m) - Word(least(m) > 0 && planted<Plants>(Canary::kCreditOffByOne));
  }

  using Plants = PlantsOf<W>;
  Link link_;
  TableOf<W, typename Link::Far> far_;
  TableOf<W, uint32_t> slot_;  // tail mod slots, kept because a division for each token takes long
  TableOf<W, Word> tail_, credited_, drained_;
};

// The consumer's end. It serves channel after channel as an Outbox does.
template <class W, class Link>
class Inbox {
 public:
  TRANSLOAD_WARP Inbox(W& w, const Link& link)
      : link_(link),
        far_(table<typename Link::Far>(w, int(link.members()), [&](Lane m) { return link.far_end(uint32_t(m.i)); })),
        slot_(zeros<uint32_t>(w, int(link.members()))),
        head_(zeros<Word>(w, int(link.members()))),
        seen_(zeros<Word>(w, int(link.members()))) {}

  TRANSLOAD_WARP void begin(W& w, uint32_t channel, MembersOf<W> mine) {
    link_.channel = channel;
    w.each(mine, [&](Lane m) {
      head_[m] = seen_[m] = link_.positions->taken[at(m)];
      slot_[m] = uint32_t(head_[m] % link_.slots());
    });
  }

  TRANSLOAD_WARP bool arrived(int m) const { return seen_[m] > head_[m]; }
  TRANSLOAD_WARP Need need(int m) const { return {link_.tail(m), head_[m] + 1, far_[m].rank}; }
  TRANSLOAD_WARP Word& seen(int m) { return seen_[m]; }
  // How many tokens have arrived and are not taken.
  TRANSLOAD_WARP uint64_t waiting(int m) const { return seen_[m] - head_[m]; }
  // The slot of the next token to take; second() is the slot after it.
  TRANSLOAD_WARP const char* first(int m) const { return link_.taken(m, slot_[m]); }
  TRANSLOAD_WARP const char* second(int m) const { return link_.taken(m, after(slot_[m])); }
  TRANSLOAD_WARP void advance(int m) {
    TRANSLOAD_CHECK(arrived(m));
    ++head_[m];
    slot_[m] = after(slot_[m]);
  }
  TRANSLOAD_WARP auto mark(int m) const {
    const auto word = link_.far_credit(far_[m], m);
    return Mark<std::remove_const_t<decltype(word)>>{word, head_[m] + Word(planted<Plants>(Canary::kCreditTwice))};
  }
  TRANSLOAD_WARP void keep(W& w, MembersOf<W> mine) {
    w.each(mine, [&](Lane m) { link_.positions->taken[at(m)] = head_[m]; });
  }

 private:
  TRANSLOAD_WARP uint64_t at(int m) const { return uint64_t(link_.channel) * link_.members() + uint64_t(m); }
  TRANSLOAD_WARP uint32_t after(uint32_t slot) const { return slot + 1 == link_.slots() ? 0 : slot + 1; }

  using Plants = PlantsOf<W>;
  Link link_;
  TableOf<W, typename Link::Far> far_;
  TableOf<W, uint32_t> slot_;  // head mod slots
  TableOf<W, Word> head_, seen_;
};

}  // namespace transload
