// A rail whose NIC the GPU drives: puts and counts become entries of queues that warps fill themselves, by the writers
// of NVSHMEM's header and the logic of channel/nic_queue.h. It ran over a NIC that is a thread, and over no real one.
//
// The functions of the header that wait are not used, because they know no deadline and no error. Its choice of a queue
// is not used either: that goes by warp, but a ring's queue must not change from call to call.
#pragma once
#define NVSHMEM_ENABLE_ALL_DEVICE_INLINING
#include <device_host_transport/nvshmem_common_ibgda.h>
#include <infiniband/mlx5dv.h>
#include <non_abi/device/threadgroup/nvshmemi_common_device_defines.cuh>

// NVSHMEM finds these two by name in each module of kernels, and fills the first.
static __constant__ nvshmemi_ibgda_device_state_t nvshmemi_ibgda_device_state_d;
static __constant__ nvshmemi_version_t nvshmemi_device_lib_version_d = {3, 4, 5};

#include <device/nvshmem_device_macros.h>
#include <non_abi/device/pt-to-pt/ibgda_device.cuh>

#include "executor/cuda/far_keys.cuh"
#include "executor/cuda/puts.cuh"
#include "executor/cuda/rail_queue.h"

namespace transload {

// WarpLanes and IbgdaNic are the Lanes and the Nic of NicSender (channel/nic_queue.h).
struct WarpLanes {
  TRANSLOAD_DEVICE int lane() const { return lane_of_thread(); }
  TRANSLOAD_DEVICE uint32_t ballot(bool mine) const { return __ballot_sync(kAllLanes, mine); }
  template <class T>
  TRANSLOAD_DEVICE T from(const T& value, int lane) const {
    return __shfl_sync(kAllLanes, value, lane);
  }
  TRANSLOAD_DEVICE void meet() const { __syncwarp(); }
};

#ifdef __CUDA_ARCH__  // the compiler's pass for the host does not see what the header has for devices
struct IbgdaNic {
  using Queue = nvshmemi_ibgda_device_qp_t*;

  const RailQueue& rail;
  const uint64_t since;         // the time of ptx::now_ns()
  Asked why = Asked::kExpired;  // why waits() returned false; kExpired: the patience ended

  TRANSLOAD_DEVICE Queue queue(uint32_t rank, uint32_t number) const {
    const nvshmemi_ibgda_device_state_t& state = *ibgda_get_state();
    return &state.globalmem.rcs[pe_of(rank) * state.num_rc_per_pe + rail.nic->first_queue + number];
  }
  TRANSLOAD_DEVICE NicRoom room(Queue queue) const { return {queue->tx_wq.nwqes}; }
  TRANSLOAD_DEVICE uint64_t reserved(Queue queue) const { return ibgda_atomic_read(&queue->mvars.tx_wq.resv_head); }
  TRANSLOAD_DEVICE bool reserve(Queue queue, uint64_t from, uint64_t to) const {
    return atomicCAS(reinterpret_cast<unsigned long long*>(&queue->mvars.tx_wq.resv_head), from, to) == from;
  }
  TRANSLOAD_DEVICE NicCompletion completion(Queue queue) const {
    auto* const shown = static_cast<mlx5_err_cqe*>(queue->tx_wq.cq->cqe);
    const uint16_t counter = ibgda_atomic_read(&shown->wqe_counter);
    const bool broken = ibgda_atomic_read(&shown->op_own) >> 4 == MLX5_CQE_REQ_ERR;
    return {uint16_t(__byte_perm(counter, 0, 0x4401)), uint8_t(broken ? shown->syndrome | 1 : 0)};
  }
  TRANSLOAD_DEVICE Word& told(uint32_t rank, uint64_t to) const {
    return rail.nic->told.at(rail.nic->names[rank].row, to);
  }
  TRANSLOAD_DEVICE void write(const NicSlot<Queue>& slot, const NicEntry& entry) const {
    const Far far = reach(slot.queue, entry);
    const uint64_t from = reinterpret_cast<uint64_t>(entry.from);
    __be32 key;
    size_t chunk;
    bool on_host;
    ibgda_get_lkey(from, &key, &chunk, &on_host, slot.queue->dev_idx);
    Parts parts(slot);
    ibgda_write_rdma_write_wqe<false>(slot.queue, parts.other, from, key, far.address, far.key, uint32_t(entry.bytes),
                                      uint16_t(slot.index), flags(slot), parts.at);
  }
  TRANSLOAD_DEVICE void add(const NicSlot<Queue>& slot, const NicEntry& entry, Word added) const {
    const Far far = reach(slot.queue, entry);
    const auto& scratch = slot.queue->ibuf;  // receives the old value, which nobody reads
    Parts parts(slot);
    ibgda_write_atomic_wqe<false>(slot.queue, parts.other, &added, &added, reinterpret_cast<uint64_t>(scratch.buf),
                                  scratch.lkey, far.address, far.key, sizeof(Word), uint16_t(slot.index),
                                  NVSHMEMI_AMO_ADD, flags(slot), parts.at);
  }
  // `true` means that warps of several blocks fill the queue.
  TRANSLOAD_DEVICE void submit(Queue queue, uint64_t first, uint32_t entries) const {
    ibgda_submit_requests<true>(queue, first, uint16_t(entries));
  }
  TRANSLOAD_DEVICE bool waits(uint32_t looks) {
    constexpr uint32_t kLooksToCheck = 32;
    if (looks % kLooksToCheck != 0) return true;
    if (glanced_here(rail.gave_up) != 0)
      why = Asked::kGaveUp;
    else if (glanced(rail.abort) != 0)
      why = Asked::kAborted;
    else
      return ptx::now_ns() - since <= rail.patience_ns;
    return false;
  }

 private:
  // Where an entry lies. NVSHMEM's writers want a second place and a target too, which only other kinds of queue use:
  // here they are valid but unused, since for a null one the compiler would put a trap.
  struct Parts {
    TRANSLOAD_DEVICE explicit Parts(const NicSlot<Queue>& slot)
        : at{ibgda_get_wqe_ptr(slot.queue, uint16_t(slot.index)), at[0]}, other(ibgda_get_state()->constmem.dcts) {}
    void* at[2];
    nvshmemi_ibgda_device_dct_t* other;
  };
  struct Far {
    uint64_t address;
    __be32 key;
  };
  TRANSLOAD_DEVICE uint32_t pe_of(uint32_t rank) const { return rail.nic->names[rank].pe; }
  TRANSLOAD_DEVICE static uint8_t flags(const NicSlot<Queue>& slot) { return slot.last ? MLX5_WQE_CTRL_CQ_UPDATE : 0; }
  TRANSLOAD_DEVICE Far reach(Queue queue, const NicEntry& entry) const {
    const int pe = int(pe_of(entry.rank));
    Far far;
    size_t chunk;
    ibgda_get_raddr_rkey(reinterpret_cast<uint64_t>(rail.network) + entry.to, pe, pe, &far.address, &far.key, &chunk,
                         queue->dev_idx);
    return far;
  }
};

#endif

class IbgdaRail : public FarKeys {
 public:
  static constexpr bool kPuts = true;
  static constexpr Waiting kWaits = Waiting::kQueue;

  // What a thread holds, and why its last entries are not in their queue.
  struct RailHeld {
    HeldPuts<true> puts;
    Word complete = 0, least = 0;
    uint32_t rank = kNobody;
  };

  TRANSLOAD_DEVICE IbgdaRail(const RailQueue& queue, RailHeld& held)
      : queue_(queue), held_(held), puts_(queue.nic != nullptr) {}

  // False if all rails are mapped: moves then store to the other rank, and nothing is left to put.
  TRANSLOAD_DEVICE bool puts() const { return puts_; }

  // A far key is made of a rank, its queue and a word.
  TRANSLOAD_DEVICE static Word* key(const RailWord& word) {
    if (word.mapped != nullptr) return reinterpret_cast<Word*>(word.mapped + word.offset);
    return Key{.rank = word.rank, .queue = word.queue, .place = word.offset / kWordBytes}.pack();
  }

  // The whole warp calls this, as it does all that follows. A lane without a mark has a count of 0. Puts that are ready
  // go with the counts that speak for them.
  TRANSLOAD_DEVICE void mark(RailVerb verb, Word* key, Word count) {
    const bool far = count != 0 && is_far(key);
    if (count != 0 && !far) publish_to_all(key, count);
    if (!puts_) return;
    const Ready ready = verb == RailVerb::kPublish ? ready_ : Ready::kNone;
    if (verb == RailVerb::kPublish) ready_ = Ready::kNone;
    if (asked_ != Asked::kTaken || !__any_sync(kAllLanes, far || ready != Ready::kNone)) return;
    asked_ = send(&queue_, &held_, {ready, far ? key : nullptr, count});
  }

  // Holds puts until their bytes have landed. False if some lane has no room: nothing was held, and put_all() is to
  // come first.
  TRANSLOAD_DEVICE bool hold(bool mine, const Put& put) {
    any_ = true;
    return HeldPuts<true>::hold(&held_.puts, mine, put);
  }
  TRANSLOAD_DEVICE void promote() {
    if (any_) HeldPuts<true>::promote(&held_.puts);
  }
  // Puts whose bytes have landed go with the next counts.
  TRANSLOAD_DEVICE void put_due() {
    if (any_) ready_ = Ready::kDue;
  }
  TRANSLOAD_DEVICE void put_all() {
    if (any_) ready_ = Ready::kAll;
    any_ = false;
  }
  TRANSLOAD_DEVICE bool holds_puts() const { return any_; }
  // Drops what is held, because the group is lost.
  TRANSLOAD_DEVICE void clear() {
    ready_ = Ready::kNone;
    any_ = false;
  }

  // If the last entries are not in their queue: why; which rank the queue leads to; how many entries were complete; how
  // many had to be.
  TRANSLOAD_DEVICE Asked asked() const { return asked_; }
  TRANSLOAD_DEVICE uint32_t whom(uint32_t) const { return held_.rank; }
  TRANSLOAD_DEVICE Word taken() const { return held_.complete; }
  TRANSLOAD_DEVICE Word least() const { return held_.least; }

 private:
  using Key = RailKey<kQueueBits>;

  // Which puts go with the next counts.
  enum class Ready : uint32_t { kNone, kDue, kAll };

  TRANSLOAD_DEVICE static NicEntry entry_of(HeldPut<true>& held) {
    NicEntry entry;
    if (!held.empty())
      entry = {.rank = held.rank(), .queue = held.queue(), .to = held.offset, .from = held.from, .bytes = held.bytes};
    held.bytes = 0;
    return entry;
  }
  struct ToSend {
    Ready ready;
    const Word* key;  // key of my lane's count; null: the lane has none
    Word count;
  };
  // send() is not inlined, because every verb would have a copy of it.
  __device__ __noinline__ static Asked send(const RailQueue* queue, RailHeld* held, const ToSend mine) {
#ifdef __CUDA_ARCH__
    NicEntry entries[3];  // entries in the order in which a queue takes them
    if (mine.ready != Ready::kNone) entries[0] = entry_of(held->puts.due);
    if (mine.ready == Ready::kAll) entries[1] = entry_of(held->puts.later);
    const Key to = Key::unpack(mine.key);
    if (mine.key != nullptr)
      entries[2] = {.rank = to.rank, .queue = to.queue, .to = to.place * kWordBytes, .count = mine.count};
    ptx::engine_fence();  // the NIC reads what the copy engine has stored
    publish_what_follows();
    IbgdaNic nic{*queue, ptx::now_ns()};
    const Sent sent = NicSender(WarpLanes{}, nic).send(entries);
    if (sent.how == Sending::kSent) return Asked::kTaken;
    held->complete = sent.complete;
    held->least = sent.least;
    held->rank = sent.rank;
    return sent.how == Sending::kBroken ? Asked::kExpired : Asked(__shfl_sync(kAllLanes, uint32_t(nic.why), 0));
#endif
  }

  const RailQueue& queue_;
  RailHeld& held_;
  const bool puts_;
  // These are alike in all lanes.
  Ready ready_ = Ready::kNone;
  bool any_ = false;  // a lane holds puts
  Asked asked_ = Asked::kTaken;
};

}  // namespace transload
