// Addresses: where a shared byte of mine, of a peer or of a rail can be reached from here.
#pragma once
#include <cstdint>

#include "base/check.h"
#include "channel/scaleout.h"
#include "channel/word.h"
#include "layout/rank_map.h"
#include "layout/regions.h"

namespace transload {

// The rank at the other end of a rail, and the member that I am there.
struct Counterpart {
  uint32_t rank = kNobody;
  uint32_t index = 0;
};

// One rank's view of all shared memory of its group. Plain pointers and offsets; tables live as long as the group.
struct Board {
  RankMap map;
  Geometry geometry;
  ScaleUpRegion up;
  NetworkRegion net;
  char* const* peer;           // [peers] scale-up region of each peer, mine included
  char* network;               // my network region
  char* const* mapped;         // [ranks] network region of a rank that I may store to directly, or null
  const Counterpart* rails;    // [nodes] rank: my rail there, kNobody on my node; index: my source slot there
  const Counterpart* sources;  // [source slots] rank: whose rail I am, kNobody if none or mine; index: my node
  const Word* always;          // a word of all ones: every Need on it is met
  const uint64_t* peer_bytes;  // [peers] from `peer` to the end of that rank's memory; null: grants are not checked

  TRANSLOAD_HD char* mine() const { return peer[map.peer]; }
  TRANSLOAD_HD const Word* my_word(uint64_t offset) const {
    TRANSLOAD_CHECK(offset % sizeof(Word) == 0 && offset < up.bytes);
    return reinterpret_cast<const Word*>(mine() + offset);
  }
  TRANSLOAD_HD const Word* my_net_word(uint64_t offset) const {
    TRANSLOAD_CHECK(offset % sizeof(Word) == 0 && offset < net.bytes);
    return reinterpret_cast<const Word*>(network + offset);
  }
  TRANSLOAD_HD PeerWord peer_word(uint32_t p, uint64_t offset) const {
    return {reinterpret_cast<Word*>(peer[p] + offset), map.peer_rank(p)};
  }
  TRANSLOAD_HD RailWord rail_word(uint32_t rank, uint64_t offset) const {
    TRANSLOAD_CHECK(rank < map.ranks);
    return {.offset = offset, .rank = rank, .mapped = mapped[rank]};
  }
  // Where bytes for a rail are stored: at the rail itself if it is mapped, else in my own send half, to be put from
  // there.
  TRANSLOAD_HD char* toward(uint32_t rank, uint64_t send_offset, uint64_t recv_offset) const {
    return mapped[rank] ? mapped[rank] + recv_offset : network + send_offset;
  }
  TRANSLOAD_HD bool staged(uint32_t rank) const { return mapped[rank] == nullptr; }
};

// Positions of a rank's rings, which outlive calls. Each kind of ring has its own. The warp that serves an end of a
// ring reads and writes them; only `drained` has another writer.
struct Positions {
  Word* sent;     // [channel][member] how many tokens the producer has put into the ring
  Word* taken;    // [channel][member] how many tokens the consumer has taken
  Word* drained;  // [channel][member] how many the network has read (rings along rails); the network writes it
};

}  // namespace transload
