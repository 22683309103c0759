// How a fiber waits: what it parks on, how waits are told apart, and who wakes it.
#pragma once
#include <cstdint>
#include <tuple>

#include "channel/word.h"
#include "protocol/wait_record.h"

namespace transload {

// What a fiber waits for: any or all of `needs`. If `all`, whoever polls may drop the needs that are met.
struct Park {
  Need* needs;
  int count;
  bool all;
  Role role;
  int32_t channel;
};

// The record of a wait, made of its first need that is unmet. `load` reads a word, without order.
template <class Load>
WaitRecord wait_record(const Park& park, double waited_ms, Load load) {
  WaitRecord record;
  record.present = true;
  record.role = park.role;
  record.channel = park.channel;
  record.waited_ms = waited_ms;
  for (int k = 0; k < park.count; ++k) {
    const Need& need = park.needs[k];
    const Word seen = load(need.word);
    if (seen >= need.least && k + 1 < park.count) continue;
    record.whom = need.whom;
    record.what = need.what;
    record.seen = seen;
    record.expected = need.least;
    break;
  }
  return record;
}

// True for a wait that some other warp of rank `me` will end, or accuse somebody for. A wait for room at the own proxy
// is none of these: no warp ends it.
inline bool for_own_warps(const WaitRecord& record, uint32_t me) {
  return record.whom == me && record.what != Waiting::kRoom;
}

// Orders waits of rank `me` by how much they explain, the best first: those for the own proxy, waits on other ranks
// before those on own warps, waits for something before those for a rank to leave; then by which expired first; then by
// age. `when` is the time at which the wait expired, or else began.
template <class When>
std::tuple<int, bool, When> wait_order(const WaitRecord& record, uint32_t me, bool expired, When when) {
  if (record.what == Waiting::kRoom) return {-1, !expired, when};
  return {(record.whom == me ? 2 : 0) + (record.what == Waiting::kDone ? 1 : 0), !expired, when};
}

class Parker {
 public:
  virtual ~Parker() = default;
  // Inside a fiber: returns once the needs are met, or false if the rank has failed.
  virtual bool park(Park& park) = 0;
  // Inside a fiber: lets the other fibers and the network have a turn.
  virtual void yield() = 0;
};

}  // namespace transload
