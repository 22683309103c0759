// How a call goes where there are two ways, and the words that Group::decisions() has for it.
#pragma once
#include <cstdint>
#include <string>

#include "transload/combine.h"

namespace transload {

struct CallChoice {
  bool reachable;    // peers store into memory of mine, or read from it
  const char* name;  // name of what was chosen
  std::string why;
};

// What became of the room that a dispatch wants for what it receives.
struct LandingRoom {
  uint64_t bytes;
  bool leased;                    // the slabs had room for these bytes
  const char* outside = nullptr;  // the output for which the caller gave memory in no lease; null: none
  uint64_t gap_bytes = 0;         // the longest gap in the slabs, if they had no room
};
CallChoice landing_of(Landing asked, const LandingRoom& room);

// `readable`: peers can read all that is to be combined where it lies.
CallChoice source_of(CombineSource asked, bool readable);

}  // namespace transload
