// Drained words. Puts may complete in any order, but a word shows the count of a put only once the sources of this put
// and of all earlier puts with the same word are free.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mix.h"
#include "channel/word.h"

namespace transload {

// A put's place among those with the same word.
struct Draining {
  Word* word = nullptr;  // null: the put has none
  Word count = 0;
  bool announces = false;  // the last piece of a split put, or the whole put: only that one shows `count`
  bool read = false;       // the source is free
  Draining* next = nullptr;
};

class DrainedWords {
 public:
  void add(Draining& draining) {
    WordQueue& queue = queue_of(draining.word);
    draining.read = false;
    draining.next = nullptr;
    if (queue.last != nullptr)
      queue.last->next = &draining;
    else
      queue.first = &draining;
    queue.last = &draining;
  }

  // Notes that a put's source is free. Calls gone(Draining&), in order, for each put that thereby leaves the queue of
  // its word.
  template <class Gone>
  void finish(Draining& draining, Gone gone) {
    draining.read = true;
    WordQueue& queue = queue_of(draining.word);
    while (queue.first != nullptr && queue.first->read) {
      Draining& done = *queue.first;
      queue.first = done.next;
      if (queue.first == nullptr) queue.last = nullptr;
      if (done.announces) std::atomic_ref<Word>(*done.word).store(done.count, std::memory_order_release);
      gone(done);
    }
  }

 private:
  struct WordQueue {
    Word* word = nullptr;
    Draining* first = nullptr;
    Draining* last = nullptr;
  };

  static size_t start_of(const Word* word) { return (reinterpret_cast<uintptr_t>(word) >> 3) * kSplitMixStep >> 20; }

  static WordQueue& find(std::vector<WordQueue>& queues, const Word* word) {
    size_t i = start_of(word) & (queues.size() - 1);
    while (queues[i].word != nullptr && queues[i].word != word) i = (i + 1) & (queues.size() - 1);
    return queues[i];
  }

  // Words are few and looked up again and again, so the table grows in the first calls only.
  WordQueue& queue_of(Word* word) {
    WordQueue* queue = &find(queues_, word);
    if (queue->word != nullptr) return *queue;
    if (++words_ * 2 > queues_.size()) {
      std::vector<WordQueue> larger(queues_.size() * 2);
      for (const WordQueue& each : queues_)
        if (each.word != nullptr) find(larger, each.word) = each;
      queues_.swap(larger);
      queue = &find(queues_, word);
    }
    queue->word = word;
    return *queue;
  }

  std::vector<WordQueue> queues_ = std::vector<WordQueue>(64);
  size_t words_ = 0;
};

}  // namespace transload
