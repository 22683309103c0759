// Making a group on GPUs: whose device is whose, where memory lies, which way the network goes, and what kernels need
// to find it all.
#include <cuda_runtime_api.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "kernels/near.h"
#include "kernels/nic_kernels.h"
#include "layout/cursor.h"
#include "os/clock.h"
#include "os/near_nic.h"
#include "runtime/awaited.h"
#include "runtime/call/outcome.h"
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

// The steps by which a group is made, in their order.
class CudaGroup::Making {
 public:
  explicit Making(CudaGroup& group)
      : g_(group),
        state_(group.state_),
        options_(group.options),
        map_(group.map),
        device_(group.device_),
        facts_(group.facts_),
        buffers_(group.facts_.buffers) {}

  void run();

 private:
  void take_device();
  bool share_devices();  // true: all ranks are in this process

  void check_queue_driving(const ScaleOutKind& kind);
  // The NIC nearest by the PCI tree; "" if this host has none.
  std::string near_nic() const;
  void place_network(const ScaleOutKind& kind);

  // Whether rails map each other's region, as peers do.
  bool shares_with_rails() const { return g_.rails_mapped() && !g_.heap_; }
  void map_memory(bool one_process);

  NetworkPlace network_place() const;
  void open_network(const ScaleOutKind& kind);
  void try_paths();
  void open_queues(const ScaleOutKind& kind);

  template <class T>
  T* make(uint64_t count);
  template <class T>
  T* upload(const T* from, uint64_t count);
  void make_room();
  const NicPlace* make_nic_place();
  char* network_region() const;
  void upload_board();
  void upload_areas();

  // Notes nothing, unlike CudaGroup::launched: no other rank waits for the kernels that a group is made with.
  void check(int error, const char* kernel) const { check_cuda(cudaError_t(error), kernel, device_); }
  void load_kernels();
  void show_queues();
  void say_hello();
  [[noreturn]] void leave_hello(uint64_t entered);

  CudaGroup& g_;
  RankState& state_;
  const GroupOptions& options_;
  const RankMap& map_;
  const int device_;
  LaunchFacts& facts_;
  DeviceBuffers& buffers_;
  DeviceInfo info_;
  bool fills_queues_ = false;       // kernels are those that fill a NIC's queues, even if all rails are mapped
  Cursor block_room_{.unit = 256};  // free place in the last block
};

CudaGroup::CudaGroup(const GroupOptions& given)
    : state_(given), options(state_.options), map(state_.map), device_(given.device.device_id), call_since_(now_ns()) {
  call_.deadline_ms = options.deadline_ms;
  Making(*this).run();
}

void CudaGroup::Making::run() {
  g_.meet();
  g_.all_or_none([&] { take_device(); });
  const OnDevice here(device_);
  sweep_parked();
  const bool one_process = share_devices();
  const auto [network, maps_rails] = choose_scale_out(g_);
  fills_queues_ = network != nullptr && (maps_rails ? network->kernels_of_nics : network->open_queues != nullptr);
  if (fills_queues_) check_queue_driving(*network);
  const bool brings_memory = network != nullptr && network->place != nullptr;
  state_.plan_network(maps_rails, !maps_rails || brings_memory);
  if (brings_memory) g_.heap_ = network->place(g_, {device_, run_on_device, zero_device_at, maps_rails});
  if (!g_.rails_mapped() && !g_.heap_) place_network(*network);
  map_memory(one_process);
  if (!g_.rails_mapped()) {
    state_.choose_rail_batch(fills_queues_);
    network->open_queues != nullptr ? open_queues(*network) : open_network(*network);
  }
  g_.all_or_none([&] {
    make_room();
    state_.place(mappings_of(state_, {.region = g_.region_,
                                      .neighbours = *g_.neighbours_,
                                      .network = network_region(),
                                      .rails_mapped = g_.rails_mapped(),
                                      .heap = g_.heap_.get()}));
    upload_board();
    upload_areas();
    load_kernels();
    if (g_.nic_) show_queues();
  });
  if (g_.heap_) g_.heap_->begin();
  g_.watcher_.emplace(WatchedGroup{.device = device_,
                                   .me = map_.me,
                                   .control = *g_.control,
                                   .words = g_.page_.words(),
                                   .call = g_.call_,
                                   .reservation = g_.reservation_,
                                   .done = g_.done_.get(),
                                   .idle = g_.making_.get(),
                                   .proxy = g_.proxy_.get(),
                                   .nic = g_.nic_.get(),
                                   .progress = options_.progress});
  if (g_.nic_) say_hello();
  g_.control->gather("ready");
  g_.watcher_->start();
}

void CudaGroup::Making::take_device() {
  refuse_without_device();
  const Devices all = find_devices();
  if (device_ < 0 || size_t(device_) >= all.devices.size())
    throw Error(Code::kInvalidArgument,
                "device: cuda " + std::to_string(device_) + ", must be 0 to " + std::to_string(all.devices.size() - 1));
  info_ = all.devices[size_t(device_)];
  facts_.near_bytes_max = info_.shared_bytes_max - kBlockBytesMax;
  if (options_.sms < 1 || options_.sms > info_.sms)
    throw Error(Code::kInvalidArgument,
                "sms: " + std::to_string(options_.sms) + ", must be 1 to " + std::to_string(info_.sms));
  const uint64_t members = uint64_t(map_.peers) * std::max(map_.sources(), uint32_t(kDispatchStreams));
  for (const auto& [what, value] : {std::pair{"ranks of topology", uint64_t(map_.ranks)},
                                    {"streams between peers (peers x streams of topology)", members}})
    if (value > kCudaMembersMax)
      throw Error(Code::kInvalidArgument, std::string(what) + ": " + std::to_string(value) + ", must be at most " +
                                              std::to_string(kCudaMembersMax) + " on GPUs");
  g_.making_ = make_stream(device_);
  g_.done_ = make_event(device_);
}

bool CudaGroup::Making::share_devices() {
  const DeviceUse mine{.uuid = info_.uuid,
                       .sms = options_.sms,
                       .device_sms = info_.sms,
                       .mps = info_.mps,
                       .process = process_identity(),
                       .group = random_word(),
                       .queues = device_queues()};
  const std::vector<DeviceUse> all = g_.gather(mine.pack(), DeviceUse::unpack);
  check_device_uses(all);
  g_.calls_ = CallLog(all[0].group, map_.me);
  g_.all_or_none([&] { g_.reservation_ = DeviceReservation(all, mine); });
  return std::all_of(all.begin(), all.end(), [&](const DeviceUse& use) { return use.process == mine.process; });
}

void CudaGroup::Making::map_memory(bool one_process) {
  const RegionParts parts = state_.region_parts(map_.me, options_.slab_bytes);
  WayChoice choice;
  g_.all_or_none([&] {
    choice = choose_way(device_, one_process);
    g_.region_ = std::make_shared<DeviceRegion>(device_, parts.bytes(), choice.way);
  });
  const Descriptor bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));  // nobody rings this bell: kernels poll
  g_.neighbours_ = g_.share_memory(g_.region_, bell.get(), shares_with_rails());
  state_.decide("scale-up", g_.scale_up_name(), choice.reason);
}

std::string CudaGroup::Making::near_nic() const {
  for (const NearNic& near : near_nics(find_pci_devices()))
    if (near.gpu == info_.pci) return near.nic;
  return "";
}

// The region lies on the GPUs of all ranks, or on none: so a rank's figures are those of any other.
void CudaGroup::Making::place_network(const ScaleOutKind& kind) {
  const NetworkMemoryChoice wish = options_.network_memory;
  const char* const unasked =
      wish == NetworkMemoryChoice::kPinned ? "asked for" : "only libfabric is asked to register GPU memory";
  DeviceNetwork on_device{.choice = {RegionPlace::kPinned, unasked}, .block = {}, .dma_buf = {}, .told = {}};
  if (wish != NetworkMemoryChoice::kPinned && kind.choice == ScaleOutChoice::kLibfabric)
    g_.all_or_none([&] { on_device = try_device_network(state_, info_, g_.control->local_address(), near_nic()); });
  const bool pinned = on_device.choice.place == RegionPlace::kPinned;
  const auto said = g_.gather(pinned ? on_device.choice.why : "", [](const std::string& text) { return text; });
  std::string why;
  for (uint32_t r = 0; r < map_.ranks && why.empty(); ++r)
    if (!said[r].empty())
      why = said[r] + (wish == NetworkMemoryChoice::kPinned ? "" : " (rank " + std::to_string(r) + ")");
  if (!why.empty() && wish == NetworkMemoryChoice::kGpu)
    throw Error(Code::kNotSupported, "network_memory: gpu, must be auto or pinned: " + why);
  if (why.empty())
    why = on_device.choice.why;
  else
    on_device = {.choice = {RegionPlace::kPinned, why}, .block = {}, .dma_buf = {}, .told = {}};
  g_.all_or_none([&] { g_.network_memory_ = NetworkMemory(state_, device_, std::move(on_device)); });
  state_.decide("network memory", g_.network_memory_.on_device() ? "gpu" : "pinned",
                std::to_string(g_.network_memory_.region_bytes() >> 20) + " MiB: " + why);
}

NetworkPlace CudaGroup::Making::network_place() const {
  return {.region = g_.network_memory_.region(),
          .bytes = g_.network_memory_.region_bytes(),
          .mapped = nullptr,
          .device = g_.network_memory_.told(),
          .near_nic = near_nic()};
}

void CudaGroup::Making::open_network(const ScaleOutKind& kind) {
  g_.scale_out_ = kind.make(g_, network_place());
  try_paths();
  const auto naps = [&group = g_] { return group.memory_.use_count() > 1; };  // a graph holds the memory
  const auto broken = [&group = g_](const std::exception& error) { group.control->break_down(error); };
  const Proxy::Place place{g_.network_memory_.region(), g_.network_memory_.queue(), g_.network_memory_.taken()};
  g_.all_or_none([&] { g_.proxy_ = std::make_unique<Proxy>(*g_.scale_out_, place, naps, broken); });
}

// Whether this GPU can drive a NIC's queues is known before the network is told anything.
void CudaGroup::Making::check_queue_driving(const ScaleOutKind& kind) {
  g_.all_or_none([&] {
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

void CudaGroup::Making::open_queues(const ScaleOutKind& kind) {
  NetworkPlace place = network_place();
  if (g_.heap_)
    place = {.region = g_.heap_->base(), .bytes = g_.heap_->bytes(), .mapped = nullptr, .heap = g_.heap_.get()};
  g_.nic_ = kind.open_queues(g_, place);
}

// Every module of kernels knows its queues before a kernel of it runs.
void CudaGroup::Making::show_queues() {
  for (const void* kernel : nic_kernels()->one_of_each_module) g_.nic_->show_to(module_of(kernel, device_));
}

// Sends one word over every path that a call may use, by a kernel. All ranks have loaded theirs.
void CudaGroup::Making::say_hello() {
  const uint64_t entered = now_ns();
  g_.call_.deadline_ms = options_.create_deadline_ms;
  check(nic_kernels()->hello({.board = buffers_.board,
                              .call = facts_.device_call(nullptr),
                              .near = facts_.near_shape(0),
                              .areas = facts_.areas(),
                              .queue = facts_.rail_queue()},
                             g_.making_.get()),
        "hello");
  for (cudaError_t state; (state = cudaStreamQuery(g_.making_.get())) != cudaSuccess;) {
    if (state != cudaErrorNotReady) check_cuda(state, "cudaStreamQuery", device_);
    g_.control->heed_interrupt();
    if (g_.control->abort_word().load(std::memory_order_acquire) != 0) tell_to_leave(g_.page_.words());
    if (now_ns() - entered > options_.create_deadline_ms * kMillisecondNs + kPatienceNs) leave_hello(entered);
    sched_yield();
  }
  g_.call_.deadline_ms = options_.deadline_ms;
  if (!g_.faulted()) return;
  g_.watcher_->tell_fault();
  throw Error(g_.control->fault(g_.control->verdict(), "create", entered));
}

// The kernel has a deadline of its own, but may hang where it looks at none, or not have begun. What it reaches stays
// until it has ended, and its stream too.
void CudaGroup::Making::leave_hello(uint64_t entered) {
  check_cuda(cudaEventRecord(g_.done_.get(), g_.making_.get()), "cudaEventRecord", device_);
  if (const uint32_t whom = awaited(waits_for(g_.page_.words()), map_.me); whom != kNobody)
    g_.control->accuse({.rank = map_.me, .epoch = 0, .whom = whom, .seen = 0, .expected = 1}, entered);
  else
    g_.control->failed("its GPU has not ended the kernel of its first words, nor does that wait for a rank, after " +
                       std::to_string((now_ns() - entered) / kMillisecondNs) + " ms");
  const Verdict verdict = g_.control->verdict();
  tell_to_leave(g_.page_.words());
  (void)g_.making_.release();
  g_.leave_memory(false);
  throw Error(g_.control->fault(verdict, "create", entered));
}

// Sends one word over every path that a call may use, by this thread: there is no proxy yet.
void CudaGroup::Making::try_paths() {
  const Block& hello = state_.board.net.hello;
  std::vector<AwaitedPath> open;
  const auto greet = [&](const std::vector<Counterpart>& others, uint64_t there, uint64_t here) {
    for (uint64_t m = 0; m < others.size(); ++m) {
      if (others[m].rank == kNobody) continue;
      g_.scale_out_->publish({hello.at(there + others[m].index), others[m].rank}, 1);
      open.push_back({others[m].rank, reinterpret_cast<Word*>(g_.network_memory_.region() + hello.at(here + m))});
    }
  };
  greet(state_.rails, map_.nodes, 0);
  greet(state_.sources, 0, map_.nodes);
  g_.await_paths(*g_.scale_out_, std::move(open));
}

// Returns zeroed memory that lives as long as the group.
template <class T>
T* CudaGroup::Making::make(uint64_t count) {
  constexpr uint64_t kChunk = 4 << 20;
  count = std::max<uint64_t>(1, count);
  Cursor behind = block_room_;
  uint64_t at = behind.take(count, sizeof(T));
  if (g_.blocks_.empty() || behind.bytes > g_.blocks_.back().bytes()) {
    behind.bytes = 0;
    at = behind.take(count, sizeof(T));
    g_.blocks_.emplace_back(device_, std::max(kChunk, behind.bytes), "group");
  }
  block_room_ = behind;
  return reinterpret_cast<T*>(g_.blocks_.back().base() + at);
}

template <class T>
T* CudaGroup::Making::upload(const T* from, uint64_t count) {
  T* const to = make<T>(count);
  if (count > 0)
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, g_.making_.get()),
               "cudaMemcpyAsync", device_);
  return to;
}

void CudaGroup::Making::make_room() {
  const Geometry& geometry = state_.geometry;
  const TokenShape token = longest_token(options_);
  g_.page_ = PinnedPage(device_, report_counts(state_.experts.experts_of(map_.me), map_.ranks));
  facts_.host = g_.page_.words_on_device();
  g_.page_.words().fault.rank = map_.me;
  buffers_.state = make<DeviceState>(1);
  buffers_.card = make<Card>(1);
  buffers_.grants = make<char>(map_.peers * state_.grant_bytes());
  buffers_.scales = make<char>(options_.tokens_max * token.scale_room());
  buffers_.headers = make<char>(options_.tokens_max * token.header_bytes());
  buffers_.cached_headers = make<char>(options_.tokens_max * sizeof(Header));
  buffers_.counts_to_peers = make<char>(map_.peers * geometry.counts_bytes());
  buffers_.counts_to_nodes = make<char>(map_.nodes * geometry.node_counts_bytes());
  buffers_.layout = {make<char>(layout_scratch_bytes(geometry, state_.experts.experts))};
  buffers_.spans = make<uint64_t>((uint64_t(map_.sources()) + map_.ranks) * (options_.channels + 1));
  DeviceHandle unplaced{};
  const DeviceHandleSizes most = handle_sizes(state_, options_.tokens_max, options_.top_k_max, options_.channels);
  buffers_.spare_handle = make<char>(lay_handle(unplaced, most, nullptr));
  buffers_.spare_sum = make<char>(spare_sum_bytes(options_.row_bytes_max, options_.top_k_max));
  const uint32_t table_bytes = table_bytes_of(map_);
  if (table_bytes > kNearTablesMax)
    buffers_.global_tables = make<char>(uint64_t(options_.sms) * kWarpsOfBlock * table_bytes);
  const auto positions = [&](const RingEnds& ends, Word* drained = nullptr) {
    return DevicePositions{make<Word>(ends.producers), make<Word>(ends.consumers), drained};
  };
  const auto rail_positions = [&](const RingEnds& ends, Word* drained) {
    const std::vector<Word> always(ends.producers, ~Word(0));  // with a NIC's queues, credits say that sources are free
    return positions(ends, g_.nic_ ? upload(always.data(), always.size()) : drained);
  };
  const RingWords words = state_.ring_words();
  buffers_.dispatch_up = positions(words.dispatch_up);
  buffers_.dispatch_rail = rail_positions(words.dispatch_rail, g_.network_memory_.drained_dispatch());
  buffers_.combine_up = positions(words.combine_up);
  buffers_.combine_rail = rail_positions(words.combine_rail, g_.network_memory_.drained_combine());
  buffers_.queue = g_.network_memory_.queue();
  buffers_.queue.next = make<Word>(1);
  if (g_.nic_) buffers_.queue.network = g_.nic_->region();
  if (g_.nic_) buffers_.queue.nic = make_nic_place();
}

const NicPlace* CudaGroup::Making::make_nic_place() {
  const std::vector<uint32_t> told = state_.counterparts();
  std::vector<NicNames> names(map_.ranks);
  for (uint32_t r = 0; r < map_.ranks; ++r) names[r].pe = g_.nic_->pes().at(r);
  for (uint32_t row = 0; row < told.size(); ++row) names[told[row]].row = row;
  const NetworkRegion& net = state_.board.net;
  const uint64_t words = ceil_div(net.bytes - net.ring_bytes, kWordBytes);  // all words lie in front of the rings
  const NicPlace place{.names = upload(names.data(), names.size()),
                       .told = {make<Word>(told.size() * words), words},
                       .first_queue = g_.nic_->first_queue()};
  return upload(&place, 1);
}

char* CudaGroup::Making::network_region() const {
  if (g_.nic_) return g_.nic_->region();
  if (g_.heap_) return g_.heap_->base();
  return g_.rails_mapped() ? g_.region_->base() : g_.network_memory_.region();
}

// The board of kernels is the rank's own, with copies of its tables.
void CudaGroup::Making::upload_board() {
  const Placement& experts = state_.experts;
  buffers_.experts = {upload(experts.owner, experts.experts), upload(experts.place, experts.experts),
                      upload(experts.rank_begin, map_.ranks + 1), experts.experts};
  Board& there = buffers_.board = state_.board;
  there.map.node_begin = upload(map_.node_begin, map_.nodes + 1);
  there.map.node_of = upload(map_.node_of, map_.ranks);
  there.peer = upload(there.peer, map_.peers);
  there.mapped = upload(there.mapped, map_.ranks);
  there.rails = upload(there.rails, state_.rails.size());
  there.sources = upload(there.sources, state_.sources.size());
  there.always = upload(there.always, 1);
  there.peer_bytes = nullptr;  // kernels check no grant
}

void CudaGroup::Making::upload_areas() {
  std::vector<StoreArea> areas{{g_.region_->base(), g_.region_->bytes()}};
  for (uint32_t r : state_.neighbours(shares_with_rails()))
    areas.push_back({g_.neighbours_->base(r), g_.neighbours_->bytes(r)});
  if (g_.heap_) {
    areas.push_back({g_.heap_->base(), g_.heap_->bytes()});
    for (uint32_t r : state_.counterparts())
      if (g_.rails_mapped()) areas.push_back({state_.board.mapped[r], g_.heap_->bytes()});
  }
  const NetworkMemory& network = g_.network_memory_;
  if (network.pinned() != nullptr) areas.push_back({network.pinned(), network.pinned_bytes()});
  if (network.on_device()) areas.push_back({network.region(), network.region_bytes()});
  buffers_.areas = upload(areas.data(), areas.size());
  buffers_.area_count = uint32_t(areas.size());
}

void CudaGroup::Making::load_kernels() {
  const int near = int(facts_.near_bytes_max);
  facts_.kernels = fills_queues_       ? nic_kernels()->roles
                   : g_.rails_mapped() ? role_kernels<MappedRail>()
                                       : role_kernels<FifoRail>();
  check(facts_.kernels.prepare_notify(near), "notify");
  check(facts_.kernels.prepare_dispatch(near), "dispatch");
  check(facts_.kernels.prepare_combine(near), "combine");
  if (g_.nic_) check(nic_kernels()->prepare_hello(near), "hello");
  check(load_layout_kernels(), "layout");
  const TokenShape header{options_.row_bytes_max, 0, options_.top_k_max, false};
  check(launch_headers({.call = facts_.device_call(nullptr),
                        .shape = header,
                        .me = map_.me,
                        .tokens = options_.tokens_max,
                        .scales = {},
                        .staged_scales = nullptr,
                        .headers = buffers_.cached_headers},
                       g_.making_.get()),
        "headers");
  check_cuda(cudaStreamSynchronize(g_.making_.get()), "cudaStreamSynchronize", device_);
}

std::unique_ptr<Group::Impl> make_cuda_group(const GroupOptions& options) {
  return std::make_unique<CudaGroup>(options);
}

}  // namespace transload
