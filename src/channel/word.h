// Shared words: 64-bit counters that only grow, each with one writer and one reader, kept in the reader's memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/macros.h"
#include "base/word.h"

namespace transload {

// A word in the memory of a peer (or of a mapped rail). `rank` is its reader, whose bell a publisher may have to ring.
struct PeerWord {
  Word* at;
  uint32_t rank;
};

// A word in the network region of a rank that a scale-out transport reaches.
struct RailWord {
  uint64_t offset;  // bytes from the start of that rank's network region
  uint32_t rank;
  uint32_t queue = 0;      // queue of the rail, where it has several: 0 for cards and counts, 1 + channel for a ring
  char* mapped = nullptr;  // that rank's region, if warps here may store to it; null: the transport carries the count
};

// What a wait is for, in the words of a Fault.
enum class Waiting : uint8_t {
  kCard,     // the card of that rank for this call
  kGrant,    // the grant of that rank for this call
  kCounts,   // the counts of that rank, of a notify
  kTokens,   // the tail of a ring
  kCredit,   // a free slot of a ring
  kDrained,  // the network has read what was put
  kDone,     // a rank has finished with my memory
  kPath,     // the first word over a path, when the group is made
  kRoom,     // room for a command to my own proxy
  kQueue,    // the NIC has executed entries of the queue to that rank
};

// "The word has reached `least`." `whom` is the rank that must make it grow; `what` is what a Fault calls it.
struct Need {
  const Word* word;
  Word least;
  uint32_t whom;
  Waiting what = Waiting::kTokens;
};

// "Make the word `count`", once everything it counts is done.
template <class Where>
struct Mark {
  Where word;
  Word count;
};

}  // namespace transload
