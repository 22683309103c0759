// TimedMemory: one rank's memory and its ways to others in a world with time. It is the Memory of FiberWarp where only
// times matter: moves take the time of their warp and of the links, and counts land when they would. Bytes lie where
// they belong at once, though nobody sees them before their count. The bytes of rows are not moved at all.
#pragma once
#include <cstring>
#include <functional>
#include <vector>

#include "base/canary.h"
#include "executor/fiber/warp.h"
#include "sim/model/seeded.h"
#include "sim/time/traffic.h"

namespace transload {

// What all memories of a world share.
struct TimedShared {
  Seeded* seeded;
  Timeline* timeline;
  ModelLinks* links;
  WordWaits* waits;
  Traffic* traffic;
  PortTimes* times;
  const TimedMachine* machine;
  uint32_t ranks;
  uint32_t batch;         // rows of a put
  uint32_t credit_every;  // credit calls of a warp until it gives its credits
  char* regions;          // the regions of all ranks, one after another
  uint64_t region_bytes;
};

class TimedMemory {
 public:
  using Plants = NoPlants;

  TimedMemory(const TimedShared& shared, uint32_t rank) : s_(shared), rank_(rank) {}
  TimedMemory(const TimedMemory&) = delete;
  TimedMemory& operator=(const TimedMemory&) = delete;

  // The Memory of FiberWarp, as executor/fiber/warp.h lists it.
  uint32_t publish_every() const { return s_.batch; }
  bool failed(int) const { return false; }
  Word observe(int, const Word* word) const { return *word; }
  void knows(int, const Word*, Word, Word) {}
  template <class T>
  T peek(int, const T* at) const {
    return *at;
  }
  char* rail_base(uint32_t) const { return nullptr; }
  void advance(int, Word* word, Word count) { *word = count; }
  Word claim(int, Word* counter) { return (*counter)++; }
  Word arrive(int, Word* counter) { return (*counter)++; }
  void engine_fence(int) {}
  void move(int w, const Piece& piece, bool staged);
  void move_token(int w, const TokenPieces& pieces, const Destination& landing);
  void sum(int w, const simd::SumJob& job);
  void moved(int w, uint32_t rows);
  void store_fence(int) {}
  void drain(int) {}  // nothing to do: a credit waits until its source has been read
  void settle(int w);
  void put(int w, const Put& put);
  void publish(int w, const RailWord& to, Word count, bool credit);
  void store(int w, Word* at, uint32_t reader, Word count);
  void wake(int w, const Batch& batch);
  bool park(int w, Park& park);
  void missed(int w);
  void breathe(int) {}
  void broken(int w, const BrokenRecord& record);
  void enters(int w, Role role, int32_t channel);

  // The rank calls these.
  void begin_run(int warps) { warps_.assign(size_t(warps), {}); }
  void ends(int w);
  // From now on warps of role `feeders` fill the port out, and those of role `takers` take what comes in; kCount: none.
  void watch(Role feeders, Role takers) {
    feeders_ = feeders;
    takers_ = takers;
  }

 private:
  static constexpr int kStages = 3;  // of a warp's near memory; as many moves may be under way at once

  struct WarpTime {
    uint64_t free_at = 0;  // when the warp's moves so far have left near memory
    uint64_t landed_at = 0;
    uint64_t stages[kStages] = {};  // when each stage is free again
    uint32_t moves = 0, credit_calls = 0;
    Role role = Role::kCount;
    Doing doing = Doing::kGone;
    std::vector<Piece> staged;  // pieces that a put will carry besides rows; they are written only at the other end
    std::vector<RailMessage> messages, credits;
  };
  uint64_t now() const { return s_.timeline->now(); }
  void sleep(uint64_t until);
  // The rank whose region this lies in; for bytes in no region, this rank.
  uint32_t rank_of(const char* at) const;
  char* region(uint32_t rank) const { return s_.regions + rank * s_.region_bytes; }
  uint64_t engine(WarpTime& warp, uint64_t bytes);
  void store(int w, const Piece& piece);
  void load(int w, const char* from, uint64_t bytes);
  void give_credits(WarpTime& warp);
  void does(int w, Doing doing);

  const TimedShared s_;
  const uint32_t rank_;
  Role feeders_ = Role::kCount, takers_ = Role::kCount;
  std::vector<WarpTime> warps_;
};

using TimedWarp = FiberWarp<TimedMemory>;

}  // namespace transload
