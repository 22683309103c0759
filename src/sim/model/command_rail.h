// The queue of commands of one rank of a world: slots in its region, whose words land late and torn like all else.
#pragma once
#include <cstdint>
#include <vector>

#include "base/math.h"
#include "channel/command.h"
#include "sim/model/flight.h"

namespace transload {

constexpr int32_t kProxyWarp = -2;  // the proxy's number among the warps of its rank

// Where all lies that a rank and its proxy share, from the start of what is set aside for it.
struct CommandPlace {
  uint32_t slots;
  uint64_t drained_words;  // of all rings along rails

  uint64_t taken() const { return 0; }
  uint64_t drained() const { return kWordBytes; }
  uint64_t queue() const { return round_up(drained() + drained_words * sizeof(Word), sizeof(CommandSlot)); }
  uint64_t bytes() const { return queue() + slots * sizeof(CommandSlot); }
};

struct CommandRail {
  CommandRoom room{1};
  CommandSlot* slots = nullptr;  // written by warps, read by the proxy
  Word* taken = nullptr;         // written by the proxy, read by warps
  Word tickets = 0;              // given out so far: one atomic add each
  uint32_t proxy = 0;            // the agent
  // What the model remembers, and the proxy does not know: who gave the command of each slot; and the run of those that
  // it carries now, with the last flight before that. Commands of earlier runs have earlier tickets.
  std::vector<AskedBy> asked;
  uint32_t runs = 0, run = 0;
};

}  // namespace transload
