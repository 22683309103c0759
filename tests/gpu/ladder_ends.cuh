// Rungs 10, 11 and 13 on GPUs: waits that end in vain, broken promises, the host's abort, and what a build with checks
// says of a warp's own mistakes.
#pragma once
#include <chrono>
#include <thread>

#include "tests/gpu/agents.cuh"
#include "tests/ladder/rungs/turns.h"

namespace transload::gpu {

// Rung 10: a wait that nobody answers ends at its deadline and says for whom; after that nothing is done any more.
struct DeadlineRung {
  static constexpr uint64_t kDeadlineNs = 100'000'000, kMostNs = 2'000'000'000;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    a.w.enter(Role::kForwarder, 6);
    auto seen = a.w.template table<Word>(3, [](Lane) { return Word(0); });
    const CudaMembers all = CudaMembers::first(3);
    const uint64_t begin = ptx::now_ns();
    a.publish(a.mine(10), 7);  // set before it waits
    const CudaMembers met = a.w.wait_all(
        all,
        [&](Lane l) {
          return Need{a.mine(l.i), 7, uint32_t(40 + l.i)};
        },
        seen);
    const uint64_t waited = ptx::now_ns() - begin;
    a.tally.eq(met.empty(), true, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
    a.tally.eq(waited >= kDeadlineNs, true, __LINE__);
    a.tally.eq(waited < kMostNs, true, __LINE__);
    a.tally.eq(a.w.wait_any(
                      all,
                      [&](Lane l) {
                        return Need{a.mine(l.i), 0, 0};
                      },
                      seen)
                   .empty(),
               true, __LINE__);
    a.w.scatter({a.room(0), 64, nullptr, 0}, Set::only(0), [&](Lane) {
      return Destination{a.room(1), nullptr, false};
    });
    a.w.copy(Set::only(0), [&](Lane) { return Piece{a.room(1), a.room(0), 64}; });
    a.publish(a.mine(11), 5);
    a.credit(a.mine(12), 5);
    a.tally.eq(a.w.arrive(a.mine(13), 1), false, __LINE__);
  }
};
// Word 0 has come, words 1 and 2 have not. `me`: the rank that waits itself.
inline void expect_deadline(Stage& stage, Word me, uint32_t whom, Word seen) {
  stage.clear();
  stage.fill(0, 1, 64);
  stage.fill(1, 2, 64);
  const Word values[] = {9, 3, 0};
  for (int i = 0; i < 3; ++i) stage.set_word(0, i, values[i]);
  stage.page(0).fault.rank = me;
  Setting setting;
  setting.deadline_ns = DeadlineRung::kDeadlineNs;
  stage.start<ScatterPipe>(DeadlineRung{}, {1, 0}, setting);
  stage.finish();
  const DeviceFault& fault = stage.page(0).fault;
  rungs::Ledger& ledger = stage.ledger;
  ledger.eq(fault.set, Word(DeviceFailure::kExpired), "the failure");
  ledger.eq(fault.role, Word(Role::kForwarder), "the role");
  ledger.eq(fault.channel, 6, "the channel");
  ledger.eq(fault.what, Word(Waiting::kTokens), "what was waited for");
  ledger.eq(fault.whom, whom, "the first of another rank that did not come");
  ledger.eq(fault.seen, seen, "what was seen");
  ledger.eq(fault.expected, 7, "what was expected");
  ledger.eq(stage.word(0, 10), 7, "a mark from before the wait");
  ledger.eq(stage.word(0, 11), 0, "a count after the fault");
  ledger.eq(stage.word(0, 12), 0, "a credit after the fault");
  const std::vector<char> untouched(64, 2);
  ledger.bytes(stage.read(1, 0, 64).data(), untouched.data(), 64, "a move after the fault");
}
inline void deadline_rung(Stage& stage) {
  expect_deadline(stage, 3, 41, 3);
  expect_deadline(stage, 41, 42, 0);
}

// Warps that wait for their own rank alone leave it to the one that waits for another to say whom the rank waits for;
// if there is none, they accuse their own rank in the end.
struct OwnRung {
  static constexpr uint32_t kMe = 30;
  bool other;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const bool waits_for_other = other && a.number == 4;
    // It begins later, and so expires later.
    for (const uint64_t begin = ptx::now_ns();
         waits_for_other && ptx::now_ns() - begin < DeadlineRung::kDeadlineNs / 2;)
      continue;
    a.tally.eq(a.await(a.mine(0), 1, waits_for_other ? 31 : kMe), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
  }
};
inline void own_rung(Stage& stage) {
  Setting setting;
  setting.deadline_ns = DeadlineRung::kDeadlineNs;
  for (bool other : {true, false}) {
    stage.clear();
    stage.page(0).fault.rank = OwnRung::kMe;
    stage.start<ScatterPipe>(OwnRung{other}, {6, 0}, setting);
    stage.finish();
    stage.ledger.eq(stage.page(0).fault.set, Word(DeviceFailure::kExpired), "the failure");
    stage.ledger.eq(stage.page(0).fault.whom, other ? 31 : OwnRung::kMe, "who is accused");
  }
}

// One agent finds a promise broken; the others of its rank, who wait, leave long before their deadline.
struct BrokenRung {
  static constexpr uint64_t kSoonNs = 5'000'000'000;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    if (a.number == 0) {
      a.w.enter(Role::kOpener, -1);
      a.w.broken(Broken::kHeader, 7, 11, 12);
      a.w.broken(Broken::kHandle, 8, 0, 0);
      a.tally.eq(a.w.failed(), true, __LINE__);
      return;
    }
    const uint64_t begin = ptx::now_ns();
    a.tally.eq(a.await(a.mine(0), 1, 3, Waiting::kGrant), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
    a.tally.eq(ptx::now_ns() - begin < kSoonNs, true, __LINE__);
  }
};
inline void broken_rung(Stage& stage) {
  stage.start<ScatterPipe>(BrokenRung{}, {6, 0});
  stage.finish();
  const DeviceFault& fault = stage.page(0).fault;
  stage.ledger.eq(fault.set, Word(DeviceFailure::kBroken), "the failure");
  stage.ledger.eq(fault.role, Word(Role::kOpener), "the role");
  stage.ledger.eq(fault.channel, Word(int64_t(-1)), "the channel");
  stage.ledger.eq(fault.what, Word(Broken::kHeader), "what was broken");
  stage.ledger.eq(fault.whom, 7, "by whom");
  stage.ledger.eq(fault.seen, 11, "what was seen");
  stage.ledger.eq(fault.expected, 12, "what was expected");
}

// In builds that check: what a warp does wrong itself is named, nothing of it is done, and the GPU works on.
enum class Wrong : int { kNothing, kBytesOfALane, kSetOfALane, kPastARegion, kMarkOfTheCaller };
struct ChecksRung {
  static constexpr uint32_t kMe = 9, kLane = 5, kBytes = 64;
  Wrong wrong;
  char* own;  // of the caller: rows may go there, marks may not
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    a.w.enter(Role::kSender, 2);
    const bool odd = threadIdx.x % 32 == kLane;
    const uint32_t bytes = kBytes + (odd && wrong == Wrong::kBytesOfALane ? 16 : 0);
    const Set set{odd && wrong == Wrong::kSetOfALane ? 2u : 1u};
    char* const to = wrong == Wrong::kPastARegion ? a.room(1) + kRoomBytes - 48 : own;
    a.w.scatter({a.room(0), bytes, nullptr, 0}, set, [&](Lane) { return Destination{to, nullptr, false}; });
    auto* const word = wrong == Wrong::kMarkOfTheCaller ? reinterpret_cast<Word*>(own + kBytes) : a.mine(1);
    a.publish(word, 3);
    a.w.settle();
    a.tally.eq(a.w.failed(), wrong != Wrong::kNothing, __LINE__);
  }
};
inline void checks_rung(Stage& stage) {
  char* own = nullptr;
  must(cudaMalloc(&own, 256), "cudaMalloc");
  for (Wrong wrong :
       {Wrong::kNothing, Wrong::kBytesOfALane, Wrong::kSetOfALane, Wrong::kPastARegion, Wrong::kMarkOfTheCaller}) {
    rungs::Ledger& ledger = stage.ledger;
    const std::string name = ", wrong " + std::to_string(int(wrong));
    const bool lanes = wrong == Wrong::kBytesOfALane || wrong == Wrong::kSetOfALane;
    stage.clear();
    stage.fill(0, 1, ChecksRung::kBytes);
    must(cudaMemset(own, 2, 256), "cudaMemset");
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    stage.page(0).fault.rank = ChecksRung::kMe;
    Setting setting;
    setting.own[0] = {own, 256};
    stage.start<ScatterPipe>(ChecksRung{wrong, own}, {1, 0}, setting);
    stage.finish();
    const DeviceFault& fault = stage.page(0).fault;
    char first = 0;
    must(cudaMemcpy(&first, own, 1, cudaMemcpyDefault), "cudaMemcpy");
    const bool moved = wrong == Wrong::kNothing || wrong == Wrong::kMarkOfTheCaller;
    ledger.eq(uint64_t(first), moved ? 1 : 2, "a byte at the caller's" + name);
    ledger.eq(stage.word(0, 1), wrong == Wrong::kNothing ? 3 : 0, "the count" + name);
    ledger.eq(fault.set, Word(wrong == Wrong::kNothing ? DeviceFailure::kNone : DeviceFailure::kBroken),
              "the failure" + name);
    if (wrong == Wrong::kNothing) continue;
    ledger.eq(fault.what, Word(lanes ? Broken::kLanes : Broken::kBounds), "what is wrong" + name);
    ledger.eq(fault.whom, ChecksRung::kMe, "the rank itself" + name);
    ledger.eq(fault.role, Word(Role::kSender), "the role" + name);
    ledger.eq(fault.channel, 2, "the channel" + name);
    const Word at = wrong == Wrong::kPastARegion ? reinterpret_cast<Word>(stage.room(1) + kRoomBytes - 48)
                                                 : reinterpret_cast<Word>(own + ChecksRung::kBytes);
    ledger.eq(fault.seen, lanes ? ChecksRung::kLane : at, "which lane, or where" + name);
  }
  must(cudaFree(own), "cudaFree");
}

// Rung 11: the host sees whom they wait for, and can make them leave; the GPU works on.
struct AbortRung {
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const Waiting what = a.number % 2 == 0 ? Waiting::kTokens : Waiting::kDone;
    a.tally.eq(a.await(a.mine(0), 1, uint32_t(20 + a.number % 2), what), false, __LINE__);
    a.tally.eq(a.w.failed(), true, __LINE__);
  }
};
inline bool seen_by_host(const Word& word, Word value) {
  for (int i = 0; i < 10000; ++i) {
    if (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == value) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}
inline void abort_rung(Stage& stage) {
  Setting setting;
  setting.deadline_ns = 60'000'000'000;
  stage.start<ScatterPipe>(AbortRung{}, {10, 10}, setting);
  for (int side : {0, 1}) {
    stage.ledger.eq(seen_by_host(stage.page(side).waits_for.peer, 21), true, "the host hears whom they wait for");
    stage.ledger.eq(seen_by_host(stage.page(side).waits_for.to_finish, 22), true, "the host hears who is not done");
    __atomic_store_n(&stage.page(side).abort, 1, __ATOMIC_RELEASE);
  }
  stage.finish();
  for (int side : {0, 1}) stage.ledger.eq(stage.page(side).fault.set, Word(DeviceFailure::kAborted), "the failure");
  stage.clear();
  stage.play<ScatterPipe>(rungs::TurnsRung{10}, {4, 4});
  stage.ledger.eq(stage.word(0, 3), 10, "turns after an abort");
}

}  // namespace transload::gpu
