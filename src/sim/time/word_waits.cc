// Parking fibers at words, and waking them.
#include "sim/time/word_waits.h"

namespace transload {

void WordWaits::park(Park& park) {
  const int fiber = seeded_.running();
  if (fibers_.size() <= size_t(fiber)) fibers_.resize(size_t(fiber) + 1);
  FiberWait& mine = fibers_[size_t(fiber)];
  mine.park = &park;
  ++mine.wait;
  for (int k = 0; k < park.count; ++k) waiters_[park.needs[k].word].push_back({fiber, mine.wait});
  seeded_.block();
}

void WordWaits::land(Word* word, Word count) {
  if (count <= *word) return;
  *word = count;
  const auto found = waiters_.find(word);
  if (found == waiters_.end()) return;
  std::vector<Waiter>& list = found->second;
  size_t kept = 0;
  for (const Waiter& waiter : list) {
    FiberWait& wait = fibers_[size_t(waiter.fiber)];
    if (wait.wait != waiter.wait) continue;
    if (!Seeded::met(*wait.park)) {
      list[kept++] = waiter;
      continue;
    }
    ++wait.wait;
    seeded_.wake(waiter.fiber);
  }
  list.resize(kept);
}

}  // namespace transload
