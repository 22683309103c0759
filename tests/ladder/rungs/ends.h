// Rung 10: a wait that outlasts its deadline ends and says for whom it was; a broken promise ends all waits of its
// rank. Rung 11: the host hears whom warps wait for, and can make them leave.
#pragma once
#include <string>
#include <vector>

#include "protocol/wait_record.h"
#include "tests/ladder/rungs/agent.h"
#include "tests/ladder/rungs/turns.h"

namespace transload::rungs {

// How the warps of a side ended, as their host heard it first.
enum class EndedBy : int { kThemselves, kDeadline, kBroken, kHost };
struct Ended {
  EndedBy by = EndedBy::kThemselves;
  Role role = Role::kOpener;
  int channel = 0;
  int what = 0;  // a Waiting, or a Broken
  Word whom = 0, seen = 0, expected = 0;
};
inline void expect_ended(Ledger& ledger, const Ended& seen, const Ended& want) {
  ledger.eq(uint64_t(seen.by), uint64_t(want.by), "what ended the warps of a side");
  ledger.eq(uint64_t(seen.role), uint64_t(want.role), "the role");
  ledger.eq(uint64_t(int64_t(seen.channel)), uint64_t(int64_t(want.channel)), "the channel");
  ledger.eq(uint64_t(seen.what), uint64_t(want.what), "what was waited for, or broken");
  ledger.eq(seen.whom, want.whom, "who is to blame");
  ledger.eq(seen.seen, want.seen, "what was seen");
  ledger.eq(seen.expected, want.expected, "what was expected");
}

constexpr uint64_t kSoonNs = 100'000'000;  // a deadline that shall pass
constexpr Word kMe = 0;                    // the rank of side 0

// A wait that nobody answers ends at its deadline; after that nothing is done any more.
struct DeadlineRung {
  uint64_t late_ns;  // it must have ended by then
  uint32_t whom[3];  // ranks that words 0 to 2 come from
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    a.w.enter(Role::kForwarder, 6);
    auto seen = a.w.template table<Word>(3, [](Lane) { return Word(0); });
    const auto all = A::Members::first(3);
    const uint64_t begin = a.now_ns();
    a.publish(a.side, 10, 7);  // set before it waits
    const auto met = a.w.wait_all(
        all,
        [&](Lane l) {
          return Need{a.mine(l.i), 7, whom[l.i]};
        },
        seen);
    const uint64_t waited = a.now_ns() - begin;
    a.tally.eq(met.empty(), true, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
    a.tally.eq(waited >= kSoonNs, true, __LINE__);
    a.tally.eq(waited < late_ns, true, __LINE__);
    const auto none = a.w.wait_any(
        all,
        [&](Lane l) {
          return Need{a.mine(l.i), 0, 0};
        },
        seen);
    a.tally.eq(none.empty(), true, __LINE__);
    a.w.scatter({a.room(0), 64, nullptr, 0}, Set::only(0), [&](Lane) {
      return Destination{a.room(1), nullptr, false};
    });
    a.w.copy(Set::only(0), [&](Lane) { return Piece{a.room(1), a.room(0), 64}; });
    a.publish(a.side, 11, 5);
    a.credit(a.side, 12, 5);
    a.tally.eq(a.w.arrive(a.mine(13), 1), false, __LINE__);
  }
};
// Word 0 has come, words 1 and 2 have not.
template <class S>
void expect_deadline(S& stage, const DeadlineRung& rung, Word whom, Word seen) {
  stage.clear();
  stage.fill(0, 1, 64);
  stage.fill(1, 2, 64);
  const Word values[] = {9, 3, 0};
  for (int i = 0; i < 3; ++i) stage.set_word(0, i, values[i]);
  typename S::Setting setting;
  setting.deadline_ns = kSoonNs;
  stage.template start<typename S::Scatter>(rung, {1, 0}, setting);
  stage.finish();
  expect_ended(stage.ledger, stage.ended(0),
               {EndedBy::kDeadline, Role::kForwarder, 6, int(Waiting::kTokens), whom, seen, 7});
  stage.ledger.eq(stage.word(0, 10), 7, "a mark from before the wait");
  stage.ledger.eq(stage.word(0, 11), 0, "a count after the fault");
  stage.ledger.eq(stage.word(0, 12), 0, "a credit after the fault");
  const std::vector<char> untouched(64, 2);
  stage.ledger.bytes(stage.read(1, 0, 64).data(), untouched.data(), 64, "a move after the fault");
}
template <class S>
void deadline_rung(S& stage) {
  expect_deadline(stage, {S::kLateNs, {40, 41, 42}}, 41, 3);
}

// Warps that wait for their own rank alone leave it to the one that waits for another to say whom the rank waits for;
// if there is none, they accuse their own rank in the end.
struct OwnRung {
  static constexpr uint32_t kOther = 31;
  bool other;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const bool waits_for_other = other && a.number == 4;
    // It begins later, and so expires later. It spins until then: no verb waits for a time, since no role knows one.
    for (const uint64_t begin = a.now_ns(); waits_for_other && a.now_ns() - begin < kSoonNs / 2;) continue;
    a.tally.eq(a.await(a.mine(0), 1, waits_for_other ? kOther : uint32_t(kMe)), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
  }
};
template <class S>
void own_rung(S& stage) {
  typename S::Setting setting;
  setting.deadline_ns = kSoonNs;
  for (bool other : {true, false}) {
    stage.clear();
    stage.template start<typename S::Scatter>(OwnRung{other}, {6, 0}, setting);
    stage.finish();
    const Ended ended = stage.ended(0);
    stage.ledger.eq(uint64_t(ended.by), uint64_t(EndedBy::kDeadline), "what ended them");
    stage.ledger.eq(ended.whom, other ? Word(OwnRung::kOther) : kMe, "who is accused");
  }
}

// One agent finds a promise broken; the others of its rank, who wait, leave long before their deadline.
struct BrokenRung {
  static constexpr int kAgents = 6;
  uint64_t late_ns;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    if (a.number == kAgents - 1) {
      a.w.enter(Role::kCloser, -1);
      a.w.broken(Broken::kHeader, 7, 11, 12);
      a.w.broken(Broken::kHandle, 8, 0, 0);
      a.tally.eq(a.w.failed(), true, __LINE__);
      return;
    }
    const uint64_t begin = a.now_ns();
    a.tally.eq(a.await(a.mine(0), 1, 3, Waiting::kGrant), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
    a.tally.eq(a.now_ns() - begin < late_ns, true, __LINE__);
  }
};
template <class S>
void broken_rung(S& stage) {
  stage.template start<typename S::Scatter>(BrokenRung{S::kLateNs}, {BrokenRung::kAgents, 0});
  stage.finish();
  expect_ended(stage.ledger, stage.ended(0), {EndedBy::kBroken, Role::kCloser, -1, int(Broken::kHeader), 7, 11, 12});
}

// Rung 11: waits of both sides, of two kinds, that only the host ends; and nothing of it is left for who comes next.
struct AbortRung {
  static constexpr uint32_t kWhom = 20;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const bool tokens = a.number % 2 == 0;
    const Waiting what = tokens ? Waiting::kTokens : Waiting::kDone;
    a.tally.eq(a.await(a.mine(0), 1, tokens ? kWhom : kWhom + 1, what), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
  }
};
template <class S>
void abort_rung(S& stage) {
  typename S::Setting setting;
  setting.deadline_ns = 60'000'000'000;
  stage.template start<typename S::Scatter>(AbortRung{}, {10, 10}, setting);
  for (int side : {0, 1}) {
    stage.ledger.eq(stage.hears(side, Waiting::kTokens, AbortRung::kWhom), true, "the host hears whom they wait for");
    if (S::kHearsOfDone)
      stage.ledger.eq(stage.hears(side, Waiting::kDone, AbortRung::kWhom + 1), true, "the host hears who is not done");
  }
  for (int side : {0, 1}) stage.stop(side);
  stage.finish();
  for (int side : {0, 1}) stage.ledger.eq(uint64_t(stage.ended(side).by), uint64_t(EndedBy::kHost), "what ended them");
  stage.clear();
  play_turns(stage, 4, 10, {});
}

}  // namespace transload::rungs
