// Rung 8: pairs of agents, one of each side, take turns: every wait is for something not yet there.
#pragma once
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

struct TurnsRung {
  Word turns;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    for (Word i = 1; i <= turns && !a.w.failed(); ++i) {
      if (a.side == 0) a.publish(1, a.number, i);
      a.tally.eq(a.await(a.mine(a.number), i, uint32_t(1 - a.side)), true, __LINE__);
      if (a.side == 1) a.publish(0, a.number, i);
    }
    a.w.settle();
  }
};
template <class S>
void play_turns(S& stage, int pairs, Word turns, const typename S::Setting& setting) {
  stage.template play<typename S::Scatter>(TurnsRung{turns}, {pairs, pairs}, setting);
  for (int pair = 0; pair < pairs; ++pair)
    for (int side : {0, 1}) stage.ledger.eq(stage.word(side, pair), turns, "the word of a pair");
}
template <class S>
void turns_rung(S& stage) {
  play_turns(stage, 60, 8400, {});  // 1,008,000 waits
}

}  // namespace transload::rungs
