// Reading what NVSHMEM tells kernels, and finding a place for a region that one key reaches.
#include "transport/scaleout/nvshmem/queues.h"

#include <algorithm>
#include <bit>
#include <string>

#include "base/math.h"
#include "channel/nic_queue.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint64_t kGranularityLog2Least = 21, kGranularityLog2Most = 31;  // granularity of GPUs; reach of a key
static_assert(kNvshmemKeyBytesMost == uint64_t(1) << kGranularityLog2Most);

Error unfit(const std::string& why) { return {Code::kNotSupported, kOfNvshmem + why}; }

// The end of a message about a variable that NVSHMEM reads once, when the first group of a process starts it.
std::string since_start(const char* variable, uint64_t value) {
  return std::string("; ") + variable + " must be at least " + std::to_string(value) +
         " when this process starts NVSHMEM";
}

void check_form(const char* what, int form, int needed) {
  if (form != needed)
    throw unfit(std::string("its ") + what + " is of form " + std::to_string(form) + ", must be " +
                std::to_string(needed));
}

void check_states(const NvshmemStates& states, const QueueNeeds& needs) {
  const auto& [heap, nic] = states;
  check_form("state", heap.head, nvshmem_head(sizeof(heap)));
  if (!heap.has_queues || nic.queues == nullptr || nic.queues_to_pe == 0)
    throw unfit("it drives no NIC in this process, and rails are not mapped (NVSHMEM_DEBUG=INFO says why)");
  check_form("state of a NIC", nic.head, nvshmem_head(sizeof(nic)));
  if (nic.nics != 1)
    throw unfit("it drives " + std::to_string(nic.nics) +
                " NICs, must be 1: with more, a put and its count would part");
  if (heap.by_rail) throw unfit("NVSHMEM_ENABLE_RAIL_OPT is on, must be off: keys are then those of other heaps");
  if (nic.queues_to_pe < needs.channels + 1)
    throw unfit("it has " + std::to_string(nic.queues_to_pe) + " queues to each rank, must be at least " +
                std::to_string(needs.channels + 1) + " (channels + 1)" +
                since_start("NVSHMEM_IBGDA_NUM_RC_PER_PE", needs.channels + 1));
  if (nic.granularity_log2 < kGranularityLog2Least || nic.granularity_log2 > kGranularityLog2Most)
    throw unfit("the granularity of its heap is 2 to the power of " + std::to_string(nic.granularity_log2) +
                ", must be of " + std::to_string(kGranularityLog2Least) + " to " +
                std::to_string(kGranularityLog2Most));
  for (const int pe : needs.pes)
    if (pe < 0 || pe >= heap.pes)
      throw unfit("a rank is PE " + std::to_string(pe) + ", must be below " + std::to_string(heap.pes));
  if (needs.block_bytes > heap.heap_bytes || uint64_t(needs.block - heap.heap) > heap.heap_bytes - needs.block_bytes)
    throw unfit("its heap of " + std::to_string(heap.heap_bytes) + " bytes has not the block of " +
                std::to_string(needs.block_bytes) + " that it gave");
}

void check_bases(const NvshmemHeapState& heap, const QueueNeeds& needs, const ReadState& read) {
  std::vector<char*> bases(size_t(heap.pes));
  read(bases.data(), heap.bases, bases.size() * sizeof(char*));
  for (const int pe : needs.pes)
    if (bases[size_t(pe)] == nullptr) throw unfit("it does not reach the heap of PE " + std::to_string(pe));
}

uint32_t check_queue(const NvshmemQueue& queue, const QueueNeeds& needs) {
  const std::string which = "its queue " + std::to_string(queue.number);
  check_form("queue", queue.head, nvshmem_head(sizeof(queue)));
  if (queue.kind != NvshmemQueue::kConnected || queue.nic != 0 || queue.completion == nullptr)
    throw unfit(which + " is of kind " + std::to_string(queue.kind) + " on NIC " + std::to_string(queue.nic) +
                (queue.completion == nullptr ? " without completions" : "") + ", must be of kind " +
                std::to_string(NvshmemQueue::kConnected) + " on NIC 0 with completions");
  const uint64_t least = 4 * needs.slots;
  if (queue.depth < least)
    throw unfit(which + " has " + std::to_string(queue.depth) + " entries, must be at least " + std::to_string(least) +
                " (4 x slots)" + since_start("NVSHMEM_QP_DEPTH", std::bit_ceil(least)));
  if (!std::has_single_bit(queue.depth) || queue.depth > NicRoom::kDepthMax)
    throw unfit(which + " has " + std::to_string(queue.depth) + " entries, must be a power of two up to " +
                std::to_string(NicRoom::kDepthMax));
  return queue.depth;
}

// The keys of the granules of the heap up to the end of a block.
class HeapKeys {
 public:
  HeapKeys(const NvshmemStates& states, const QueueNeeds& needs, const ReadState& read)
      : heap_(states.heap),
        needs_(needs),
        log2_(states.nic.granularity_log2),
        end_(uint64_t(needs.block - heap_.heap) + needs.block_bytes) {
    const uint64_t granules = ((end_ - 1) >> log2_) + 1;
    local_ = all(states.nic.local, states.nic.far_local, granules, read);
    remote_ = all(states.nic.remote, states.nic.far_remote, granules * uint64_t(heap_.pes), read);
  }

  // The offset in the heap up to which the keys at this offset reach; at most the end of the block.
  uint64_t reach(uint64_t offset) const {
    const uint64_t first = offset >> log2_;
    uint64_t most = std::min(end_, same_end(first));
    for (uint64_t granule = first + 1; granule << log2_ < most; ++granule)
      if (!same_keys(first, granule)) most = granule << log2_;
    return most;
  }

 private:
  static std::vector<NvshmemKey> all(const NvshmemKey (&near)[NvshmemNicState::kNearKeys], const NvshmemKey* far,
                                     uint64_t count, const ReadState& read) {
    std::vector<NvshmemKey> keys(count);
    const uint64_t here = std::min<uint64_t>(count, NvshmemNicState::kNearKeys);
    std::copy(near, near + here, keys.begin());
    if (count > here && far == nullptr) throw unfit("its heap has keys of a part of it alone");
    if (count > here) read(keys.data() + here, far, (count - here) * sizeof(NvshmemKey));
    return keys;
  }
  const NvshmemKey& remote(uint64_t granule, int pe) const {
    return remote_[granule * uint64_t(heap_.pes) + uint64_t(pe)];
  }
  // The offset in the heap at which the first key of this granule ends; 0 if that is before the heap begins.
  uint64_t same_end(uint64_t granule) const {
    const auto heap = reinterpret_cast<uint64_t>(heap_.heap);
    uint64_t most = local_[granule].end > heap ? local_[granule].end - heap : 0;
    for (const int pe : needs_.pes) most = std::min(most, remote(granule, pe).end);
    return most;
  }
  bool same_keys(uint64_t one, uint64_t other) const {
    const auto same = [&](int pe) { return remote(one, pe).key == remote(other, pe).key; };
    return local_[one].key == local_[other].key && std::all_of(needs_.pes.begin(), needs_.pes.end(), same);
  }

  const NvshmemHeapState& heap_;
  const QueueNeeds& needs_;
  const uint64_t log2_, end_;
  std::vector<NvshmemKey> local_, remote_;
};

uint64_t find_place(const NvshmemStates& states, const QueueNeeds& needs, const ReadState& read) {
  const HeapKeys keys(states, needs, read);
  uint64_t at = uint64_t(needs.block - states.heap.heap), most = 0;
  for (const uint64_t end = at + needs.block_bytes; at < end;) {
    const uint64_t reach = keys.reach(at);
    if (reach <= at) break;
    if (reach - at >= needs.region_bytes) return at;
    most = std::max(most, reach - at);
    at = reach;
  }
  throw unfit("a key of its heap reaches " + std::to_string(most) + " bytes of the block of " +
              std::to_string(needs.block_bytes) + " in a row, must reach a network region of " +
              std::to_string(needs.region_bytes) + "; its granularity is " +
              std::to_string(uint64_t(1) << states.nic.granularity_log2) +
              since_start("NVSHMEM_CUMEM_GRANULARITY", nvshmem_granularity(needs.region_bytes)));
}

}  // namespace

uint64_t nvshmem_granularity(uint64_t region_bytes) {
  return std::bit_ceil(std::max(region_bytes, uint64_t(1) << kGranularityLog2Least));
}

FoundQueues find_queues(const NvshmemStates& states, const QueueNeeds& needs, const ReadState& read) {
  check_states(states, needs);
  check_bases(states.heap, needs, read);
  FoundQueues found{};
  found.rung_by_host = states.nic.rung_by_host;
  for (const int pe : needs.pes) {
    std::vector<NvshmemQueue> queues(needs.channels + 1);
    read(queues.data(), states.nic.queues + uint64_t(pe) * states.nic.queues_to_pe,
         queues.size() * sizeof(NvshmemQueue));
    std::vector<const char*>& shown = found.completions.emplace_back();
    for (const NvshmemQueue& queue : queues) {
      found.depth = check_queue(queue, needs);
      NvshmemCompletion completion;
      read(&completion, queue.completion, sizeof(completion));
      shown.push_back(completion.shown);
    }
  }
  found.heap_offset = find_place(states, needs, read);
  found.region = states.heap.heap + found.heap_offset;
  return found;
}

}  // namespace transload
