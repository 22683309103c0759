// Print is the fingerprint of a state; States are the states that a walk has been in.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mix.h"

namespace transload {

// 128 bits, in which different states of one walk almost surely differ: of 2^24 states, two share a print by chance
// once in 2^81 walks.
struct Print {
  uint64_t a = 0x243F6A8885A308D3u, b = 0x13198A2E03707344u;

  void mix(uint64_t value) {
    a = (a ^ value) * kSplitMixStep;
    a ^= a >> 32;
    b = (b + value) * 0xD6E8FEB86659FD93u;
    b = (b << 29 | b >> 35) ^ a;
  }
  bool operator==(const Print&) const = default;
  bool operator<(const Print& o) const { return a != o.a ? a < o.a : b < o.b; }
};

// A hash table of states, each with the number of schedules that lead from it to an end.
class States {
 public:
  struct Visited {
    Print print;
    double schedules;
    bool used;
  };

  States() : entries_(size_t(1) << 16) {}
  uint64_t count() const { return count_; }
  // Null if the walk was never in this state. The result is valid until the next add().
  Visited* find(const Print& print) {
    Visited& e = place(print);
    return e.used ? &e : nullptr;
  }
  void add(const Print& print) {
    if ((count_ + 1) * 2 > entries_.size()) grow();
    Visited& e = place(print);
    e = {print, 0, true};
    ++count_;
  }

 private:
  Visited& place(const Print& print) {
    const size_t mask = entries_.size() - 1;
    for (size_t i = size_t(print.b) & mask;; i = (i + 1) & mask)
      if (!entries_[i].used || entries_[i].print == print) return entries_[i];
  }
  void grow() {
    std::vector<Visited> old(entries_.size() * 2);
    old.swap(entries_);
    for (const Visited& e : old)
      if (e.used) place(e.print) = e;
  }

  std::vector<Visited> entries_;
  uint64_t count_ = 0;
};

}  // namespace transload
