// Fibers that wait for words, found by word, so that a count costs no look at fibers that wait for other words.
#pragma once
#include <unordered_map>
#include <vector>

#include "executor/fiber/park.h"
#include "sim/model/seeded.h"

namespace transload {

class WordWaits {
 public:
  explicit WordWaits(Seeded& seeded) : seeded_(seeded) {}

  // Waits inside a fiber until the needs are met.
  void park(Park& park);
  // Raises a word to this count, unless it is there already, and wakes fibers whose needs are now met.
  void land(Word* word, Word count);

 private:
  struct Waiter {
    int fiber;
    uint64_t wait;
  };
  struct FiberWait {
    const Park* park = nullptr;
    uint64_t wait = 0;  // number of the fiber's latest wait; entries in waiters_ with an earlier one are stale
  };

  Seeded& seeded_;
  std::unordered_map<const Word*, std::vector<Waiter>> waiters_;
  std::vector<FiberWait> fibers_;
};

}  // namespace transload
