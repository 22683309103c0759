// The records of writes on their way. They come from a pool that grows only when more writes are out than ever before.
#pragma once
#include <rdma/fabric.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "channel/word.h"
#include "transport/scaleout/libfabric/drained.h"

namespace transload {

// A put, a piece of one, or a count.
struct Op {
  fi_context2 context;  // first, so that a completion leads back to its op
  Op* next;
  Op* previous;
  Op* joined;      // the next op of the same write, once that is posted
  Op* counted_by;  // unordered: the count that has to wait until this put has landed
  const char* from;
  size_t bytes;
  void* descriptor;
  uint64_t offset;
  uint32_t rank;
  uint32_t puts_out;  // count, unordered: puts after the previous count that have not landed
  bool is_count;
  bool awaited;  // quiet() waits for the op; false only in a credit
  bool out;      // the provider has the op
  bool queued;   // the op is in a queue of its drained word
  Word count;    // count: the new value of the word
  Word* lent;    // posted count: the registered word that it is sent from
  Draining draining;
};
static_assert(std::is_standard_layout_v<Op>);

// The words that counts are sent from. There are as many as the provider can have counts at once, so that they are
// registered once, and never in a call.
class CountWords {
 public:
  explicit CountWords(size_t most) : words_(most) {
    for (Word& word : words_) free_.push_back(&word);
  }
  char* at() { return reinterpret_cast<char*>(words_.data()); }
  size_t bytes() const { return words_.size() * sizeof(Word); }
  Word* lend() {
    TRANSLOAD_CHECK(!free_.empty());
    Word* const word = free_.back();
    free_.pop_back();
    return word;
  }
  void give_back(Word* word) { free_.push_back(word); }

 private:
  std::vector<Word> words_;
  std::vector<Word*> free_;
};

// A list of ops. An op is in one list at most.
class OpList {
 public:
  bool empty() const { return first_ == nullptr; }
  Op* first() const { return first_; }
  size_t size() const { return size_; }

  void append(Op& op) {
    op.previous = last_;
    op.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &op;
    last_ = &op;
    ++size_;
  }
  void remove(Op& op) {
    (op.previous != nullptr ? op.previous->next : first_) = op.next;
    (op.next != nullptr ? op.next->previous : last_) = op.previous;
    --size_;
  }
  Op* take() {
    Op* const op = first_;
    if (op != nullptr) remove(*op);
    return op;
  }

 private:
  Op* first_ = nullptr;
  Op* last_ = nullptr;
  size_t size_ = 0;
};

constexpr size_t kRoundMax = 32;  // small, because each word is compared with every other of its round

// Chooses the next round of counts where writes have no order: those at the front of `held` that wait for no put, at
// most `kRoundMax`, and of one word only the latest, because two counts of one round may land in any order. Calls
// gone(Op&) for each earlier count of such a word, which has left the list. Returns how many counts go.
template <class Gone>
size_t start_round(OpList& held, Gone gone) {
  Op* going[kRoundMax];
  size_t count = 0;
  for (Op *op = held.first(), *next; op != nullptr && op->puts_out == 0 && count < kRoundMax; op = next) {
    next = op->next;
    size_t place = 0;
    while (place < count && going[place]->offset != op->offset) ++place;
    if (place == count) {
      ++count;
    } else {
      held.remove(*going[place]);
      gone(*going[place]);
    }
    going[place] = op;
  }
  return count;
}

class OpPool {
 public:
  Op& take() {
    if (free_.empty()) grow();
    Op& op = *free_.back();
    free_.pop_back();
    op = Op{};
    return op;
  }
  void give(Op& op) { free_.push_back(&op); }

 private:
  static constexpr size_t kChunk = 512;

  void grow() {
    chunks_.push_back(std::make_unique<Op[]>(kChunk));
    Op* const ops = chunks_.back().get();
    free_.reserve(chunks_.size() * kChunk);
    for (size_t i = kChunk; i-- > 0;) free_.push_back(&ops[i]);
  }

  std::vector<std::unique_ptr<Op[]>> chunks_;
  std::vector<Op*> free_;
};

}  // namespace transload
