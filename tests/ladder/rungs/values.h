// Rungs 1 and 2: sets and their lanes; values for each lane and for each member.
#pragma once
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// Rung 1: each, where, turns and once visit the right lanes.
struct SetsRung {
  template <class A, class M, class Present>
  TRANSLOAD_WARP static void visits(A& a, const M& set, int span, Present present) {
    auto visits = a.w.template table<uint32_t>(span, [](Lane) { return 0u; });
    a.w.each(set, [&](Lane l) { visits[l] += 1; });
    int before = -1, turns = 0, count = 0, descents = 0;
    a.w.turns(set, [&](int i) {
      descents += i <= before || !present(i);
      before = i;
      ++turns;
    });
    const M odd = a.w.where(set, [](Lane l) { return l.i % 2 == 1; });
    for (int i = 0; i < span; ++i) {
      a.tally.eq(visits[i], present(i) ? 1 : 0, __LINE__);
      a.tally.eq(set.has(i), present(i), __LINE__);
      a.tally.eq(odd.has(i), present(i) && i % 2 == 1, __LINE__);
      count += present(i);
    }
    a.tally.eq(turns, count, __LINE__);
    a.tally.eq(descents, 0, __LINE__);
    a.tally.eq(set.count(), count, __LINE__);
    a.tally.eq(set.empty(), count == 0, __LINE__);
    a.tally.eq(a.w.where(set, [](Lane) { return false; }).empty(), true, __LINE__);
  }
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    for (int n = 0; n <= kSetMax; ++n) visits(a, Set::first(n), kSetMax, [&](int i) { return i < n; });
    visits(a, Set{0x80000001u}, kSetMax, [](int i) { return i == 0 || i == 31; });
    for (int n : {0, 1, 32, 33, 64, 65, 130, 1024}) {
      visits(a, A::Members::first(n), n, [&](int i) { return i < n; });
      if (n <= 2) continue;
      typename A::Members some = A::Members::first(n);
      some.remove(n - 1);
      some.remove(1);
      visits(a, some, n, [&](int i) { return i < n - 1 && i != 1; });
      some.add(1);
      visits(a, some, n, [&](int i) { return i < n - 1; });
      visits(a, A::Members::only(n - 1), n, [&](int i) { return i == n - 1; });
    }
    a.w.once([&] { *a.mine(0) += 1; });
    a.tally.eq(a.value(0), 1, __LINE__);
  }
};
template <class S>
void sets_rung(S& stage) {
  stage.template play<typename S::Scatter>(SetsRung{}, {1, 0});
}

// Rung 2: a value for each lane, one for each member; near memory comes back.
struct ValuesRung {
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const Set set{0xA0000005u};
    auto p = a.w.template per<int>(set, [](Lane l) { return l.i + 100; });
    for (int i = 0; i < kSetMax; ++i) a.tally.eq(a.w.pick(p, i), set.has(i) ? i + 100 : 0, __LINE__);
    auto copy = p;
    a.w.each(set, [&](Lane l) { copy[l] = 1; });
    a.tally.eq(a.w.pick(p, 31), 131, __LINE__);
    a.tally.eq(a.w.pick(copy, 31), 1, __LINE__);
    for (int n : {1, 33, 65, 130, 1024}) {
      auto wide = a.w.template table<Word>(n, [](Lane l) { return Word(l.i); });
      auto narrow = a.w.template table<uint8_t>(n, [](Lane l) { return uint8_t(l.i * 3); });
      a.w.each(A::Members::first(n), [&](Lane l) { wide[l] += 7; });
      for (int i = 0; i < n; ++i) {
        a.tally.eq(a.w.pick(wide, i), Word(i) + 7, __LINE__);
        a.tally.eq(narrow[i], uint8_t(i * 3), __LINE__);
      }
      a.meet();  // all have read before the next tables are written
    }
    for (int turn = 0; turn < 2000; ++turn) {
      auto low = a.w.template table<Word>(1024, [&](Lane) { return Word(turn); });
      auto high = a.w.template table<Word>(1024, [&](Lane) { return Word(turn) + 1; });
      a.tally.eq(low[1023] + 1, high[0], __LINE__);
      a.meet();
    }
  }
};
template <class S>
void values_rung(S& stage) {
  stage.template play<typename S::Scatter>(ValuesRung{}, {1, 0});
}

}  // namespace transload::rungs
