// Fibers that wait for words, found by word, so that a count costs no look at those who wait for others.
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
  // The word has come to this count, unless it was there already; who waited for it goes on.
  void land(Word* word, Word count);

 private:
  struct Waiter {
    int fiber;
    uint64_t wait;
  };
  struct FiberWait {
    const Park* park = nullptr;
    uint64_t wait = 0;  // one fiber's waits count up: of what is listed under a word only the last is still there
  };

  Seeded& seeded_;
  std::unordered_map<const Word*, std::vector<Waiter>> waiters_;
  std::vector<FiberWait> fibers_;
};

}  // namespace transload
