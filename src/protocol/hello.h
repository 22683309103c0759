// The first word over every path that a call may use.
//
// Reads: the board. Writes: hello words of my rails, and of the ranks whose rail I am. Runs as: one warp, once, when
// the group is made. Ends: when all have said hello to me.
#pragma once
#include "protocol/call.h"

namespace transload {

template <Warp W>
TRANSLOAD_WARP void run_hello(W& w, const Board& b) {
  const uint32_t nodes = b.map.nodes, sources = b.map.sources();
  auto greet = [&](const Counterpart* others, uint32_t count, uint32_t first) {
    w.publish(present(w, others, count), [&](Lane m) {
      return Mark<RailWord>{b.rail_word(others[m].rank, b.net.hello.at(first + others[m].index)), 1};
    });
  };
  greet(b.rails, nodes, nodes);
  greet(b.sources, sources, 0);
  auto listen = [&](const Counterpart* others, uint32_t count, uint32_t first) {
    auto seen = zeros<Word>(w, int(count));
    w.wait_all(
        present(w, others, count),
        [&](Lane m) {
          return Need{b.my_net_word(b.net.hello.at(first + uint32_t(m.i))), 1, others[m].rank, Waiting::kPath};
        },
        seen);
  };
  listen(b.rails, nodes, 0);
  listen(b.sources, sources, nodes);
  w.settle();
}

}  // namespace transload
