// WalkMemory: a ModelMemory whose warps stop before every primitive that others could see, with a print of all that
// each warp was told. It is the Memory of FiberWarp for exhaustive walks.
//
// What a warp does depends only on what its Memory tells it. So if a warp has the same print in two states of one
// world, it is at the same place of its code with the same variables. A wait is treated apart, to keep prints few: it
// looks at words, keeps the most that it saw of each, and parks, over and over. So its place and variables are those
// values and the word that it looks at next.
#pragma once
#include <cstring>
#include <initializer_list>
#include <vector>

#include "base/check.h"
#include "sim/model/model_memory.h"
#include "sim/walks/print.h"

namespace transload {

// What a warp does when it proceeds.
enum class Primitive : uint8_t {
  kStart,
  kLook,
  kPeek,
  kClaim,
  kArrive,
  kMove,
  kSum,
  kPut,
  kCount,
  kLiveCount,
  kFence,
  kDrain,
  kSettle,
  kParked,
  kCall,
  kEnd
};

class WalkMemory {
 public:
  using Plants = LivePlants;

  // `is_word`: by cell of the space, whether a count was ever given for it.
  WalkMemory(const ModelShared& shared, ModelMemory::AgentRank me, int warps, const std::vector<bool>& is_word)
      : inner_(shared, std::move(me)),
        space_(*shared.space),
        parker_(*shared.parker),
        is_word_(is_word),
        warps_(size_t(warps)) {
    for (int w = 0; w < warps; ++w) inner_.agent(w);
  }

  // The Memory of FiberWarp, as executor/fiber/warp.h lists it.
  uint32_t publish_every() const { return inner_.publish_every(); }
  bool failed(int w) {
    const bool failed = inner_.failed(w);
    if (failed) told(w, 1);
    return failed;
  }
  Word observe(int w, const Word* word) {
    look(w, word);
    return inner_.observe(w, word);
  }
  Word glance(int w, const Word* word) {
    look(w, word);
    return inner_.glance(w, word);
  }
  // Of all its looks at a word a warp keeps only the largest value, so neither earlier values are printed nor how often
  // it looked and waited in between.
  void knows(int w, const Word* word, Word before, Word now) {
    inner_.knows(w, word, before, now);
    OfWarp& warp = warps_[size_t(w)];
    for (LastLook& seen : warp.seen)
      if (seen.word == word) {
        if (seen.value == before) return void(seen.value = now);
        close_round(w);  // the warp reads this word into a second variable, which a print must tell apart
        break;
      }
    warp.seen.push_back({word, now});
  }
  template <class T>
  T peek(int w, const T* at) {
    turn(w, Primitive::kPeek);
    check_bytes(at, sizeof(T));
    const T value = inner_.peek(w, at);
    uint64_t words[(sizeof(T) + 7) / 8] = {};
    std::memcpy(words, &value, sizeof value);
    for (const uint64_t word : words) told(w, word);
    return value;
  }
  char* rail_base(uint32_t rank) const { return inner_.rail_base(rank); }
  void advance(int w, Word* word, Word count) { inner_.advance(w, word, count); }
  Word claim(int w, Word* counter) {
    turn(w, Primitive::kClaim);
    return told(w, inner_.claim(w, counter));
  }
  Word arrive(int w, Word* counter) {
    turn(w, Primitive::kArrive);
    return told(w, inner_.arrive(w, counter));
  }
  void engine_fence(int w) { inner_.engine_fence(w); }
  void move(int w, const Piece& piece, bool staged) {
    turn(w, Primitive::kMove);
    check_bytes(piece.from, piece.bytes);
    inner_.move(w, piece, staged);
  }
  void sum(int w, const simd::SumJob& job) {
    turn(w, Primitive::kSum);
    for (const simd::Rows* rows : {&job.before, &job.here, &job.after})
      for (int i = 0; i < rows->count; ++i) check_bytes(rows->at[i], 1);
    inner_.sum(w, job);
  }
  void moved(int, uint32_t) {}
  void store_fence(int w) {
    turn(w, Primitive::kFence);
    inner_.store_fence(w);
  }
  void drain(int w) {
    turn(w, Primitive::kDrain);
    inner_.drain(w);
  }
  void settle(int w) {
    turn(w, Primitive::kSettle);
    inner_.settle(w);
  }
  void put(int w, const Put& put) {
    turn(w, Primitive::kPut);
    check_bytes(put.from, put.bytes);
    inner_.put(w, put);
  }
  void publish(int w, RailWord to, Word count, bool credit) {
    turn(w, Primitive::kCount);
    inner_.publish(w, to, count, credit);
  }
  void publish_live(int w, RailWord to, const Word* from) {
    turn(w, Primitive::kLiveCount);
    inner_.publish_live(w, to, from);
  }
  void store(int w, Word* at, uint32_t reader, Word count) {
    turn(w, Primitive::kCount);
    inner_.store(w, at, reader, count);
  }
  void store_relaxed(int w, Word* at, uint32_t reader, Word count) {
    turn(w, Primitive::kCount);
    inner_.store_relaxed(w, at, reader, count);
  }
  void wake(int w, const Batch& batch) { inner_.wake(w, batch); }
  bool park(int w, Park& park) {
    warps_[size_t(w)].next = Primitive::kParked;
    const bool met = inner_.park(w, park);
    if (!met) told(w, 2);
    return met;
  }
  void missed(int w) { told(w, 3); }  // a warp that polls does not wait, so it runs on
  void breathe(int) {}
  void broken(int w, const BrokenRecord& record) { inner_.broken(w, record); }
  void enters(int w, Role role, int32_t channel) { inner_.enters(w, role, channel); }

  // The walk calls these.
  ModelMemory& inner() { return inner_; }
  const ModelMemory& inner() const { return inner_; }
  Print print(int w) const {
    const OfWarp& warp = warps_[size_t(w)];
    Print print = warp.print;
    for (const LastLook& seen : warp.seen) {
      print.mix(reinterpret_cast<uintptr_t>(seen.word));
      print.mix(seen.value);
    }
    print.mix(uint64_t(warp.next));
    if (warp.next == Primitive::kLook) print.mix(reinterpret_cast<uintptr_t>(warp.looks_at));
    return print;
  }
  Primitive next(int w) const { return warps_[size_t(w)].next; }
  void starts(int w) {
    warps_[size_t(w)].next = Primitive::kStart;
    told(w, uint64_t(Primitive::kStart));
  }
  void ends(int w) { warps_[size_t(w)].next = Primitive::kEnd; }
  // The caller promises that all variables of the warp's task depend on `state` alone and that it holds no marks, so
  // the print begins anew from `state`.
  void stands_at(int w, std::initializer_list<uint64_t> state) {
    warps_[size_t(w)].seen.clear();
    Print& print = warps_[size_t(w)].print;
    print = {};
    for (const uint64_t value : state) print.mix(value);
  }
  // All other warps have their turn before warp w does `what`.
  void turn(int w, Primitive what) {
    if (inner_.gone()) return;
    warps_[size_t(w)].next = what;
    parker_.yield();
    told(w, uint64_t(what));
  }

 private:
  struct LastLook {
    const Word* word;
    Word value;
  };
  struct OfWarp {
    Print print;                 // print of all that came before the looks in `seen`
    std::vector<LastLook> seen;  // the latest looks, with nothing else between them
    const Word* looks_at = nullptr;
    Primitive next = Primitive::kEnd;
  };

  void look(int w, const Word* word) {
    if (inner_.gone()) return;
    warps_[size_t(w)].next = Primitive::kLook;
    warps_[size_t(w)].looks_at = word;
    check_own(word);
    parker_.yield();
  }
  void close_round(int w) {
    OfWarp& warp = warps_[size_t(w)];
    for (const LastLook& seen : warp.seen) {
      warp.print.mix(reinterpret_cast<uintptr_t>(seen.word));
      warp.print.mix(seen.value);
    }
    warp.seen.clear();
  }
  uint64_t told(int w, uint64_t value) {
    close_round(w);
    warps_[size_t(w)].print.mix(value);
    return value;
  }

  // Roles of tiny worlds read no memory of another rank, and no word as bytes. StatePrint relies on both.
  void check_own(const void* at) const {
    TRANSLOAD_CHECK(!space_.holds(at) || space_.region_of(at) == inner_.region() || inner_.gone());
  }
  void check_bytes(const void* at, size_t bytes) const {
    check_own(at);
    if (!space_.holds(at) || inner_.gone()) return;
    const size_t first = space_.offset(at) / kCellBytes;
    for (size_t i = 0, n = Space::cells(at, bytes); i < n; ++i) TRANSLOAD_CHECK(!is_word_[first + i]);
  }

  ModelMemory inner_;
  const Space& space_;
  Parker& parker_;
  const std::vector<bool>& is_word_;
  std::vector<OfWarp> warps_;
};

using WalkWarp = FiberWarp<WalkMemory>;
static_assert(Warp<WalkWarp>);

}  // namespace transload
