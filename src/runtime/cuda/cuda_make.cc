// Making a group on GPUs: whose device is whose, where memory lies, which way the network goes, and what kernels need
// to find it all.
#include <cuda_runtime_api.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "kernels/near.h"
#include "kernels/nic_kernels.h"
#include "os/clock.h"
#include "os/near_nic.h"
#include "runtime/awaited.h"
#include "runtime/choices.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/network/scale_out_kinds.h"

namespace transload {

namespace {

void run_on_device(int device, const std::function<void()>& step) {
  const OnDevice here(device);
  step();
}

void zero_device_at(int device, char* at, uint64_t bytes) { zero_device(device, at, bytes); }

}  // namespace

CudaGroup::CudaGroup(const GroupOptions& given)
    : state_(given), options(state_.options), map(state_.map), device_(given.device.device_id), call_since_(now_ns()) {
  call_.deadline_ms = options.deadline_ms;
  meet();
  all_or_none([&] { take_device(); });
  const OnDevice here(device_);
  sweep_parked();
  const bool one_process = share_devices();
  const auto [network, maps_rails] = choose_scale_out(*this);
  fills_queues_ = network != nullptr && (maps_rails ? network->kernels_of_nics : network->open_queues != nullptr);
  if (fills_queues_) check_queue_driving(*network);
  const bool brings_memory = network != nullptr && network->place != nullptr;
  state_.plan_network(maps_rails, !maps_rails || brings_memory);
  if (brings_memory) heap_ = network->place(*this, {device_, run_on_device, zero_device_at, maps_rails});
  if (!rails_mapped() && !heap_) place_network(*network);
  map_memory(one_process);
  if (!rails_mapped()) {
    state_.choose_rail_batch(fills_queues_);
    network->open_queues != nullptr ? open_queues(*network) : open_network(*network);
  }
  all_or_none([&] {
    make_room();
    fill_board();
    load_kernels();
    if (nic_) show_queues();
  });
  if (heap_) heap_->begin();
  watcher_.emplace(WatchedGroup{.device = device_,
                                .me = map.me,
                                .control = *control,
                                .words = words(),
                                .call = call_,
                                .claim = claim_,
                                .done = done_.get(),
                                .idle = making_.get(),
                                .proxy = proxy_.get(),
                                .nic = nic_.get(),
                                .progress = options.progress});
  if (nic_) say_hello();
  control->gather("ready");
  watcher_->start();
}

void CudaGroup::take_device() {
  refuse_without_device();
  const Devices all = find_devices();
  if (device_ < 0 || size_t(device_) >= all.devices.size())
    throw Error(Code::kInvalidArgument,
                "device: cuda " + std::to_string(device_) + ", must be 0 to " + std::to_string(all.devices.size() - 1));
  info_ = all.devices[size_t(device_)];
  facts.near_bytes_max = info_.shared_bytes_max - kBlockBytesMax;
  if (options.sms < 1 || options.sms > info_.sms)
    throw Error(Code::kInvalidArgument,
                "sms: " + std::to_string(options.sms) + ", must be 1 to " + std::to_string(info_.sms));
  const uint64_t members = uint64_t(map.peers) * std::max(map.sources(), uint32_t(kDispatchStreams));
  for (const auto& [what, value] : {std::pair{"ranks of topology", uint64_t(map.ranks)},
                                    {"streams between peers (peers x streams of topology)", members}})
    if (value > kCudaMembersMax)
      throw Error(Code::kInvalidArgument, std::string(what) + ": " + std::to_string(value) + ", must be at most " +
                                              std::to_string(kCudaMembersMax) + " on GPUs");
  making_ = make_stream(device_);
  done_ = make_event(device_);
}

bool CudaGroup::share_devices() {
  const DeviceUse mine{.uuid = info_.uuid,
                       .sms = options.sms,
                       .device_sms = info_.sms,
                       .mps = info_.mps,
                       .process = process_identity(),
                       .group = random_word(),
                       .queues = device_queues()};
  const std::vector<DeviceUse> all = gather(mine.pack(), DeviceUse::unpack);
  check_device_uses(all);
  calls_ = CallLog(all[0].group, map.me);
  all_or_none([&] { claim_ = SmClaim(all, mine); });
  return std::all_of(all.begin(), all.end(), [&](const DeviceUse& use) { return use.process == mine.process; });
}

void CudaGroup::map_memory(bool one_process) {
  const RegionParts parts = state_.region_parts(map.me, options.slab_bytes);
  const uint64_t in_front = parts.network_bytes + parts.scale_up_bytes;  // of the slabs
  WayChoice choice;
  all_or_none([&] {
    choice = choose_way(device_, one_process);
    region_ = std::make_shared<DeviceRegion>(device_, parts.bytes(), choice.way);
  });
  const Descriptor bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));  // nobody rings: kernels look
  neighbours_ = share_memory(region_, bell.get(), shares_with_rails());
  state_.arena = std::make_shared<Arena>(region_->base() + in_front, options.slab_bytes, region_);
  state_.decide("scale-up", scale_up_name(), choice.reason);
}

std::string CudaGroup::near_nic() const {
  for (const NearNic& near : near_nics(find_pci_devices()))
    if (near.gpu == info_.pci) return near.nic;
  return "";
}

// On the GPUs of all ranks, or on none: so a rank's figures are those of any other.
void CudaGroup::place_network(const ScaleOutKind& kind) {
  const NetworkMemoryChoice wish = options.network_memory;
  const char* const unasked =
      wish == NetworkMemoryChoice::kPinned ? "asked for" : "only libfabric is asked to register GPU memory";
  DeviceNetwork on_device{.choice = {RegionPlace::kPinned, unasked}, .block = {}, .dma_buf = {}, .told = {}};
  if (wish != NetworkMemoryChoice::kPinned && kind.choice == ScaleOutChoice::kLibfabric)
    all_or_none([&] { on_device = try_device_network(state_, info_, control->local_address(), near_nic()); });
  const bool pinned = on_device.choice.place == RegionPlace::kPinned;
  const auto said = gather(pinned ? on_device.choice.why : "", [](const std::string& text) { return text; });
  std::string why;
  for (uint32_t r = 0; r < map.ranks && why.empty(); ++r)
    if (!said[r].empty())
      why = said[r] + (wish == NetworkMemoryChoice::kPinned ? "" : " (rank " + std::to_string(r) + ")");
  if (!why.empty() && wish == NetworkMemoryChoice::kGpu)
    throw Error(Code::kNotSupported, "network_memory: gpu, must be auto or pinned: " + why);
  if (why.empty())
    why = on_device.choice.why;
  else
    on_device = {.choice = {RegionPlace::kPinned, why}, .block = {}, .dma_buf = {}, .told = {}};
  all_or_none([&] { network_memory_ = NetworkMemory(state_, device_, std::move(on_device)); });
  state_.decide("network memory", network_memory_.on_device() ? "gpu" : "pinned",
                std::to_string(network_memory_.region_bytes() >> 20) + " MiB: " + why);
}

NetworkPlace CudaGroup::network_place() const {
  return {.region = network_memory_.region(),
          .bytes = network_memory_.region_bytes(),
          .mapped = nullptr,
          .device = network_memory_.told(),
          .near_nic = near_nic()};
}

void CudaGroup::open_network(const ScaleOutKind& kind) {
  scale_out_ = kind.make(*this, network_place());
  try_paths();
  const auto naps = [this] { return memory_.use_count() > 1; };  // graphs keep it
  const auto broken = [this](const std::exception& error) { control->break_down(error); };
  const Proxy::Place place{network_memory_.region(), network_memory_.queue(), network_memory_.taken()};
  all_or_none([&] { proxy_ = std::make_unique<Proxy>(*scale_out_, place, naps, broken); });
}

// Before a network is told anything.
void CudaGroup::check_queue_driving(const ScaleOutKind& kind) {
  all_or_none([&] {
    if (nic_kernels() == nullptr)
      throw Error(Code::kNotSupported, std::string("scale_out: ") + word_of(kind.choice) +
                                           " by GPUs: this build had no headers of NVSHMEM (tools/nvshmem_headers)");
    if (kind.place != nullptr && !info_.writes_in_order)
      throw Error(Code::kNotSupported, std::string("scale_out: ") + word_of(kind.choice) + " by GPUs: cuda " +
                                           std::to_string(device_) +
                                           " does not see a NIC's writes in their order "
                                           "(GPU_DIRECT_RDMA_WRITES_ORDERING): a count could pass its rows");
  });
}

void CudaGroup::open_queues(const ScaleOutKind& kind) {
  NetworkPlace place = network_place();
  if (heap_) place = {.region = heap_->base(), .bytes = heap_->bytes(), .mapped = nullptr, .heap = heap_.get()};
  nic_ = kind.open_queues(*this, place);
}

// Before a kernel that fills them runs.
void CudaGroup::show_queues() {
  for (const void* kernel : nic_kernels()->one_of_each_module) nic_->show_to(module_of(kernel, device_));
}

// One word over every path that a call may use, by a kernel. All ranks have loaded theirs.
void CudaGroup::say_hello() {
  const uint64_t entered = now_ns();
  call_.deadline_ms = options.create_deadline_ms;
  launched(nic_kernels()->hello({.board = facts.buffers.board,
                                 .call = facts.device_call(nullptr),
                                 .near = facts.near_shape(0),
                                 .areas = facts.areas(),
                                 .queue = facts.rail_queue()},
                                making_.get()),
           "hello");
  for (cudaError_t state; (state = cudaStreamQuery(making_.get())) != cudaSuccess;) {
    if (state != cudaErrorNotReady) check_cuda(state, "cudaStreamQuery", device_);
    control->heed_interrupt();
    if (control->abort_word().load(std::memory_order_acquire) != 0) tell_to_leave(words());
    if (now_ns() - entered > options.create_deadline_ms * kMillisecondNs + kPatienceNs) leave_hello(entered);
    sched_yield();
  }
  owes_kernels_ = false;
  call_.deadline_ms = options.deadline_ms;
  if (!faulted()) return;
  watcher_->tell_fault();
  throw Error(control->fault(control->verdict(), "create", entered));
}

// The kernel has a deadline of its own, but may hang where it looks at none, or not have begun. What it reaches stays
// until it has ended, and its stream too.
void CudaGroup::leave_hello(uint64_t entered) {
  check_cuda(cudaEventRecord(done_.get(), making_.get()), "cudaEventRecord", device_);
  if (const uint32_t whom = awaited(waits_for(words()), map.me); whom != kNobody)
    control->accuse({.rank = map.me, .epoch = 0, .whom = whom, .seen = 0, .expected = 1}, entered);
  else
    control->failed("its GPU has not ended the kernel of its first words, nor does that wait for a rank, after " +
                    std::to_string((now_ns() - entered) / kMillisecondNs) + " ms");
  const Verdict verdict = control->verdict();
  tell_to_leave(words());
  (void)making_.release();
  leave_memory(false);
  throw Error(control->fault(verdict, "create", entered));
}

// One word over every path that a call may use, by this thread: there is no proxy yet.
void CudaGroup::try_paths() {
  const Block& hello = state_.board.net.hello;
  std::vector<AwaitedPath> open;
  const auto greet = [&](const std::vector<Counterpart>& others, uint64_t there, uint64_t here) {
    for (uint64_t m = 0; m < others.size(); ++m) {
      if (others[m].rank == kNobody) continue;
      scale_out_->publish({hello.at(there + others[m].index), others[m].rank}, 1);
      open.push_back({others[m].rank, reinterpret_cast<Word*>(network_memory_.region() + hello.at(here + m))});
    }
  };
  greet(state_.rails, map.nodes, 0);
  greet(state_.sources, 0, map.nodes);
  await_paths(*scale_out_, std::move(open));
}

// Returns zeroed memory that lives as long as the group.
template <class T>
T* CudaGroup::make(uint64_t count) {
  constexpr uint64_t kChunk = 4 << 20;
  count = std::max<uint64_t>(1, count);
  Cursor behind = block_room_;
  uint64_t at = behind.take(count, sizeof(T));
  if (blocks_.empty() || behind.bytes > blocks_.back().bytes()) {
    behind.bytes = 0;
    at = behind.take(count, sizeof(T));
    blocks_.emplace_back(device_, std::max(kChunk, behind.bytes), "group");
  }
  block_room_ = behind;
  return reinterpret_cast<T*>(blocks_.back().base() + at);
}

template <class T>
T* CudaGroup::upload(const T* from, uint64_t count) {
  T* const to = make<T>(count);
  if (count > 0)
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, making_.get()), "cudaMemcpyAsync",
               device_);
  return to;
}

void CudaGroup::make_room() {
  const Geometry& g = state_.geometry;
  const TokenShape token = longest_token(options);
  pinned_ = PinnedBlock(device_, sizeof(HostWords) + counts_bytes() + report_bytes());
  facts.host = reinterpret_cast<HostWords*>(pinned_.on_device());
  words().fault.rank = map.me;
  facts.buffers.state = make<DeviceState>(1);
  facts.buffers.card = make<Card>(1);
  facts.buffers.grants = make<char>(map.peers * state_.grant_bytes());
  facts.buffers.scales = make<char>(options.tokens_max * token.scale_room());
  facts.buffers.headers = make<char>(options.tokens_max * token.header_bytes());
  facts.buffers.cached_headers = make<char>(options.tokens_max * sizeof(Header));
  facts.buffers.counts_to_peers = make<char>(map.peers * g.counts_bytes());
  facts.buffers.counts_to_nodes = make<char>(map.nodes * g.node_counts_bytes());
  facts.buffers.layout = {make<char>(layout_scratch_bytes(g, state_.experts.experts))};
  facts.buffers.spans = make<uint64_t>((uint64_t(map.sources()) + map.ranks) * (options.channels + 1));
  DeviceHandle unplaced{};
  const DeviceHandleSizes most = handle_sizes(state_, options.tokens_max, options.top_k_max, options.channels);
  facts.buffers.spare_handle = make<char>(lay_handle(unplaced, most, nullptr));
  facts.buffers.spare_sum = make<char>(options.row_bytes_max);
  facts.buffers.spare_weights = make<char>(uint64_t(options.top_k_max) * sizeof(float));
  const uint32_t table_bytes = table_bytes_of(map);
  if (table_bytes > kNearTablesMax)
    facts.buffers.global_tables = make<char>(uint64_t(options.sms) * kWarpsOfBlock * table_bytes);
  const auto positions = [&](const RingEnds& ends, Word* drained = nullptr) {
    return DevicePositions{make<Word>(ends.producers), make<Word>(ends.consumers), drained};
  };
  const auto rail_positions = [&](const RingEnds& ends, Word* drained) {
    const std::vector<Word> always(ends.producers, ~Word(0));  // of a NIC: credits say it all
    return positions(ends, nic_ ? upload(always.data(), always.size()) : drained);
  };
  const RingWords words = state_.ring_words();
  facts.buffers.dispatch_up = positions(words.dispatch_up);
  facts.buffers.dispatch_rail = rail_positions(words.dispatch_rail, network_memory_.drained_dispatch());
  facts.buffers.combine_up = positions(words.combine_up);
  facts.buffers.combine_rail = rail_positions(words.combine_rail, network_memory_.drained_combine());
  facts.buffers.queue = network_memory_.queue();
  facts.buffers.queue.next = make<Word>(1);
  if (nic_) facts.buffers.queue.network = nic_->region();
  if (nic_) facts.buffers.queue.nic = make_nic_place();
}

const NicPlace* CudaGroup::make_nic_place() {
  const std::vector<uint32_t> told = state_.counterparts();
  std::vector<NicNames> names(map.ranks);
  for (uint32_t r = 0; r < map.ranks; ++r) names[r].pe = nic_->pes().at(r);
  for (uint32_t row = 0; row < told.size(); ++row) names[told[row]].row = row;
  const NetworkRegion& net = state_.board.net;
  const uint64_t words = ceil_div(net.bytes - net.ring_bytes, kWordBytes);  // all words lie in front of the rings
  const NicPlace place{.names = upload(names.data(), names.size()),
                       .told = {make<Word>(told.size() * words), words},
                       .first_queue = nic_->first_queue()};
  return upload(&place, 1);
}

void CudaGroup::fill_board() {
  const uint64_t net_bytes = shares_with_rails() ? state_.network_bytes() : 0;  // in front of the scale-up region
  Board& board = state_.board;
  board.map = map;
  board.geometry = state_.geometry;
  board.network = nic_             ? nic_->region()
                  : heap_          ? heap_->base()
                  : rails_mapped() ? region_->base()
                                   : network_memory_.region();
  peer_base_.resize(map.peers);
  for (uint32_t p = 0; p < map.peers; ++p)
    peer_base_[p] = (p == map.peer ? region_->base() : neighbours_->base(map.mate(p))) + net_bytes;
  std::vector<char*> mapped(map.ranks, nullptr);
  if (rails_mapped())
    for (uint32_t r : state_.counterparts()) mapped[r] = heap_ ? heap_->mapped()[r] : neighbours_->base(r);
  board.peer = peer_base_.data();
  facts.buffers.map = map;
  facts.buffers.map.node_begin = upload(map.node_begin, map.nodes + 1);
  facts.buffers.map.node_of = upload(map.node_of, map.ranks);
  const Placement& experts = state_.experts;
  facts.buffers.experts = {upload(experts.owner, experts.experts), upload(experts.place, experts.experts),
                           upload(experts.rank_begin, map.ranks + 1), experts.experts};
  const Word always = ~Word(0);
  Board& there = facts.buffers.board = board;
  there.map = facts.buffers.map;
  there.peer = upload(peer_base_.data(), peer_base_.size());
  there.mapped = upload(mapped.data(), mapped.size());
  there.rails = upload(state_.rails.data(), state_.rails.size());
  there.sources = upload(state_.sources.data(), state_.sources.size());
  there.always = upload(&always, 1);
  std::vector<StoreArea> areas{{region_->base(), region_->bytes()}};
  for (uint32_t r : state_.neighbours(shares_with_rails()))
    areas.push_back({neighbours_->base(r), neighbours_->bytes(r)});
  if (heap_) {
    areas.push_back({heap_->base(), heap_->bytes()});
    for (uint32_t r : state_.counterparts())
      if (rails_mapped()) areas.push_back({mapped[r], heap_->bytes()});
  }
  if (network_memory_.pinned() != nullptr) areas.push_back({network_memory_.pinned(), network_memory_.pinned_bytes()});
  if (network_memory_.on_device()) areas.push_back({network_memory_.region(), network_memory_.region_bytes()});
  facts.buffers.areas = upload(areas.data(), areas.size());
  facts.buffers.area_count = uint32_t(areas.size());
}

void CudaGroup::load_kernels() {
  const int near = int(facts.near_bytes_max);
  facts.kernels = fills_queues_    ? nic_kernels()->roles
                  : rails_mapped() ? role_kernels<MappedRail>()
                                   : role_kernels<FifoRail>();
  launched(facts.kernels.prepare_notify(near), "notify");
  launched(facts.kernels.prepare_dispatch(near), "dispatch");
  launched(facts.kernels.prepare_combine(near), "combine");
  if (nic_) launched(nic_kernels()->prepare_hello(near), "hello");
  launched(load_layout_kernels(), "layout");
  const TokenShape header{options.row_bytes_max, 0, options.top_k_max, false};
  launched(launch_headers({.call = facts.device_call(nullptr),
                           .shape = header,
                           .me = map.me,
                           .tokens = options.tokens_max,
                           .scales = {},
                           .staged_scales = nullptr,
                           .headers = facts.buffers.cached_headers},
                          making_.get()),
           "headers");
  check_cuda(cudaStreamSynchronize(making_.get()), "cudaStreamSynchronize", device_);
}

std::unique_ptr<Group::Impl> make_cuda_group(const GroupOptions& options) {
  return std::make_unique<CudaGroup>(options);
}

}  // namespace transload
