// What of rungs 10 and 13 a GPU alone can be asked: whom a wait names that is for its own rank too, and what a build
// with checks says of a warp's own mistakes.
#pragma once
#include "tests/gpu/agents.cuh"
#include "tests/ladder/rungs/ends.h"

namespace transload::gpu {

// Rung 10: of a wait for several ranks, its own among them, the first of another rank is named.
inline void deadline_of_own_rung(Stage& stage) {
  rungs::expect_deadline(stage, {Stage::kLateNs, {40, uint32_t(rungs::kMe), 42}}, 42, 0);
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

}  // namespace transload::gpu
