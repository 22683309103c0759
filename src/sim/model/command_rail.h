// The queue of commands of one rank of a world: slots in its region, whose words land late and torn like all else.
#pragma once
#include <cstdint>
#include <vector>

#include "base/math.h"
#include "channel/command.h"
#include "sim/model/flight.h"

namespace transload {

constexpr int32_t kProxyWarp = -2;  // stands for the proxy where a warp of its rank is named

// Offsets of what a rank and its proxy share, from the start of the memory that is set aside for it.
struct CommandPlace {
  uint32_t slots;
  uint64_t drained_words;  // drained words of all rings along rails

  uint64_t taken() const { return 0; }
  uint64_t drained() const { return kWordBytes; }
  uint64_t queue() const { return round_up(drained() + drained_words * sizeof(Word), sizeof(CommandSlot)); }
  uint64_t bytes() const { return queue() + slots * sizeof(CommandSlot); }
};

struct CommandRail {
  CommandRoom room{1};
  CommandSlot* slots = nullptr;  // written by warps, read by the proxy
  Word* taken = nullptr;         // written by the proxy, read by warps
  Word tickets = 0;              // tickets that were given out; a warp takes one by an atomic add
  uint32_t proxy = 0;            // the proxy's number as an agent of the flights
  // The model remembers what the proxy does not know. `asked`: who gave the command of each slot. `runs`: how many runs
  // the rank had begun when it gave the commands that the proxy carries now. `run`: the number of the last flight
  // before those commands. Commands of earlier runs have earlier tickets.
  std::vector<AskedBy> asked;
  uint32_t runs = 0, run = 0;
};

}  // namespace transload
