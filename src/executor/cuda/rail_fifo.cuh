// A rail that the host's network reaches: puts and marks become commands to this rank's proxy.
//
// A put's command is stored with release at system scope once its bytes have landed in pinned memory, so a proxy that
// takes it with acquire reads them. Puts come before the counts that speak for them; tickets of one warp grow, and
// kernels follow each other: so the queue keeps the order that a count promises, and the command of a count needs no
// release.
#pragma once
#include "executor/cuda/far_keys.cuh"
#include "executor/cuda/puts.cuh"
#include "executor/cuda/rail_queue.h"

namespace transload {

class FifoRail : public FarKeys {
 public:
  static constexpr bool kPuts = true;
  static constexpr Waiting kWaits = Waiting::kRoom;

  // What a thread holds, and what it last saw of the queue.
  struct RailHeld {
    HeldPuts<false> puts;
    Word taken = 0, least = 0;
  };

  TRANSLOAD_DEVICE FifoRail(const RailQueue& queue, RailHeld& held) : queue_(queue), held_(held) {}

  TRANSLOAD_DEVICE static constexpr bool puts() { return true; }

  // A far key is made of a rank and an offset.
  TRANSLOAD_DEVICE static Word* key(const RailWord& word) {
    return Key{.rank = word.rank, .queue = 0, .place = word.offset}.pack();
  }

  // The whole warp calls this, as it does all that follows. A lane without a mark has a count of 0.
  TRANSLOAD_DEVICE void mark(RailVerb verb, Word* key, Word count) {
    const bool far = count != 0 && is_far(key);
    if (count != 0 && !far) publish_to_all(key, count);
    if (asked_ == Asked::kTaken && __any_sync(kAllLanes, far))
      asked_ = tell(&queue_, &held_, {verb, far ? key : nullptr, count});
  }

  // Holds puts until their bytes have landed. False if some lane has no room: nothing was held, and put_all() is to
  // come first.
  TRANSLOAD_DEVICE bool hold(bool mine, const Put& put) {
    any_ = true;
    return HeldPuts<false>::hold(&held_.puts, mine, put);
  }
  TRANSLOAD_DEVICE void promote() {
    if (any_) HeldPuts<false>::promote(&held_.puts);
  }
  TRANSLOAD_DEVICE void put_due() {
    if (any_) give(held_.puts.due);
  }
  TRANSLOAD_DEVICE void put_all() {
    if (!any_) return;
    give(held_.puts.due);
    give(held_.puts.later);
    any_ = false;
  }
  TRANSLOAD_DEVICE bool holds_puts() const { return any_; }
  // Drops what is held, because the group is lost.
  TRANSLOAD_DEVICE void clear() { any_ = false; }

  // If the last commands are not in the queue: why; which rank is to blame; how many commands the proxy had taken; how
  // many it had to take.
  TRANSLOAD_DEVICE Asked asked() const { return asked_; }
  TRANSLOAD_DEVICE uint32_t whom(uint32_t me) const { return me; }
  TRANSLOAD_DEVICE Word taken() const { return held_.taken; }
  TRANSLOAD_DEVICE Word least() const { return held_.least; }

 private:
  using Key = RailKey<0>;

  TRANSLOAD_DEVICE void give(HeldPut<false>& put) {
    if (asked_ == Asked::kTaken) asked_ = write(&queue_, &held_, &put);
  }

  struct FarCount {
    RailVerb verb;
    const Word* key;  // null: my lane has no mark
    Word count;
  };
  // tell() and write() are not inlined, because every verb would have a copy of them.
  __device__ __noinline__ static Asked tell(const RailQueue* queue, RailHeld* held, const FarCount mine) {
    const Key to = Key::unpack(mine.key);
    return ask(*queue, *held, mine.key != nullptr,
               {.verb = mine.verb, .rank = to.rank, .to = to.place, .count = mine.count});
  }
  __device__ __noinline__ static Asked write(const RailQueue* queue, RailHeld* held, HeldPut<false>* put) {
    const auto offset_of = [&](const void* at) { return uint64_t(static_cast<const char*>(at) - queue->network); };
    const bool mine = !put->empty(), told = put->drained != nullptr;
    const RailCommand command{.verb = RailVerb::kPut,
                              .rank = put->rank(),
                              .to = put->offset,
                              .count = told ? put->count : 0,
                              .from = offset_of(put->from),
                              .bytes = put->bytes,
                              .drained = told ? offset_of(put->drained) : RailCommand::kUndrained};
    put->bytes = 0;
    return ask(*queue, *held, mine, command);
  }

  // Gives the queue a command of each lane that has one. A ticket that was taken is used, or the group is lost.
  TRANSLOAD_DEVICE static Asked ask(const RailQueue& queue, RailHeld& held, bool mine, const RailCommand& command) {
    const uint32_t bits = __ballot_sync(kAllLanes, mine);
    if (bits == 0) return Asked::kTaken;
    __syncwarp();  // what has landed for any lane has then landed for the lane that writes the command
    const CommandRoom room{queue.slot_count};
    const uint32_t count = uint32_t(__popc(bits));
    Word first = 0;
    if (lane_of_thread() == 0) first = take_here(queue.next, count);
    first = __shfl_sync(kAllLanes, first, 0);
    const Word last = first + count - 1;
    if (!room.fits(last, held.taken)) {
      held.least = last + 1 - room.slots;
      const Asked asked = await(queue, held.least, held.taken);
      if (asked != Asked::kTaken) return asked;
    }
    if (mine) {
      const Word ticket = first + uint32_t(__popc(bits & ((uint32_t(1) << lane_of_thread()) - 1)));
      const CommandSlot slot = encode(command, room.lap(ticket));
      CommandSlot& to = queue.slots[room.slot(ticket)];
      // The fence covers the bytes that a put carries, or the reads from the slot that a credit gives back.
      if (command.verb != RailVerb::kPublish) publish_what_follows();
#pragma unroll
      for (uint32_t i = 0; i < CommandSlot::kWords; ++i) show_to_all(&to.words[i], slot.words[i]);
    }
    __syncwarp();
    return Asked::kTaken;
  }
  // Waits until the proxy has taken `least` commands. What it returns is alike in all lanes.
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
  RailHeld& held_;
  bool any_ = false;  // a lane holds puts
  Asked asked_ = Asked::kTaken;
};

}  // namespace transload
