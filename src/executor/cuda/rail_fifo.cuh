// A rail that the host's network reaches: puts and marks become commands to this rank's proxy.
//
// A put's command is stored with release at system scope once its bytes have landed in pinned memory, so a proxy that
// takes it with acquire reads them. Puts come before the counts that speak for them; tickets of one warp grow, and
// kernels follow each other: so the queue has the order that a count's promise needs, and the count's command covers
// nothing.
#pragma once
#include "executor/cuda/far_keys.cuh"
#include "executor/cuda/puts.cuh"
#include "executor/cuda/rail_queue.h"

namespace transload {

class FifoRail : public FarKeys {
 public:
  static constexpr bool kPuts = true;
  static constexpr Waiting kWaits = Waiting::kRoom;

  TRANSLOAD_DEVICE explicit FifoRail(const RailQueue& queue) : queue_(queue) {}

  // Far: a rank and an offset.
  TRANSLOAD_DEVICE static Word* key(const RailWord& word) {
    return Key{.rank = word.rank, .queue = 0, .place = word.offset}.pack();
  }

  // Called by the whole warp, as all that follows. A lane without a mark has a count of 0.
  TRANSLOAD_DEVICE void mark(RailVerb verb, Word* key, Word count) {
    const bool far = count != 0 && is_far(key);
    if (count != 0 && !far) publish_to_all(key, count);
    const Key to = Key::unpack(key);
    ask(far, {.verb = verb, .rank = to.rank, .to = to.place, .count = count});
  }

  // Until their bytes have landed. False: some lane has no room, and nothing was held: put_all() first.
  TRANSLOAD_DEVICE bool hold(bool mine, const Put& put) { return puts_.hold(mine, put); }
  TRANSLOAD_DEVICE void promote() { puts_.promote(); }
  TRANSLOAD_DEVICE void put_due() { give(puts_.due); }
  TRANSLOAD_DEVICE void put_all() {
    give(puts_.due);
    give(puts_.later);
    puts_.any = false;
  }
  TRANSLOAD_DEVICE bool holds_puts() const { return puts_.any; }
  TRANSLOAD_DEVICE void clear() { puts_.clear(); }

  // Why the last commands are not in the queue: whom that names, and how many of all the proxy had taken by then, and
  // must have.
  TRANSLOAD_DEVICE Asked asked() const { return asked_; }
  TRANSLOAD_DEVICE uint32_t whom(uint32_t me) const { return me; }
  TRANSLOAD_DEVICE Word taken() const { return taken_; }
  TRANSLOAD_DEVICE Word least() const { return least_; }

 private:
  using Key = RailKey<0>;

  TRANSLOAD_DEVICE uint64_t offset_of(const void* at) const {
    return uint64_t(static_cast<const char*>(at) - queue_.network);
  }
  TRANSLOAD_DEVICE void give(HeldPut<false>& held) {
    ask(!held.empty(), {.verb = RailVerb::kPut,
                        .rank = held.rank(),
                        .to = held.offset,
                        .count = held.drained == nullptr ? 0 : held.count,
                        .from = offset_of(held.from),
                        .bytes = held.bytes,
                        .drained = held.drained == nullptr ? RailCommand::kUndrained : offset_of(held.drained)});
    held.bytes = 0;
  }

  // A command of each lane that has one. A ticket that was taken is used, or the group is lost.
  TRANSLOAD_DEVICE void ask(bool mine, const RailCommand& command) {
    const uint32_t bits = __ballot_sync(kAllLanes, mine);
    if (bits == 0 || asked_ != Asked::kTaken) return;
    const CommandSlot slot = encode(command, 0);
    Asking asking{.taken = taken_, .bits = bits, .words = {}};
#pragma unroll
    for (uint32_t i = 0; i < CommandSlot::kWords; ++i) asking.words[i] = slot.words[i];
    const Result result = write(&queue_, asking);
    asked_ = result.asked;
    taken_ = result.taken;
    least_ = result.least;
  }

  struct Asking {
    Word taken;
    uint32_t bits;  // lanes with a command
    Word words[CommandSlot::kWords];
  };
  struct Result {
    Word taken, least;
    Asked asked;
  };
  // A call, and not inlined: there is a place for it in every verb.
  __device__ __noinline__ static Result write(const RailQueue* queue, const Asking asking) {
    __syncwarp();  // what has landed for one lane has for that which says so
    const CommandRoom room{queue->slot_count};
    const uint32_t count = uint32_t(__popc(asking.bits));
    Word first = 0;
    if (lane_of_thread() == 0) first = take_here(queue->next, count);
    first = __shfl_sync(kAllLanes, first, 0);
    const Word last = first + count - 1;
    Result result{asking.taken, 0, Asked::kTaken};
    if (!room.fits(last, result.taken)) {
      result.least = last + 1 - room.slots;
      result.asked = await(*queue, result.least, result.taken);
      if (result.asked != Asked::kTaken) return result;
    }
    if (asking.bits >> lane_of_thread() & 1) {
      const Word ticket = first + uint32_t(__popc(asking.bits & ((uint32_t(1) << lane_of_thread()) - 1)));
      const Word top = room.lap(ticket) << kPayloadBits;
      CommandSlot& to = queue->slots[room.slot(ticket)];
      // What a put was written from, or what was read where a credit gives back room.
      if (verb_of(asking.words[0]) != RailVerb::kPublish) publish_what_follows();
#pragma unroll
      for (uint32_t i = 0; i < CommandSlot::kWords; ++i) show_to_all(&to.words[i], top | asking.words[i]);
    }
    __syncwarp();
    return result;
  }
  // Until the proxy has taken so many. Alike in all lanes.
  TRANSLOAD_DEVICE static Asked await(const RailQueue& queue, Word least, Word& taken) {
    constexpr uint32_t kLooksToCheck = 32;  // the host's words are far away
    const uint64_t since = ptx::now_ns();
    for (uint32_t looks = 1;; ++looks) {
      taken = __shfl_sync(kAllLanes, observed(queue.taken), 0);
      if (taken >= least) return Asked::kTaken;
      if (looks % kLooksToCheck != 0) continue;
      if (__any_sync(kAllLanes, glanced_here(queue.gave_up) != 0)) return Asked::kGaveUp;
      if (__any_sync(kAllLanes, glanced(queue.abort) != 0)) return Asked::kAborted;
      if (__any_sync(kAllLanes, ptx::now_ns() - since > queue.patience_ns)) return Asked::kExpired;
    }
  }

  const RailQueue& queue_;
  HeldPuts<false> puts_;
  Asked asked_ = Asked::kTaken;
  Word taken_ = 0, least_ = 0;  // as this warp last saw it
};

}  // namespace transload
