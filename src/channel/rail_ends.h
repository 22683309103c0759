// Who is at the other end of my rails, and of my source slots.
#pragma once
#include <vector>

#include "channel/board.h"

namespace transload {

struct RailEnds {
  std::vector<Counterpart> rails;    // [nodes]; kNobody at my own
  std::vector<Counterpart> sources;  // [source slots]; kNobody where no rank has me for its rail
};

inline RailEnds rail_ends_of(const RankMap& map) {
  RailEnds found{std::vector<Counterpart>(map.nodes), std::vector<Counterpart>(map.sources())};
  for (uint32_t n = 0; n < map.nodes; ++n)
    if (n != map.node) found.rails[n] = {map.rail_of(map.me, n), map.slot_of(map.me, n)};
  for (uint32_t s = 0; s < map.sources(); ++s)
    if (const uint32_t source = map.source_rank(s); source != kNobody && source != map.me)
      found.sources[s] = {source, map.node};
  return found;
}

}  // namespace transload
