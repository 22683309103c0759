// How a call goes where there are two ways, and the words that Group::decisions() has for it.
#pragma once
#include <cstdint>
#include <string>

#include "transload/combine.h"

namespace transload {

struct CallChoice {
  bool reachable;    // peers store into, or read from, memory of mine
  const char* name;  // the name of what was chosen
  std::string why;
};

// What became of the room that a dispatch wants for what it receives.
struct LandingRoom {
  uint64_t bytes;
  bool leased;                    // the slabs had that room
  const char* outside = nullptr;  // the output in memory of the caller's that lies in no lease; null: there is none
  uint64_t gap_bytes = 0;         // the longest gap in the slabs, if they had not
};
CallChoice landing_of(Landing asked, const LandingRoom& room);

// `readable`: peers can read all that is to be combined where it lies.
CallChoice source_of(CombineSource asked, bool readable);

}  // namespace transload
