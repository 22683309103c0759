// What an address of a world means: whose word or slot it is, of which ring. The credit checker and reports need it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "channel/board.h"
#include "channel/ring.h"
#include "sim/model/space.h"

namespace transload {

// The four kinds of rings of a group.
enum class RingKind : uint8_t { kDispatchPeer, kCombinePeer, kDispatchRail, kCombineRail, kCount };
constexpr uint32_t slots_of(const Geometry& g, RingKind kind) {
  const bool peers = kind == RingKind::kDispatchPeer || kind == RingKind::kCombinePeer;
  return peers ? g.slots_between_peers() : g.slots;
}
enum class RingPart : uint8_t { kNone, kTail, kCredit, kSlot, kStaged };

// A word or slot of a ring. `member` is the number of the ring's other end, as `rank` numbers its rings.
struct RingPlace {
  RingPart part = RingPart::kNone;
  RingKind kind = RingKind::kCount;
  uint32_t rank = 0;  // the rank in whose memory the place lies
  uint32_t channel = 0, member = 0, slot = 0;
};

// The boards of one group, by rank: its regions follow each other in the space.
class AddressBook {
 public:
  AddressBook(const Space& space, uint32_t first_region) : space_(space), first_(first_region) {}
  void add(const Board& board) { boards_.push_back(&board); }
  // In each region, what a rank shares with its proxy begins at this offset.
  void commands_from(uint64_t offset) { commands_from_ = offset; }

  bool holds(uint64_t offset) const {
    const uint32_t region = uint32_t(offset / space_.stride());
    return region >= first_ && region - first_ < boards_.size();
  }
  RingPlace find(uint64_t offset) const;
  // The same word or slot of a ring, named by the consumer's rank and member number.
  RingPlace at_consumer(RingPlace place) const;
  uint32_t producer(const RingPlace& at_consumer) const;
  uint32_t members(uint32_t rank, RingKind kind) const;  // members at the consumer's end
  // Describes the place, as "slot 3 of the dispatch ring between peers from rank 4 to rank 6, channel 1".
  std::string text(uint64_t offset) const;
  const Board& board(uint32_t rank) const { return *boards_[rank]; }
  uint32_t ranks() const { return uint32_t(boards_.size()); }

 private:
  bool find_ring(const Board& b, uint64_t up, uint64_t net, RingPlace& place) const;
  std::string other_text(const Board& b, uint64_t up, uint64_t net) const;

  const Space& space_;
  const uint32_t first_;
  uint64_t commands_from_ = ~uint64_t(0);
  std::vector<const Board*> boards_;
};

const char* name_of(RingKind kind);

}  // namespace transload
