// What every rung has: an agent, which is one warp of one of two sides, and the count of what it compared. A rung is a
// functor over an agent, and a function that sets its sides and plays it. Who runs it gives both: ladder/warp/stage.h
// on a CPU and in worlds, gpu/agents.cuh on GPUs.
//
// An Agent<W> adds to AgentBase: word(side, i) and mine(i), a word of a side, where its reader is; room(side), memory
// that both sides reach; own(at, bytes), memory of the agent alone, on a GPU at `at` of its room; lanes(n, body), which
// calls body(k) for each k below n, shared out to the lanes; wrote(), after which what it stored may be moved; meet(),
// all lanes have come; tell(side, i, count), a store that is no mark; set(i, value) and value(i), a word of its own
// side; count(at); now_ns(), a clock.
//
// A Stage has the types Scatter and Reduce, what an agent moves with, and Setting; kPieces and kStaged, what is tried
// of each; kElementsMost, of a row that is summed; kUncounted, the farther side whose room side 0 may read though no
// count says so; play<Pipe>(rung, agents of each side, setting); clear(), word(), write(), read(), fill(); and
// rounds(n) and scaled(n), how often something is done where a GPU does it n times.
//
// One whose waits may end in vain (ends.h) has besides start<Pipe>(rung, agents, setting), which returns at once, and
// finish(); Setting::deadline_ns; set_word(); ended(side), how its agents ended; hears(side, what, whom), true once the
// host has heard that they wait for that rank; kHearsOfDone, also for one to be done; stop(side), the host makes them
// leave; and kLateNs, what they end within where nobody else takes their processor.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

#include "base/macros.h"
#include "protocol/warp.h"

namespace transload::rungs {

// What one thread compared. `spoil`: the first comparison must come out wrong, to show that it counts.
struct Tally {
  uint32_t done = 0, wrong = 0;
  int line = 0;
  Word seen = 0, expected = 0;
  bool spoil = false;

  TRANSLOAD_WARP void eq(Word found, Word right, int where) {
    if (spoil && done == 0) right ^= 1;
    ++done;
    if (found == right || wrong++ != 0) return;
    line = where;
    seen = found;
    expected = right;
  }
};

// What a rung compared, by its agents and when they had ended.
struct Ledger {
  bool spoil = false;
  uint64_t done = 0, wrong = 0;
  std::string first;

  void eq(uint64_t seen, uint64_t expected, const std::string& what) {
    if (spoil && done == 0) expected ^= 1;
    ++done;
    if (seen == expected) return;
    if (wrong++ == 0) first = what + " is " + std::to_string(seen) + ", must be " + std::to_string(expected);
  }
  void bytes(const void* seen, const void* expected, size_t count, const std::string& what) {
    const auto *s = static_cast<const uint8_t*>(seen), *e = static_cast<const uint8_t*>(expected);
    size_t at = 0;
    while (at < count && s[at] == e[at]) ++at;
    eq(at, count, what + ": how many bytes are right");
  }
  // Adds what agents of a side compared; all but `done` belong to the first that was wrong.
  template <class Counts>
  void add(const Counts& counts, int side) {
    done += counts.done;
    wrong += counts.wrong;
    if (counts.wrong != 0 && first.empty())
      first = "side " + std::to_string(side) + ", line " + std::to_string(counts.line) + ": " +
              std::to_string(counts.seen) + ", must be " + std::to_string(counts.expected);
  }
};

template <class W>
struct AgentBase {
  using Members = typename W::Members;
  W& w;
  const int side, number;
  Tally tally;

  TRANSLOAD_WARP bool await(Word* at, Word least, uint32_t whom, Waiting what = Waiting::kTokens) {
    const Set one = Set::only(0);
    auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
    return !w.wait_all(
                 one,
                 [&](Lane) {
                   return Need{at, least, whom, what};
                 },
                 seen)
                .empty();
  }
  TRANSLOAD_WARP void publish(PeerWord to, Word count) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{to, count}; });
  }
  TRANSLOAD_WARP void credit(PeerWord to, Word count) {
    w.credit(Set::only(0), [&](Lane) { return Mark<PeerWord>{to, count}; });
  }
};

}  // namespace transload::rungs
