// Rung 7: a warp that waits for any of several streams serves those that move.
#pragma once
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// Side 1 takes from kStreams agents of
// side 0; stream kLast moves only once all others have ended.
struct AnyRung {
  static constexpr int kStreams = 70, kLast = 33;
  Word rows;

  template <class A>
  TRANSLOAD_WARP void take(A& a) const {
    auto taken = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    auto seen = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    for (;;) {
      const typename A::Members live = a.w.where(A::Members::first(kStreams), [&](Lane l) { return taken[l] < rows; });
      if (live.empty()) break;
      const typename A::Members ready = a.w.wait_any(
          live,
          [&](Lane l) {
            return Need{a.mine(l.i), taken[l] + 1, 0};
          },
          seen);
      if (ready.empty()) break;
      a.w.each(ready, [&](Lane l) {
        a.tally.eq(seen[l] > taken[l], true, __LINE__);
        taken[l] = seen[l];
      });
      a.w.publish(ready, [&](Lane l) { return Mark<PeerWord>{{a.word(0, l.i), 0}, taken[l]}; });
    }
    a.w.settle();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
  template <class A>
  TRANSLOAD_WARP void give(A& a, int stream) const {
    const typename A::Members mine = A::Members::only(stream);
    auto seen = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    auto wait = [&](const typename A::Members& members, Word least) {
      return a.w.wait_all(
          members,
          [&](Lane l) {
            return Need{a.mine(l.i), least, 1, Waiting::kCredit};
          },
          seen);
    };
    if (stream == kLast) {
      typename A::Members others = A::Members::first(kStreams);
      others.remove(kLast);
      a.tally.eq(wait(others, rows).count(), kStreams - 1, __LINE__);
    }
    for (Word i = 0; i < rows && !a.w.failed(); ++i) {
      a.w.publish(mine, [&](Lane l) { return Mark<PeerWord>{{a.word(1, l.i), 1}, i + 1}; });
      wait(mine, i < 3 ? 0 : i - 2);
    }
    a.w.settle();
  }
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    if (a.side == 1)
      take(a);
    else
      give(a, a.number);
  }
};
template <class S>
void any_rung(S& stage) {
  const Word rows = stage.scaled(400);
  stage.template play<typename S::Scatter>(AnyRung{rows}, {AnyRung::kStreams, 1});
  for (int i = 0; i < AnyRung::kStreams; ++i) stage.ledger.eq(stage.word(1, i), rows, "a stream");
}

struct PollRung {
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const Set two = Set::first(2), one = Set::only(0);
    auto seen = a.w.template per<Word>(two, [](Lane) { return Word(0); });
    auto least = [&](Word n) { return [&a, n](Lane l) { return Need{a.mine(l.i), n, 0}; }; };
    if (a.number == 1) {  // until the other says so
      while (!a.w.failed() && a.w.poll(
                                     one,
                                     [&](Lane) {
                                       return Need{a.mine(2), 1, 0};
                                     },
                                     seen)
                                  .empty()) {
      }
      a.tally.eq(a.w.pick(seen, 0), 1, __LINE__);
      return;
    }
    a.set(0, 5);
    a.tally.eq(a.w.poll(two, least(4), seen).bits, 1, __LINE__);
    a.tally.eq(a.w.pick(seen, 0), 5, __LINE__);
    a.set(0, 3);  // as a count may look whose bytes land one by one
    a.tally.eq(a.w.wait_any(two, least(5), seen).bits, 1, __LINE__);
    a.tally.eq(a.w.poll(two, least(6), seen).bits, 0, __LINE__);
    a.tally.eq(a.w.pick(seen, 0), 5, __LINE__);
    a.tally.eq(a.w.pick(seen, 1), 0, __LINE__);
    a.tally.eq(a.w.wait_all(Set{}, least(9), seen).bits, 0, __LINE__);
    a.tally.eq(a.w.failed(), false, __LINE__);
    a.publish(a.side, 2, 1);
    a.w.settle();
  }
};
template <class S>
void poll_rung(S& stage) {
  stage.template play<typename S::Scatter>(PollRung{}, {2, 0});
}

}  // namespace transload::rungs
