// What NVSHMEM's header reads of its queues, filled for a soft NIC.
//
// The header knows one state a device, and ranks may share a device: so each rank of each group has numbers of its own
// for all ranks, one for each queue, and the heap that these are reached in is all of the address space.
#include "tests/soft_nic/gpu_nic.h"

#include <cuda_runtime_api.h>
#include <device_host/nvshmem_types.h>
#include <device_host_transport/nvshmem_common_ibgda.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"

namespace transload::test {
namespace {

using mlx5::big;

constexpr uint32_t kPes = 1 << 15;                             // numbers of a device, for as long as the process
constexpr uint32_t kFirstPe = NVSHMEMI_IBGDA_MAX_CONST_RKEYS;  // keys of lower ones lie in the constants
constexpr uint32_t kLocalKey = 0x4800;                         // of every region, as the source of a write
constexpr uint32_t kWholeSpace = 62;                           // log2 of the one chunk of the heap

// The regions of all ranks of this process.
struct Regions {
  struct Region {
    char* base;
    std::shared_ptr<RegionGate> gate;
  };
  std::mutex mutex;
  uint64_t next = 1;
  std::map<uint64_t, Region> all;
};
Regions& regions() {
  static auto* const one = new Regions;
  return *one;
}

template <class Call>
Call driver_call(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
  if (error != cudaSuccess || found == nullptr) throw std::runtime_error(std::string("no ") + name);
  return reinterpret_cast<Call>(found);
}

// Tables that the constants lead to, of one device, and what of them is in use.
class Tables {
 public:
  explicit Tables(int device)
      : device_(device),
        queues_(device, kPes * sizeof(nvshmemi_ibgda_device_qp_t)),
        completions_(device, kPes * sizeof(nvshmemi_ibgda_device_cq_t)),
        keys_(device, kPes * sizeof(nvshmemi_ibgda_device_key_t)),
        bases_(device, kPes * sizeof(uint64_t)) {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", device);
  }
  static Tables& of(int device) {
    static std::mutex mutex;
    static auto* const all = new std::map<int, std::unique_ptr<Tables>>;  // kernels of groups may outlive main()
    const std::lock_guard lock(mutex);
    std::unique_ptr<Tables>& tables = (*all)[device];
    if (!tables) tables = std::make_unique<Tables>(device);
    return *tables;
  }

  uint32_t take(uint32_t count) {
    const std::lock_guard lock(mutex_);
    if (auto& same = free_[count]; !same.empty()) {
      const uint32_t first = same.back();
      same.pop_back();
      return first;
    }
    if (count > kPes - next_) throw std::runtime_error("the soft NIC's tables have no room for so many queues");
    return std::exchange(next_, next_ + count);
  }
  void give(uint32_t first, uint32_t count) {
    const std::lock_guard lock(mutex_);
    free_[count].push_back(first);
  }

  nvshmemi_ibgda_device_qp_t* queue(uint32_t pe) const {
    return reinterpret_cast<nvshmemi_ibgda_device_qp_t*>(queues_.base()) + pe;
  }
  nvshmemi_ibgda_device_cq_t* completion(uint32_t pe) const {
    return reinterpret_cast<nvshmemi_ibgda_device_cq_t*>(completions_.base()) + pe;
  }
  nvshmemi_ibgda_device_key_t* key(uint32_t pe) const {
    return reinterpret_cast<nvshmemi_ibgda_device_key_t*>(keys_.base()) + (pe - kFirstPe);
  }
  void** base(uint32_t pe) const { return reinterpret_cast<void**>(bases_.base()) + pe; }

  template <class T>
  void store(T* to, const T* from, size_t count) {
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync",
               device_);
    check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize", device_);
  }
  void show_to(CUmodule module);

 private:
  template <class T>
  void fill(CUmodule module, const char* name, const T& value) {
    CUdeviceptr at = 0;
    size_t bytes = 0;
    const auto find = driver_call<decltype(&::cuModuleGetGlobal)>("cuModuleGetGlobal");
    check_cuda(find(&at, &bytes, module, name), name, device_);
    if (bytes != sizeof(T)) throw std::runtime_error(std::string(name) + " has another size in the kernels");
    store(reinterpret_cast<T*>(at), &value, 1);
  }

  const int device_;
  const DeviceBlock queues_, completions_, keys_, bases_;
  cudaStream_t stream_ = nullptr;
  std::mutex mutex_;
  uint32_t next_ = kFirstPe;
  std::map<uint32_t, std::vector<uint32_t>> free_;  // by count
  std::set<CUmodule> shown_;
};

// The same for all groups, so a module is told once.
void Tables::show_to(CUmodule module) {
  const std::lock_guard lock(mutex_);
  if (!shown_.insert(module).second) return;
  nvshmemi_device_host_state_t host{};
  host.version = (1 << 16) + int(sizeof(host));
  host.npes = kPes;
  host.node_npes = 1;
  host.heap_base = nullptr;
  host.heap_size = size_t(1) << kWholeSpace;
  host.peer_heap_base_remote = base(0);
  host.symmetric_heap_kind = true;
  fill(module, "nvshmemi_device_state_d", host);
  const auto state = std::make_unique<nvshmemi_ibgda_device_state_t>();
  state->version = (1 << 16) + int(sizeof(*state));
  state->num_rc_per_pe = 1;
  state->num_requests_in_batch = 1;
  state->log2_cumem_granularity = kWholeSpace;
  state->num_devices_initialized = 1;
  state->constmem.lkeys[0] = {big(kLocalKey), ~uint64_t(0)};
  state->globalmem.rcs = queue(0);
  state->globalmem.cqs = completion(0);
  state->globalmem.rkeys = key(kFirstPe);
  fill(module, "nvshmemi_ibgda_device_state_d", *state);
}

}  // namespace

std::unique_ptr<GpuNic> GpuNic::open(GroupMaking& group, const NetworkPlace& place, const SoftNicSettings& settings) {
  const RankState& state = group.state();
  std::unique_ptr<GpuNic> nic;
  group.all_or_none([&] { nic.reset(new GpuNic(state.options.device.device_id, place)); });
  SoftNic::Setup setup{.rank = state.map.me,
                       .regions = {},
                       .region_bytes = place.bytes,
                       .processes = std::vector<pid_t>(state.map.ranks, getpid()),
                       .queues = 1 + state.geometry.channels,
                       .settings = settings,
                       .local_key = kLocalKey,
                       .polls = true};
  const std::string process = std::to_string(getpid()) + " ";
  const std::vector<std::string> said = group.control->gather(process + std::to_string(nic->region_));
  group.all_or_none([&] {
    for (const std::string& text : said) {
      if (!text.starts_with(process))
        throw Error(Code::kNotSupported, "soft NIC: ranks of several processes, must be threads of one (--threads)");
      const std::lock_guard lock(regions().mutex);
      const Regions::Region& region = regions().all.at(std::stoull(text.substr(process.size())));
      setup.regions.push_back(region.base);
      setup.gates.push_back(region.gate);
    }
    nic->start(std::move(setup));
  });
  return nic;
}

GpuNic::GpuNic(int device, const NetworkPlace& place) : device_(device), place_(place) {
  const std::lock_guard lock(regions().mutex);
  region_ = regions().next++;
  regions().all[region_] = {place.region, std::make_shared<RegionGate>()};
}

void GpuNic::start(SoftNic::Setup setup) {
  const auto ranks = uint32_t(setup.regions.size());
  const uint32_t queues = setup.queues, all = ranks * queues, first = Tables::of(device_).take(all);
  count_ = all;
  for (uint32_t r = 0; r < ranks; ++r) pes_.push_back(first + r * queues);
  told_.resize(ranks);
  memory_ = PinnedBlock(device_, SoftNic::bytes_of(all, setup.settings.depth));
  setup.memory = memory_.host();
  nic_ = std::make_unique<SoftNic>(std::move(setup));
  fill_tables();
}

void GpuNic::fill_tables() {
  Tables& tables = Tables::of(device_);
  const uint32_t first = pes_[0], count = count_;
  std::vector<nvshmemi_ibgda_device_qp_t> queues(count);
  std::vector<nvshmemi_ibgda_device_cq_t> completions(count);
  std::vector<nvshmemi_ibgda_device_key_t> keys(count);
  // Addresses of a region begin at 0 for the NIC.
  const std::vector<void*> bases(count, reinterpret_cast<void*>(0 - reinterpret_cast<uint64_t>(place_.region)));
  for (uint32_t i = 0; i < count; ++i) {
    const SoftNic::Queue& queue = *nic_->queues()[i];
    nvshmemi_ibgda_device_qp_t* const there = tables.queue(first + i);
    nvshmemi_ibgda_device_qp_t& to = queues[i];
    to.version = (1 << 16) + int(sizeof(to));
    to.qp_type = NVSHMEMI_IBGDA_DEVICE_QP_TYPE_RC;
    to.qpn = queue.number;
    to.ibuf.buf = &queue.shown->scratch;
    to.ibuf.lkey = big(SoftNic::kScratchKey);
    to.tx_wq.nwqes = uint16_t(queue.room.depth);
    to.tx_wq.wqe = queue.entries;
    to.tx_wq.dbrec = &queue.shown->record;
    to.tx_wq.bf = &queue.shown->doorbell;
    to.tx_wq.cq = tables.completion(first + i);
    to.tx_wq.prod_idx = &there->mvars.tx_wq.prod_idx;
    nvshmemi_ibgda_device_cq_t& completion = completions[i];
    completion.version = (1 << 16) + int(sizeof(completion));
    completion.qp_type = NVSHMEMI_IBGDA_DEVICE_QP_TYPE_RC;
    completion.cqe = &queue.shown->completion;
    completion.ncqes = 1;
    completion.qpn = queue.number;
    keys[i] = {big(SoftNic::key_of(queue.rank)), ~uint64_t(0)};
  }
  tables.store(tables.queue(first), queues.data(), count);
  tables.store(tables.completion(first), completions.data(), count);
  tables.store(tables.key(first), keys.data(), count);
  tables.store(tables.base(first), bases.data(), count);
}

void GpuNic::show_to(CUmod_st* module) { Tables::of(device_).show_to(module); }

bool GpuNic::lost(LostPeer& peer) {
  for (const auto& queue : nic_->queues()) {
    mlx5::Completion& shown = queue->shown->completion;
    if (told_[queue->rank] || std::atomic_ref(shown.owner).load(std::memory_order_acquire) >> 4 != mlx5::kRequestError)
      continue;
    told_[queue->rank] = true;
    peer = {queue->rank, "an entry of queue " + std::to_string(queue->number) + " failed with syndrome " +
                             std::to_string(shown.error)};
    return true;
  }
  return false;
}

GpuNic::~GpuNic() {
  nic_.reset();
  std::shared_ptr<RegionGate> gate;
  {
    const std::lock_guard lock(regions().mutex);
    gate = regions().all.at(region_).gate;
    regions().all.erase(region_);
  }
  const std::lock_guard lock(gate->mutex);
  gate->open = false;
  if (count_ > 0) Tables::of(device_).give(pes_[0], count_);
}

}  // namespace transload::test
