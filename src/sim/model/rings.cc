// Naming the word or the slot at an address.
#include "sim/model/rings.h"

#include <iterator>

namespace transload {
namespace {

// Finds the channel, member and slot at an offset of a block, which is [channel][member]([slot]); false: outside of it.
bool in_block(const Block& block, uint64_t offset, uint32_t n0, RingPlace& place) {
  if (offset < block.offset) return false;
  const uint64_t i = (offset - block.offset) / block.unit;
  const uint64_t per_channel = uint64_t(block.n1) * block.n2 * block.n3;
  if (i >= n0 * per_channel) return false;
  place.channel = uint32_t(i / per_channel);
  place.member = uint32_t(i % per_channel / (uint64_t(block.n2) * block.n3));
  place.slot = uint32_t(i % (uint64_t(block.n2) * block.n3));
  return true;
}

}  // namespace

const char* name_of(RingKind kind) {
  constexpr const char* names[] = {"dispatch ring between peers", "combine ring between peers",
                                   "dispatch ring along the rail", "combine ring along the rail", "no ring"};
  static_assert(std::size(names) == size_t(RingKind::kCount) + 1);
  return names[int(kind)];
}

bool AddressBook::find_ring(const Board& b, uint64_t up, uint64_t net, RingPlace& place) const {
  const uint32_t channels = b.geometry.channels;
  struct RingEntry {
    const Block* block;
    RingPart part;
    RingKind kind;
  };
  const auto is_in = [&](const auto& entries, uint64_t offset) {
    for (const RingEntry& e : entries) {
      if (!in_block(*e.block, offset, channels, place)) continue;
      place.part = e.part;
      place.kind = e.kind;
      return true;
    }
    return false;
  };
  if (net == ~uint64_t(0)) {
    const RingEntry here[] = {{&b.up.dispatch.tail, RingPart::kTail, RingKind::kDispatchPeer},
                              {&b.up.dispatch.credit, RingPart::kCredit, RingKind::kDispatchPeer},
                              {&b.up.dispatch.slots, RingPart::kSlot, RingKind::kDispatchPeer},
                              {&b.up.combine.tail, RingPart::kTail, RingKind::kCombinePeer},
                              {&b.up.combine.credit, RingPart::kCredit, RingKind::kCombinePeer},
                              {&b.up.combine.slots, RingPart::kSlot, RingKind::kCombinePeer}};
    return is_in(here, up);
  }
  const RingEntry there[] = {{&b.net.dispatch.tail, RingPart::kTail, RingKind::kDispatchRail},
                             {&b.net.dispatch.credit, RingPart::kCredit, RingKind::kDispatchRail},
                             {&b.net.dispatch.recv, RingPart::kSlot, RingKind::kDispatchRail},
                             {&b.net.dispatch.send, RingPart::kStaged, RingKind::kDispatchRail},
                             {&b.net.combine.tail, RingPart::kTail, RingKind::kCombineRail},
                             {&b.net.combine.credit, RingPart::kCredit, RingKind::kCombineRail},
                             {&b.net.combine.recv, RingPart::kSlot, RingKind::kCombineRail},
                             {&b.net.combine.send, RingPart::kStaged, RingKind::kCombineRail}};
  return is_in(there, net);
}

RingPlace AddressBook::find(uint64_t offset) const {
  RingPlace place;
  place.rank = uint32_t(offset / space_.stride()) - first_;
  const Board& b = *boards_[place.rank];
  const char* const at = space_.at(offset);
  const uint64_t net = uint64_t(at - b.network), up = uint64_t(at - b.mine());
  if (at >= b.mine())
    find_ring(b, up, ~uint64_t(0), place);
  else
    find_ring(b, 0, net, place);
  return place;
}

uint32_t AddressBook::members(uint32_t rank, RingKind kind) const {
  const Board& b = *boards_[rank];
  switch (kind) {
    case RingKind::kDispatchPeer:
      return b.map.peers * b.up.dispatch.streams;
    case RingKind::kCombinePeer:
      return b.map.peers * b.up.combine.streams;
    case RingKind::kDispatchRail:
      return b.map.sources();
    default:
      return b.map.nodes;
  }
}

// Only credits and staged slots lie in the producer's memory.
RingPlace AddressBook::at_consumer(RingPlace place) const {
  if (place.part != RingPart::kCredit && place.part != RingPart::kStaged) return place;
  const Board& b = *boards_[place.rank];
  RingPlace there = place;
  if (place.kind == RingKind::kDispatchPeer || place.kind == RingKind::kCombinePeer) {
    const uint32_t lanes = place.kind == RingKind::kDispatchPeer ? b.up.dispatch.streams : b.up.combine.streams;
    there.rank = b.map.peer_rank(place.member / lanes);
    there.member = b.map.peer * lanes + place.member % lanes;
  } else {
    const Counterpart& c = place.kind == RingKind::kDispatchRail ? b.rails[place.member] : b.sources[place.member];
    there.rank = c.rank;
    there.member = c.index;
  }
  return there;
}

uint32_t AddressBook::producer(const RingPlace& ring) const {
  const Board& b = *boards_[ring.rank];
  switch (ring.kind) {
    case RingKind::kDispatchPeer:
      return b.map.peer_rank(ring.member / b.up.dispatch.streams);
    case RingKind::kCombinePeer:
      return b.map.peer_rank(ring.member / b.up.combine.streams);
    case RingKind::kDispatchRail:
      return b.sources[ring.member].rank;
    default:
      return b.rails[ring.member].rank;
  }
}

std::string AddressBook::other_text(const Board& b, uint64_t up, uint64_t net) const {
  struct WordEntry {
    const Block* block;
    const char* text;
    bool by_peer;
  };
  const std::string mine = " at rank " + std::to_string(b.map.me);
  if (net >= commands_from_)
    return "what rank " + std::to_string(b.map.me) + " shares with its proxy, byte " +
           std::to_string(net - commands_from_);
  if (up != ~uint64_t(0)) {
    const WordEntry entries[] = {{&b.up.card_word, "the word of the card", true},
                                 {&b.up.card, "the card", true},
                                 {&b.up.grant_word, "the word of the grant", true},
                                 {&b.up.grant, "the grant", true},
                                 {&b.up.counts_word, "the word of the counts", true},
                                 {&b.up.counts, "the counts", false},
                                 {&b.up.done_word, "\"done\"", true}};
    for (size_t i = std::size(entries); i-- > 0;) {
      const Block& block = *entries[i].block;
      if (up < block.offset || up >= b.up.dispatch.tail.offset) continue;
      const uint32_t n = block.n1 > 1 ? block.n1 : b.map.peers;
      const uint32_t who = uint32_t((up - block.offset) / block.unit) % n;
      return std::string(entries[i].text) + " of rank " +
             std::to_string(entries[i].by_peer ? b.map.peer_rank(who % b.map.peers) : who) + mine;
    }
    return "an output in the slabs of rank " + std::to_string(b.map.me) + ", byte " + std::to_string(up - b.up.bytes);
  }
  const WordEntry entries[] = {{&b.net.hello, "the first word of a path", false},
                               {&b.net.card_send, "the staged card", false},
                               {&b.net.source_card_word, "the word of the card of a source", false},
                               {&b.net.source_card, "the card of a source", false},
                               {&b.net.rail_card_word, "the word of the card of a rail", false},
                               {&b.net.rail_card, "the card of a rail", false},
                               {&b.net.counts_word, "the word of the counts of a source", false},
                               {&b.net.counts, "the counts of a source", false},
                               {&b.net.counts_send, "staged counts", false}};
  for (size_t i = std::size(entries); i-- > 0;)
    if (net >= entries[i].block->offset) return entries[i].text + mine;
  return "the flag of rank " + std::to_string(b.map.me);
}

std::string AddressBook::text(uint64_t offset) const {
  if (!holds(offset)) return "private memory";
  const RingPlace place = find(offset);
  const Board& b = *boards_[place.rank];
  const char* const at = space_.at(offset);
  if (place.part == RingPart::kNone) {
    const bool in_up = at >= b.mine();
    return other_text(b, in_up ? uint64_t(at - b.mine()) : ~uint64_t(0), uint64_t(at - b.network));
  }
  const RingPlace ring = at_consumer(place);
  const uint32_t from = producer(ring);
  std::string text = place.part == RingPart::kTail     ? "the tail"
                     : place.part == RingPart::kCredit ? "the credit"
                     : place.part == RingPart::kStaged ? "staged slot " + std::to_string(place.slot)
                                                       : "slot " + std::to_string(place.slot);
  text += std::string(" of the ") + name_of(place.kind) + " from ";
  text += from == kNobody ? "nobody" : "rank " + std::to_string(from);
  return text + " to rank " + std::to_string(ring.rank) + ", channel " + std::to_string(place.channel);
}

}  // namespace transload
