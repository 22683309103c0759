// The queues of a NIC that NVSHMEM gives to a group on GPUs: what it tells the modules of kernels is read back, and
// checked for what the group needs. This has not run over a NIC yet.
#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "kernels/nic_kernels.h"
#include "runtime/cuda/cuda_memory.h"
#include "runtime/network/scale_out_kinds.h"
#include "transport/scaleout/nvshmem/queues.h"

namespace transload {

namespace {

// Reads what lies on a device, without a wait for kernels that run there.
class DeviceReader {
 public:
  explicit DeviceReader(int device) : device_(device), stream_(make_stream(device)) {}

  void read(void* to, const void* from, uint64_t bytes) const {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()), "cudaMemcpyAsync", device_);
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize", device_);
  }
  template <class T>
  void read_global(CUmodule module, const char* name, T& to) const {
    CUdeviceptr at = 0;
    size_t bytes = 0;
    check_cuda(driver().global_of(&at, &bytes, module, name), name, device_);
    if (bytes != sizeof(T))
      throw Error(Code::kNotSupported, kOfNvshmem + std::string(name) + " has " + std::to_string(bytes) +
                                           " bytes in the kernels, must have " + std::to_string(sizeof(T)));
    read(&to, reinterpret_cast<const void*>(at), bytes);
  }

 private:
  const int device_;
  const OwnStream stream_;
};

class NvshmemQueues final : public NicQueues {
 public:
  NvshmemQueues(const RankState& state, const HeapBlock& heap);

  std::string name() const override { return "nvshmem, IBGDA"; }
  char* region() const override { return found_.region; }
  const std::vector<uint32_t>& pes() const override { return pes_; }
  uint32_t first_queue() const override { return 0; }
  void show_to(CUmod_st* module) override;
  bool lost(LostPeer& peer) override;

  const FoundQueues& found() const { return found_; }

 private:
  // The NIC's completion of the last entry of a queue.
  struct LastEntry {
    char entry[55];
    uint8_t syndrome;
    char counters[7];
    uint8_t owner;
  };
  static_assert(sizeof(LastEntry) == 64);
  static constexpr uint8_t kRequestError = 13;

  const std::vector<uint32_t> others_;
  const DeviceReader reader_;
  const NvshmemLibrary& library_;
  std::vector<uint32_t> pes_;  // [ranks]
  FoundQueues found_{};
  std::vector<bool> told_;  // [others] lost() has told of that rank
};

const NvshmemLibrary& the_library() {
  std::string why;
  const NvshmemLibrary* const library = nvshmem_library(why);
  if (library == nullptr) throw Error(Code::kNotSupported, kOfNvshmem + why);
  return *library;
}

NvshmemQueues::NvshmemQueues(const RankState& state, const HeapBlock& heap)
    : others_(state.counterparts()),
      reader_(state.options.device.device_id),
      library_(the_library()),
      pes_(state.map.ranks, kNobody),
      told_(others_.size()) {
  QueueNeeds needs{.channels = state.options.channels,
                   .slots = state.options.slots,
                   .region_bytes = state.network_bytes(),
                   .block = heap.base(),
                   .block_bytes = heap.bytes(),
                   .pes = {}};
  for (const uint32_t r : others_) {
    needs.pes.push_back(heap.pes()[r]);
    pes_[r] = uint32_t(heap.pes()[r]);
  }
  // The state of any module is that of all.
  const CUmodule module = module_of(nic_kernels()->one_of_each_module[0], state.options.device.device_id);
  show_to(module);
  const auto states = std::make_unique<NvshmemStates>();
  reader_.read_global(module, NvshmemStates::kHeapName, states->heap);
  reader_.read_global(module, NvshmemStates::kNicName, states->nic);
  found_ = find_queues(*states, needs,
                       [this](void* to, const void* from, uint64_t bytes) { reader_.read(to, from, bytes); });
}

void NvshmemQueues::show_to(CUmod_st* module) {
  if (const int error = library_.show_to(module); error != 0)
    throw Error(Code::kNotSupported,
                kOfNvshmem + std::string("it does not show its queues to kernels: ") + std::to_string(error));
}

// Reads the last entries of queues from the device. A device that answers no more is no lost rank: the group's own
// watch finds that.
bool NvshmemQueues::lost(LostPeer& peer) {
  for (size_t o = 0; o < others_.size(); ++o)
    for (size_t q = 0; q < found_.completions[o].size() && !told_[o]; ++q) {
      LastEntry shown{};
      try {
        reader_.read(&shown, found_.completions[o][q], sizeof(shown));
      } catch (const Error&) {
        return false;
      }
      if (shown.owner >> 4 != kRequestError) continue;
      told_[o] = true;
      peer = {others_[o],
              "an entry of queue " + std::to_string(q) + " failed with syndrome " + std::to_string(shown.syndrome)};
      return true;
    }
  return false;
}

// Checks that rails have their regions at one place of their heaps, because each looks there for the other's.
void check_offsets(GroupMaking& group, uint64_t mine) {
  const std::vector<uint64_t> all = group.gather(HeapOffsetSaid::pack(mine), HeapOffsetSaid::unpack);
  if (const std::string why = heap_offset_refusal(all, rail_worlds(group.state().map)); !why.empty())
    throw Error(Code::kNotSupported, kOfNvshmem + why);
}

}  // namespace

std::unique_ptr<NicQueues> open_nvshmem_queues(GroupMaking& group, const NetworkPlace& place) {
  RankState& state = group.state();
  std::unique_ptr<NvshmemQueues> queues;
  group.all_or_none([&] { queues = std::make_unique<NvshmemQueues>(state, *place.heap); });
  check_offsets(group, queues->found().heap_offset);
  state.decide("nic queues",
               std::to_string(state.options.channels + 1) + " to each rank, of " +
                   std::to_string(queues->found().depth) + " entries",
               queues->found().rung_by_host ? "a thread of NVSHMEM rings the NIC, not the GPU: NVSHMEM chose so"
                                            : "the GPU rings the NIC");
  return queues;
}

}  // namespace transload
