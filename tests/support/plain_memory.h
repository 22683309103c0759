// The plainest Memory under a FiberWarp: moves and marks are done at once, and a wait calls on_park(), in which the
// test makes its words grow.
#pragma once
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "executor/fiber/warp.h"

namespace transload::test {

struct PlainMemory {
  using Plants = HostPlants;
  std::function<void(const Park&)> on_park;  // must meet the wait's needs; null: the wait fails
  std::function<void(RailWord, Word)> on_rail;
  std::function<void(const Put&)> on_put;
  char* mapped = nullptr;  // the network region that stands for every other rank's; null: none is mapped
  int parks = 0;
  std::vector<BrokenRecord> broken_promises;

  uint32_t publish_every() const { return 1; }
  bool failed(int) const { return false; }
  Word observe(int, const Word* word) const { return *word; }
  template <class T>
  T peek(int, const T* at) const {
    return *at;
  }
  char* rail_base(uint32_t) const { return mapped; }
  void advance(int, Word* word, Word count) { *word = count; }
  Word claim(int, Word* counter) { return (*counter)++; }
  Word arrive(int, Word* counter) { return (*counter)++; }
  void move(int, const Piece& piece, bool) { std::memcpy(piece.to, piece.from, piece.bytes); }
  void sum(int, const simd::SumJob&) {}
  void moved(int, uint32_t) {}
  void engine_fence(int) {}
  void store_fence(int) {}
  void put(int, const Put& put) { on_put(put); }
  void publish(int, const RailWord& word, Word count, bool) { on_rail(word, count); }
  void store(int, Word* at, uint32_t, Word count) { *at = count; }
  void wake(int, const Batch&) {}
  void knows(int, const Word*, Word, Word) {}
  void settle(int) {}
  void drain(int) {}
  bool park(int, Park& park) {
    ++parks;
    if (on_park) on_park(park);
    return bool(on_park);
  }
  void missed(int) {}
  void breathe(int) {}
  void broken(int, const BrokenRecord& record) { broken_promises.push_back(record); }
};

// One warp over a Memory, with room for the tables of any role.
template <class Memory>
class WarpOver {
 public:
  using Warp = FiberWarp<Memory>;
  WarpOver() : warp_(memory, 0, {near_.get(), kNearBytes, needs_.get()}) {}
  Memory memory;
  Warp& operator*() { return warp_; }

 private:
  static constexpr size_t kNearBytes = 1 << 20;
  std::unique_ptr<char[]> near_ = std::make_unique<char[]>(kNearBytes);
  std::unique_ptr<Need[]> needs_ = std::make_unique<Need[]>(kMembersMax);
  Warp warp_;
};
using PlainWarp = WarpOver<PlainMemory>;

}  // namespace transload::test
