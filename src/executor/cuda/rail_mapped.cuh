// A rail that is mapped: moves store to it, so a put has nothing left to do, and a mark is a release store.
#pragma once
#include "channel/command.h"
#include "channel/word.h"
#include "executor/cuda/order.cuh"
#include "executor/cuda/rail_queue.h"

namespace transload {

struct MappedRail {
  static constexpr bool kPuts = false;  // such a rail takes no puts, and lacks the functions for them

  struct RailHeld {};

  TRANSLOAD_DEVICE MappedRail(const RailQueue&, RailHeld&) {}

  // A held mark is known by its key.
  TRANSLOAD_DEVICE static Word* key(const RailWord& word) { return reinterpret_cast<Word*>(word.mapped + word.offset); }
  // Where the mark with this key is stored.
  TRANSLOAD_DEVICE static const char* store_at(const Word* key) { return reinterpret_cast<const char*>(key); }
  // The whole warp calls this. A lane without a mark has a count of 0.
  TRANSLOAD_DEVICE void mark(RailVerb, Word* key, Word count) {
    if (count != 0) publish_to_all(key, count);
  }
};

}  // namespace transload
