// Marks that a warp holds back. A release costs its warp some 2 us, so several counts of a word become one, set when
// what it speaks for is over anyhow.
#pragma once
#include "executor/cuda/members.cuh"

namespace transload {

// One kind of mark: counts that wait for landed moves, or for sources that have been read. Lane l keeps the l-th word
// with two counts: one is due at a position in the queue of moves, the other gathers what comes after it.
class HeldMarks {
 public:
  // `every` calls of publish or credit are gathered before their counts become due.
  TRANSLOAD_DEVICE explicit HeldMarks(uint32_t every) : every_(every) {}

  // The whole warp calls this, with equal arguments. False if all lanes hold other words: set those first.
  TRANSLOAD_DEVICE bool add(Word* word, Word count) {
    uint32_t place = __ballot_sync(kAllLanes, word_ == word);
    if (place == 0) place = __ballot_sync(kAllLanes, word_ == nullptr);
    if (place == 0) return false;
    if (lane_of_thread() == __ffs(int(place)) - 1) {
      word_ = word;
      later_ = count;
    }
    has_later_ = true;
    return true;
  }
  // Says that a call of publish or credit is over; `position` counts the moves issued so far. True if what was gathered
  // became due.
  TRANSLOAD_DEVICE bool called(uint32_t position) {
    later_at_ = position;
    ++calls_;
    return promote();
  }

  TRANSLOAD_DEVICE bool empty() const { return !has_due_ && !has_later_; }
  // The due counts speak for the moves before due_at().
  TRANSLOAD_DEVICE bool due() const { return has_due_; }
  TRANSLOAD_DEVICE uint32_t due_at() const { return due_at_; }

  // Sets what is due: the whole warp calls `set(word, count)`, with a count of 0 in a lane that has none. True if what
  // was gathered became due.
  template <class F>
  TRANSLOAD_DEVICE bool set_due(F set) {
    __syncwarp();
    set(word_, due_);
    due_ = 0;
    if (later_ == 0) word_ = nullptr;
    has_due_ = false;
    return promote();
  }
  template <class F>
  TRANSLOAD_DEVICE void set_all(F set) {
    __syncwarp();
    set(word_, later_ != 0 ? later_ : due_);  // `later_` is the larger count, because counts of a word only grow
    clear();
  }
  TRANSLOAD_DEVICE void clear() {
    word_ = nullptr;
    due_ = later_ = 0;
    has_due_ = has_later_ = false;
    calls_ = 0;
  }

 private:
  TRANSLOAD_DEVICE bool promote() {
    if (has_due_ || !has_later_ || calls_ < every_) return false;
    due_ = later_;
    later_ = 0;
    due_at_ = later_at_;
    has_due_ = true;
    has_later_ = false;
    calls_ = 0;
    return true;
  }

  // Each lane holds a mark of its own.
  Word* word_ = nullptr;
  Word due_ = 0, later_ = 0;  // counts; 0: none
  // These are alike in all lanes of the warp.
  bool has_due_ = false, has_later_ = false;
  uint32_t due_at_ = 0, later_at_ = 0, calls_ = 0;
  const uint32_t every_;
};

}  // namespace transload
