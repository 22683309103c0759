// What a rank grants its peers, as offsets in its scale-up region.
#pragma once
#include "channel/board.h"
#include "channel/card.h"

namespace transload {

// Memory of my slabs that peers may touch; null where there is nothing of the kind.
struct GrantedMemory {
  const char* rows;
  const char* scales;
  const char* headers_or_weights;
  Word rows_max;  // how many rows have room; rows from this one on are dropped
};

inline GrantOffer offer_of(const Board& board, bool reachable, const GrantedMemory& memory) {
  auto offset = [&](const char* at) { return reachable && at != nullptr ? Word(at - board.mine()) : 0; };
  return {.reachable = reachable,
          .rows = offset(memory.rows),
          .scales = offset(memory.scales),
          .headers_or_weights = offset(memory.headers_or_weights),
          .rows_max = memory.rows_max};
}

}  // namespace transload
