// Rung 9: claim hands each number out once; the last to arrive publishes for all.
#pragma once
#include <vector>

#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

struct ClaimRung {
  static constexpr int kWarps = 9, kNumbers = 1000;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    auto* const times = reinterpret_cast<uint32_t*>(a.room(0));
    for (Word n; (n = a.w.pick(a.w.claim(a.mine(0)), 0)) < kNumbers;) {
      a.count(times + n);
      a.publish(0, 1, 1);  // so that others have their turn
    }
  }
};
template <class S>
void claim_rung(S& stage) {
  stage.fill(0, 0, ClaimRung::kNumbers * 4);
  stage.template play<typename S::Scatter>(ClaimRung{}, {ClaimRung::kWarps, 0});
  const std::vector<uint32_t> once(ClaimRung::kNumbers, 1);
  stage.ledger.bytes(stage.read(0, 0, once.size() * 4).data(), once.data(), once.size() * 4, "numbers claimed once");
  stage.ledger.eq(stage.word(0, 0), ClaimRung::kNumbers + ClaimRung::kWarps, "the counter");
}

struct ArriveRung {
  static constexpr int kWarps = 7;
  Word calls;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    char* const rows = a.room(1);
    for (Word call = 1; call <= calls && !a.w.failed(); ++call) {
      if (a.side == 1) {
        if (!a.await(a.mine(0), call, 0, Waiting::kDone)) break;
        a.lanes(uint32_t(kWarps * 8), [&](uint32_t k) {
          a.tally.eq(a.w.peek(reinterpret_cast<const Word*>(rows) + k), call * 100 + Word(k / 8), __LINE__);
        });
        for (int warp = 0; warp < kWarps; ++warp) a.publish(0, 1 + warp, call);
        a.w.settle();
        continue;
      }
      char* const source = a.own((1 << 20) + uint64_t(a.number) * 64, 64);
      a.lanes(8, [&](uint32_t k) { reinterpret_cast<Word*>(source)[k] = call * 100 + Word(a.number); });
      a.wrote();
      a.w.scatter({source, 64, nullptr, 0}, Set::only(a.number), [&](Lane) {
        return Destination{rows + a.number * 64, nullptr, false};
      });
      if (a.w.arrive(a.mine(0), call * kWarps)) a.publish(1, 0, call);
      a.await(a.mine(1 + a.number), call, 1, Waiting::kDone);
    }
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
template <class S>
void arrive_rung(S& stage) {
  const Word calls = stage.scaled(2000);
  stage.template play<typename S::Scatter>(ArriveRung{calls}, {ArriveRung::kWarps, 1});
  stage.ledger.eq(stage.word(1, 0), calls, "the calls that were said to be done");
}

}  // namespace transload::rungs
